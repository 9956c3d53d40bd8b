//! Addresses of network interfaces (IEEE EUI-48 and EUI-64), with colons.

use crate::scan::validators;
use crate::scan::window::{Match, Verdict, Window, is_word};

/// Pairs of hexadecimal digits; the first colon stands here.
pub(super) fn mac(window: &Window<'_>, at: usize) -> Verdict {
    let text = window.text;
    let Some(start) = at.checked_sub(2) else { return Verdict::No };
    if !text[start..at].iter().all(u8::is_ascii_hexdigit)
        || window.before(start).is_some_and(|byte| is_word(byte) || matches!(byte, b':' | b'-' | b'.'))
    {
        return Verdict::No;
    }
    let (end, open) = window.run(start, 24, |byte| byte.is_ascii_hexdigit() || byte == b':');
    if open {
        return Verdict::More;
    }
    let mut value = &text[start..end];
    if value.len().is_multiple_of(3) {
        value = value.strip_suffix(b":").unwrap_or(value);
    }
    let paired = value.iter().enumerate().all(|(i, byte)| (*byte == b':') == (i % 3 == 2));
    if !paired
        || !matches!(value.len(), 17 | 23)
        || window.get(end).is_some_and(is_word)
        || !validators::is_somebodys(value)
    {
        return Verdict::No;
    }
    Verdict::Match(Match { start, end: start + value.len(), score: 0.95 })
}

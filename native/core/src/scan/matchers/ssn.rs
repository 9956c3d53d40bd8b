//! Social security numbers with blanks between their parts: `441 13 6409`.
//!
//! Rows of numbers and addresses have that shape as well: no other number may stand near one, no name right behind it
//! (`Suite 441 13 6409 Oak Lane`), nor may it end in what could be a year.

use crate::scan::window::{Match, Verdict, Window, is_word};

const LENGTH: usize = 11;
/// Bytes around a value within which there is no other digit.
const BESIDE: usize = 16;

/// Three digits, two and four, the first of which stands here.
pub(super) fn with_blanks(window: &Window<'_>, at: usize) -> Verdict {
    let end = at + LENGTH;
    if window.unknown(end - 1) {
        return Verdict::More;
    }
    let Some(value) = window.text.get(at..end) else { return Verdict::No };
    let shaped = value.iter().enumerate().all(|(i, byte)| match i {
        3 | 6 => *byte == b' ',
        _ => byte.is_ascii_digit(),
    });
    let year = matches!(&value[7..9], b"19" | b"20");
    let before = &window.text[at.saturating_sub(BESIDE)..at];
    let opens = before.last().is_none_or(|byte| byte.is_ascii_whitespace() || b"(\"'>".contains(byte));
    if !shaped || year || !opens || before.iter().any(u8::is_ascii_digit) {
        return Verdict::No;
    }
    if window.get(end).is_some_and(|byte| is_word(byte) || b"-+/=%".contains(&byte)) {
        return Verdict::No;
    }
    let (behind, open) = window.run(end, BESIDE, |byte| !byte.is_ascii_digit());
    if open {
        return Verdict::More;
    }
    let street = matches!(window.text[end..behind], [b' ', b'A'..=b'Z', ..]);
    if street || behind < window.text.len().min(end + BESIDE) {
        return Verdict::No;
    }
    Verdict::Match(Match { start: at, end, score: 0.6 })
}

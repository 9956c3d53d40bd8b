//! E-mail addresses (RFC 5321 and 6531, as people write them).

use crate::scan::bytes::ByteSet;
use crate::scan::window::{Match, Verdict, Window};

const LOCAL_MAX: usize = 64;
const DOMAIN_MAX: usize = 253;

static LOCAL: ByteSet = ByteSet::of(b"._%+-").alphanumeric().beyond_ascii();
static DOMAIN: ByteSet = ByteSet::of(b".-").alphanumeric().beyond_ascii();

/// The address around an `@`.
pub(super) fn email(window: &Window<'_>, at: usize) -> Verdict {
    let text = window.text;
    let least = at.saturating_sub(LOCAL_MAX);
    let mut start = at;
    while start > least && LOCAL.has(text[start - 1]) {
        start -= 1;
    }
    while start < at && matches!(text[start], b'.' | b'-' | b'%' | b'+') {
        start += 1;
    }
    if start == at || text[at - 1] == b'.' {
        return Verdict::No;
    }
    let (mut end, open) = window.run(at + 1, DOMAIN_MAX, |byte| DOMAIN.has(byte));
    if open || window.unknown(end) {
        return Verdict::More;
    }
    while end > at + 1 && matches!(text[end - 1], b'.' | b'-') {
        end -= 1;
    }
    let domain = &text[at + 1..end];
    let Some(dot) = domain.iter().rposition(|byte| *byte == b'.') else { return Verdict::No };
    let top = &domain[dot + 1..];
    let named = top.len() >= 2 && (top.iter().all(|byte| !byte.is_ascii_digit()) || top.starts_with(b"xn--"));
    if dot == 0 || !named || domain[0] == b'-' || domain.windows(2).any(|pair| pair == b"..") {
        return Verdict::No;
    }
    // `icon@2x.png`; `git@host.example:path`, which is the account of a machine.
    if is_of_files(top) || (text[start..at] == *b"git" && window.get(end) == Some(b':')) {
        return Verdict::No;
    }
    Verdict::Match(Match { start, end, score: 1.0 })
}

/// Endings of file names that are no top-level domains.
fn is_of_files(top: &[u8]) -> bool {
    let mut small = [0; 4];
    let Some(start) = small.get_mut(..top.len()) else { return false };
    start.copy_from_slice(top);
    matches!(
        &small.map(|byte| byte.to_ascii_lowercase()),
        b"png\0"
            | b"jpg\0"
            | b"jpeg"
            | b"gif\0"
            | b"svg\0"
            | b"webp"
            | b"json"
            | b"js\0\0"
            | b"css\0"
            | b"html"
            | b"yaml"
    )
}

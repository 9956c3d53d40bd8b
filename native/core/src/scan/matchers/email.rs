//! E-mail addresses (RFC 5321 and 6531, as people write them).

use crate::scan::bytes::ByteSet;
use crate::scan::window::{Match, Verdict, Window};

const LOCAL_MAX: usize = 64;
const DOMAIN_MAX: usize = 253;

/// From this byte on a letter takes three bytes and more: scripts such as Chinese, Japanese, Korean, Thai and Hindi.
const UNSPACED: u8 = 0xe0;

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
    if !text[start..end].is_ascii() {
        (start, end) = (behind_unspaced(text, start, at), before_unspaced(text, at + 1, end));
    }
    // Behind what is in quotes a quote follows: `u'jane@example.com'`.
    if window.before(start) == Some(b'\'') && window.get(end) != Some(b'\'') {
        start = before_apostrophe(text, start, least);
    }
    Verdict::Match(Match { start, end, score: 1.0 })
}

/// Where a local part of ours begins that a script without blanks between words runs into: `連絡先はjane@example.com`.
fn behind_unspaced(text: &[u8], start: usize, at: usize) -> usize {
    let Some(last) = text[start..at].iter().rposition(|byte| *byte >= UNSPACED) else { return start };
    let rest = &text[start + last + 1..at];
    let behind = at - rest.len() + rest.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
    if behind == at { start } else { behind }
}

/// Where a domain ends that such a script goes on behind: `jane@example.comまで`. What comes before must be one by itself.
fn before_unspaced(text: &[u8], start: usize, end: usize) -> usize {
    let joint = |pair: &[u8]| pair[0].is_ascii_alphanumeric() && pair[1] >= UNSPACED;
    let Some(last) = text[start..end].windows(2).position(joint) else { return end };
    let domain = &text[start..=start + last];
    match domain.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if domain.len() > dot + 2 => start + domain.len(),
        _ => end,
    }
}

/// Where a local part begins that goes on before an apostrophe: `sinead.o'brien`. An article is none: `l'adresse@`, `qu'anna@`.
fn before_apostrophe(text: &[u8], start: usize, least: usize) -> usize {
    let Some(head) = text.get(least..start - 1) else { return start };
    let name = &head[head.len() - head.iter().rev().take_while(|byte| LOCAL.has(**byte)).count()..];
    let marks = name.iter().take_while(|byte| matches!(byte, b'.' | b'-' | b'%' | b'+')).count();
    match &name[marks..] {
        [b'c' | b'd' | b'j' | b'l' | b'm' | b'n' | b's' | b't'] | b"qu" => start,
        name @ [.., end] if end.is_ascii_alphanumeric() => start - 1 - name.len(),
        _ => start,
    }
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

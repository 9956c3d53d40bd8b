//! Private keys in armour: `-----BEGIN ... PRIVATE KEY-----` up to its `-----END`, with line breaks or with `\n` for them.

use crate::scan::stoplist::randomness::Shape;
use crate::scan::window::{Match, Verdict, Window};

const LABEL_MAX: usize = 40;
/// A key that is longer than this is cut: what follows is no key.
const BODY_MAX: usize = 64 << 10;
const BODY_MIN: usize = 40;
const BEGIN: &[u8] = b"-----BEGIN ";
const BEGIN_DASHES: usize = 5;
const END: &[u8] = b"-----END ";

/// The block around `-BEGIN `: a row of hyphens alone is no reason to look.
pub(super) fn pem(window: &Window<'_>, last: usize) -> Verdict {
    let text = window.text;
    let Some(at) = (last + 1).checked_sub(BEGIN_DASHES).filter(|at| text[*at..last].iter().all(|byte| *byte == b'-'))
    else {
        return Verdict::No;
    };
    let (label, open) = window
        .run(at + BEGIN.len(), LABEL_MAX, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
    if open {
        return Verdict::More;
    }
    if !text[at..label].windows(11).any(|part| part == b"PRIVATE KEY") {
        return Verdict::No;
    }
    let (head, open) = window.run(label, 5, |byte| byte == b'-');
    if open {
        return Verdict::More;
    }
    if head - label < 5 {
        return Verdict::No;
    }
    // Lines may be joined in source code: `" +\n"`.
    let (mut end, open) = window.run(head, BODY_MAX, |byte| {
        byte.is_ascii_alphanumeric()
            || byte.is_ascii_whitespace()
            || matches!(byte, b'+' | b'/' | b'=' | b'\\' | b':' | b'"' | b'\'' | b',' | b'(' | b')' | b'.')
    });
    if text[head..end].len() < BODY_MAX && open {
        return Verdict::More;
    }
    // Headers of old keys hold a dash (`DEK-Info: AES-128-CBC,...`).
    let mut dashes = 0;
    while window.get(end) == Some(b'-') && !text[end..].starts_with(&END[..2]) && dashes < 8 {
        dashes += 1;
        let (next, open) = window.run(end + 1, BODY_MAX.saturating_sub(end - head), |byte| {
            byte != b'-' && (byte.is_ascii_graphic() || byte.is_ascii_whitespace())
        });
        if open {
            return Verdict::More;
        }
        end = next;
    }
    if !enough(&text[head..end]) {
        return Verdict::No;
    }
    // A block without its end is a key all the same.
    let (tail, open) = window.run(end, END.len() + LABEL_MAX + 5, |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b' ' | b'-')
    });
    if open {
        return Verdict::More;
    }
    let end = if text[end..tail].starts_with(END) {
        text[end..tail].windows(5).rposition(|dashes| dashes == b"-----").map_or(tail, |dashes| end + dashes + 5)
    } else {
        text[head..end]
            .iter()
            .rposition(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
            .map_or(end, |last| head + last + 1)
    };
    Verdict::Match(Match { start: at, end, score: 0.98 })
}

/// Whether a line of base64 stands in the body.
fn enough(body: &[u8]) -> bool {
    body.split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')))
        .any(|line| line.len() >= BODY_MIN && Shape::of(line).surprise >= 4.0)
}

#[cfg(test)]
mod tests;

//! Where a match could begin: one pass over the text that the rules are asked about.

use super::rules::Rules;
use super::window::{REACH, Window};

/// Something that rules are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    At(usize),
    Colon(usize),
    Number(usize),
    Token(usize),
    Literal(usize, usize),
}

/// Bytes that no match reaches back over: its trigger may stand behind its start, but in the same run.
#[must_use]
pub const fn breaks(byte: u8) -> bool {
    matches!(
        byte,
        0..=b' ' | 0x7f | b',' | b';' | b'"' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'|' | b'`'
    )
}

/// Where the run that a position belongs to begins, at most [`REACH`] bytes earlier.
pub(crate) fn run_start(text: &[u8], at: usize) -> usize {
    let least = at.saturating_sub(REACH);
    let mut start = at.min(text.len());
    while start > least && !breaks(text[start - 1]) {
        start -= 1;
    }
    start
}

/// Calls back for every candidate that starts at or behind `from`, and returns up to where that is settled.
pub(crate) fn candidates(rules: &Rules, window: &Window<'_>, from: usize, mut found: impl FnMut(Candidate)) -> usize {
    let text = window.text;
    let frontier = if window.at_end { text.len() } else { run_start(text, text.len()) }.max(from);
    let mut settled = frontier;
    for (at, byte) in text.iter().enumerate().take(frontier).skip(from) {
        match *byte {
            b'@' => found(Candidate::At(at)),
            b':' => found(Candidate::Colon(at)),
            byte if byte.is_ascii_alphanumeric()
                && !window.before(at).is_some_and(|byte| byte.is_ascii_alphanumeric()) =>
            {
                match number(window, at) {
                    Some(true) => found(Candidate::Number(at)),
                    Some(false) => {}
                    None => {
                        settled = at;
                        break;
                    }
                }
                match token(window, at) {
                    Some(true) => found(Candidate::Token(at)),
                    Some(false) => {}
                    None => {
                        settled = at;
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    if let Some(literals) = &rules.literals {
        for hit in literals.find_overlapping_iter(&text[from..]) {
            let at = from + hit.start();
            if at < settled {
                found(Candidate::Literal(at, hit.pattern().as_usize()));
            }
        }
    }
    settled
}

/// Whether a number could start at the start of an alphanumeric run. None: it depends on what follows.
fn number(window: &Window<'_>, at: usize) -> Option<bool> {
    let (end, open) = window.run(at, 64, |byte| byte.is_ascii_alphanumeric());
    if window.text[at..end].iter().any(u8::is_ascii_digit) {
        return Some(true);
    }
    if open {
        return None;
    }
    if end - at > 4 {
        return Some(false);
    }
    if window.unknown(end + 1) || window.unknown(end) {
        return None;
    }
    let separated = window.get(end).is_some_and(|byte| matches!(byte, b' ' | b'-' | b'.' | b'/' | b'_'));
    Some(separated && window.get(end + 1).is_some_and(|byte| byte.is_ascii_digit()))
}

/// Whether a token of eight bytes or more starts here. None: it depends on what follows.
fn token(window: &Window<'_>, at: usize) -> Option<bool> {
    if window.before(at).is_some_and(|byte| matches!(byte, b'-' | b'_')) {
        return Some(false);
    }
    let (end, open) = window.run(at, 8, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'/' | b'=' | b'.' | b'~' | b'-')
    });
    if end - at >= 8 {
        Some(true)
    } else if open {
        None
    } else {
        Some(false)
    }
}

//! Mends tokens that are cut by marks of emphasis or code, such as `abc**def**`.

use super::view::{Verdict, View};

/// How far a token is followed to either side of the mark.
const MAX_BEFORE: usize = 256;
const MAX_AFTER: usize = 512;

/// The width of the mark at a position; 0 for none.
fn mark(text: &[u8], at: usize) -> usize {
    match text.get(at..) {
        Some([b'`', ..]) => 1,
        Some([b'*', b'*', ..] | [b'_', b'_', ..] | [b'~', b'~', ..]) => 2,
        _ => 0,
    }
}

/// What tokens are made of.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || byte >= 0x80
        || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'/' | b'=' | b'@' | b'~' | b'(' | b')' | b':' | b'%' | b'#')
}

/// What digits are grouped by, beside spaces.
const fn is_group(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'(' | b')' | b'+')
}

/// What stands within tokens, beside letters and digits.
const fn is_inner(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'@' | b'.' | b'+' | b'/')
}

/// Whether a mark begins at a position and stands within a token or between groups of digits: a cheap test for the
/// positions of backticks, `**`, `__` and `~~`. Text that ends too early to tell may be such a place.
#[must_use]
pub fn is_split(text: &[u8], at: usize) -> bool {
    let width = mark(text, at);
    if width == 0 {
        return false;
    }
    let Some(before) = at.checked_sub(1).and_then(|before| text.get(before)) else { return false };
    let (next, second) = (text.get(at + width), text.get(at + width + 1));
    let (Some(next), Some(second)) = (next, second) else { return is_token(*before) || *before == b' ' };
    match (*before, *next) {
        (b' ', next) => {
            is_group(next) && at.checked_sub(2).and_then(|at| text.get(at)).is_some_and(|&byte| is_group(byte))
        }
        (before, b' ') => is_group(before) && is_group(*second),
        (b')', next) => next.is_ascii_digit(),
        // Names with underscores at both ends are too common for `__` beside anything else.
        (before, next) if width == 1 || text[at] == b'*' => {
            (before.is_ascii_alphanumeric() || is_inner(before))
                && (next.is_ascii_alphanumeric() || is_inner(next) && second.is_ascii_alphanumeric())
        }
        (before, next) => before.is_ascii_alphanumeric() && next.is_ascii_alphanumeric(),
    }
}

/// The token around the mark at a position without its marks, if the mark cuts one. It is followed back to `least` at most.
#[must_use]
pub fn without_marks(text: &[u8], at: usize, least: usize, at_end: bool) -> Verdict {
    let known = at + mark(text, at) + 2 <= text.len();
    if !known && !at_end {
        return Verdict::More;
    }
    if !known || !is_split(text, at) {
        return Verdict::No;
    }
    let start = start(text, at, least);
    let mut view = View::new(start);
    let (mut from, limit) = (start, at + MAX_AFTER);
    while from < limit {
        // A space, a mark as wide as they are and one byte more tell whether groups of digits go on.
        if from + 4 > text.len() && !at_end {
            return Verdict::More;
        }
        let width = mark(text, from);
        if width > 0 {
            from += width;
        } else if text.get(from).is_some_and(|&byte| is_token(byte)) || joins_groups(text, from) {
            view.push(text, from, from + 1);
            from += 1;
        } else {
            break;
        }
    }
    Verdict::Run(view)
}

/// Where the token begins that a mark stands in.
fn start(text: &[u8], at: usize, least: usize) -> usize {
    let mut start = at;
    let limit = at.saturating_sub(MAX_BEFORE).max(least);
    while start > limit {
        let before = start - 1;
        let stays = text.get(before).is_some_and(|&byte| is_token(byte) || matches!(byte, b'`' | b'*'));
        if !stays && !joins_groups(text, before) {
            break;
        }
        start = before;
    }
    start
}

/// Whether a space stands between groups of digits, from which marks may separate it.
fn joins_groups(text: &[u8], at: usize) -> bool {
    let before = text[..at].iter().rev().take(3).find(|&&byte| !matches!(byte, b'`' | b'*'));
    let after = text.get(at + 1..).unwrap_or_default().iter().take(3).find(|&&byte| !matches!(byte, b'`' | b'*'));
    text.get(at) == Some(&b' ')
        && before.is_some_and(|&byte| is_group(byte))
        && after.is_some_and(|&byte| is_group(byte))
}

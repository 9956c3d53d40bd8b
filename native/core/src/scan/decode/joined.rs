//! Joins words that are spelled out: single characters with one and the same separator between them.

use super::view::{Verdict, View};

/// The fewest characters of a run, and of letters and digits among them.
const MIN_CHARACTERS: usize = 8;
const MIN_ALPHANUMERIC: usize = 6;
/// The most characters of a run. What follows is a run of its own.
const MAX_CHARACTERS: usize = 2048;

/// Characters that `may_start_run` looks at.
const PROBE: usize = 4;

/// What may stand between the characters of a run.
#[must_use]
pub const fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'.' | b'_' | b'-' | b'*' | b'|' | b',' | b'/' | b'\t')
}

/// What a run may begin with: what a value begins with, no bullet and no frame of a table.
#[must_use]
pub const fn is_start(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || byte >= 0x80
        || matches!(byte, b'_' | b'+' | b'(' | b'[' | b'{' | b'<' | b'@' | b'#' | b'$')
}

/// Whether the bytes from a position on look like the start of a run: a cheap test for every position.
///
/// False where fewer than eight bytes follow. Runs that begin with a character beyond ASCII are not told.
#[must_use]
pub fn may_start_run(text: &[u8], at: usize) -> bool {
    let Some(&[first, separator, second, b, third, c, fourth, d]) =
        text.get(at..).and_then(|rest| rest.first_chunk::<{ 2 * PROBE }>())
    else {
        return false;
    };
    is_separator(separator)
        && separator == b
        && separator == c
        && separator == d
        && is_start(first)
        && first != separator
        && (second != separator || third != separator)
        && (second.is_ascii_alphanumeric() || third.is_ascii_alphanumeric() || fourth.is_ascii_alphanumeric())
        && !at.checked_sub(1).and_then(|before| text.get(before)).is_some_and(u8::is_ascii_alphanumeric)
}

/// Whether a run starts at a position, and what it spells.
///
/// A separator in a character's place stands for itself, so three spaces separate the words of a run of letters with
/// spaces.
#[must_use]
pub fn joined_run(text: &[u8], at: usize, at_end: bool) -> Verdict {
    let undecided = if at_end { Verdict::No } else { Verdict::More };
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    let Some(&first) = text.get(at) else { return undecided };
    if !is_start(first) || before.is_some_and(u8::is_ascii_alphanumeric) {
        return Verdict::No;
    }
    let Some(&separator) = text.get(at + width(first)) else { return undecided };
    if !is_separator(separator) || separator == first {
        return Verdict::No;
    }
    let (mut from, mut end) = (at, at);
    let (mut characters, mut alphanumeric, mut blanks) = (0, 0, 0);
    while characters < MAX_CHARACTERS {
        // Most of them are letters and digits with a separator behind.
        if let Some(&[lead, next]) = text.get(from..).and_then(<[u8]>::first_chunk)
            && next == separator
            && lead.is_ascii_alphanumeric()
        {
            (end, from) = (from + 1, from + 2);
            (characters, alphanumeric, blanks) = (characters + 1, alphanumeric + 1, 0);
            continue;
        }
        let Some(&lead) = text.get(from) else {
            if at_end {
                break;
            }
            return Verdict::More;
        };
        let to = from + width(lead);
        let next = text.get(to);
        if next.is_none() && !at_end {
            return Verdict::More;
        }
        // A line ends the run, and so do separators alone, such as those of a rule.
        blanks = if lead == separator { blanks + 1 } else { 0 };
        let is_single = next.is_none_or(|&next| next == separator || !is_wordlike(next)) || !is_wordlike(lead);
        if lead == b'\n' || lead == b'\r' || blanks > 2 || !is_single {
            break;
        }
        end = to;
        characters += 1;
        alphanumeric += usize::from(is_wordlike(lead));
        if next != Some(&separator) {
            break;
        }
        from = to + 1;
    }
    if characters < MIN_CHARACTERS || alphanumeric < MIN_ALPHANUMERIC {
        return Verdict::No;
    }
    let mut view = View::new(at);
    view.reserve(characters);
    if end - at + 1 == 2 * characters {
        view.push_every_other(text, at, end);
    } else {
        from = at;
        while from < end {
            let to = from + width(text[from]);
            view.push(text, from, to);
            from = to + 1;
        }
    }
    view.trim_end(separator);
    Verdict::Run(view)
}

const fn is_wordlike(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// The bytes of the character that begins with a byte.
const fn width(lead: u8) -> usize {
    match lead {
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
        _ => 1,
    }
}

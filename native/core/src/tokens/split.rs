//! Splitting a text into pieces, which are merged each by itself: tiktoken's regular expressions, by hand.
//!
//! `tiktoken_ext/openai_public.py` has the expressions. What they go back for is found in one look forward here, so that
//! no text takes more than a few looks at each of its characters.

use super::classes::{self, CASELESS, LETTER, LOWER, MARK, NUMBER, SPACE, UPPER};

/// What a word in o200k may begin with.
const HEAD: u8 = UPPER | CASELESS | MARK;
/// What it may go on with.
const TAIL: u8 = LOWER | CASELESS | MARK;

/// The character at `at` and its class.
fn look(text: &str, at: usize) -> Option<(char, u8)> {
    let character = text.get(at..)?.chars().next()?;
    Some((character, classes::of(character)))
}

fn is_line_end(character: char) -> bool {
    matches!(character, '\r' | '\n')
}

/// Where the characters of these classes end.
fn run(text: &str, mut at: usize, wanted: u8) -> usize {
    while let Some((character, class)) = look(text, at) {
        if class & wanted == 0 {
            break;
        }
        at += character.len_utf8();
    }
    at
}

/// Where a number of at most three digits ends.
fn number(text: &str, mut at: usize) -> usize {
    for _ in 0..3 {
        match look(text, at) {
            Some((digit, class)) if class & NUMBER != 0 => at += digit.len_utf8(),
            _ => break,
        }
    }
    at
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at `at`: where it ends, or None.
fn contraction(text: &str, at: usize) -> Option<usize> {
    let mut characters = text.get(at..)?.chars();
    if characters.next()? != '\'' {
        return None;
    }
    let first = characters.next()?;
    match first {
        's' | 'S' | 't' | 'T' | 'd' | 'D' | 'm' | 'M' => return Some(at + 2),
        // A long s is an s of another shape, and folds to it.
        'ſ' => return Some(at + 1 + first.len_utf8()),
        _ => {}
    }
    let second = characters.next()?;
    let pair = (first.to_ascii_lowercase(), second.to_ascii_lowercase());
    matches!(pair, ('l', 'l') | ('v' | 'r', 'e')).then_some(at + 3)
}

/// ` ?[^\s\p{L}\p{N}]+` and line ends, in o200k slashes as well. None if there is no such sign.
fn signs(text: &str, at: usize, also: Option<char>) -> Option<usize> {
    let start = if text.as_bytes()[at] == b' ' { at + 1 } else { at };
    let mut end = start;
    while let Some((character, class)) = look(text, end) {
        if class & (SPACE | LETTER | NUMBER) != 0 {
            break;
        }
        end += character.len_utf8();
    }
    if end == start {
        return None;
    }
    while let Some((character, _)) = look(text, end) {
        if !is_line_end(character) && Some(character) != also {
            break;
        }
        end += character.len_utf8();
    }
    Some(end)
}

/// White space: up to its last line end; all of it at the end of the text; else all but the last, which goes with what
/// follows. `ends_first`: at the end of a text line ends do not matter (cl100k).
fn space(text: &str, at: usize, ends_first: bool) -> usize {
    let mut end = at;
    let mut after_line_end = None;
    let mut last = at;
    while let Some((character, class)) = look(text, end) {
        if class & SPACE == 0 {
            break;
        }
        last = end;
        end += character.len_utf8();
        if is_line_end(character) {
            after_line_end = Some(end);
        }
    }
    let is_rest = end == text.len();
    match after_line_end {
        Some(line) if !(is_rest && ends_first) => line,
        _ if is_rest || last == at => end,
        _ => last,
    }
}

/// The end of the piece that begins at `at`.
pub(super) fn cl100k(text: &str, at: usize) -> usize {
    if let Some(end) = contraction(text, at) {
        return end;
    }
    let Some((first, class)) = look(text, at) else {
        return text.len();
    };
    let after = at + first.len_utf8();
    if class & LETTER != 0 {
        return run(text, after, LETTER);
    }
    if class & NUMBER != 0 {
        return number(text, at);
    }
    if !is_line_end(first) {
        let end = run(text, after, LETTER);
        if end > after {
            return end;
        }
    }
    signs(text, at, None).unwrap_or_else(|| space(text, at, true))
}

/// The end of the piece that begins at `at`.
pub(super) fn o200k(text: &str, at: usize) -> usize {
    let Some((first, class)) = look(text, at) else {
        return text.len();
    };
    if class & NUMBER != 0 {
        return number(text, at);
    }
    let after = at + first.len_utf8();
    // Whatever is neither letter nor number nor line end may lead a word; a mark may also be its beginning.
    let starts =
        [(class & LETTER == 0 && !is_line_end(first)).then_some(after), (class & (LETTER | MARK) != 0).then_some(at)];
    let word = starts.into_iter().flatten().find_map(|start| lower_word(text, start));
    let word = word.or_else(|| starts.into_iter().flatten().find_map(|start| upper_word(text, start)));
    if let Some(end) = word {
        return contraction(text, end).unwrap_or(end);
    }
    signs(text, at, Some('/')).unwrap_or_else(|| space(text, at, false))
}

/// `HEAD*TAIL+`: what may be both goes with the heads, as long as a tail is left.
fn lower_word(text: &str, start: usize) -> Option<usize> {
    let mut end = start;
    let mut last_both = None;
    while let Some((character, class)) = look(text, end) {
        if class & HEAD == 0 {
            break;
        }
        end += character.len_utf8();
        if class & TAIL != 0 {
            last_both = Some(end);
        }
    }
    let tail = run(text, end, TAIL);
    if tail > end { Some(tail) } else { last_both }
}

/// `HEAD+TAIL*`, where the former was not found.
fn upper_word(text: &str, start: usize) -> Option<usize> {
    let end = run(text, start, HEAD);
    (end > start).then_some(end)
}

#[cfg(test)]
mod tests;

//! What follows the word for a password: people choose it, so it need not be random.

use crate::scan::bytes::ByteSet;
use crate::scan::stoplist::randomness::Shape;
use crate::scan::stoplist::{holds, is_placeholder, is_template};
use crate::scan::window::{Match, Verdict, Window};

const TAIL_MAX: usize = 32;
const VALUE_MAX: usize = 128;
const LEAST: usize = 6;
static TAIL: ByteSet = ByteSet::of(b"_-").alphanumeric();
/// What a value without quotes consists of.
static BARE: ByteSet = ByteSet::of(b"").range(b'!', b'~').but(b";,\"'`<>&)(\\|");

/// Marks that passwords have in them.
static INNER: ByteSet = ByteSet::of(b"!@#$%^&*?+~");
/// Marks that paths and code have.
static PATH: ByteSet = ByteSet::of(b"/([{");

/// Words that are values in code and prose, not passwords.
const NOT_PASSWORDS: &[&str] = &[
    "user", "test", "admin", "secret", "null", "none", "true", "false", "pass", "default", "hidden", "empty", "string",
    "abc123", "p@ss", "pa$$", "passw0rd", "letmein", "welcome1", "hunter2",
];

/// The value behind `assw` (password, passwd) or `pwd`, in an assignment or after "is".
pub(in super::super) fn password(window: &Window<'_>, at: usize) -> Verdict {
    let text = window.text;
    let (tail, open) = window.run(at, TAIL_MAX, |byte| TAIL.has(byte));
    if open {
        return Verdict::More;
    }
    let join = match joint(window, tail) {
        Ok(join) => join,
        Err(verdict) => return verdict,
    };
    let start = join.at;
    let quote = window.before(start).filter(|byte| matches!(byte, b'"' | b'\'' | b'`'));
    let escaped = quote.is_some() && start >= 2 && text[start - 2] == b'\\';
    let (mut end, open) = window.run(start, VALUE_MAX, |byte| in_value(byte, quote, escaped));
    if open {
        return Verdict::More;
    }
    if end - start >= VALUE_MAX || window.unknown(end + 1) {
        return if end - start >= VALUE_MAX { Verdict::No } else { Verdict::More };
    }
    if quote.is_none() {
        while end > start && matches!(text[end - 1], b'.' | b',' | b'?' | b':') {
            end -= 1;
        }
    }
    // `password="..." + x`, `password = get(...)`, `password: "two words"`.
    let next = window.get(end);
    let whole = match quote {
        Some(quote) if escaped => next == Some(b'\\') && window.get(end + 1) == Some(quote),
        Some(quote) => next == Some(quote),
        None => !next.is_some_and(|byte| matches!(byte, b'(' | b'[' | b'{')),
    };
    let value = &text[start..end];
    if whole && plausible(value, quote.is_some(), join.spoken) {
        Verdict::Match(Match { start, end, score: if join.spoken { 0.6 } else { 0.75 } })
    } else {
        Verdict::No
    }
}

struct Joint {
    at: usize,
    /// "is" instead of a sign.
    spoken: bool,
}

/// What stands between the name and the value.
fn joint(window: &Window<'_>, from: usize) -> Result<Joint, Verdict> {
    const GAP_MAX: usize = 16;
    let text = window.text;
    let (mut at, mut signs, mut quotes) = (from, 0usize, 0usize);
    let mut spoken = false;
    loop {
        if window.unknown(at + 4) {
            return Err(Verdict::More);
        }
        if at - from > GAP_MAX {
            return Err(Verdict::No);
        }
        let Some(byte) = window.get(at) else { return Err(Verdict::No) };
        match byte {
            b' ' | b'\t' | b'\\' | b'*' => {}
            b'"' | b'\'' | b'`' => {
                quotes += 1;
                // The quote that opens the value is the first one behind a sign.
                if (signs > 0 || spoken) && quotes > 0 {
                    at += 1;
                    break;
                }
            }
            b'=' | b':' | b'>' => signs += 1,
            b',' if quotes > 0 => signs += 1,
            b']' | b')' if signs == 0 => {}
            b'i' | b'w' if signs == 0 && !spoken && at > from => {
                let rest = &text[at..];
                let len = if rest.starts_with(b"is ") || rest.starts_with(b"is:") {
                    2
                } else if rest.starts_with(b"was ") {
                    3
                } else {
                    0
                };
                if len == 0 {
                    return Err(Verdict::No);
                }
                spoken = true;
                at += len;
                continue;
            }
            _ if signs > 0 || spoken => break,
            // `machine host login joe password ...` as in .netrc, `-Password ...` as an option.
            _ if at == from + 1
                && quotes == 0
                && (is_option(window, from) || window.context(from).windows(7).any(|part| part == b" login ")) =>
            {
                break;
            }
            _ => return Err(Verdict::No),
        }
        at += 1;
    }
    if signs > 3 {
        return Err(Verdict::No);
    }
    Ok(Joint { at, spoken: spoken && signs == 0 })
}

/// Whether the word that ends at a position is the name of an option: `-Password`, `--db-password`.
fn is_option(window: &Window<'_>, end: usize) -> bool {
    let before = window.context(end);
    let name = before.iter().rev().take_while(|byte| TAIL.has(**byte)).count();
    let (rest, name) = before.split_at(before.len() - name);
    name.first() == Some(&b'-') && rest.last().is_some_and(u8::is_ascii_whitespace)
}

fn in_value(byte: u8, quote: Option<u8>, escaped: bool) -> bool {
    match quote {
        Some(quote) => byte > b' ' && byte < 0x7f && byte != quote && !(escaped && byte == b'\\'),
        None => BARE.has(byte),
    }
}

fn plausible(value: &[u8], quoted: bool, spoken: bool) -> bool {
    let first = value.first().copied().unwrap_or(b'.');
    let opens = matches!(
        first,
        b'#' | b'.' | b'/' | b'$' | b'@' | b':' | b'%' | b'&' | b'*' | b'-' | b'+' | b'=' | b'[' | b'{' | b'('
    );
    value.len() >= LEAST && !opens && is_no_word(value, quoted, spoken) && !is_stand_in(value)
}

/// Whether a value is what people write where the password belongs.
fn is_stand_in(value: &[u8]) -> bool {
    is_placeholder(value) || is_template(value) || NOT_PASSWORDS.iter().any(|word| holds(value, word.as_bytes()))
}

/// Whether a value is made of what passwords are made of, rather than a word, a path or code.
fn is_no_word(value: &[u8], quoted: bool, spoken: bool) -> bool {
    let shape = Shape::of(value);
    let count = |set: &ByteSet| value.iter().filter(|byte| set.has(**byte)).count();
    let inner = count(&INNER);
    let path = count(&PATH) > 0 || value.windows(2).any(|pair| pair == b"->" || pair == b"::");
    if path && !(shape.digits > 0 && shape.surprise >= 3.0) {
        return false;
    }
    let mixed = shape.letters > 0 && shape.digits > 0;
    if quoted {
        return (mixed && (inner > 0 || shape.surprise > -4.0))
            || (shape.letters > 2 && inner > 0)
            || shape.surprise >= 3.0;
    }
    let attribute = shape.surprise < 2.0 && value.iter().any(|byte| matches!(byte, b'.' | b'_'));
    if attribute {
        return false;
    }
    (mixed && (inner > 0 || shape.surprise > 0.0 || (spoken && shape.surprise > -3.0)))
        || (shape.letters > 2 && inner > 0 && !spoken)
        || shape.surprise >= 4.0
}

//! Reads one escape of HTML, URLs, JSON or source code at a position.

use super::entity;

/// What stands at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// No escape: the byte stands for itself.
    No,
    /// The text ends before it is decided.
    More,
    /// A character and how many bytes of ASCII spell it.
    Char(char, usize),
}

/// How often an escape may be escaped again.
pub(super) const NESTED: usize = 2;

/// Reads the escape that begins with the first byte. `last`: nothing follows `text`.
pub(super) fn read(text: &[u8], last: bool) -> Escape {
    let escape = match text.first() {
        Some(b'%') => percent(text),
        Some(b'&') => entity::read(text, last),
        Some(b'\\') => backslash(text),
        _ => Escape::No,
    };
    if last && escape == Escape::More { Escape::No } else { escape }
}

/// One escaped byte, or why there is none.
enum Byte {
    No,
    More,
    Value(u8, usize),
}

/// `%41`, and `%2541` or `%252541`, which is the same escaped again.
fn percent_byte(text: &[u8]) -> Byte {
    match text.first() {
        Some(b'%') => {}
        Some(_) => return Byte::No,
        None => return Byte::More,
    }
    let mut at = 1;
    for level in 0.. {
        let value = match hex(text.get(at..).unwrap_or_default(), 2) {
            Digits::Value(value) => value,
            // A percent sign before anything else.
            Digits::No if level > 0 => return Byte::Value(b'%', at),
            Digits::No => return Byte::No,
            Digits::More => return Byte::More,
        };
        at += 2;
        if value != u32::from(b'%') || level == NESTED {
            return u8::try_from(value).map_or(Byte::No, |byte| Byte::Value(byte, at));
        }
    }
    Byte::No
}

/// A character of percent-encoded UTF-8.
fn percent(text: &[u8]) -> Escape {
    // A percent sign before anything but digits.
    if let [_, b'2', b'5', next, after, ..] = *text
        && !(next.is_ascii_hexdigit() && after.is_ascii_hexdigit())
    {
        return Escape::Char('%', 3);
    }
    // By far the most are ASCII and escaped once.
    if let [_, high, low, ..] = *text {
        match (char::from(high).to_digit(16), char::from(low).to_digit(16)) {
            (Some(high @ 0..8), Some(low)) if (high, low) != (2, 5) => {
                return scalar(Digits::Value(high << 4 | low), 3);
            }
            (Some(_), Some(_)) => {}
            _ => return Escape::No,
        }
    }
    let mut encoded = [0; 4];
    let mut at = 0;
    let mut wanted = 1;
    let mut have = 0;
    while have < wanted {
        match percent_byte(text.get(at..).unwrap_or_default()) {
            Byte::No => return Escape::No,
            Byte::More => return Escape::More,
            Byte::Value(byte, width) => {
                if have == 0 {
                    wanted = match byte {
                        0..0x80 => 1,
                        0xC2..0xE0 => 2,
                        0xE0..0xF0 => 3,
                        0xF0..0xF5 => 4,
                        _ => return Escape::No,
                    };
                } else if byte & 0xC0 != 0x80 {
                    return Escape::No;
                }
                encoded[have] = byte;
                at += width;
                have += 1;
            }
        }
    }
    let character = str::from_utf8(&encoded[..have]).ok().and_then(|text| text.chars().next());
    character.map_or(Escape::No, |character| Escape::Char(character, at))
}

/// Backslashes that one escape may begin with: each level of JSON in JSON doubles them.
const BACKSLASHES: usize = 4;

/// `\u0041` with surrogate pairs, `\u{41}`, `\U00000041`, `\x41`, and the two-character escapes of white space, quotes
/// and the slash.
///
/// `\n` and its like also occur in the paths of Windows. They become white space there too: nothing that is looked for
/// gets lost by it, while `\nAKIA...` would hide its start behind a letter if it were left alone.
fn backslash(text: &[u8]) -> Escape {
    let slashes = backslashes(text);
    if slashes > BACKSLASHES {
        return Escape::No;
    }
    let Some((&kind, body)) = text.get(slashes..).and_then(<[u8]>::split_first) else { return Escape::More };
    let at = slashes + 1;
    match kind {
        b'n' => Escape::Char('\n', at),
        b'r' => Escape::Char('\r', at),
        b't' => Escape::Char('\t', at),
        b'"' | b'\'' | b'/' => Escape::Char(char::from(kind), at),
        b'x' => scalar(hex(body, 2), at + 2),
        b'U' => scalar(hex(body, 8), at + 8),
        b'u' if body.first() == Some(&b'{') => braced(&body[1..], at + 1),
        b'u' => utf16(body, at),
        _ => Escape::No,
    }
}

/// The backslashes at the front, as far as they matter.
fn backslashes(text: &[u8]) -> usize {
    match text {
        [b'\\', b'\\', b'\\', b'\\', b'\\', ..] => BACKSLASHES + 1,
        [b'\\', b'\\', b'\\', b'\\', ..] => 4,
        [b'\\', b'\\', b'\\', ..] => 3,
        [b'\\', b'\\', ..] => 2,
        [b'\\', ..] => 1,
        _ => 0,
    }
}

/// The rest of `\u{41}`.
fn braced(body: &[u8], at: usize) -> Escape {
    let digits = body.iter().take(7).take_while(|byte| byte.is_ascii_hexdigit()).count();
    match body.get(digits) {
        Some(b'}') if (1..7).contains(&digits) => scalar(hex(body, digits), at + digits + 1),
        None if digits < 7 => Escape::More,
        _ => Escape::No,
    }
}

/// The rest of `\u0041`, or of a pair of surrogates.
fn utf16(body: &[u8], at: usize) -> Escape {
    let first = match hex(body, 4) {
        Digits::Value(first) => first,
        other => return scalar(other, at),
    };
    let at = at + 4;
    if !(0xD800..0xDC00).contains(&first) {
        return scalar(Digits::Value(first), at);
    }
    let rest = body.get(4..).unwrap_or_default();
    let slashes = backslashes(rest);
    if slashes > BACKSLASHES {
        return Escape::No;
    }
    let low = match rest.get(slashes) {
        Some(b'u') if slashes > 0 => hex(rest.get(slashes + 1..).unwrap_or_default(), 4),
        Some(_) => Digits::No,
        None => Digits::More,
    };
    match low {
        Digits::Value(low @ 0xDC00..0xE000) => {
            scalar(Digits::Value(0x1_0000 + ((first - 0xD800) << 10) + (low - 0xDC00)), at + slashes + 5)
        }
        Digits::More => Escape::More,
        _ => Escape::No,
    }
}

/// A number of a fixed count of hexadecimal digits.
#[derive(Clone, Copy)]
enum Digits {
    No,
    More,
    Value(u32),
}

fn hex(text: &[u8], count: usize) -> Digits {
    let mut value = 0_u32;
    for place in 0..count {
        let Some(&byte) = text.get(place) else { return Digits::More };
        let Some(digit) = char::from(byte).to_digit(16) else { return Digits::No };
        value = value.wrapping_shl(4) | digit;
    }
    Digits::Value(value)
}

fn scalar(digits: Digits, at: usize) -> Escape {
    match digits {
        Digits::Value(value) => char::from_u32(value).map_or(Escape::No, |character| Escape::Char(character, at)),
        Digits::More => Escape::More,
        Digits::No => Escape::No,
    }
}

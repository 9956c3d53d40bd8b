//! Strings as they stand in a JSON text, and as they read.

use std::borrow::Cow;

/// The decoded text of a string body (quotes excluded) that a reader has passed. Lone surrogates, which only lenient
/// mode lets through, become U+FFFD.
#[must_use]
pub fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\\', raw) else {
        return Cow::Borrowed(raw);
    };
    let mut out = Vec::with_capacity(raw.len());
    out.extend_from_slice(&raw[..first]);
    let mut at = first;
    while at < raw.len() {
        if raw[at] != b'\\' {
            let end = memchr::memchr(b'\\', &raw[at..]).map_or(raw.len(), |n| at + n);
            out.extend_from_slice(&raw[at..end]);
            at = end;
            continue;
        }
        let Some(&escape) = raw.get(at + 1) else {
            break;
        };
        at += 2;
        match escape {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'u' => at = push_unicode(raw, at, &mut out),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// Length in bytes of the decoded text, without making it.
#[must_use]
pub fn decoded_len(raw: &[u8]) -> usize {
    let mut length = raw.len();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &raw[at..]) {
        at += found;
        if raw.get(at + 1) == Some(&b'u') {
            let (scalar, next) = unicode(raw, at + 2);
            length = length.saturating_sub(next - at) + scalar.len_utf8();
            at = next;
        } else {
            length = length.saturating_sub(1);
            at += 2;
        }
        if at >= raw.len() {
            break;
        }
    }
    length
}

/// Turns places in the decoded text, in ascending order, into places in the string body that it was decoded from.
pub fn raw_places<'a>(raw: &[u8], places: impl Iterator<Item = &'a mut usize>) {
    // `at` in the raw text is `read` in the decoded one.
    let (mut at, mut read) = (0, 0);
    let mut escape = memchr::memchr(b'\\', raw).unwrap_or(raw.len());
    for place in places {
        while read < *place && at < raw.len() {
            if at < escape {
                let step = (*place - read).min(escape - at);
                at += step;
                read += step;
            } else if raw.get(at + 1) == Some(&b'u') {
                let (scalar, next) = unicode(raw, at + 2);
                at = next;
                read += scalar.len_utf8();
            } else {
                at = raw.len().min(at + 2);
                read += 1;
            }
            if at > escape {
                escape = memchr::memchr(b'\\', &raw[at..]).map_or(raw.len(), |found| at + found);
            }
        }
        *place = at;
    }
}

/// Whether a string body reads as `name`, escapes decoded: `mod\u0065l` is `model`.
#[must_use]
pub fn key_is(raw: &[u8], escaped: bool, name: &[u8]) -> bool {
    if escaped { *unescape(raw) == *name } else { raw == name }
}

fn push_unicode(raw: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let (scalar, next) = unicode(raw, at);
    out.extend_from_slice(scalar.encode_utf8(&mut [0; 4]).as_bytes());
    next
}

/// The character whose four hexadecimal digits stand at `at`, and where it ends (a pair takes both escapes).
fn unicode(raw: &[u8], at: usize) -> (char, usize) {
    let Some(unit) = hex4(raw, at) else {
        return (char::REPLACEMENT_CHARACTER, raw.len().min(at + 4));
    };
    let next = at + 4;
    if (0xD800..0xDC00).contains(&unit)
        && raw.get(next..next + 2) == Some(b"\\u")
        && let Some(low) = hex4(raw, next + 2).filter(|low| (0xDC00..0xE000).contains(low))
    {
        let scalar = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        return (char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER), next + 6);
    }
    (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), next)
}

pub(super) fn hex4(raw: &[u8], at: usize) -> Option<u32> {
    let digits = raw.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_read_as_their_characters() {
        for (raw, text) in [
            (&br"plain"[..], "plain"),
            (br#"a\"b\\c\/d\b\f\n\r\t"#, "a\"b\\c/d\u{8}\u{c}\n\r\t"),
            (br"\u0041\u00e9\u20ac\ud83d\ude00!", "A\u{e9}\u{20ac}\u{1f600}!"),
            (br"\ud83dx", "\u{fffd}x"),
            (br"\ud83d\u0041", "\u{fffd}A"),
        ] {
            assert_eq!(unescape(raw), text.as_bytes(), "{text}");
            assert_eq!(decoded_len(raw), text.len(), "{text}");
        }
    }

    #[test]
    fn places_in_the_text_are_found_in_the_body() {
        let raw = r"a\n\\b\u00e9\u20ac-\ud83d\ude00 \ud83dz\/".as_bytes();
        let text = String::from_utf8(unescape(raw).into_owned()).unwrap();
        let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let mut places = starts.clone();
        raw_places(raw, places.iter_mut());
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &raw[pair[0]..pair[1]]).collect();
        let wanted = ["a", r"\n", r"\\", "b", r"\u00e9", r"\u20ac", "-", r"\ud83d\ude00", " ", r"\ud83d", "z", r"\/"];
        assert_eq!(pieces, wanted.map(str::as_bytes));
        for (start, place) in starts.iter().zip(&places) {
            let mut alone = *start;
            raw_places(raw, std::iter::once(&mut alone));
            assert_eq!(alone, *place);
        }
    }

    #[test]
    fn keys_compare_decoded() {
        assert!(key_is(br"mod\u0065l", true, b"model"));
        assert!(!key_is(br"mod\u0065l", false, b"model"));
        assert!(key_is(b"model", false, b"model"));
    }
}

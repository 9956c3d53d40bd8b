//! Text that stands encoded where images, sounds and files stand: a file of text, a drawing that is XML.

use crate::base64;
use crate::scan::mask::Hit;

use super::splice_bytes;

/// Encoded media are longer. What is shorter is looked at, wherever it stands.
const MIN: usize = 512;
/// The header of a `data:` URI is shorter.
const HEAD: usize = 256;
/// Digits by which text is told from all else.
const SAMPLE: usize = 64;

/// What a type says of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Text,
    Media,
    /// It may be either.
    Unknown,
}

impl Content {
    fn of(media_type: &[u8]) -> Self {
        let media_type = media_type.to_ascii_lowercase();
        let (main, sub) = media_type.split_at(media_type.iter().position(|byte| *byte == b'/').unwrap_or(0));
        let sub = sub.strip_prefix(b"/").unwrap_or(sub);
        match main {
            b"" | b"text" | b"message" => Self::Text,
            _ if sub.ends_with(b"+xml") || sub.ends_with(b"+json") => Self::Text,
            b"image" | b"audio" | b"video" | b"font" => Self::Media,
            _ => Self::Unknown,
        }
    }
}

/// Where the digits of a value begin, and what its type says.
fn digits(value: &[u8]) -> Option<(usize, Content)> {
    let Some(rest) = value.strip_prefix(b"data:") else {
        return (value.len() >= MIN).then_some((0, Content::Unknown));
    };
    let mark = memchr::memmem::find(&rest[..rest.len().min(HEAD)], b";base64,")?;
    let media_type = rest[..mark].split(|byte| *byte == b';').next().unwrap_or_default();
    Some((value.len() - rest.len() + mark + 8, Content::of(media_type)))
}

/// Whether a value that stands where media stand, as it is written in JSON, is encoded indeed and no text.
pub(super) fn is_opaque(raw: &[u8]) -> bool {
    let Some((start, content)) = digits(raw) else { return false };
    if content == Content::Text || content == Content::Unknown && reads_as_text(&raw[start..]) {
        return false;
    }
    // Without a way out early this compiles to wide compares.
    raw[start..].chunks(4096).all(|chunk| {
        chunk.iter().fold(true, |all, byte| {
            all & (byte.is_ascii_alphanumeric() | matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'\\'))
        })
    })
}

/// Whether the first of these digits stand for text.
fn reads_as_text(digits: &[u8]) -> bool {
    let digits = digits.iter().copied().filter(|byte| *byte != b'\\').take(SAMPLE);
    let Some(bytes) = base64::decode(&digits.collect::<Vec<_>>()) else { return false };
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        // A character may be cut.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
        Err(_) => return false,
    };
    let is_text = |char: char| !char.is_control() || matches!(char, '\t' | '\n' | '\r' | '\x0c');
    !text.is_empty() && text.chars().all(is_text) && !text.starts_with("%PDF")
}

/// A text behind digits.
#[derive(Debug)]
pub(super) struct File<'a> {
    value: &'a str,
    start: usize,
    pub(super) bytes: Vec<u8>,
}

impl<'a> File<'a> {
    /// The text that a value stands for; None if it is no such digits.
    pub(super) fn read(value: &'a str) -> Option<Self> {
        let (start, content) = digits(value.as_bytes())?;
        let digits = &value.as_bytes()[start..];
        if content == Content::Media || content == Content::Unknown && !reads_as_text(digits) {
            return None;
        }
        Some(Self { value, start, bytes: base64::decode(digits)? })
    }

    /// What was found in the text, where the digits stand, which are written anew if it changes.
    pub(super) fn carried(&self, hits: Vec<Hit>) -> Vec<Hit> {
        let changes = hits.iter().any(|hit| hit.text.is_some());
        let mut text = changes.then(|| self.encoded(&splice_bytes(&self.bytes, &hits)));
        let (start, end) = (self.start, self.value.len());
        hits.into_iter().map(|hit| Hit { start, end, finding: hit.finding, text: text.take() }).collect()
    }

    /// Digits of the same alphabet, padded if these are.
    fn encoded(&self, bytes: &[u8]) -> String {
        let digits = &self.value.as_bytes()[self.start..];
        let mut out = Vec::new();
        base64::encode(bytes, &mut out);
        if digits.iter().any(|byte| matches!(byte, b'-' | b'_')) {
            for digit in &mut out {
                *digit = match *digit {
                    b'+' => b'-',
                    b'/' => b'_',
                    other => other,
                };
            }
        }
        if !digits.len().is_multiple_of(4) {
            while out.last() == Some(&b'=') {
                out.pop();
            }
        }
        String::from_utf8(out).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> String {
        let mut out = Vec::new();
        base64::encode(text.as_bytes(), &mut out);
        String::from_utf8(out).expect("digits")
    }

    #[test]
    fn what_its_type_or_its_beginning_calls_text_is_read() {
        let text = "Name,Mail\nJane,jane@example.com\n".repeat(30);
        for head in ["data:text/csv", "data:", "data:application/json;charset=utf-8", "data:image/svg+xml", "data:x/y"]
        {
            let value = format!("{head};base64,{}", encoded(&text));
            assert!(!is_opaque(value.as_bytes()), "{head}");
            assert_eq!(File::read(&value).expect(head).bytes, text.as_bytes());
        }
        let value = encoded(&text);
        assert!(!is_opaque(value.as_bytes()));
        assert_eq!(File::read(&value).expect("a text").bytes, text.as_bytes());
        assert!(File::read(&encoded("short: looked at as it stands")).is_none());
    }

    #[test]
    fn images_sounds_and_documents_are_not() {
        let jpeg = format!("data:image/jpeg;base64,{}", encoded(&"a text all the same ".repeat(40)));
        let pdf = encoded(&"%PDF-1.4\n1 0 obj\n".repeat(40));
        let mut png = Vec::new();
        base64::encode(&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".repeat(40), &mut png);
        for value in [jpeg, pdf, String::from_utf8(png).expect("digits")] {
            assert!(is_opaque(value.as_bytes()), "{value}");
            assert!(File::read(&value).is_none(), "{value}");
        }
        assert!(!is_opaque(b"data:image/png;base64,no digits at all"));
    }

    #[test]
    fn digits_are_written_as_they_were() {
        let text = "??>>".repeat(150) + "a";
        for url in [false, true] {
            for padded in [false, true] {
                let mut value = encoded(&text);
                if url {
                    value = value.replace('+', "-").replace('/', "_");
                }
                if !padded {
                    value.truncate(value.trim_end_matches('=').len());
                }
                let file = File::read(&value).expect("a text");
                assert_eq!(file.encoded(text.as_bytes()), value);
            }
        }
    }
}

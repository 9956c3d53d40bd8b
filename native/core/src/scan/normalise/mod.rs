//! Undoes what hides a value from a reader of bytes: look-alike letters, foreign digits, invisible characters, escapes.
//!
//! The result is used for detection only. Each character is treated by itself, whatever token it stands in, so that
//! the result does not depend on how a stream was cut.

use escape::Escape;

use super::simd::{is_flag, skip_plain};

pub use output::Normalised;

mod ambiguous;
mod entity;
mod escape;
mod output;
mod tables;
#[cfg(test)]
mod tests;
mod utf8;

/// The most raw bytes that are held back because what follows them decides what they are.
pub const MAX_HELD: usize = 64;

/// The state of a text that is normalised piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Normaliser {
    /// The position of the first raw byte that is not in the output.
    raw: usize,
    /// Raw text that came and is undecided.
    held: String,
}

impl Normaliser {
    /// At the start of a text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next raw text and appends what is decided by it.
    pub fn feed(&mut self, raw: &str, out: &mut Normalised) {
        self.take(raw, out, false);
    }

    /// Ends the text: what was held back is decided as it stands.
    pub fn finish(&mut self, out: &mut Normalised) {
        self.take("", out, true);
    }

    fn take(&mut self, raw: &str, out: &mut Normalised, last: bool) {
        let mut rest = raw;
        if !self.held.is_empty() {
            let mut text = std::mem::take(&mut self.held);
            let held = text.len();
            let (near, far) = rest.split_at(boundary(rest, 2 * MAX_HELD));
            text.push_str(near);
            let done = self.run(&text, out, last && far.is_empty());
            let Some(beyond) = done.checked_sub(held) else {
                // So little came that the front is still undecided.
                self.held.push_str(&text[done..]);
                return;
            };
            rest = &rest[beyond..];
        }
        let done = self.run(rest, out, last);
        self.held.push_str(&rest[done..]);
    }

    /// Normalises a text as far as it is decided; says how far.
    fn run(&mut self, text: &str, out: &mut Normalised, last: bool) -> usize {
        let bytes = text.as_bytes();
        let base = self.raw;
        // What lies between `copied` and `at` is to be copied.
        let (mut copied, mut at) = (0, 0);
        while let Some(&byte) = bytes.get(at) {
            if !is_flag(byte) {
                at += skip(&bytes[at..]);
                continue;
            }
            let (point, width) = if byte < 0x80 {
                match escape::read(&bytes[at..], last) {
                    Escape::Char(character, width) => (u32::from(character), width),
                    Escape::More => break,
                    Escape::No => {
                        at += 1;
                        continue;
                    }
                }
            } else {
                utf8::decode(&bytes[at..])
            };
            let escaped = byte < 0x80;
            let code = tables::code(point);
            if code == tables::KEEP && !escaped {
                at += width;
                continue;
            }
            let after_ascii = if at > copied { bytes[at - 1].is_ascii() } else { out.ends_in_ascii() };
            if code == tables::MARK && !escaped && !after_ascii {
                at += width;
                continue;
            }
            let is_ambiguous = (ambiguous::FIRST..=ambiguous::LAST).contains(&code);
            let after = if is_ambiguous { text[at + width..].chars().next() } else { None };
            if is_ambiguous && after.is_none() && !last {
                break;
            }
            out.copy(&bytes[copied..at], base + copied);
            copied = at;
            at += width;
            let reading = match code {
                _ if is_ambiguous => ambiguous::read(code, out.recent(), after),
                tables::MARK if !after_ascii => None,
                _ => Some(code),
            };
            if reading.is_none() && !escaped {
                continue;
            }
            write(reading.unwrap_or(tables::KEEP), point, base + copied, width, out);
            copied = at;
        }
        out.copy(&bytes[copied..at], base + copied);
        self.raw = base + at;
        at
    }
}

/// Writes what a code makes of the code point at a raw position.
#[inline]
fn write(code: u8, point: u32, raw: usize, width: usize, out: &mut Normalised) {
    // No character or escape is longer than what is held back.
    let width = u32::try_from(width).unwrap_or(u32::MAX);
    match code {
        tables::REMOVE | tables::MARK => {}
        tables::KEEP => {
            let character = char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER);
            out.replace(character.encode_utf8(&mut [0; 4]).as_bytes(), raw, width);
        }
        tables::FIRST_STRING.. => {
            out.replace(tables::STRINGS[usize::from(code - tables::FIRST_STRING)].as_bytes(), raw, width);
        }
        byte => out.replace_by_byte(byte, raw, width),
    }
}

/// Normalises a whole text into a buffer that is used again. False: the text stays as it is, and the buffer is not touched.
#[must_use]
pub fn normalise(text: &str, out: &mut Normalised) -> bool {
    let plain = identity_len(text);
    if plain == text.len() {
        return false;
    }
    out.restart(text.len());
    out.copy(&text.as_bytes()[..plain], 0);
    let mut normaliser = Normaliser { raw: plain, ..Normaliser::default() };
    normaliser.take(&text[plain..], out, true);
    true
}

/// How much of a text normalisation leaves as it is; all of it for text of accented letters, ideographs and the like.
#[must_use]
pub fn identity_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            0x80.. => {
                let (point, width) = utf8::decode(&bytes[at..]);
                match tables::code(point) {
                    tables::KEEP => {}
                    tables::MARK if at > 0 && !bytes[at - 1].is_ascii() => {}
                    _ => break,
                }
                at += width;
            }
            b'%' | b'&' | b'\\' => {
                if escape::read(&bytes[at..], false) != Escape::No {
                    break;
                }
                at += 1;
            }
            _ => at += skip(&bytes[at..]),
        }
    }
    at
}

/// How many bytes at the front could begin nothing that is normalised.
#[inline]
fn skip(bytes: &[u8]) -> usize {
    // Where such bytes are dense the next one is near.
    const NEAR: usize = 4;
    let near = bytes.iter().take(NEAR).position(|&byte| is_flag(byte));
    near.unwrap_or_else(|| if bytes.len() > NEAR { skip_plain(bytes) } else { bytes.len() })
}

/// The last border of characters at or before a position.
pub(super) fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

//! Finds the bytes at which a normalisation could begin; everything between them is copied or scanned as it is.

/// Bytes looked at together. The compiler makes vector code of a loop over an array of a fixed length.
const LANES: usize = 64;
/// The same within the chunk that has a flag.
const FEW: usize = 16;
/// Bytes that are looked at one by one before any chunk.
const NEAR: usize = 4;

/// Whether a byte alone could begin a character or an escape that is normalised.
#[inline]
pub(super) const fn is_flag(byte: u8) -> bool {
    byte >= 0x80 || byte == b'%' || byte == b'&' || byte == b'\\'
}

/// The position of the first byte that could need normalising: a byte beyond ASCII, a percent sign before two
/// hexadecimal digits, an ampersand before `#` or a letter, or a backslash before an escape that is undone. At the end
/// of `bytes`, where the bytes that would tell are missing, the first byte alone counts.
#[must_use]
pub fn first_flagged(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + skip(bytes.get(from..)?);
        let (&byte, rest) = bytes.get(at..)?.split_first()?;
        let counts = match (byte, rest) {
            (b'%', [first, second, ..]) => first.is_ascii_hexdigit() && second.is_ascii_hexdigit(),
            (b'%', [first]) => first.is_ascii_hexdigit(),
            (b'&', [next, ..]) => *next == b'#' || next.is_ascii_alphabetic(),
            (b'\\', [next, ..]) => {
                matches!(next, b'u' | b'U' | b'x' | b'n' | b'r' | b't' | b'"' | b'\'' | b'/' | b'\\')
            }
            _ => true,
        };
        if counts {
            return Some(at);
        }
        from = at + 1;
    }
}

/// How many bytes at the front are no flags.
#[inline]
pub(super) fn skip(bytes: &[u8]) -> usize {
    // Where flags are dense the next one is near.
    if let Some(near) = bytes.iter().take(NEAR).position(|&byte| is_flag(byte)) {
        return near;
    }
    let at = skip_chunks::<LANES>(bytes);
    let at = at + skip_chunks::<FEW>(&bytes[at..]);
    at + bytes[at..].iter().position(|&byte| is_flag(byte)).unwrap_or(bytes.len() - at)
}

/// How many bytes at the front stand in chunks without flags.
#[inline]
fn skip_chunks<const SIZE: usize>(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<SIZE>();
    let has_flag = |chunk: &[u8; SIZE]| chunk.iter().fold(false, |any, &byte| any | is_flag(byte));
    chunks.iter().position(has_flag).unwrap_or(chunks.len()) * SIZE
}

//! Decodes a token of base64 or hexadecimal digits if text comes of it.

/// The shortest token that is decoded, in bytes.
pub const MIN_TOKEN: usize = 12;
/// The longest token that is decoded, in bytes.
pub(super) const MAX_TOKEN: usize = 64 << 10;

/// The fewest bytes that are worth a look.
const MIN_TEXT: usize = 6;

/// Appends what the token stands for to `out` if that is text: UTF-8 of printable characters and white space.
///
/// Words, digests and keys are told by the first bytes they decode to, of which few are text.
pub fn decode_token(token: &[u8], out: &mut Vec<u8>) -> bool {
    if !(MIN_TOKEN..=MAX_TOKEN).contains(&token.len()) {
        return false;
    }
    let start = out.len();
    for decode in [hex as fn(&[u8], &mut Text) -> Option<()>, base64] {
        let mut text = Text { out, continuation: 0 };
        let decoded = decode(token, &mut text).is_some() && text.continuation == 0;
        if decoded && out.len() - start >= MIN_TEXT && str::from_utf8(&out[start..]).is_ok() {
            return true;
        }
        out.truncate(start);
    }
    false
}

/// Whether the first four bytes of a token of at least as many may stand for text: where this says no, [`decode_token`] does.
#[must_use]
#[inline]
pub fn may_be_text(token: &[u8]) -> bool {
    let Some(&first) = token.first_chunk::<4>() else { return true };
    let sextets = first.map(|byte| u32::from(SEXTETS[usize::from(byte)]));
    if sextets.iter().any(|sextet| *sextet >= 64) {
        return false;
    }
    let [_, bytes @ ..] = sextets.iter().fold(0, |bits, sextet| bits << 6 | sextet).to_be_bytes();
    let is_text = bytes.iter().try_fold(0, |continuation, byte| follow(*byte, continuation)).is_some();
    is_text || first.iter().all(u8::is_ascii_hexdigit)
}

/// How many bytes of UTF-8 the character needs after this one, if it needed so many before; None: that is no text.
#[inline]
fn follow(byte: u8, continuation: u8) -> Option<u8> {
    match (byte, continuation) {
        (b' '..=b'~' | b'\t' | b'\n' | b'\r', 0) => Some(0),
        (0x80..0xC0, 1..) => Some(continuation - 1),
        (0xC2..0xE0, 0) => Some(1),
        (0xE0..0xF0, 0) => Some(2),
        (0xF0..0xF5, 0) => Some(3),
        _ => None,
    }
}

/// Takes bytes as long as they are text.
struct Text<'a> {
    out: &'a mut Vec<u8>,
    /// Bytes of UTF-8 that the current character still needs.
    continuation: u8,
}

impl Text<'_> {
    fn push(&mut self, byte: u8) -> Option<()> {
        self.continuation = follow(byte, self.continuation)?;
        self.out.push(byte);
        Some(())
    }
}

fn hex(token: &[u8], text: &mut Text) -> Option<()> {
    let (pairs, []) = token.as_chunks::<2>() else { return None };
    for &[high, low] in pairs {
        let value = char::from(high).to_digit(16)? << 4 | char::from(low).to_digit(16)?;
        text.push(u8::try_from(value).ok()?)?;
    }
    Some(())
}

fn base64(token: &[u8], text: &mut Text) -> Option<()> {
    let padding = token.iter().rev().take(2).take_while(|&&byte| byte == b'=').count();
    let (groups, rest) = token[..token.len() - padding].as_chunks::<4>();
    if padding > 0 && rest.len() + padding != 4 {
        return None;
    }
    for group in groups {
        let bits = bits(group)?;
        let [_, first, second, third] = bits.to_be_bytes();
        text.push(first)?;
        text.push(second)?;
        text.push(third)?;
    }
    // Bits that belong to no byte are zero in every encoder's output.
    match (bits(rest)?, rest.len()) {
        (_, 0) => Some(()),
        (bits, 2) if bits.trailing_zeros() >= 4 => text.push(u8::try_from(bits >> 4).ok()?),
        (bits, 3) if bits.trailing_zeros() >= 2 => {
            let [first, second] = u16::try_from(bits >> 2).ok()?.to_be_bytes();
            text.push(first)?;
            text.push(second)
        }
        _ => None,
    }
}

/// The bits of up to four characters.
fn bits(group: &[u8]) -> Option<u32> {
    group.iter().try_fold(0, |bits, &byte| {
        let value = SEXTETS[usize::from(byte)];
        (value < 64).then_some(bits << 6 | u32::from(value))
    })
}

/// The value of each character of base64, the one with `+/` and the one with `-_`; 64 for others.
const SEXTETS: [u8; 256] = {
    let mut table = [64; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut value = 0;
    while value < 62 {
        #[expect(clippy::cast_possible_truncation, reason = "less than 62")]
        {
            table[alphabet[value] as usize] = value as u8;
        }
        value += 1;
    }
    table[b'+' as usize] = 62;
    table[b'-' as usize] = 62;
    table[b'/' as usize] = 63;
    table[b'_' as usize] = 63;
    table
};

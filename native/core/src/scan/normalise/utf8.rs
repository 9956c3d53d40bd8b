//! Decodes one character beyond ASCII.

/// The code point at the front of valid UTF-8 and the bytes that it takes; the next byte alone where it is not valid.
#[inline]
pub(super) fn decode(text: &[u8]) -> (u32, usize) {
    let bits = |at: usize| u32::from(text.get(at).copied().unwrap_or_default() & 0x3F);
    match text.first().copied().unwrap_or_default() {
        lead @ 0xC0..0xE0 => (u32::from(lead & 0x1F) << 6 | bits(1), 2),
        lead @ 0xE0..0xF0 => (u32::from(lead & 0x0F) << 12 | bits(1) << 6 | bits(2), 3),
        lead @ 0xF0.. => (u32::from(lead & 0x07) << 18 | bits(1) << 12 | bits(2) << 6 | bits(3), 4),
        byte => (u32::from(byte), 1),
    }
}

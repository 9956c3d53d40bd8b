//! Sets of bytes: one look at a table where comparisons would follow each other for every byte of a run.

/// A set of bytes.
#[derive(Debug)]
pub(crate) struct ByteSet([bool; 256]);

impl ByteSet {
    /// The bytes of a string.
    pub(crate) const fn of(bytes: &[u8]) -> Self {
        let mut set = Self([false; 256]);
        let mut at = 0;
        while at < bytes.len() {
            set.0[bytes[at] as usize] = true;
            at += 1;
        }
        set
    }

    /// With the letters and digits of ASCII.
    pub(crate) const fn alphanumeric(self) -> Self {
        self.range(b'0', b'9').range(b'A', b'Z').range(b'a', b'z')
    }

    /// With what characters beyond ASCII consist of.
    pub(crate) const fn beyond_ascii(self) -> Self {
        self.range(0x80, 0xff)
    }

    /// With the bytes from one to another, both included.
    pub(crate) const fn range(mut self, first: u8, last: u8) -> Self {
        let mut byte = first as usize;
        while byte <= last as usize {
            self.0[byte] = true;
            byte += 1;
        }
        self
    }

    /// Without the bytes of a string.
    pub(crate) const fn but(mut self, bytes: &[u8]) -> Self {
        let mut at = 0;
        while at < bytes.len() {
            self.0[bytes[at] as usize] = false;
            at += 1;
        }
        self
    }

    #[inline]
    pub(crate) const fn has(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }
}

/// The first eight bytes of a text, the first lowest, with the bit set that tells small letters from capitals. What follows the
/// end is zero, which no byte of the text is then.
#[inline]
pub(crate) fn first_eight(text: &[u8]) -> u64 {
    const FOLDED: u64 = 0x2020_2020_2020_2020;
    if let Some(eight) = text.first_chunk() {
        return u64::from_le_bytes(*eight) | FOLDED;
    }
    let mut bytes = [0; 8];
    bytes[..text.len()].copy_from_slice(text);
    (u64::from_le_bytes(bytes) | FOLDED) & first_mask(text)
}

/// Which of these bytes there are.
#[inline]
pub(crate) fn first_mask(text: &[u8]) -> u64 {
    if text.len() < 8 { (1 << (8 * text.len())) - 1 } else { u64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_they_are_made_of_and_nothing_else() {
        static SET: ByteSet = ByteSet::of(b"_~").alphanumeric().beyond_ascii().but(b"5~");
        for byte in 0..=255u8 {
            let expected = (byte.is_ascii_alphanumeric() || byte >= 0x80 || byte == b'_') && byte != b'5';
            assert_eq!(SET.has(byte), expected, "{byte}");
        }
        assert!(!ByteSet::of(b"").range(b'b', b'd').has(b'a') && ByteSet::of(b"").range(b'b', 0xff).has(0xff));
    }

    #[test]
    fn of_the_first_eight_bytes_only_case_is_lost() {
        assert_eq!(first_eight(b"ABcdEFgh-"), first_eight(b"abcdefgh"));
        assert_eq!((first_eight(b"Ab"), first_mask(b"Ab")), (0x6261, 0xffff));
        assert_eq!((first_eight(b""), first_mask(b"")), (0, 0));
        assert_eq!(first_mask(b"abcdefgh"), u64::MAX);
        assert_ne!(first_eight(b"abcdefgh"), first_eight(b"abcdefgx"));
        assert_ne!(first_eight(b"a\0"), first_eight(b"a"));
    }
}

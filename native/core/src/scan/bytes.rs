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
}

//! From positions in bytes to positions in characters.

/// Where the last question was, so that questions in order cost one pass over the text in total.
#[derive(Default)]
pub(super) struct Cursor {
    bytes: usize,
    chars: usize,
}

impl Cursor {
    /// How many characters of `text` (UTF-8) begin before the byte `at`.
    pub(super) fn chars(&mut self, text: &[u8], at: usize) -> usize {
        if at < self.bytes {
            *self = Self::default();
        }
        let passed = text.get(self.bytes..at).unwrap_or_default();
        self.chars += passed.iter().filter(|byte| begins(**byte)).count();
        self.bytes = at;
        self.chars
    }
}

fn begins(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

/// The same for a text that came in pieces and is gone: one bit per byte, from the first that is not ASCII on.
#[derive(Default)]
pub(super) struct Trail {
    /// So many bytes at the start are a character each.
    plain: usize,
    /// Of each further byte, in words of 64: whether a character begins there.
    bits: Vec<u64>,
    /// How many bytes `bits` speaks of.
    len: usize,
    /// Words that were counted, and how many characters begin in them.
    counted: (usize, usize),
}

impl Trail {
    pub(super) fn push(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        if self.len == 0 {
            let plain = rest.iter().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
            self.plain += plain;
            rest = &rest[plain..];
        }
        for byte in rest {
            if self.len.is_multiple_of(64) {
                self.bits.push(0);
            }
            if let Some(word) = self.bits.last_mut() {
                *word |= u64::from(begins(*byte)) << (self.len % 64);
            }
            self.len += 1;
        }
    }

    /// How many characters begin before the byte `at`.
    pub(super) fn chars(&mut self, at: usize) -> usize {
        let Some(beyond) = at.checked_sub(self.plain) else { return at };
        let (word, bit) = (beyond / 64, beyond % 64);
        let (mut from, mut count) = if self.counted.0 <= word { self.counted } else { (0, 0) };
        while from < word.min(self.bits.len()) {
            count += self.bits[from].count_ones() as usize;
            from += 1;
        }
        self.counted = (from, count);
        let last = self.bits.get(word).map_or(0, |bits| (bits & ((1 << bit) - 1)).count_ones() as usize);
        self.plain + count + last
    }
}

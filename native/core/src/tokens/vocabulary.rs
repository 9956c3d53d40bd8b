//! The tokens of a vocabulary, to be found by their bytes.

/// Bytes of the longest token.
const LONGEST: usize = 128;
const EMPTY: u32 = u32::MAX;

/// Tokens by number, and an open hash table of the numbers. Nobody but us chooses its keys, and a search ends at the
/// first empty place, so no text makes it slow.
#[derive(Debug)]
pub(super) struct Vocabulary {
    bytes: Vec<u8>,
    /// Where each token begins in `bytes`, and the end.
    starts: Vec<u32>,
    table: Vec<u32>,
    shift: u32,
}

impl Vocabulary {
    /// From what `scripts/compile_vocabularies.py` has written.
    pub(super) fn new(packed: &[u8]) -> Self {
        let (single, pairs) = packed.split_at(256);
        let mut bytes = single.to_vec();
        let mut starts: Vec<u32> = (0..=256).collect();
        for pair in pairs.chunks_exact(5) {
            let word = u64::from_le_bytes([pair[0], pair[1], pair[2], pair[3], pair[4], 0, 0, 0]);
            for half in [word & 0xf_ffff, word >> 20] {
                let half = usize::try_from(half).unwrap_or(0);
                bytes.extend_from_within(starts[half] as usize..starts[half + 1] as usize);
            }
            starts.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        let places = (starts.len() * 2).next_power_of_two();
        let mut vocabulary = Self { bytes, starts, table: vec![EMPTY; places], shift: 64 - places.ilog2() };
        for number in 0..vocabulary.len() {
            let mut place = vocabulary.place(vocabulary.token(number));
            while vocabulary.table[place] != EMPTY {
                place = (place + 1) % places;
            }
            vocabulary.table[place] = number;
        }
        vocabulary
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.starts.len() - 1).unwrap_or(0)
    }

    pub(super) fn token(&self, number: u32) -> &[u8] {
        let number = number as usize;
        &self.bytes[self.starts[number] as usize..self.starts[number + 1] as usize]
    }

    fn place(&self, token: &[u8]) -> usize {
        usize::try_from(hash(token) >> self.shift).unwrap_or(0)
    }

    /// The number of a token; the lower, the earlier it is merged.
    pub(super) fn find(&self, token: &[u8]) -> Option<u32> {
        if token.len() > LONGEST {
            return None;
        }
        let mut place = self.place(token);
        loop {
            let number = self.table[place];
            if number == EMPTY {
                return None;
            }
            if self.token(number) == token {
                return Some(number);
            }
            place = (place + 1) % self.table.len();
        }
    }
}

fn hash(token: &[u8]) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut words = token.chunks_exact(8);
    let mut sum = token.len() as u64;
    for word in &mut words {
        sum = (sum ^ word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))).wrapping_mul(MIX);
        sum ^= sum >> 29;
    }
    let rest = words.remainder().iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    sum = (sum ^ rest).wrapping_mul(MIX);
    (sum ^ sum >> 32).wrapping_mul(MIX)
}

//! The linear model: adds up the weights of the words and word pairs of a window, in one pass.

use super::tokens::Token;

/// Words after which the sums of a window move on.
const BLOCK: usize = 64;
/// Blocks in a window.
const BLOCKS: usize = 4;
/// Added to the number of words before its root is taken, so that a few words prove little.
const SMOOTHING: f32 = 8.0;

/// The weights, as `scripts/train_injection.py` writes them: magic, bias and scale (f32 each, little endian), then
/// one signed byte for each bucket. The upper half of a hash names the bucket, of which there are a power of two.
#[derive(Debug)]
pub(super) struct Model<const BUCKETS: usize> {
    bias: f32,
    scale: f32,
    weights: Box<[i8; BUCKETS]>,
}

const MAGIC: &[u8] = b"THINJ1\0\0";

impl<const BUCKETS: usize> Model<BUCKETS> {
    /// `None` when the data are not of this format.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let (bias, rest) = data.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
        let (scale, weights) = rest.split_first_chunk::<4>()?;
        let weights: Vec<i8> = weights.iter().map(|byte| byte.cast_signed()).collect();
        Some(Self {
            bias: f32::from_le_bytes(*bias),
            scale: f32::from_le_bytes(*scale),
            weights: weights.into_boxed_slice().try_into().ok()?,
        })
    }

    fn weight(&self, hash: u32) -> i32 {
        i32::from(self.weights[(hash >> 16) as usize % BUCKETS])
    }

    /// The weights of each word, of its pair with the one before and of its pair with the one before that.
    fn sum(&self, before: [u32; 2], words: &[u32]) -> i32 {
        let (mut previous, mut last) = before.into();
        let mut sum = 0;
        for &word in words {
            let pair = (last.wrapping_mul(0x85EB_CA6B) ^ word).wrapping_mul(0x9E37_79B1);
            let skipping = (previous.wrapping_mul(0xC2B2_AE35) ^ word).wrapping_mul(0x9E37_79B1);
            sum += self.weight(word) + self.weight(pair) + self.weight(skipping);
            (previous, last) = (last, word);
        }
        sum
    }
}

/// The strongest window seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peak {
    /// Log-odds.
    pub(super) score: f32,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Peak {
    /// The same from 0 to 1.
    pub(super) fn probability(self) -> f32 {
        1.0 / (1.0 + (-self.score).exp())
    }
}

/// Takes the tokens of a text and keeps the strongest window of `BLOCK * BLOCKS` words.
pub(super) struct Windows<'model, const BUCKETS: usize> {
    model: &'model Model<BUCKETS>,
    /// The two words before the block.
    before: [u32; 2],
    words: [u32; BLOCK],
    in_block: usize,
    sums: [i32; BLOCKS],
    starts: [usize; BLOCKS],
    block: usize,
    end: usize,
    peak: Peak,
}

impl<'model, const BUCKETS: usize> Windows<'model, BUCKETS> {
    pub(super) fn new(model: &'model Model<BUCKETS>) -> Self {
        Self {
            model,
            before: [0; 2],
            words: [0; BLOCK],
            in_block: 0,
            sums: [0; BLOCKS],
            starts: [0; BLOCKS],
            block: 0,
            end: 0,
            peak: Peak { score: f32::NEG_INFINITY, start: 0, end: 0 },
        }
    }

    #[inline]
    pub(super) fn push(&mut self, token: Token) {
        if self.in_block == BLOCK {
            self.measure();
            self.before = [self.words[BLOCK - 2], self.words[BLOCK - 1]];
            self.block += 1;
            self.in_block = 0;
        }
        if self.in_block == 0 {
            self.starts[self.block % BLOCKS] = token.start;
        }
        if let Some(word) = self.words.get_mut(self.in_block) {
            *word = token.hash;
        }
        self.in_block += 1;
        self.end = token.end;
    }

    pub(super) fn finish(mut self) -> Option<Peak> {
        if self.in_block == 0 {
            return None;
        }
        self.measure();
        Some(self.peak)
    }

    #[expect(clippy::cast_precision_loss, reason = "sums of at most 768 bytes are exact")]
    fn measure(&mut self) {
        let words = self.words.get(..self.in_block).unwrap_or_default();
        self.sums[self.block % BLOCKS] = self.model.sum(self.before, words);
        let full = self.block.min(BLOCKS - 1);
        let sum: i32 = self.sums.iter().sum();
        let words = full * BLOCK + self.in_block;
        let score = self.model.bias + self.model.scale * sum as f32 / (words as f32 + SMOOTHING).sqrt();
        if score > self.peak.score {
            let start = self.starts[(self.block - full) % BLOCKS];
            self.peak = Peak { score, start, end: self.end };
        }
    }
}

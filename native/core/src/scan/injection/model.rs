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
    /// What a full window has to weigh more than one of a single block, in log-odds.
    caution: f32,
    weights: Box<[i8; BUCKETS]>,
}

const MAGIC: &[u8] = b"THINJ1\0\0";

impl<const BUCKETS: usize> Model<BUCKETS> {
    /// `None` when the data are not of this format.
    pub(super) fn parse(data: &[u8], caution: f32) -> Option<Self> {
        let (bias, rest) = data.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
        let (scale, weights) = rest.split_first_chunk::<4>()?;
        let weights: Vec<i8> = weights.iter().map(|byte| byte.cast_signed()).collect();
        Some(Self {
            bias: f32::from_le_bytes(*bias),
            scale: f32::from_le_bytes(*scale),
            caution,
            weights: weights.into_boxed_slice().try_into().ok()?,
        })
    }

    fn weight(&self, hash: u32) -> i32 {
        i32::from(self.weights[(hash >> 16) as usize % BUCKETS])
    }

    /// The strongest window of `BLOCK * BLOCKS` words of a text; `None` of one without any.
    #[expect(clippy::cast_precision_loss, reason = "sums of at most 768 bytes are exact")]
    pub(super) fn peak(&self, tokens: &[Token]) -> Option<Peak> {
        let (mut sums, mut starts, mut before) = ([0; BLOCKS], [0; BLOCKS], [0; 2]);
        let mut peak: Option<Peak> = None;
        for (block, words) in tokens.chunks(BLOCK).enumerate() {
            let (Some(first), Some(last)) = (words.first(), words.last()) else { break };
            sums[block % BLOCKS] = self.sum(before, words);
            starts[block % BLOCKS] = first.start;
            let full = block.min(BLOCKS - 1);
            let count = full * BLOCK + words.len();
            let sum: i32 = sums.iter().sum();
            let score = self.bias + self.scale * sum as f32 / (count as f32 + SMOOTHING).sqrt()
                - self.caution * full as f32 / (BLOCKS - 1) as f32;
            if peak.is_none_or(|peak| score > peak.score) {
                let start = starts[(block - full) % BLOCKS] as usize;
                peak = Some(Peak { score, start, end: last.end as usize });
            }
            if let [.., previous, last] = words {
                before = [previous.hash, last.hash];
            }
        }
        peak
    }

    /// The weights of each word, of its pair with the one before and of its pair with the one before that.
    fn sum(&self, before: [u32; 2], words: &[Token]) -> i32 {
        let (mut previous, mut last) = before.into();
        let mut sum = 0;
        for &Token { hash: word, .. } in words {
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

//! Which bytes are of which class, 64 at a time.
//!
//! The vector form and the scalar form give the same masks; a test holds them together.

/// Bytes in a block.
pub(super) const BLOCK: usize = 64;

/// One bit for each byte of a block, the first byte lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Masks {
    /// `0-9`
    pub(super) digits: u64,
    /// Letters and digits.
    pub(super) alnum: u64,
    /// Letters, digits and `_ + - . / = ~`.
    pub(super) token: u64,
    /// `@`
    pub(super) at: u64,
    /// `:`
    pub(super) colon: u64,
}

const DIGIT: u8 = 1;
const LETTER: u8 = 2;
const JOINER: u8 = 4;
const AT: u8 = 8;
const COLON: u8 = 16;

/// The classes of a byte: what the two tables below agree on.
const fn class(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => DIGIT,
        b'A'..=b'Z' | b'a'..=b'z' => LETTER,
        b'_' | b'+' | b'-' | b'.' | b'/' | b'=' | b'~' => JOINER,
        b'@' => AT,
        b':' => COLON,
        _ => 0,
    }
}

const CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let value = class(byte as u8);
        table[byte] = value;
        byte += 1;
    }
    table
};

/// The masks of a block, a byte at a time.
pub(super) fn scalar(block: &[u8; BLOCK]) -> Masks {
    let mut masks = Masks::default();
    for (i, byte) in block.iter().enumerate() {
        let class = CLASSES[usize::from(*byte)];
        let bit = |wanted: u8| u64::from(class & wanted != 0) << i;
        masks.digits |= bit(DIGIT);
        masks.alnum |= bit(DIGIT | LETTER);
        masks.token |= bit(DIGIT | LETTER | JOINER);
        masks.at |= bit(AT);
        masks.colon |= bit(COLON);
    }
    masks
}

/// Fills one entry of masks for each block of `text`; the last block is padded with spaces.
pub(super) fn classify(text: &[u8], masks: &mut Vec<Masks>) {
    masks.clear();
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, which is all that the function asks for.
        #[expect(unsafe_code, reason = "a function of a processor feature can only be called so")]
        unsafe {
            avx2::classify(text, masks);
        }
        return;
    }
    each_block(text, |block| masks.push(scalar(block)));
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
fn each_block(text: &[u8], mut each: impl FnMut(&[u8; BLOCK])) {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    for block in blocks {
        each(block);
    }
    if !rest.is_empty() {
        let mut last = [b' '; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        each(&last);
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    //! Comparisons of 32 bytes at a time. Nothing here reads memory through a pointer of its own making.

    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_setr_epi64x,
        _mm256_subs_epu8,
    };

    use super::{BLOCK, Masks, each_block};

    #[target_feature(enable = "avx2")]
    pub(super) fn classify(text: &[u8], masks: &mut Vec<Masks>) {
        each_block(text, |block| masks.push(block_masks(block)));
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(half: &[u8; 32]) -> __m256i {
        let (words, _) = half.as_chunks::<8>();
        let word = |i: usize| i64::from_le_bytes(words[i]);
        _mm256_setr_epi64x(word(0), word(1), word(2), word(3))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn bits(bytes: __m256i) -> u64 {
        u64::from(_mm256_movemask_epi8(bytes).cast_unsigned())
    }

    /// Bytes from `first` on, `count` of them.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn range(bytes: __m256i, first: u8, last: u8) -> __m256i {
        // first <= byte <= last, unsigned: nothing is left of byte - last, nor of first - byte.
        let splat = |byte: u8| _mm256_set1_epi8(byte.cast_signed());
        let over = _mm256_subs_epu8(bytes, splat(last));
        let under = _mm256_subs_epu8(splat(first), bytes);
        _mm256_cmpeq_epi8(_mm256_or_si256(over, under), splat(0))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn half_masks(half: &[u8; 32]) -> [u64; 5] {
        let bytes = load(half);
        let splat = |byte: u8| _mm256_set1_epi8(byte.cast_signed());
        let equal = |byte: u8| _mm256_cmpeq_epi8(bytes, splat(byte));
        let digits = range(bytes, b'0', b'9');
        let letters = range(_mm256_or_si256(bytes, splat(0x20)), b'a', b'z');
        let alnum = _mm256_or_si256(digits, letters);
        // `-`, `.` and `/` stand side by side.
        let joiners = _mm256_or_si256(
            _mm256_or_si256(range(bytes, b'-', b'/'), equal(b'_')),
            _mm256_or_si256(_mm256_or_si256(equal(b'+'), equal(b'=')), equal(b'~')),
        );
        [bits(digits), bits(alnum), bits(_mm256_or_si256(alnum, joiners)), bits(equal(b'@')), bits(equal(b':'))]
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn block_masks(block: &[u8; BLOCK]) -> Masks {
        let (halves, _) = block.as_chunks::<32>();
        let low = half_masks(&halves[0]);
        let high = half_masks(&halves[1]);
        let join = |i: usize| low[i] | high[i] << 32;
        Masks { digits: join(0), alnum: join(1), token: join(2), at: join(3), colon: join(4) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vector_and_scalar_masks_agree_on_every_byte_at_every_place() {
        let mut text = Vec::new();
        for shift in 0..BLOCK {
            text.extend(std::iter::repeat_n(b'x', shift));
            text.extend(0..=255u8);
        }
        for end in [text.len(), text.len() - 1, text.len() - 63, 0, 1, 64, 65] {
            let mut masks = Vec::new();
            classify(&text[..end], &mut masks);
            let mut expected = Vec::new();
            each_block(&text[..end], |block| expected.push(scalar(block)));
            assert_eq!(masks, expected, "{end}");
        }
    }
}

//! Which bytes are of which class, 64 at a time.
//!
//! The vector form and the scalar form give the same masks; a test holds them together.

use crate::scan::rules::HEAD;

/// Bytes in a block.
pub(super) const BLOCK: usize = 64;
/// With the bytes behind it that the head of a literal can take.
const WIDE: usize = BLOCK + HEAD - 1;

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
    /// A grave accent or `*`.
    pub(super) mark: u64,
    /// Where one of the [`Heads`] could begin.
    pub(super) heads: u64,
}

/// The first bytes of literals, letters in either case, in eight groups: a position can be one's start if one group
/// admits all of its three bytes. Each byte is judged by its halves, so that sixteen entries are a table. Literals are
/// ASCII, so bytes beyond it are never admitted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heads {
    low: [[u8; 16]; HEAD],
    high: [[u8; 16]; HEAD],
}

impl Heads {
    /// Heads have the bit set that tells small letters from capitals.
    pub(crate) fn new(heads: impl Iterator<Item = [u8; HEAD]>) -> Self {
        let mut all: Vec<_> = heads.collect();
        all.sort_unstable();
        all.dedup();
        let mut made = Self::default();
        let group = all.len().div_ceil(8).max(1);
        for (i, head) in all.iter().enumerate() {
            for (at, byte) in head.iter().enumerate() {
                made.low[at][usize::from(byte & 15)] |= 1 << (i / group);
                // Without the bit that tells small letters from capitals it counts as well.
                made.high[at][usize::from(byte >> 4)] |= 1 << (i / group);
                made.high[at][usize::from(byte >> 4 & !2)] |= 1 << (i / group);
            }
        }
        made
    }

    fn admits(&self, bytes: [u8; HEAD]) -> bool {
        let groups = |at: usize| {
            let byte = bytes[at];
            if byte.is_ascii() {
                self.low[at][usize::from(byte & 15)] & self.high[at][usize::from(byte >> 4)]
            } else {
                0
            }
        };
        groups(0) & groups(1) & groups(2) != 0
    }
}

// A class is a bit that the entries of both halves of a byte have.
const DIGIT: u8 = 1;
const COLON: u8 = 2;
const LETTER: u8 = 8 | 16;
const ALNUM: u8 = DIGIT | LETTER;
const TOKEN: u8 = !COLON;
/// By the lower half of a byte.
const LOW: [u8; 16] = {
    let mut table = [0; 16];
    let mut half = 0;
    while half < 16 {
        // `0` to `9`; `:`; `@` and a grave accent are no letters; `p` to `z`.
        table[half] = if half < 10 { DIGIT } else { 0 }
            | if half == 10 { COLON } else { 0 }
            | if half > 0 { 8 } else { 0 }
            | if half < 11 { 16 } else { 0 }
            | match half {
                11 => 32,
                13 => 32 | 128,
                14 => 32 | 4,
                15 => 32 | 64,
                _ => 0,
            };
        half += 1;
    }
    table
};
/// By the upper half: `+ - . /`; digits, colon and `=`; letters, `_` and `~`.
const HIGH: [u8; 16] = [0, 0, 32, DIGIT | COLON | 128, 8, 16 | 64, 8, 16 | 4, 0, 0, 0, 0, 0, 0, 0, 0];

// Classes of a second pair of tables.
const AT: u8 = 1;
const MARK: u8 = 2 | 4;
/// `@` and the grave accent have the lower half 0, `*` has 10.
const LOW_OTHER: [u8; 16] = [AT | 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0];
const HIGH_OTHER: [u8; 16] = [0, 0, 4, 0, AT, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The masks of a block, a byte at a time.
fn scalar(heads: &Heads, block: &[u8; WIDE]) -> Masks {
    let mut masks = Masks::default();
    for (i, window) in block.windows(HEAD).enumerate() {
        let [byte, second, third] = window else { continue };
        let look_up = |low: &[u8; 16], high: &[u8; 16]| {
            if byte.is_ascii() { low[usize::from(byte & 15)] & high[usize::from(byte >> 4)] } else { 0 }
        };
        let class = look_up(&LOW, &HIGH);
        let other = look_up(&LOW_OTHER, &HIGH_OTHER);
        let bit = |wanted: u8| u64::from(class & wanted != 0) << i;
        masks.digits |= bit(DIGIT);
        masks.alnum |= bit(ALNUM);
        masks.token |= bit(TOKEN);
        masks.at |= u64::from(other & AT != 0) << i;
        masks.colon |= bit(COLON);
        masks.mark |= u64::from(other & MARK != 0) << i;
        masks.heads |= u64::from(heads.admits([*byte, *second, *third])) << i;
    }
    masks
}

/// Fills one entry of masks for each block of `text`; what follows its end counts as spaces.
pub(super) fn classify(heads: &Heads, text: &[u8], masks: &mut Vec<Masks>) {
    masks.clear();
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, which is all that the function asks for.
        #[expect(unsafe_code, reason = "a function of a processor feature can only be called so")]
        unsafe {
            avx2::classify(heads, text, masks);
        }
        return;
    }
    each_block(text, |block| masks.push(scalar(heads, block)));
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
fn each_block(text: &[u8], mut each: impl FnMut(&[u8; WIDE])) {
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(block) = rest.first_chunk() {
            each(block);
            rest = &rest[BLOCK..];
        } else {
            let mut last = [b' '; WIDE];
            last[..rest.len()].copy_from_slice(rest);
            each(&last);
            rest = rest.get(BLOCK..).unwrap_or_default();
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    //! Comparisons of 32 bytes at a time. Nothing here reads memory through a pointer of its own making.

    use std::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_movemask_epi8, _mm256_set1_epi8, _mm256_setr_epi64x,
        _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16,
    };

    use super::{ALNUM, BLOCK, HEAD, HIGH, HIGH_OTHER, Heads, LOW, LOW_OTHER, MARK, Masks, TOKEN, WIDE, each_block};

    #[target_feature(enable = "avx2")]
    pub(super) fn classify(heads: &Heads, text: &[u8], masks: &mut Vec<Masks>) {
        let tables = Tables {
            classes: [twice(&LOW), twice(&HIGH)],
            others: [twice(&LOW_OTHER), twice(&HIGH_OTHER)],
            heads: [
                [twice(&heads.low[0]), twice(&heads.high[0])],
                [twice(&heads.low[1]), twice(&heads.high[1])],
                [twice(&heads.low[2]), twice(&heads.high[2])],
            ],
        };
        let mut rest = text;
        while let Some(block) = rest.first_chunk() {
            masks.push(block_masks(&tables, block));
            rest = &rest[BLOCK..];
        }
        each_block(rest, |block| masks.push(block_masks(&tables, block)));
    }

    struct Tables {
        classes: [__m256i; 2],
        others: [__m256i; 2],
        heads: [[__m256i; 2]; HEAD],
    }

    /// A table in both halves of a register, as shuffles work on each by itself.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn twice(table: &[u8; 16]) -> __m256i {
        let mut both = [0; 32];
        both[..16].copy_from_slice(table);
        both[16..].copy_from_slice(table);
        load(&both)
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

    /// What a pair of tables agrees on for each byte; nothing for bytes beyond ASCII.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn look_up([low, high]: [__m256i; 2], bytes: __m256i) -> __m256i {
        let halves = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), splat(15));
        _mm256_and_si256(_mm256_shuffle_epi8(low, bytes), _mm256_shuffle_epi8(high, halves))
    }

    /// The bytes of which any bit is set.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn any(bytes: __m256i) -> u64 {
        bits(_mm256_cmpeq_epi8(bytes, splat(0))) ^ ALL
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn half_masks(tables: &Tables, bytes: [__m256i; HEAD]) -> [u64; 7] {
        let classes = look_up(tables.classes, bytes[0]);
        let others = look_up(tables.others, bytes[0]);
        let [first, second, third] = tables.heads;
        let admitted = _mm256_and_si256(
            look_up(first, bytes[0]),
            _mm256_and_si256(look_up(second, bytes[1]), look_up(third, bytes[2])),
        );
        // The mask of a single bit is taken from the top of its byte.
        [
            bits(_mm256_slli_epi16::<7>(classes)),
            any(_mm256_and_si256(classes, splat(ALNUM))),
            any(_mm256_and_si256(classes, splat(TOKEN))),
            bits(_mm256_slli_epi16::<7>(others)),
            bits(_mm256_slli_epi16::<6>(classes)),
            any(admitted),
            any(_mm256_and_si256(others, splat(MARK))),
        ]
    }

    const ALL: u64 = 0xffff_ffff;

    #[target_feature(enable = "avx2")]
    #[inline]
    fn splat(byte: u8) -> __m256i {
        _mm256_set1_epi8(byte.cast_signed())
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn block_masks(tables: &Tables, block: &[u8; WIDE]) -> Masks {
        let at = |from: usize| block[from..].first_chunk().map_or_else(|| splat(0), |bytes| load(bytes));
        let low = half_masks(tables, [at(0), at(1), at(2)]);
        let high = half_masks(tables, [at(32), at(33), at(34)]);
        let join = |i: usize| low[i] | high[i] << 32;
        Masks {
            digits: join(0),
            alnum: join(1),
            token: join(2),
            at: join(3),
            colon: join(4),
            heads: join(5),
            mark: join(6),
        }
    }

    const _: () = assert!(BLOCK == 64 && WIDE - 32 == 32 + HEAD - 1, "two halves, each with what follows it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_what_they_say() {
        for byte in 0..=255u8 {
            let mut block = [b' '; WIDE];
            block[0] = byte;
            let masks = scalar(&Heads::default(), &block);
            assert_eq!(masks.digits == 1, byte.is_ascii_digit(), "{byte}");
            assert_eq!(masks.alnum == 1, byte.is_ascii_alphanumeric(), "{byte}");
            assert_eq!(masks.token == 1, byte.is_ascii_alphanumeric() || b"_+-./=~".contains(&byte), "{byte}");
            assert_eq!(masks.colon == 1, byte == b':', "{byte}");
            assert_eq!(masks.at == 1, byte == b'@', "{byte}");
            assert_eq!(masks.mark == 1, b"`*".contains(&byte), "{byte}");
        }
    }

    #[test]
    fn vector_and_scalar_masks_agree_on_every_byte_at_every_place() {
        let heads = Heads::new([*b"xyz", *b"+,-", *b"abc", *b"\xe1\xe2\xe3", *b"\x20\x20\x20"].into_iter());
        let mut text = Vec::new();
        for shift in 0..BLOCK {
            text.extend(std::iter::repeat_n(b'x', shift));
            text.extend(0..=255u8);
        }
        for end in [text.len(), text.len() - 1, text.len() - 63, 0, 1, 64, 65] {
            let mut masks = Vec::new();
            classify(&heads, &text[..end], &mut masks);
            let mut expected = Vec::new();
            each_block(&text[..end], |block| expected.push(scalar(&heads, block)));
            assert_eq!(masks, expected, "{end}");
        }
    }
}

//! 32 bytes in a register, and tables of sixteen. Nothing here reads memory through a pointer of its own making.

use std::arch::x86_64::{
    __m256i, _mm256_and_si256, _mm256_andnot_si256, _mm256_blendv_epi8, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8,
    _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_setr_epi64x, _mm256_shuffle_epi8,
    _mm256_slli_epi16, _mm256_srli_epi16, _mm256_sub_epi8,
};

use super::{
    BLOCK, Classes, FINGERPRINT_MAX, Fingerprints, Masks, Places, Reader, Tally, WIDE, Words, append, before_marked,
    each_block, read_words, with_first_block,
};

// A class is a bit that the entries of both halves of a byte have. The bits are in such an order that what is asked for is
// more than a bound, as one comparison tells; a single bit is taken from the top of its byte.
const DIGIT: u8 = 16;
/// By the lower half of a byte: all that tokens may hold.
const LOW: [u8; 16] = {
    let mut table = [0; 16];
    let mut half = 0;
    while half < 16 {
        // `@` and a grave accent are no letters; `p` to `z`; `0` to `9`.
        table[half] = if half > 0 { 64 } else { 0 }
            | if half < 11 { 32 } else { 0 }
            | if half < 10 { DIGIT } else { 0 }
            | match half {
                11 => 8,
                13 => 8 | 1,
                14 => 8 | 4,
                15 => 8 | 2,
                _ => 0,
            };
        half += 1;
    }
    table
};
/// By the upper half: `+ - . /`; digits and `=`; letters, `_` and `~`.
const HIGH: [u8; 16] = [0, 0, 8, DIGIT | 1, 64, 32 | 2, 64, 32 | 4, 0, 0, 0, 0, 0, 0, 0, 0];

// Classes of a second pair of tables: the grave accent and `*`, which have more than `MARK`; `@`; `:`.
const MARK: u8 = 31;
const AT: u8 = 16;
const COLON: u8 = 8;
/// `@` and the grave accent have the lower half 0, `*` and the colon 10.
const LOW_OTHER: [u8; 16] = [64 | AT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32 | COLON, 0, 0, 0, 0, 0];
const HIGH_OTHER: [u8; 16] = [0, 0, 32, COLON, AT, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0];

// Classes of words, of which a byte has one: letters 64 and 32, digits 128, signs the others.
const WORD_LETTER: u8 = 32;
const WORD_DIGIT: u8 = 128;
/// By the lower half of a byte: signs have all but 0 and, as an apostrophe is none, 7 beside the upper half 2, `:` to `?` beside 3,
/// 0 beside 4 and 6, `[` to `_` beside 5, `{` to `~` beside 7.
const LOW_WORDS: [u8; 16] = {
    let mut table = [0; 16];
    let mut half = 0;
    while half < 16 {
        table[half] = if half > 0 { 64 } else { 16 }
            | if half < 11 { 32 } else { 2 }
            | if half < 10 { WORD_DIGIT } else { 8 }
            | if half > 0 && half != 7 { 4 } else { 0 }
            | if half > 10 && half < 15 { 1 } else { 0 };
        half += 1;
    }
    table
};
const HIGH_WORDS: [u8; 16] = [0, 0, 4, WORD_DIGIT | 8, 64 | 16, 32 | 2, 64 | 16, 32 | 1, 0, 0, 0, 0, 0, 0, 0, 0];

/// What the tables say of the lower and the upper halves.
type Halves = [__m256i; 2];

#[target_feature(enable = "avx2,popcnt,bmi1")]
pub(super) fn classify<const N: usize, const SURE: usize>(
    prints: &Fingerprints<N, SURE>,
    text: &[u8],
    masks: &mut Masks,
    places: &mut Places,
) {
    let classes = [twice(&LOW), twice(&HIGH)];
    let others = [twice(&LOW_OTHER), twice(&HIGH_OTHER)];
    let tables = tables(prints);
    each_block(text, |from, block| {
        let halves = [at(block, 0), at(block, 32)];
        let class = halves.map(|bytes| look_up(classes, bytes));
        let other = halves.map(|bytes| look_up(others, bytes));
        let classes = Classes {
            digits: both(class.map(|class| _mm256_slli_epi16::<3>(class))),
            alnum: both(class.map(|class| _mm256_cmpgt_epi8(class, splat(DIGIT - 1)))),
            token: both(class.map(|class| _mm256_cmpgt_epi8(class, splat(0)))),
            at: both(other.map(|other| _mm256_slli_epi16::<3>(other))),
            colon: both(other.map(|other| _mm256_slli_epi16::<4>(other))),
            mark: both(other.map(|other| _mm256_cmpgt_epi8(other, splat(MARK)))),
        };
        masks.set(from / BLOCK, classes);
        append(places, from, admitted(&tables, block));
    });
    masks.work_out::<4>(text.len().div_ceil(BLOCK));
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
pub(super) fn find<const N: usize, const SURE: usize>(prints: &Fingerprints<N, SURE>, text: &[u8], blocks: &mut [u64]) {
    let tables = tables(prints);
    let mut room = blocks.iter_mut();
    each_block(text, |_, block| {
        if let Some(entry) = room.next() {
            *entry = admitted(&tables, block);
        }
    });
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
pub(super) fn first<const N: usize, const SURE: usize>(prints: &[Fingerprints<N, SURE>], text: &[u8]) -> u64 {
    with_first_block(text, |block| {
        let halves: [[Five; 2]; N] =
            std::array::from_fn(|place| [0, 32].map(|from| Five::of(known::<SURE>(at(block, from + place), place))));
        let uppers = [0, 32].map(|from| upper(at(block, from)));
        let mut found = [splat(0); 2];
        for prints in prints {
            let table = twice(&prints.upper);
            let mut all = uppers.map(|upper| _mm256_shuffle_epi8(table, upper));
            let Tables { narrow, lower, .. } = tables(prints);
            for (place, halves) in halves.iter().enumerate() {
                all = [0, 1].map(|half| {
                    let bytes = halves[half];
                    let groups = if place < by_five(N) {
                        narrow[place].look_up(bytes)
                    } else {
                        _mm256_shuffle_epi8(lower[place], bytes.lower)
                    };
                    _mm256_and_si256(all[half], groups)
                });
            }
            found = [0, 1].map(|half| _mm256_or_si256(found[half], all[half]));
        }
        any(found)
    })
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
pub(super) fn list<const N: usize, const SURE: usize>(
    prints: &Fingerprints<N, SURE>,
    text: &[u8],
    places: &mut Places,
) {
    let tables = tables(prints);
    each_block(text, |from, block| append(places, from, admitted(&tables, block)));
}

#[target_feature(enable = "avx2,popcnt,bmi1,bmi2")]
pub(super) fn words(text: &[u8], reader: &mut impl Reader) {
    let classes = [twice(&LOW_WORDS), twice(&HIGH_WORDS)];
    let class = |block: &[u8; WIDE]| {
        let halves = [at(block, 0), at(block, 32)];
        let class = halves.map(|bytes| look_up(classes, bytes));
        let more_than = |bound: u8| both(class.map(|class| _mm256_cmpgt_epi8(class, splat(bound))));
        // The top bit of a byte is that of its mask.
        let others = [0, 1].map(|half| {
            let apostrophes = _mm256_cmpeq_epi8(halves[half], splat(b'\''));
            _mm256_or_si256(_mm256_or_si256(class[half], halves[half]), apostrophes)
        });
        let letters = more_than(WORD_LETTER - 1);
        // With their sign digits are less than nothing.
        Words { letters, others: both(others), signs: more_than(0) & !letters }
    };
    read_words(text, class, reader);
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
pub(super) fn tally(text: &[u8]) -> Tally {
    let mut tally = Tally::default();
    each_block(text, |_, block| {
        let folded = |from: usize| _mm256_or_si256(at(block, from), splat(0x20));
        let foreign = |from: usize| {
            let bytes = at(block, from);
            let lead = below(_mm256_sub_epi8(bytes, splat(0xC3)), 0x2C);
            bits(_mm256_andnot_si256(_mm256_cmpeq_epi8(bytes, splat(0xE2)), lead))
        };
        let signs = |from: usize| bits(below(_mm256_sub_epi8(folded(from), splat(b'{')), 3));
        let digits = |from: usize| bits(below(_mm256_sub_epi8(at(block, from), splat(b'0')), 10));
        tally.foreign += (foreign(0) | foreign(32) << 32).count_ones() as usize;
        tally.signs += (signs(0) | signs(32) << 32).count_ones() as usize;
        let digits = digits(0) | digits(32) << 32;
        if digits != 0 {
            let behind = |from: usize| bits(below(_mm256_sub_epi8(folded(from + 1), splat(b'a')), 26));
            tally.spelled += (digits & (behind(0) | behind(32) << 32)).count_ones() as usize;
        }
    });
    tally
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
pub(super) fn skip_plain(text: &[u8]) -> usize {
    before_marked(text, |block: &[u8; 32]| {
        let bytes = load(block);
        let is = |byte: u8| _mm256_cmpeq_epi8(bytes, splat(byte));
        // The top bit of a byte is that of its mask.
        let ascii = _mm256_or_si256(_mm256_or_si256(is(b'%'), is(b'&')), is(b'\\'));
        bits(_mm256_or_si256(bytes, ascii))
    })
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
pub(super) fn token_run(text: &[u8]) -> usize {
    let classes = [twice(&LOW), twice(&HIGH)];
    before_marked(text, |block: &[u8; 32]| bits(_mm256_cmpeq_epi8(look_up(classes, load(block)), splat(0))))
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn admitted<const N: usize, const SURE: usize>(tables: &Tables<N, SURE>, block: &[u8; WIDE]) -> u64 {
    let mut all = [0, 32].map(|from| _mm256_shuffle_epi8(tables.upper, upper(at(block, from))));
    for place in 0..N {
        all = [0, 1].map(|half| {
            let bytes = known::<SURE>(at(block, half * 32 + place), place);
            let groups = if place < by_five(N) {
                tables.narrow[place].look_up(Five::of(bytes))
            } else {
                _mm256_shuffle_epi8(tables.lower[place], bytes)
            };
            _mm256_and_si256(all[half], groups)
        });
    }
    any(all)
}

/// How many of so many places are judged by five bits, those behind them by four: that takes a third, but admits more, which
/// few places do not make up for.
const fn by_five(places: usize) -> usize {
    if places > 5 { 3 } else { places }
}

/// Bytes at a place of a fingerprint as a shuffle takes them: it gives nothing for what is beyond ASCII, but behind literals
/// that have ended anything may stand.
#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn known<const SURE: usize>(bytes: __m256i, place: usize) -> __m256i {
    if place < SURE { bytes } else { _mm256_and_si256(bytes, splat(127)) }
}

/// The lower five bits of bytes: four as a shuffle takes them, and the fifth on top.
#[derive(Clone, Copy)]
struct Five {
    lower: __m256i,
    fifth: __m256i,
}

impl Five {
    #[target_feature(enable = "avx2,popcnt,bmi1")]
    #[inline]
    fn of(bytes: __m256i) -> Self {
        Self { lower: bytes, fifth: _mm256_slli_epi16::<3>(bytes) }
    }
}

/// Groups by the lower five bits of a byte.
#[derive(Clone, Copy)]
struct Table {
    first: __m256i,
    second: __m256i,
}

impl Table {
    #[target_feature(enable = "avx2,popcnt,bmi1")]
    #[inline]
    fn of(groups: &[u8; 32]) -> Self {
        let (halves, _) = groups.as_chunks();
        Self { first: twice(&halves[0]), second: twice(&halves[1]) }
    }

    #[target_feature(enable = "avx2,popcnt,bmi1")]
    #[inline]
    fn look_up(self, Five { lower, fifth }: Five) -> __m256i {
        _mm256_blendv_epi8(_mm256_shuffle_epi8(self.first, lower), _mm256_shuffle_epi8(self.second, lower), fifth)
    }
}

/// Those of all places by five and by four bits, and by the upper half of the first byte.
struct Tables<const N: usize, const SURE: usize> {
    narrow: [Table; N],
    lower: [__m256i; N],
    upper: __m256i,
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn tables<const N: usize, const SURE: usize>(prints: &Fingerprints<N, SURE>) -> Tables<N, SURE> {
    Tables {
        narrow: prints.narrow.each_ref().map(|groups| Table::of(groups)),
        lower: prints.lower.each_ref().map(|groups| twice(groups)),
        upper: twice(&prints.upper),
    }
}

/// The upper halves of bytes.
#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn upper(bytes: __m256i) -> __m256i {
    _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), splat(15))
}

/// A table in both halves of a register, as shuffles work on each by itself.
#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn twice(table: &[u8; 16]) -> __m256i {
    let mut both = [0; 32];
    both[..16].copy_from_slice(table);
    both[16..].copy_from_slice(table);
    load(&both)
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn at(block: &[u8; WIDE], place: usize) -> __m256i {
    block[place..].first_chunk().map_or_else(|| splat(0), |bytes| load(bytes))
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn load(half: &[u8; 32]) -> __m256i {
    let (words, _) = half.as_chunks::<8>();
    let word = |i: usize| i64::from_le_bytes(words[i]);
    _mm256_setr_epi64x(word(0), word(1), word(2), word(3))
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn bits(bytes: __m256i) -> u64 {
    u64::from(_mm256_movemask_epi8(bytes).cast_unsigned())
}

/// What a pair of tables agrees on for each byte; nothing for bytes beyond ASCII.
#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn look_up([low, high]: Halves, bytes: __m256i) -> __m256i {
    _mm256_and_si256(_mm256_shuffle_epi8(low, bytes), _mm256_shuffle_epi8(high, upper(bytes)))
}

/// The top bits of the bytes of both halves of a block.
#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn both([first, second]: [__m256i; 2]) -> u64 {
    bits(first) | bits(second) << 32
}

/// The bytes of a block of which any bit is set.
#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn any(halves: [__m256i; 2]) -> u64 {
    !both(halves.map(|bytes| _mm256_cmpeq_epi8(bytes, splat(0))))
}

/// The bytes that are less than a bound, without sign.
#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn below(bytes: __m256i, bound: u8) -> __m256i {
    _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, splat(bound - 1)), bytes)
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn splat(byte: u8) -> __m256i {
    _mm256_set1_epi8(byte.cast_signed())
}

const _: () = assert!(BLOCK == 64 && WIDE - 32 == 32 + FINGERPRINT_MAX - 1, "two halves, each with what follows it");

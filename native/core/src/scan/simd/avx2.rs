//! 32 bytes in a register, and tables of sixteen. Nothing here reads memory through a pointer of its own making.

use std::arch::x86_64::{
    __m256i, _mm256_and_si256, _mm256_andnot_si256, _mm256_blendv_epi8, _mm256_cmpeq_epi8, _mm256_min_epu8,
    _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_setr_epi64x, _mm256_shuffle_epi8,
    _mm256_slli_epi16, _mm256_srli_epi16, _mm256_sub_epi8,
};

use super::{
    BLOCK, FINGERPRINT_MAX, Fingerprints, Masks, Places, Reader, Tally, WIDE, Words, append, before_marked, each_block,
    read_words, with_first_block,
};

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

// Classes of words: letters, digits, which have the top bit, and signs.
const WORD_LETTER: u8 = 1 | 2;
const WORD_DIGIT: u8 = 128;
const WORD_SIGN: u8 = 4 | 8 | 16 | 32 | 64;
/// By the lower half of a byte: signs have all but 0 and, as an apostrophe is none, 7 beside the upper half 2, `:` to `?` beside 3,
/// 0 beside 4 and 6, `[` to `_` beside 5, `{` to `~` beside 7.
const LOW_WORDS: [u8; 16] = {
    let mut table = [0; 16];
    let mut half = 0;
    while half < 16 {
        table[half] = if half > 0 { 1 } else { 16 }
            | if half < 11 { 2 } else { 32 }
            | if half < 10 { WORD_DIGIT } else { 8 }
            | if half > 0 && half != 7 { 4 } else { 0 }
            | if half > 10 && half < 15 { 64 } else { 0 };
        half += 1;
    }
    table
};
const HIGH_WORDS: [u8; 16] = [0, 0, 4, WORD_DIGIT | 8, 1 | 16, 2 | 32, 1 | 16, 2 | 64, 0, 0, 0, 0, 0, 0, 0, 0];

/// What the tables say of the lower and the upper halves.
type Halves = [__m256i; 2];

#[target_feature(enable = "avx2,popcnt,bmi1")]
pub(super) fn classify<const N: usize>(
    prints: &Fingerprints<N>,
    text: &[u8],
    masks: &mut Vec<Masks>,
    places: &mut Places,
) {
    let classes = [twice(&LOW), twice(&HIGH)];
    let others = [twice(&LOW_OTHER), twice(&HIGH_OTHER)];
    let tables = tables(prints);
    masks.reserve(text.len() / BLOCK + 1);
    each_block(text, |start, block| {
        let half = |from: usize| {
            let bytes = at(block, from);
            let class = look_up(classes, bytes);
            let other = look_up(others, bytes);
            // The mask of a single bit is taken from the top of its byte.
            [
                bits(_mm256_slli_epi16::<7>(class)),
                any(_mm256_and_si256(class, splat(ALNUM))),
                any(_mm256_and_si256(class, splat(TOKEN))),
                bits(_mm256_slli_epi16::<7>(other)),
                bits(_mm256_slli_epi16::<6>(class)),
                any(_mm256_and_si256(other, splat(MARK))),
            ]
        };
        let (first, second) = (half(0), half(32));
        let join = |i: usize| first[i] | second[i] << 32;
        masks.push(Masks {
            digits: join(0),
            alnum: join(1),
            token: join(2),
            at: join(3),
            colon: join(4),
            mark: join(5),
        });
        append(places, start, admitted(&tables, block));
    });
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
pub(super) fn find<const N: usize>(prints: &Fingerprints<N>, text: &[u8], blocks: &mut [u64]) {
    let tables = tables(prints);
    let mut room = blocks.iter_mut();
    each_block(text, |_, block| {
        if let Some(entry) = room.next() {
            *entry = admitted(&tables, block);
        }
    });
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
pub(super) fn first<const N: usize>(prints: &[Fingerprints<N>], text: &[u8]) -> u64 {
    with_first_block(text, |block| {
        let halves: [[Five; 2]; N] = std::array::from_fn(|place| [0, 32].map(|from| Five::of(at(block, from + place))));
        let uppers = [0, 32].map(|from| upper(at(block, from)));
        let mut found = [splat(0); 2];
        for prints in prints {
            let table = twice(&prints.upper);
            let mut all = uppers.map(|upper| _mm256_shuffle_epi8(table, upper));
            for (table, halves) in prints.narrow.iter().zip(&halves) {
                let table = Table::of(table);
                all = [0, 1].map(|half| _mm256_and_si256(all[half], table.look_up(halves[half])));
            }
            found = [0, 1].map(|half| _mm256_or_si256(found[half], all[half]));
        }
        any(found[0]) | any(found[1]) << 32
    })
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
pub(super) fn list<const N: usize>(prints: &Fingerprints<N>, text: &[u8], places: &mut Places) {
    let tables = tables(prints);
    each_block(text, |from, block| append(places, from, admitted(&tables, block)));
}

#[target_feature(enable = "avx2,popcnt,bmi1,bmi2")]
pub(super) fn words(text: &[u8], reader: &mut impl Reader) {
    let classes = [twice(&LOW_WORDS), twice(&HIGH_WORDS)];
    let class = |block: &[u8; WIDE]| {
        let half = |from: usize| {
            let bytes = at(block, from);
            let class = look_up(classes, bytes);
            // The top bit of a byte is that of its mask.
            let others = _mm256_or_si256(_mm256_or_si256(class, bytes), _mm256_cmpeq_epi8(bytes, splat(b'\'')));
            [
                any(_mm256_and_si256(class, splat(WORD_LETTER))),
                bits(others),
                any(_mm256_and_si256(class, splat(WORD_SIGN))),
            ]
        };
        let (first, second) = (half(0), half(32));
        let join = |i: usize| first[i] | second[i] << 32;
        Words { letters: join(0), others: join(1), signs: join(2) }
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
    before_marked(text, |block: &[u8; 32]| any(_mm256_and_si256(look_up(classes, load(block)), splat(TOKEN))) ^ ALL)
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn admitted<const N: usize>(tables: &Tables<N>, block: &[u8; WIDE]) -> u64 {
    let mut all = [0, 32].map(|from| _mm256_shuffle_epi8(tables.upper, upper(at(block, from))));
    for (place, table) in tables.places.iter().enumerate() {
        all = [0, 1].map(|half| _mm256_and_si256(all[half], table.look_up(Five::of(at(block, half * 32 + place)))));
    }
    any(all[0]) | any(all[1]) << 32
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
        // A shuffle gives nothing for what is beyond ASCII, but a place may admit it.
        Self { lower: _mm256_and_si256(bytes, splat(127)), fifth: _mm256_slli_epi16::<3>(bytes) }
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

/// Those of all places, and by the upper half of the first byte.
struct Tables<const N: usize> {
    places: [Table; N],
    upper: __m256i,
}

#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn tables<const N: usize>(prints: &Fingerprints<N>) -> Tables<N> {
    Tables { places: prints.narrow.each_ref().map(|groups| Table::of(groups)), upper: twice(&prints.upper) }
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

/// The bytes of which any bit is set.
#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn any(bytes: __m256i) -> u64 {
    bits(_mm256_cmpeq_epi8(bytes, splat(0))) ^ ALL
}

/// The bytes that are less than a bound, without sign.
#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn below(bytes: __m256i, bound: u8) -> __m256i {
    _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, splat(bound - 1)), bytes)
}

const ALL: u64 = 0xffff_ffff;

#[target_feature(enable = "avx2,popcnt,bmi1")]
#[inline]
fn splat(byte: u8) -> __m256i {
    _mm256_set1_epi8(byte.cast_signed())
}

const _: () = assert!(BLOCK == 64 && WIDE - 32 == 32 + FINGERPRINT_MAX - 1, "two halves, each with what follows it");

//! 64 bytes in a register, and a table of all of ASCII in two. Nothing here reads memory through a pointer of its own making.

use std::arch::x86_64::{
    __m512i, __mmask64, _mm512_and_si512, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_cmpneq_epi8_mask,
    _mm512_maskz_permutex2var_epi8, _mm512_movepi8_mask, _mm512_or_si512, _mm512_permutexvar_epi8, _mm512_set1_epi8,
    _mm512_setr_epi64, _mm512_sub_epi8, _mm512_test_epi8_mask,
};

use super::scalar::{ALNUM, AT, CLASSES, COLON, DIGIT, MARK, TOKEN};
use super::{
    BLOCK, Classes, Fingerprints, Masks, Places, Reader, Tally, WIDE, Words, append, before_marked, each_block,
    read_words, with_first_block,
};

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
pub(super) fn classify<const N: usize, const SURE: usize>(
    prints: &Fingerprints<N, SURE>,
    text: &[u8],
    masks: &mut Masks,
    places: &mut Places,
) {
    let table = classes();
    let tables = tables(prints);
    each_block(text, |from, block| {
        let bytes = at(block, 0);
        let class = classes_of(table, bytes);
        let of = |wanted: u8| _mm512_test_epi8_mask(class, splat(wanted));
        let classes = Classes {
            digits: of(DIGIT),
            alnum: of(ALNUM),
            token: of(TOKEN),
            at: of(AT),
            colon: of(COLON),
            mark: of(MARK),
        };
        masks.set(from / BLOCK, classes);
        append(places, from, admitted(&tables, bytes, block));
    });
    masks.work_out::<8>(text.len().div_ceil(BLOCK));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
pub(super) fn find<const N: usize, const SURE: usize>(prints: &Fingerprints<N, SURE>, text: &[u8], blocks: &mut [u64]) {
    let tables = tables(prints);
    let mut room = blocks.iter_mut();
    each_block(text, |_, block| {
        if let Some(entry) = room.next() {
            *entry = admitted(&tables, at(block, 0), block);
        }
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
pub(super) fn first<const N: usize, const SURE: usize>(prints: &[Fingerprints<N, SURE>], text: &[u8]) -> u64 {
    with_first_block(text, |block| {
        prints.iter().fold(0, |all, prints| all | admitted(&tables(prints), at(block, 0), block))
    })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
pub(super) fn list<const N: usize, const SURE: usize>(
    prints: &Fingerprints<N, SURE>,
    text: &[u8],
    places: &mut Places,
) {
    let tables = tables(prints);
    each_block(text, |from, block| append(places, from, admitted(&tables, at(block, 0), block)));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1,bmi2")]
pub(super) fn words(text: &[u8], reader: &mut impl Reader) {
    let class = |block: &[u8; WIDE]| {
        let bytes = at(block, 0);
        let among =
            |bytes, first: u8, count: u8| _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, splat(first)), splat(count));
        let letters = among(_mm512_or_si512(bytes, splat(0x20)), b'a', 26);
        let inside = among(bytes, b'0', 10) | _mm512_cmpeq_epi8_mask(bytes, splat(b'\''));
        let signs = among(bytes, b'!', b'~' - b'!' + 1) & !letters & !inside;
        Words { letters, others: inside | _mm512_movepi8_mask(bytes), signs }
    };
    read_words(text, class, reader);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
pub(super) fn tally(text: &[u8]) -> Tally {
    let mut tally = Tally::default();
    each_block(text, |_, block| {
        let bytes = at(block, 0);
        let foreign = _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, splat(0xC3)), splat(0x2C))
            & _mm512_cmpneq_epi8_mask(bytes, splat(0xE2));
        let folded = _mm512_or_si512(bytes, splat(0x20));
        let signs = _mm512_cmplt_epu8_mask(_mm512_sub_epi8(folded, splat(b'{')), splat(3));
        tally.foreign += foreign.count_ones() as usize;
        tally.signs += signs.count_ones() as usize;
        let next = _mm512_or_si512(at(block, 1), splat(0x20));
        let spelled = _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, splat(b'0')), splat(10))
            & _mm512_cmplt_epu8_mask(_mm512_sub_epi8(next, splat(b'a')), splat(26));
        tally.spelled += spelled.count_ones() as usize;
    });
    tally
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
pub(super) fn skip_plain(text: &[u8]) -> usize {
    before_marked(text, |block: &[u8; BLOCK]| {
        let bytes = load(block);
        let is = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, splat(byte));
        _mm512_movepi8_mask(bytes) | is(b'%') | is(b'&') | is(b'\\')
    })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
pub(super) fn token_run(text: &[u8]) -> usize {
    let classes = classes();
    before_marked(text, |block: &[u8; BLOCK]| !_mm512_test_epi8_mask(classes_of(classes, load(block)), splat(TOKEN)))
}

/// The table of classes, in two halves.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
#[inline]
fn classes() -> [__m512i; 2] {
    let (low, high) = CLASSES.split_at(BLOCK);
    let half = |half: &[u8]| half.first_chunk().map_or_else(|| splat(0), |half| load(half));
    [half(low), half(high)]
}

/// The class of each byte; none for those beyond ASCII.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
#[inline]
fn classes_of([low, high]: [__m512i; 2], bytes: __m512i) -> __m512i {
    _mm512_maskz_permutex2var_epi8(!_mm512_movepi8_mask(bytes), low, bytes, high)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
#[inline]
fn admitted<const N: usize>(tables: &[__m512i; N], first: __m512i, block: &[u8; WIDE]) -> __mmask64 {
    let mut all = _mm512_permutexvar_epi8(first, tables[0]);
    for (place, table) in tables.iter().enumerate().skip(1) {
        all = _mm512_and_si512(all, _mm512_permutexvar_epi8(at(block, place), *table));
    }
    _mm512_test_epi8_mask(all, all)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
#[inline]
fn tables<const N: usize, const SURE: usize>(prints: &Fingerprints<N, SURE>) -> [__m512i; N] {
    prints.wide.each_ref().map(|places| load(places))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
#[inline]
fn at(block: &[u8; WIDE], place: usize) -> __m512i {
    block[place..].first_chunk().map_or_else(|| splat(0), |bytes| load(bytes))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
#[inline]
fn load(bytes: &[u8; BLOCK]) -> __m512i {
    let (words, _) = bytes.as_chunks::<8>();
    let word = |i: usize| i64::from_le_bytes(words[i]);
    _mm512_setr_epi64(word(0), word(1), word(2), word(3), word(4), word(5), word(6), word(7))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt,bmi1")]
#[inline]
fn splat(byte: u8) -> __m512i {
    _mm512_set1_epi8(byte.cast_signed())
}

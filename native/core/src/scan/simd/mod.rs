//! Kernels that look at 64 bytes at a time, each in the widest form that the processor has.
//!
//! A form is AVX-512 with its byte shuffles, AVX2, or plain Rust; tests hold them together.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod fingerprints;
mod masks;
mod scalar;

#[cfg(target_arch = "x86_64")]
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

pub(crate) use fingerprints::{FINGERPRINT_MAX, Fingerprints, Place, share_of};
pub(crate) use masks::{Classes, Masks, PIECE};

/// Bytes in a block.
pub(crate) const BLOCK: usize = 64;
/// Places that are written for a block without asking how many there are.
const FEW: usize = 4;
/// With the bytes behind it that a fingerprint can take.
const WIDE: usize = BLOCK + FINGERPRINT_MAX - 1;

/// Where one of the fingerprints could stand in a text, in order; a form may see more places than there are.
///
/// Places and not masks: whether a block has any is hard to foretell, and is not asked about each of them.
pub(crate) type Places = Vec<u32>;

/// How many characters of a text are of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// First bytes of letters outside ASCII: not those of common punctuation (U+2000), full-width forms and emoji.
    pub(crate) foreign: usize,
    /// Brackets, braces, bars and backslashes.
    pub(crate) signs: usize,
    /// Digits with an ASCII letter right behind them.
    pub(crate) spelled: usize,
}

/// Takes the words of a text, in order.
pub(crate) trait Reader {
    /// Takes a word of less than [`LONG`] letters of ASCII and nothing else, or a sign of ASCII if there is no letter.
    fn plain(&mut self, at: usize, letters: u32);

    /// Reads on from what may be a word of other characters or a longer one, up to a byte of ASCII that is no part of it, and
    /// returns where that is.
    fn other(&mut self, at: usize) -> usize;
}

/// Half of a block, and its bits.
const HALF: usize = BLOCK / 2;
const LOW: u64 = (1 << HALF) - 1;

/// So many letters make a word long.
pub(crate) const LONG: u32 = 16;

/// What the bytes of a block are to words, a bit for each, the first byte lowest.
#[derive(Clone, Copy, Default)]
struct Words {
    /// Letters of ASCII.
    letters: u64,
    /// What else words may hold: digits, apostrophes, bytes of what is beyond ASCII.
    others: u64,
    /// Signs of ASCII, apostrophes aside.
    signs: u64,
}

/// Whether a byte alone could begin a character or an escape that is normalised.
#[inline]
pub(crate) const fn is_flag(byte: u8) -> bool {
    byte >= 0x80 || byte == b'%' || byte == b'&' || byte == b'\\'
}

/// Calls the widest form of a kernel that there is.
macro_rules! widest {
    ($kernel:ident($($argument:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        match form() {
            // SAFETY: the processor has the features that the function asks for.
            #[expect(unsafe_code, reason = "a function of a processor feature can only be called so")]
            AVX512 => return unsafe { avx512::$kernel($($argument),*) },
            // SAFETY: as above.
            #[expect(unsafe_code, reason = "a function of a processor feature can only be called so")]
            AVX2 => return unsafe { avx2::$kernel($($argument),*) },
            _ => {}
        }
        scalar::$kernel($($argument),*)
    }};
}

#[cfg(target_arch = "x86_64")]
const SCALAR: u8 = 1;
#[cfg(target_arch = "x86_64")]
const AVX2: u8 = 2;
#[cfg(target_arch = "x86_64")]
const AVX512: u8 = 3;

/// The widest form that the processor has: asked once, as a text that comes in small pieces calls kernels for each.
#[cfg(target_arch = "x86_64")]
#[inline]
fn form() -> u8 {
    static FORM: AtomicU8 = AtomicU8::new(0);
    #[cold]
    fn detect() -> u8 {
        let form = if has_avx512() {
            AVX512
        } else if has_avx2() {
            AVX2
        } else {
            SCALAR
        };
        FORM.store(form, Relaxed);
        form
    }
    match FORM.load(Relaxed) {
        0 => detect(),
        form => form,
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512vbmi") && std::arch::is_x86_feature_detected!("avx512bw") && has_bits()
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && has_bits()
}

/// Whether bits can be counted, the lowest one cleared and all shifted by any number, as on every processor with AVX2 so far.
#[cfg(target_arch = "x86_64")]
fn has_bits() -> bool {
    let detected = [
        std::arch::is_x86_feature_detected!("popcnt"),
        std::arch::is_x86_feature_detected!("bmi1"),
        std::arch::is_x86_feature_detected!("bmi2"),
    ];
    detected == [true; 3]
}

/// Classes the bytes of a text, a piece and one block more at most, and lists where a fingerprint could stand; what follows
/// its end counts as spaces.
pub(crate) fn classify<const N: usize, const SURE: usize>(
    prints: &Fingerprints<N, SURE>,
    text: &[u8],
    masks: &mut Masks,
    places: &mut Places,
) {
    debug_assert!(text.len() <= (PIECE + 1) * BLOCK, "there is no room for more");
    places.clear();
    if places.capacity() == 0 {
        places.reserve(FEW * text.len().div_ceil(BLOCK));
    }
    widest!(classify(prints, text, masks, places));
}

/// Writes for each block of a text where a fingerprint could stand, as far as there is room.
pub(crate) fn find<const N: usize, const SURE: usize>(prints: &Fingerprints<N, SURE>, text: &[u8], blocks: &mut [u64]) {
    widest!(find(prints, text, blocks));
}

/// Where a fingerprint of one of these sets could stand in the first block of a text.
#[inline]
pub(crate) fn first<const N: usize, const SURE: usize>(prints: &[Fingerprints<N, SURE>], text: &[u8]) -> u64 {
    widest!(first(prints, text))
}

/// Lists where in a text a fingerprint could stand.
pub(crate) fn list<const N: usize, const SURE: usize>(
    prints: &Fingerprints<N, SURE>,
    text: &[u8],
    places: &mut Places,
) {
    places.clear();
    widest!(list(prints, text, places));
}

/// Keeps the places at which something is: most are there by chance, which is hard to foretell, and no branch asks about it.
#[inline]
pub(crate) fn keep(places: &mut Places, is: impl Fn(usize) -> bool) {
    let mut kept = 0;
    for i in 0..places.len() {
        let place = places[i];
        places[kept] = place;
        kept += usize::from(is(place as usize));
    }
    places.truncate(kept);
}

/// Shows a reader the words and signs of a text.
pub(crate) fn words(text: &[u8], reader: &mut impl Reader) {
    widest!(words(text, reader));
}

/// Counts characters.
pub(crate) fn tally(text: &[u8]) -> Tally {
    widest!(tally(text))
}

/// How many bytes at the front are no flags.
pub(crate) fn skip_plain(text: &[u8]) -> usize {
    widest!(skip_plain(text))
}

/// How many bytes at the front a token consists of: letters, digits and `_ + - . / = ~`.
pub(crate) fn token_run(text: &[u8]) -> usize {
    widest!(token_run(text))
}

/// How many bytes stand before the first one that is marked in its block; a block is filled up with zeros.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
fn before_marked<const N: usize>(text: &[u8], marked: impl Fn(&[u8; N]) -> u64) -> usize {
    let (blocks, rest) = text.as_chunks::<N>();
    for (i, block) in blocks.iter().enumerate() {
        let found = marked(block);
        if found != 0 {
            return i * N + found.trailing_zeros() as usize;
        }
    }
    let mut last = [0; N];
    last[..rest.len()].copy_from_slice(rest);
    text.len() - rest.len() + (marked(&last).trailing_zeros() as usize).min(rest.len())
}

/// Appends a place for each bit that is set, the lowest of which stands for `from`.
#[inline(always)]
#[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
#[expect(clippy::cast_possible_truncation, reason = "texts are looked at in pieces")]
fn append(places: &mut Places, from: usize, mut bits: u64) {
    let count = bits.count_ones() as usize;
    let end = places.len() + count;
    let mut next = || {
        let place = from as u32 + bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        place
    };
    // Most blocks have few or none: to write a few whether they are there or not takes less than to ask.
    places.extend_from_slice(&std::array::from_fn::<_, FEW, _>(|_| next()));
    if count > FEW {
        places.extend((FEW..count).map(|_| next()));
    }
    places.truncate(end);
}

/// Calls back with the first block of a text, filled up with spaces.
#[inline(always)]
#[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
fn with_first_block<T>(text: &[u8], each: impl FnOnce(&[u8; WIDE]) -> T) -> T {
    if let Some(block) = text.first_chunk() {
        return each(block);
    }
    let mut block = [b' '; WIDE];
    block[..text.len()].copy_from_slice(text);
    each(&block)
}

/// Calls back for each block of a text with where it begins, the last filled up with spaces.
#[inline(always)]
#[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
fn each_block(text: &[u8], mut each: impl FnMut(usize, &[u8; WIDE])) {
    let whole = text.len().saturating_sub(WIDE - BLOCK) / BLOCK;
    let rest = text.get(whole * BLOCK..).unwrap_or_default();
    let mut last = [b' '; BLOCK + WIDE];
    last[..rest.len()].copy_from_slice(rest);
    let mut from = 0;
    // One place alone calls back, so that the body is a part of the loop and its tables stay in registers.
    for (text, blocks) in [(text, whole), (&last, rest.len().div_ceil(BLOCK))] {
        let mut left = text;
        for _ in 0..blocks {
            let Some(block) = left.first_chunk() else { break };
            each(from, block);
            left = &left[BLOCK..];
            from += BLOCK;
        }
    }
}

/// Shows a reader the words of a text whose blocks are classed so. Where a word of letters ends is taken from the masks: how
/// long the next one is, is hard to foretell.
#[inline(always)]
#[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
fn read_words(text: &[u8], class: impl Fn(&[u8; WIDE]) -> Words, reader: &mut impl Reader) {
    let mut blocks = Vec::with_capacity(text.len() / BLOCK + 2);
    each_block(text, |_, block| blocks.push(class(block)));
    blocks.push(Words::default());
    let (mut carried, mut done) = (0, 0);
    for (pair, from) in blocks.windows(2).zip((0..).step_by(BLOCK)) {
        let &[now, next] = pair else { break };
        let inside = now.letters | now.others;
        let begins = inside & !(inside << 1 | carried) | now.signs;
        carried = inside >> (BLOCK - 1);
        // By halves, as a word that is not long ends within the next one.
        for half in [0, HALF] {
            let behind = |now: u64, next: u64| now >> half | next << 1 << (63 - half);
            let (letters, others) = (behind(now.letters, next.letters), behind(now.others, next.others));
            let from = from + half;
            let rest = |done: usize| if done < from + HALF { u64::MAX << done.saturating_sub(from) } else { 0 };
            let mut begins = begins >> half & LOW & rest(done);
            while begins != 0 {
                let bit = begins.trailing_zeros();
                begins &= begins - 1;
                let count = (letters >> bit).trailing_ones();
                if count < LONG && others >> bit >> count & 1 == 0 {
                    reader.plain(from + bit as usize, count);
                } else {
                    done = reader.other(from + bit as usize);
                    begins &= rest(done);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

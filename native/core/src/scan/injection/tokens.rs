//! Cuts text into words and hashes them: case folded, numbers made alike, scripts without spaces cut into characters.

use std::cell::Cell;
use std::hint::select_unpredictable;

use crate::scan::simd::{Reader, words};

/// What a byte begins, or continues.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// White space, control characters and stray continuation bytes: no token, ends a word.
    Gap,
    Letter,
    Digit,
    /// Inside a word it is passed over, so that "don't" is one word.
    Apostrophe,
    /// A token of its own.
    Punctuation,
    /// The lead byte of a longer sequence; holds its length.
    Lead2,
    Lead3,
    Lead4,
}

impl Class {
    /// Whether a byte of ASCII of this class may be part of a word.
    fn is_inside(self) -> bool {
        matches!(self, Self::Letter | Self::Digit | Self::Apostrophe)
    }
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Gap; 256];
    let mut byte = 0x21_usize;
    while byte < 256 {
        classes[byte] = match byte {
            0x27 => Class::Apostrophe,
            0x30..=0x39 => Class::Digit,
            0x41..=0x5A | 0x61..=0x7A => Class::Letter,
            0x21..=0x7E => Class::Punctuation,
            0xC2..=0xDF => Class::Lead2,
            0xE0..=0xEF => Class::Lead3,
            0xF0..=0xF4 => Class::Lead4,
            _ => Class::Gap,
        };
        byte += 1;
    }
    classes
};

/// What a character outside ASCII is to a word.
enum Sign {
    Gap,
    /// Left out of the word without ending it: apostrophes, joiners, variation selectors.
    Nothing,
    Letter(u32),
    /// A character of a script that puts no spaces between words.
    Alone(u32),
}

/// A hashed word, with its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) hash: u32,
    /// The hash of the word that it is if its digits stand for letters; 0 for one without both.
    pub(super) spelled: u32,
    /// First byte, of less than four gigabytes.
    pub(super) start: u32,
    pub(super) end: u32,
    /// Whether it has Latin letters, digits and signs only: the words that the model knows.
    pub(super) latin: bool,
}

impl Token {
    #[expect(clippy::cast_possible_truncation, reason = "stretches are short, and longer ones only explained")]
    fn new(hash: u32, start: usize, end: usize) -> Self {
        Self { hash, spelled: 0, start: start as u32, end: end as u32, latin: true }
    }
}

thread_local! {
    /// Room for the tokens of one text after another.
    static TOKENS: Cell<Vec<Token>> = Cell::default();
}

/// Calls `take` with the tokens of `text`, in order.
pub(super) fn of<R>(text: &[u8], take: impl FnOnce(&[Token]) -> R) -> R {
    let mut tokens = TOKENS.take();
    tokens.clear();
    words(text, &mut Cut { text, tokens: &mut tokens });
    let taken = take(&tokens);
    TOKENS.set(tokens);
    taken
}

/// The tokens of a text, read character by character: of one that is shorter than a block this takes less.
pub(super) fn of_short(text: &[u8]) -> Vec<Token> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(&byte) = text.get(at) {
        at = if CLASSES[usize::from(byte)] == Class::Punctuation {
            tokens.push(Token::new(single(u32::from(byte)), at, at + 1));
            at + 1
        } else {
            read(text, at, |token| tokens.push(token))
        };
    }
    tokens
}

/// The tokens that begin beside some stretches, which are in order.
pub(super) fn beside(tokens: &[Token], stretches: &[(usize, usize)]) -> Vec<Token> {
    let mut stretches = stretches.iter().copied().peekable();
    let is_beside = |token: &Token| {
        let start = token.start as usize;
        while stretches.next_if(|(_, end)| *end <= start).is_some() {}
        stretches.peek().is_none_or(|(begin, _)| start < *begin)
    };
    tokens.iter().copied().filter(is_beside).collect()
}

/// Gathers the tokens of a text.
struct Cut<'text> {
    text: &'text [u8],
    tokens: &'text mut Vec<Token>,
}

impl Reader for Cut<'_> {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
    fn plain(&mut self, at: usize, letters: u32) {
        let hash = hash_of(first_bytes(self.text, at), letters);
        self.tokens.push(Token::new(hash, at, at + letters.max(1) as usize));
    }

    #[inline(never)]
    fn other(&mut self, mut at: usize) -> usize {
        while self.text.get(at).is_some_and(|byte| !byte.is_ascii() || CLASSES[usize::from(*byte)].is_inside()) {
            at = read(self.text, at, |token| self.tokens.push(token));
        }
        at
    }
}

/// The bytes from `at` on, eight in each half, filled up with zeros.
#[inline(always)]
#[expect(clippy::inline_always, reason = "as above")]
fn first_bytes(text: &[u8], at: usize) -> [u64; 2] {
    let rest = text.get(at..).unwrap_or_default();
    let (eights, _) = rest.as_chunks::<8>();
    if let [low, high, ..] = eights { [low, high].map(|eight| u64::from_le_bytes(*eight)) } else { last_bytes(rest) }
}

#[cold]
fn last_bytes(rest: &[u8]) -> [u64; 2] {
    let mut halves = [[0; 8]; 2];
    for (byte, last) in rest.iter().zip(halves.as_flattened_mut()) {
        *last = *byte;
    }
    halves.map(u64::from_le_bytes)
}

/// The hash of a word of less than sixteen letters at the front, or of the sign there.
#[inline(always)]
#[expect(clippy::inline_always, reason = "as above")]
fn hash_of([low, high]: [u64; 2], letters: u32) -> u32 {
    let fold = select_unpredictable(letters > 0, 0x2020_2020_2020_2020, 0);
    let mut hasher = Hasher::default();
    hasher.absorb((low | fold) & (u64::MAX >> (64 - 8 * letters.clamp(1, 8))));
    let mut longer = Hasher { state: hasher.state, ..Hasher::default() };
    longer.absorb((high | fold) & ((1 << (8 * letters.saturating_sub(8))) - 1));
    (select_unpredictable(letters < 8, hasher.state, longer.state) >> 32) as u32
}

/// Reads what begins at `at` and is no sign of ASCII, and returns where the next may begin.
fn read(text: &[u8], at: usize, emit: impl FnMut(Token)) -> usize {
    let Some(&byte) = text.get(at) else { return at };
    match CLASSES[usize::from(byte)] {
        Class::Gap | Class::Apostrophe | Class::Punctuation => at + 1,
        Class::Letter | Class::Digit => word(text, at, emit),
        Class::Lead2 | Class::Lead3 | Class::Lead4 => wide_token(text, at, emit),
    }
}

/// Emits the word that begins at `start`, and returns where it ends.
fn word(text: &[u8], start: usize, mut emit: impl FnMut(Token)) -> usize {
    let mut hasher = Hasher::default();
    let (end, latin, digits) = read_word(text, start, &mut hasher);
    let spelled = if digits { spelled(text.get(start..end).unwrap_or_default()) } else { 0 };
    emit(Token { spelled, latin, ..Token::new(hasher.finish(), start, end) });
    end
}

/// Emits the token, if there is one, that begins with a character outside ASCII, and returns where the next may begin.
fn wide_token(text: &[u8], start: usize, mut emit: impl FnMut(Token)) -> usize {
    let (sign, length) = wide(text, start);
    match sign {
        Sign::Letter(_) => return word(text, start, emit),
        Sign::Alone(sign) => {
            emit(Token { latin: false, ..Token::new(single(sign), start, start + length) });
        }
        Sign::Gap | Sign::Nothing => {}
    }
    start + length
}

/// The hash of a word that is written with digits in the place of letters that look like them; 0 where no letter is left.
fn spelled(word: &[u8]) -> u32 {
    if !word.iter().any(u8::is_ascii_alphabetic) || !word.is_ascii() {
        return 0;
    }
    let mut hasher = Hasher::default();
    for byte in word.iter().filter(|byte| **byte != b'\'') {
        hasher.push(letter_for(*byte) | 0x20);
    }
    hasher.finish()
}

/// A text in which each digit is the letter that it looks like, everything in its place.
pub(super) fn letters_for_digits(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| letter_for(*byte)).collect()
}

/// The letter that a digit looks like; all else as it is.
fn letter_for(byte: u8) -> u8 {
    match byte {
        b'0' => b'o',
        b'1' => b'i',
        b'3' => b'e',
        b'4' => b'a',
        b'5' => b's',
        b'7' => b't',
        b'8' => b'b',
        b'9' => b'g',
        _ => byte,
    }
}

/// Reads through letters of all kinds, digits and apostrophes; says where the word ends, whether these were Latin, and
/// whether there were digits.
fn read_word(text: &[u8], mut at: usize, hasher: &mut Hasher) -> (usize, bool, bool) {
    let (mut latin, mut digits) = (true, false);
    while let Some(&byte) = text.get(at) {
        match CLASSES[usize::from(byte)] {
            Class::Letter => match text.get(at..).and_then(|rest| rest.first_chunk()) {
                Some(eight) => {
                    let (letters, bits) = leading_letters(*eight);
                    hasher.push_letters(letters, bits);
                    at += (bits / 8) as usize;
                    continue;
                }
                None => hasher.push(byte | 0x20),
            },
            Class::Digit => {
                digits = true;
                hasher.push(b'0');
            }
            Class::Apostrophe => {}
            Class::Gap | Class::Punctuation => return (at, latin, digits),
            Class::Lead2 | Class::Lead3 | Class::Lead4 => {
                let (sign, length) = wide(text, at);
                match sign {
                    Sign::Letter(letter) => {
                        latin &= is_latin(letter);
                        hasher.push_wide(letter);
                    }
                    Sign::Nothing => {}
                    Sign::Gap | Sign::Alone(_) => return (at, latin, digits),
                }
                at += length - 1;
            }
        }
        at += 1;
    }
    (at, latin, digits)
}

/// Whether a letter outside ASCII is a Latin one.
fn is_latin(letter: u32) -> bool {
    matches!(letter, 0..0x250 | 0x1E00..0x1F00)
}

/// The ASCII letters that `bytes` begin with, folded, the first in the lowest byte; and how many bits they
/// take.
#[inline]
fn leading_letters(bytes: [u8; 8]) -> (u64, u32) {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let raw = u64::from_le_bytes(bytes);
    let lower = raw | 0x2020_2020_2020_2020;
    let low = lower & !HIGH;
    // A byte carries into its highest bit where it is at least 'a', and where it is above 'z'.
    let letters = (low + 0x1F1F_1F1F_1F1F_1F1F) & !(low + 0x0505_0505_0505_0505) & !raw & HIGH;
    let bits = (!letters & HIGH).trailing_zeros() & !7;
    let kept = if bits == 64 { lower } else { lower & ((1 << bits) - 1) };
    (kept, bits)
}

/// Hashes the folded bytes of a word, eight at a time.
#[derive(Default)]
struct Hasher {
    state: u64,
    pending: u64,
    filled: u32,
}

impl Hasher {
    #[inline]
    fn absorb(&mut self, eight: u64) {
        self.state = (self.state.rotate_left(29) ^ eight).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    /// Takes one to eight bytes at once.
    #[inline]
    fn push_letters(&mut self, letters: u64, bits: u32) {
        self.pending |= letters << self.filled;
        let filled = self.filled + bits;
        if filled >= u64::BITS {
            self.absorb(self.pending);
            self.pending = letters.checked_shr(u64::BITS - self.filled).unwrap_or(0);
        }
        self.filled = filled % u64::BITS;
    }

    fn push(&mut self, byte: u8) {
        self.pending |= u64::from(byte) << self.filled;
        self.filled += 8;
        if self.filled == 64 {
            self.absorb(self.pending);
            (self.pending, self.filled) = (0, 0);
        }
    }

    fn push_wide(&mut self, letter: u32) {
        let [low, high, ..] = letter.to_le_bytes();
        self.push(low);
        self.push(high);
    }

    #[inline]
    fn finish(mut self) -> u32 {
        self.absorb(self.pending);
        (self.state >> 32) as u32
    }
}

/// The hash of a token of one character.
#[inline]
fn single(sign: u32) -> u32 {
    Hasher { pending: u64::from(sign), ..Hasher::default() }.finish()
}

/// Reads the character at `at`, which does not begin with an ASCII byte, and its length. Cut or malformed sequences
/// are gaps, so that any bytes may come in.
fn wide(text: &[u8], at: usize) -> (Sign, usize) {
    let continuation = |offset: usize| text.get(at + offset).map_or(0, |byte| u32::from(byte & 0x3F));
    let lead = text.get(at).map_or(0, |byte| u32::from(*byte));
    let room = text.len() - at;
    match lead {
        0xC2..=0xDF => (two(((lead & 0x1F) << 6) | continuation(1)), room.min(2)),
        0xE0..=0xEF => (three(((lead & 0x0F) << 12) | (continuation(1) << 6) | continuation(2)), room.min(3)),
        // Emoji, signs of joined faces, rare scripts: nothing that words are made of.
        _ => (Sign::Gap, room.min(4)),
    }
}

/// Whether the character there, which does not begin with an ASCII byte, parts words and is none.
pub(super) fn is_gap(text: &[u8], at: usize) -> bool {
    matches!(wide(text, at).0, Sign::Gap)
}

/// Latin with marks, Greek, Cyrillic, Hebrew, Arabic; capitals of the first three folded.
fn two(code: u32) -> Sign {
    match code {
        0x00..0xC0 | 0xD7 | 0xF7 => Sign::Gap,
        0xC0..0xDF | 0x391..=0x3A9 | 0x410..=0x42F => Sign::Letter(code + 0x20),
        0x400..=0x40F => Sign::Letter(code + 0x50),
        0x100..0x180 => Sign::Letter(code | 1),
        // Combining marks that normalisation left.
        0x300..0x370 => Sign::Nothing,
        0x60C | 0x61B | 0x61F => Sign::Gap,
        _ => Sign::Letter(code),
    }
}

fn three(code: u32) -> Sign {
    match code {
        // Thai am is written as one character or as two, of which one is the vowel of both.
        0x0E33 => Sign::Alone(0x0E32),
        0x0E4D => Sign::Nothing,
        0x0E00..0x0F00 | 0x1000..0x10A0 | 0x1780..0x1800 => Sign::Alone(code),
        0x0964 | 0x0965 => Sign::Gap,
        // Vietnamese and other Latin letters: capitals are even.
        0x1E00..0x1F00 => Sign::Letter(code | 1),
        0x0800..0x2000 => Sign::Letter(code),
        0x200B..=0x200F | 0x2018 | 0x2019 | 0xFE00..=0xFE0F | 0xFEFF => Sign::Nothing,
        0x2000..0x3040 => Sign::Gap,
        0x3040..0xD7B0 => Sign::Alone(code),
        _ => Sign::Gap,
    }
}

#[cfg(test)]
mod tests;

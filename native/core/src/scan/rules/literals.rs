//! Literals, and the rules that start at them: a bit for the first four bytes answers almost every question.

use crate::scan::bytes::{first_eight, first_mask};
use crate::scan::simd::Place;

/// The shortest literal, in bytes.
pub(super) const HEAD: usize = 3;
/// What is no digit is looked for in so many of its bytes.
pub(crate) const NEAR: usize = 8;
/// So many of its bytes are looked at in all text.
pub(super) const FINGERPRINT: usize = 5;

/// Literals, and the rules that start at them.
#[derive(Debug)]
pub(crate) struct Literals {
    /// One bit for each value of a hash of the first four bytes, letters in either case; of three, whatever follows them.
    bits: Box<[u64; 1024]>,
    entries: Vec<Entry>,
    /// By slot, how many entries have an earlier one.
    starts: Vec<u32>,
}

/// A literal and its rules.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// A hash of the head.
    slot: usize,
    /// The first eight bytes, folded, the first lowest; and which of them there are.
    begins: (u64, u64),
    text: Box<[u8]>,
    /// Letters count in either case.
    folded: bool,
    rules: Vec<u16>,
}

/// Bytes with the bit set that tells small letters from capitals; other bytes may fall together.
#[inline]
fn fold(bytes: [u8; 4]) -> u32 {
    u32::from_le_bytes(bytes) | 0x2020_2020
}

/// The first four bytes of a text, or three and none.
#[inline]
fn folded(text: &[u8]) -> Option<u32> {
    match *text {
        [first, second, third, fourth, ..] => Some(fold([first, second, third, fourth])),
        [first, second, third] => Some(fold([first, second, third, 0])),
        _ => None,
    }
}

/// The first three of four such bytes.
#[inline]
fn head(folded: u32) -> u32 {
    folded & 0x00ff_ffff
}

#[inline]
fn bit(folded: u32) -> (usize, u64) {
    let hash = folded.wrapping_mul(0x9e37_79b1) >> 16;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

const SLOTS: usize = 4096;

#[inline]
fn slot(head: u32) -> usize {
    head.wrapping_mul(0x9e37_79b1) as usize >> 20 & (SLOTS - 1)
}

impl Default for Literals {
    fn default() -> Self {
        Self { bits: Box::new([0; 1024]), entries: Vec::new(), starts: vec![0; SLOTS] }
    }
}

impl Literals {
    /// Adds a literal of at least [`HEAD`] bytes.
    pub(super) fn add(&mut self, text: &str, rule: u16, folded: bool) {
        let text = text.as_bytes();
        let &[first, second, third, ref rest @ ..] = text else { return };
        let nexts = rest.first().map_or(0..=u8::MAX, |next| *next..=*next);
        for next in nexts {
            let (word, mask) = bit(fold([first, second, third, next]));
            self.bits[word] |= mask;
        }
        let head = head(fold([first, second, third, 0]));
        let begins = (first_eight(text), first_mask(text));
        self.entries.push(Entry { slot: slot(head), begins, text: text.into(), folded, rules: vec![rule] });
    }

    /// Puts them in order; to be done when all are added.
    pub(super) fn sort(&mut self) {
        self.entries.sort_unstable();
        self.entries.dedup_by(|later, first| {
            let same = (later.folded, &later.text) == (first.folded, &first.text);
            if same {
                first.rules.append(&mut later.rules);
            }
            same
        });
        for (slot, start) in self.starts.iter_mut().enumerate() {
            let before = self.entries.partition_point(|entry| entry.slot < slot);
            *start = u32::try_from(before).unwrap_or(u32::MAX);
        }
    }

    /// What a text must have for one of the literals to stand at a place.
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = [Place; FINGERPRINT]> {
        self.entries.iter().map(|entry| {
            std::array::from_fn(|i| entry.text.get(i).map_or(Place::Any, |byte| Place::of(*byte, entry.folded)))
        })
    }

    /// Whether each literal has a byte among its first [`NEAR`] that is no digit: then none stands where there are only digits.
    pub(super) fn show_beside_digits(&self) -> bool {
        self.entries.iter().all(|entry| entry.text.iter().take(NEAR).any(|byte| !byte.is_ascii_digit()))
    }

    /// Whether one may begin at a position.
    #[inline]
    pub(crate) fn may_begin(&self, text: &[u8], at: usize) -> bool {
        folded(text.get(at..).unwrap_or_default()).is_some_and(|folded| {
            let (word, mask) = bit(folded);
            self.bits[word] & mask != 0
        })
    }

    /// Calls back for every rule with a literal at a position.
    #[inline]
    pub(crate) fn each(&self, text: &[u8], at: usize, found: &mut impl FnMut(u16)) {
        let rest = text.get(at..).unwrap_or_default();
        let Some(folded) = folded(rest) else { return };
        let (word, mask) = bit(folded);
        if self.bits[word] & mask != 0 {
            self.each_of(head(folded), rest, found);
        }
    }

    fn each_of(&self, head: u32, text: &[u8], found: &mut impl FnMut(u16)) {
        let slot = slot(head);
        let here = first_eight(text);
        let from = self.starts.get(slot).map_or(0, |start| *start as usize);
        for entry in self.entries.get(from..).unwrap_or_default().iter().take_while(|entry| entry.slot == slot) {
            let (begins, mask) = entry.begins;
            if here & mask == begins && text.get(..entry.text.len()).is_some_and(|there| entry.is(there)) {
                entry.rules.iter().for_each(|rule| found(*rule));
            }
        }
    }
}

impl Entry {
    fn is(&self, text: &[u8]) -> bool {
        if self.folded { text.eq_ignore_ascii_case(&self.text) } else { *text == *self.text }
    }
}

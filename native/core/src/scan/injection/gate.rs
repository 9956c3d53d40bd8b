//! Decides cheaply whether a text is worth modelling: looks for literals that attacks hold and plain text rarely does.

use std::cell::Cell;

use crate::scan::bytes::{first_eight, first_mask};
use crate::scan::simd::{Fingerprints, Place, Places, Tally, keep, list, share_of, tally};

/// Texts up to this length are modelled when signs alone call for it.
const SHORT: usize = 512;
/// What the distinct literals in a short text must weigh; longer ones hold more chance hits and need more.
const SHORT_WEIGHT: u32 = 2;
/// Letters outside ASCII after which the templates and the model of other languages are asked about a short text.
const FOREIGN: usize = 3;
/// One such letter in so many bytes does it in any text.
const FOREIGN_SHARE: usize = 64;
/// Digits before letters after which a text is read with letters in their place as well,
const SPELLED: usize = 3;
/// if there is one in so many bytes.
const SPELLED_SHARE: usize = 32;
/// Bytes of a word and its space, at most on average: encoded bytes have such digits, too.
const WORD: usize = 12;
/// Brackets, braces, bars and backslashes after which a short text is modelled: generated suffixes are full of them.
const SIGNS: usize = 3;

/// So many bytes of a literal are looked at first.
const FINGERPRINT: usize = 6;
/// At most so many literals.
const TRIGGERS: usize = 128;
/// log2 of the slots of the table of fingerprints.
const BITS: u32 = 12;

/// The literals, one a line, `_` standing for a space; a second column gives a weight other than 1.
const SOURCE: &str = include_str!("../../../../../config/injection/gate.txt");

/// A literal of the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trigger {
    /// Lower case; looked for regardless of the case of ASCII letters.
    pub(super) literal: String,
    /// Its first eight bytes and which of these there are, with the bit set that tells small letters from capitals.
    begins: (u64, u64),
    /// How much it counts in a text of more than 512 bytes.
    weight: u32,
}

impl Trigger {
    /// Whether the literal stands in a text with its fingerprint, which is so far behind its start, at a place.
    fn stands(&self, text: &[u8], at: usize, offset: u8) -> bool {
        let Some(rest) = at.checked_sub(usize::from(offset)).and_then(|start| text.get(start..)) else { return false };
        let (begins, mask) = self.begins;
        first_eight(rest) & mask == begins
            && rest.get(..self.literal.len()).is_some_and(|found| found.eq_ignore_ascii_case(self.literal.as_bytes()))
    }
}

pub(super) fn triggers() -> Vec<Trigger> {
    SOURCE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (literal, weight) = line.split_once(' ').unwrap_or((line, "1"));
            let literal = literal.replace('_', " ");
            let begins = (first_eight(literal.as_bytes()), first_mask(literal.as_bytes()));
            Trigger { literal, begins, weight: weight.trim().parse().unwrap_or(1) }
        })
        .filter(|trigger| trigger.literal.len() >= FINGERPRINT)
        .collect()
}

/// What a text gives reason to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    Nothing,
    /// The templates, if a tool brings it: orders to a model hide there in plain words.
    Orders,
    /// The templates that need no gate, whoever wrote it: it is short and not English.
    Concepts,
    /// The templates, whoever wrote it: it has letters of other languages.
    Templates,
    /// The model, and the templates with it.
    Model,
}

/// What a segment gives reason to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) reason: Ask,
    /// What the triggers weigh that it took to tell.
    pub(super) weight: u32,
    /// Whether the model of other languages is asked as well.
    pub(super) foreign: bool,
    /// Whether digits stand for letters often enough to read the segment that way, too.
    pub(super) spelled: bool,
}

/// What a text with these letters and signs, and with distinct triggers of this weight, gives reason to ask.
fn ask(length: usize, weight: u32, tally: Tally) -> Ask {
    // 5 for a text just above the limit, 9 for a full segment with its overlap.
    let least = 4 + length / SHORT;
    let short = length <= SHORT;
    let model =
        if short { weight >= SHORT_WEIGHT || tally.signs >= SIGNS.max(length / 64) } else { weight as usize >= least };
    match model {
        true => Ask::Model,
        false if is_foreign(length, tally) => Ask::Templates,
        false if short || weight as usize >= least / 2 => Ask::Orders,
        false => Ask::Nothing,
    }
}

#[expect(clippy::naive_bytecount, reason = "seldom asked, and of short texts: not worth another crate")]
fn is_spelled(text: &[u8], tally: Tally) -> bool {
    let words = || text.iter().filter(|byte| **byte == b' ').count() + 1;
    tally.spelled >= SPELLED && tally.spelled * SPELLED_SHARE >= text.len() && words() * WORD >= text.len()
}

fn is_foreign(length: usize, tally: Tally) -> bool {
    tally.foreign > 0 && tally.foreign * FOREIGN_SHARE >= length || length <= SHORT && tally.foreign >= FOREIGN
}

thread_local! {
    /// Room for the places of one segment after another.
    static PLACES: Cell<Places> = Cell::default();
}

/// The gate with its tables.
#[derive(Debug)]
pub(super) struct Gate {
    triggers: Vec<Trigger>,
    prints: Fingerprints<FINGERPRINT, FINGERPRINT>,
    /// For each hashed fingerprint the number of its list in `places`; 0 for none.
    slots: Box<[u8; 1 << BITS]>,
    /// Literals that have the fingerprint, and where.
    places: Vec<Vec<(u8, u8)>>,
}

impl Gate {
    pub(super) fn new() -> Self {
        let triggers = triggers();
        let mut slots = Box::new([0; 1 << BITS]);
        let mut places = vec![Vec::new()];
        let prints = triggers.iter().zip(0..).map(|(trigger, number)| {
            let (offset, print) = rarest(trigger.literal.as_bytes());
            let slot = &mut slots[print_at(&print, 0).map_or(0, slot_of)];
            // There are fewer literals than a byte can number.
            if *slot == 0 {
                *slot = u8::try_from(places.len()).unwrap_or(0);
                places.push(Vec::new());
            }
            places[usize::from(*slot)].push((number, offset));
            print.map(|byte| Place::of(byte, true))
        });
        let prints = Fingerprints::new(prints);
        Self { triggers, prints, slots, places }
    }

    /// What `text`, a segment with its overlap, gives reason to ask.
    pub(super) fn ask(&self, text: &[u8]) -> Asked {
        let tally = tally(text);
        let mut places = PLACES.take();
        list(&self.prints, text, &mut places);
        keep(&mut places, |at| print_at(text, at).is_some_and(|print| self.slots[slot_of(print)] != 0));
        let (reason, weight) = self.reason(text, &places, tally);
        PLACES.set(places);
        let foreign = is_foreign(text.len(), tally);
        Asked { reason, weight, foreign, spelled: is_spelled(text, tally) }
    }

    fn reason(&self, text: &[u8], places: &[u32], tally: Tally) -> (Ask, u32) {
        let mut weight = 0;
        let mut reason = ask(text.len(), weight, tally);
        if reason == Ask::Model {
            return (reason, weight);
        }
        let mut seen = [false; TRIGGERS];
        for &place in places {
            let at = place as usize;
            let list = print_at(text, at).map_or(0, |print| self.slots[slot_of(print)]);
            if list == 0 {
                continue;
            }
            for &(number, offset) in &self.places[usize::from(list)] {
                let seen = &mut seen[usize::from(number) % TRIGGERS];
                let trigger = &self.triggers[usize::from(number)];
                if !*seen && trigger.stands(text, at, offset) {
                    *seen = true;
                    weight += trigger.weight;
                    reason = ask(text.len(), weight, tally);
                }
            }
            if reason == Ask::Model {
                return (reason, weight);
            }
        }
        (reason, weight)
    }
}

/// The bytes of a fingerprint, the first in the lowest byte; letters that differ in case only are alike.
#[inline]
fn print_at(text: &[u8], at: usize) -> Option<u64> {
    const MASK: u64 = (1 << (8 * FINGERPRINT)) - 1;
    let bytes = match text.get(at..at + 8).and_then(|eight| eight.first_chunk()) {
        Some(eight) => u64::from_le_bytes(*eight) & MASK,
        None => text.get(at..at + FINGERPRINT)?.iter().rev().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte)),
    };
    Some(bytes | 0x2020_2020_2020)
}

#[inline]
fn slot_of(print: u64) -> usize {
    (print.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - BITS)) as usize
}

/// The stretch of a literal that plain text holds least often, and where it stands.
fn rarest(literal: &[u8]) -> (u8, [u8; FINGERPRINT]) {
    let prints = literal.windows(FINGERPRINT).zip(0..).filter_map(|(print, at)| Some((at, *print.first_chunk()?)));
    let share = |print: &[u8; FINGERPRINT]| print.iter().map(|byte| share_of(*byte)).product::<f32>();
    prints.min_by(|(_, a), (_, b)| share(a).total_cmp(&share(b))).unwrap_or_default()
}

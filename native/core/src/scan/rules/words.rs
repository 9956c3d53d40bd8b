//! Words before a value that call for rules.
//!
//! Rules whose values are numbers or long tokens are many, and of each value most of them need to be named. One search of
//! the bytes before it tells which rules could be: fingerprints give the places, a word's first bytes its rules.

use super::front::{Bits, ROW};
use crate::scan::bytes::{first_eight, first_mask};
use crate::scan::simd::{BLOCK, Fingerprints, Place, first};
use crate::scan::window::{CONTEXT, Window};

/// The more sets of fingerprints there are, the less each of its groups admits beside its own: of hundreds of words eight
/// groups would admit most of what people write.
const SETS: usize = 8;
const SLOTS: usize = 1024;
/// So many bytes of a word are looked at first, and so many it has at least.
const FINGERPRINT: usize = 4;
const SHORTEST: usize = 2;

/// Words that call for rules, and the numbers of these.
#[derive(Debug)]
pub(crate) struct Words {
    prints: [Fingerprints<FINGERPRINT, SHORTEST>; SETS],
    entries: Vec<Entry>,
    slots: Vec<Slot>,
    /// Those of one byte.
    short: Vec<Short>,
    /// Rules that need no word, a bit for each number by row.
    free: Vec<Bits>,
    /// None is a part of another word.
    bordered: bool,
}

/// What must stand around a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Around {
    /// It may be a part of another.
    Anything,
    /// No letter, unless it begins or ends at a hump: `taxId`.
    Borders,
    /// The same before it.
    BorderBefore,
}

/// A word and its rules.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// A hash of the head.
    slot: usize,
    /// The first eight bytes, folded, the first lowest; and which of them there are.
    begins: (u64, u64),
    text: Box<[u8]>,
    around: Around,
    /// A bit for each number by row.
    rules: Vec<Bits>,
}

/// A word of one byte, in small letters, and its rules.
#[derive(Debug)]
struct Short {
    byte: u8,
    around: Around,
    rules: Vec<Bits>,
}

/// The words whose first two bytes have a hash.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// How many entries have an earlier one.
    start: u32,
    /// The lower five bits of their third and fourth bytes, a bit for each.
    next: [u32; 2],
}

#[inline]
fn slot(folded: u64) -> usize {
    let [first, second, ..] = folded.to_le_bytes();
    let head = u16::from_le_bytes([first, second]);
    usize::from(head ^ head >> 6) & (SLOTS - 1)
}

/// A bit for the third, and one for the fourth of eight bytes.
#[inline]
fn next(folded: u64) -> [u32; 2] {
    [16, 24].map(|by| 1 << (folded >> by & 31))
}

/// Words as they are collected.
#[derive(Debug, Default)]
pub(super) struct Collected {
    entries: Vec<Entry>,
    short: Vec<Short>,
    free: Vec<Bits>,
}

fn add(bits: &mut Bits, more: Bits) {
    bits.iter_mut().zip(more).for_each(|(bits, more)| *bits |= more);
}

fn set(rows: &mut Vec<Bits>, number: u16) {
    let (row, bit) = (usize::from(number) / ROW, usize::from(number) % ROW);
    rows.resize(rows.len().max(row + 1), Bits::default());
    rows[row][bit / 64] |= 1 << (bit % 64);
}

impl Collected {
    /// A word that calls for a rule of a number.
    pub(super) fn add(&mut self, word: &[u8], around: Around, number: u16) {
        match *word {
            [] => self.add_free(number),
            [byte] => {
                let byte = byte.to_ascii_lowercase();
                let same = |short: &Short| (short.byte, short.around) == (byte, around);
                let known = self.short.iter().position(same).unwrap_or_else(|| {
                    self.short.push(Short { byte, around, rules: Vec::new() });
                    self.short.len() - 1
                });
                set(&mut self.short[known].rules, number);
            }
            _ => {
                let begins = (first_eight(word), first_mask(word));
                let (text, mut rules) = (word.to_ascii_lowercase().into(), Vec::new());
                set(&mut rules, number);
                self.entries.push(Entry { slot: slot(begins.0), begins, text, around, rules });
            }
        }
    }

    /// The rule of a number needs no word.
    pub(super) fn add_free(&mut self, number: u16) {
        set(&mut self.free, number);
    }

    pub(super) fn build(mut self) -> Words {
        self.entries.sort_unstable();
        self.entries.dedup_by(|later, first| {
            let same = (later.around, &later.text) == (first.around, &first.text);
            if same {
                first.rules.resize(first.rules.len().max(later.rules.len()), Bits::default());
                first.rules.iter_mut().zip(&later.rules).for_each(|(bits, more)| add(bits, *more));
            }
            same
        });
        let mut slots = vec![Slot::default(); SLOTS];
        let (mut before, mut entries) = (0, self.entries.iter().peekable());
        for (number, slot) in slots.iter_mut().enumerate() {
            slot.start = before;
            while entries.next_if(|entry| entry.slot == number).is_some() {
                before += 1;
            }
        }
        for entry in &self.entries {
            let own = next(entry.begins.0);
            for (i, bits) in slots[entry.slot].next.iter_mut().enumerate() {
                // Behind a shorter word anything stands.
                *bits |= if entry.text.len() > i + 2 { own[i] } else { u32::MAX };
            }
        }
        let bordered = self.entries.iter().all(|entry| entry.around != Around::Anything);
        let in_ascii = |text: &&[u8]| text.iter().take(FINGERPRINT).all(u8::is_ascii);
        let mut texts: Vec<&[u8]> = self.entries.iter().map(|entry| &*entry.text).filter(in_ascii).collect();
        // Words that begin alike are told from others best together.
        texts.sort_unstable();
        let print =
            |text: &&[u8]| std::array::from_fn(|i| text.get(i).map_or(Place::Any, |byte| Place::of(*byte, true)));
        let prints: Vec<[Place; FINGERPRINT]> = texts.iter().map(print).collect();
        let mut sets = prints.chunks(prints.len().div_ceil(SETS).max(1));
        let prints = std::array::from_fn(|_| Fingerprints::in_order(sets.next().unwrap_or_default()));
        Words { prints, entries: self.entries, slots, short: self.short, free: self.free, bordered }
    }
}

impl Words {
    /// Whether some of these rules of a row need a word.
    #[inline]
    pub(super) fn are_needed(&self, row: usize, wanted: Bits) -> bool {
        let free = self.free.get(row).copied().unwrap_or_default();
        wanted.iter().zip(free).any(|(wanted, free)| wanted & !free != 0)
    }

    /// The words in the bytes before a position.
    #[inline]
    pub(super) fn before<'a>(&'a self, window: &Window<'a>, at: usize) -> Before<'a> {
        let from = at.saturating_sub(CONTEXT);
        let context = window.context(at);
        let places = first(&self.prints, window.text.get(from..).unwrap_or_default());
        let known = 1u64.checked_shl(u32::try_from(context.len()).unwrap_or(u32::MAX)).map_or(u64::MAX, |bit| bit - 1);
        let places = if context.is_ascii() { places } else { places | beside(beyond_ascii(context)) };
        Before { words: self, context, places: places & known }
    }
}

/// The words in the bytes before a position.
pub(super) struct Before<'a> {
    words: &'a Words,
    context: &'a [u8],
    /// Where one could stand.
    places: u64,
}

impl Before<'_> {
    /// Whether it takes no look to know that they call for no rule.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.places == 0 && self.words.short.is_empty() && self.words.free.is_empty()
    }

    /// A bit for each rule of a row, of those that are `wanted`, that the words call for or that needs none.
    pub(super) fn in_row(&self, row: usize, wanted: Bits) -> Bits {
        let Self { words, context, mut places } = *self;
        let mut called = words.free.get(row).copied().unwrap_or_default();
        while places != 0 {
            let at = places.trailing_zeros() as usize;
            places &= places - 1;
            words.call(context, at, row, &mut called);
        }
        for short in &words.short {
            let rules = short.rules.get(row).copied().unwrap_or_default();
            if rules.iter().zip(wanted).any(|(rules, wanted)| rules & wanted != 0) && short.stands_in(context) {
                add(&mut called, rules);
            }
        }
        std::array::from_fn(|word| called[word] & wanted[word])
    }
}

impl Words {
    /// Adds the rules of a row that the words at a position call for.
    fn call(&self, text: &[u8], at: usize, row: usize, called: &mut Bits) {
        if self.bordered && goes_on(text, at) {
            return;
        }
        let rest = text.get(at..).unwrap_or_default();
        let here = first_eight(rest);
        let number = slot(here);
        let Slot { start, next: known } = self.slots.get(number).copied().unwrap_or_default();
        if next(here).iter().zip(known).any(|(next, known)| next & known == 0) {
            return;
        }
        let entries = self.entries.get(start as usize..).unwrap_or_default();
        for entry in entries.iter().take_while(|entry| entry.slot == number) {
            let (begins, mask) = entry.begins;
            if here & mask == begins && entry.stands(text, at, rest) {
                add(called, entry.rules.get(row).copied().unwrap_or_default());
            }
        }
    }
}

impl Entry {
    /// Whether it stands in a text at a place, from which on `rest` begins as it does.
    fn stands(&self, text: &[u8], at: usize, rest: &[u8]) -> bool {
        let len = self.text.len();
        self.around.is_there(text, at, at + len)
            && rest.get(..len).is_some_and(|there| there.eq_ignore_ascii_case(&self.text))
    }
}

impl Short {
    fn stands_in(&self, text: &[u8]) -> bool {
        memchr::memchr2_iter(self.byte, self.byte.to_ascii_uppercase(), text)
            .any(|at| self.around.is_there(text, at, at + 1))
    }
}

impl Around {
    /// Whether it is there around a part of a text.
    fn is_there(self, text: &[u8], start: usize, end: usize) -> bool {
        (self == Self::Anything || !goes_on(text, start)) && (self != Self::Borders || !goes_on(text, end))
    }
}

/// The bytes of a block that are beyond ASCII.
fn beyond_ascii(block: &[u8]) -> u64 {
    block.iter().take(BLOCK).enumerate().fold(0, |all, (at, byte)| all | u64::from(byte >> 7) << at)
}

/// Where one of the bytes that a fingerprint takes could be one of these.
fn beside(bytes: u64) -> u64 {
    (1..FINGERPRINT).fold(bytes, |all, place| all | bytes >> place)
}

/// Whether a word goes on over a position: there is a letter on both sides, and no hump.
fn goes_on(text: &[u8], at: usize) -> bool {
    let [Some(before), Some(after)] = [at.checked_sub(1).and_then(|i| text.get(i)), text.get(at)] else { return false };
    before.is_ascii_alphabetic()
        && after.is_ascii_alphabetic()
        && !(before.is_ascii_lowercase() && after.is_ascii_uppercase())
}

const _: () = assert!(ROW.is_multiple_of(64), "a number's bit is that of its remainder");
const _: () = assert!(CONTEXT == BLOCK, "what stands before a value is one block");

#[cfg(test)]
mod tests {
    use super::super::labels::{Labels, zone};
    use super::*;
    use crate::scan::normalise::{Normalised, normalise};
    use crate::scan::rules::builtin_specs;

    fn words(all: &[(&str, Around, u16)], free: &[u16]) -> Words {
        let mut words = Collected::default();
        for (word, around, number) in all {
            words.add(word.as_bytes(), *around, *number);
        }
        for number in free {
            words.add_free(*number);
        }
        words.build()
    }

    fn numbers(words: &Words, text: &str, row: usize) -> Vec<usize> {
        // What stands behind the position is no word before it.
        let text = format!("{text}secretive");
        let at = text.len() - "secretive".len();
        let bits = words.before(&Window { text: text.as_bytes(), at_end: true }, at).in_row(row, [u64::MAX; 4]);
        (0..ROW).filter(|bit| bits[bit / 64] >> (bit % 64) & 1 != 0).map(|bit| row * ROW + bit).collect()
    }

    #[test]
    fn words_are_found_in_either_case_and_count_in_the_row_of_their_number() {
        let all =
            [("token", 3), ("Api_Key", 64), ("key", 255), ("secretive", 256), ("id", 300), ("tokens", 5), ("k", 7)];
        let words = words(&all.map(|(word, number)| (word, Around::Anything, number)), &[]);
        assert_eq!(numbers(&words, "my TOKEN and api_KEY", 0), [3, 7, 64, 255]);
        assert_eq!(numbers(&words, "SecretivE, ID", 1), [256, 300]);
        assert!(numbers(&words, "secretiv to em ey", 0).is_empty());
        assert!(numbers(&words, "secretiv to em ey", 1).is_empty());
        assert_eq!(numbers(&words, "atokens", 0), [3, 5, 7]);
    }

    #[test]
    fn words_count_at_every_place_of_the_context_and_nowhere_else() {
        let words = words(&[("token", Around::Anything, 1), ("number", Around::Borders, 2)], &[]);
        for before in 0..200 {
            let filled = |word: &str, after: usize| format!("{}{word}{}", "- ".repeat(before), ".".repeat(after));
            for after in 0..=CONTEXT {
                let expected: &[usize] = if after + 5 <= CONTEXT { &[1] } else { &[] };
                assert_eq!(numbers(&words, &filled("tokeN", after), 0), expected, "{before} {after}");
                let expected: &[usize] = if after + 6 <= CONTEXT { &[2] } else { &[] };
                assert_eq!(numbers(&words, &filled("Number", after), 0), expected, "{before} {after}");
            }
        }
    }

    #[test]
    fn a_word_may_need_borders() {
        let all = [("tax", Around::Borders, 1), ("born", Around::BorderBefore, 2), ("id", Around::Borders, 3)];
        let short = [("d", Around::Borders, 4), ("d", Around::Borders, 5), ("D", Around::BorderBefore, 6)];
        let words = words(&[&all[..], &short].concat(), &[9]);
        for (text, expected) in [
            ("my tax: ", &[1, 9][..]),
            ("syntax: ", &[9]),
            ("taxi: ", &[9]),
            ("customerTaxId ", &[1, 3, 9]),
            ("TAX_ID", &[1, 3, 9]),
            ("borns ", &[2, 9]),
            ("newborn ", &[9]),
            ("9born", &[2, 9]),
            ("id", &[3, 9]),
            ("D o b ", &[4, 5, 6, 9]),
            ("dates, old", &[6, 9]),
            ("old", &[9]),
        ] {
            assert_eq!(numbers(&words, text, 0), expected, "{text}");
        }
    }

    #[test]
    fn words_beyond_ascii_are_found() {
        let words = words(&[("fødsel", Around::Anything, 1), ("여권", Around::BorderBefore, 300)], &[]);
        assert_eq!(numbers(&words, "fødselsnr", 0), [1]);
        assert_eq!(numbers(&words, "여권 번호", 1), [300]);
        assert!(numbers(&words, "fodsel", 0).is_empty() && numbers(&words, "여", 1).is_empty());
    }

    #[test]
    fn no_label_that_names_a_value_is_overlooked() {
        let specs = builtin_specs();
        let labels: Vec<Labels> = specs.iter().map(|spec| Labels::new(&spec.labels).expect("labels")).collect();
        let mut collected = Collected::default();
        for (number, labels) in (0..).zip(&labels) {
            labels.beginnings().for_each(|(text, around)| collected.add(text, around, number));
        }
        let words = collected.build();
        let all: Vec<&str> =
            specs.iter().flat_map(|spec| &spec.labels).map(|label| label.trim_end_matches(['*', '!'])).collect();
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut below = |count: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % count as u64).expect("less than it")
        };
        let joints =
            [" ", "_", "-", "\n", "  ", "", "", ": ", "\"", " and ", "x", "X", "1", ". ", "=", "Number", " no ", "é"];
        let mut named = 0;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..=below(4) {
                let joint = joints[below(joints.len())];
                for (i, word) in all[below(all.len())].split([' ', '-', '_']).enumerate() {
                    let word = match below(4) {
                        0 => word.to_uppercase(),
                        1 => word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect(),
                        _ => word.to_owned(),
                    };
                    text.push_str(if i == 0 { "" } else { joint });
                    text.push_str(&word);
                }
                text.push_str(joints[below(joints.len())]);
            }
            let mut normal = Normalised::new();
            let text = if normalise(&text, &mut normal) { normal.bytes() } else { text.as_bytes() };
            let window = Window { text, at_end: true };
            let (zone, before) = (zone(&window, text.len()), words.before(&window, text.len()));
            for (number, _) in labels.iter().enumerate().filter(|(_, labels)| labels.are_in(&zone)) {
                let bits = before.in_row(number / ROW, [u64::MAX; 4]);
                assert_ne!(bits[number % ROW / 64] >> (number % 64) & 1, 0, "{:?}", String::from_utf8_lossy(text));
                named += 1;
            }
        }
        assert!(named > 10_000, "{named}");
    }
}

//! Decides cheaply whether a text is worth modelling: looks for literals that attacks hold and plain text rarely does.

/// Texts up to this length are modelled when letters or signs alone call for it.
const SHORT: usize = 512;
/// What the distinct literals in a short text must weigh; longer ones hold more chance hits and need more.
const SHORT_WEIGHT: u32 = 2;
/// Letters outside ASCII after which a short text is modelled without a hit.
const FOREIGN: usize = 6;
/// One foreign letter in so many bytes opens the gate of longer texts, too.
const FOREIGN_SHARE: usize = 8;
/// Brackets, braces, bars and backslashes after which a short text is modelled: generated suffixes are full of them.
const SIGNS: usize = 3;

/// Bytes compared at once.
const GRAM: usize = 4;
/// Only every third position is looked at: a literal of six bytes has a whole gram at one of them.
const STRIDE: usize = 3;
/// The shortest literal for which that holds.
const SHORTEST: usize = GRAM + STRIDE - 1;
/// log2 of the slots of the table of grams.
const BITS: u32 = 13;

/// The literals, one a line, `_` standing for a space; a second column gives a weight other than 1.
const SOURCE: &str = include_str!("../../../../../config/injection/gate.txt");

/// A literal of the gate (lower case) and what it weighs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Looked for regardless of the case of ASCII letters; 6 bytes at least.
    pub literal: String,
    /// How much it counts in a text of more than 512 bytes.
    pub weight: u32,
}

/// The literals of the gate, for an engine that looks for them together with its own.
#[must_use]
pub fn triggers() -> Vec<Trigger> {
    SOURCE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (literal, weight) = line.split_once(' ').unwrap_or((line, "1"));
            Trigger { literal: literal.replace('_', " "), weight: weight.trim().parse().unwrap_or(1) }
        })
        .filter(|trigger| trigger.literal.len() >= SHORTEST)
        .collect()
}

/// What the gate looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of the text, in bytes.
    pub length: usize,
    /// The sum over the distinct triggers that were found.
    pub weight: u32,
    /// Letters outside ASCII.
    pub foreign: usize,
    /// Brackets, braces, bars and backslashes.
    pub signs: usize,
}

/// Whether a text with these counts is to be modelled.
#[must_use]
pub fn opens(counts: Counts) -> bool {
    if counts.length <= SHORT {
        counts.weight >= SHORT_WEIGHT || counts.foreign >= FOREIGN || counts.signs >= SIGNS.max(counts.length / 64)
    } else {
        // 5 for a text just above the limit, 9 for a full segment with its overlap.
        counts.weight as usize >= 4 + counts.length / SHORT || counts.foreign * FOREIGN_SHARE >= counts.length
    }
}

/// The gate with its table of grams.
#[derive(Debug)]
pub(super) struct Gate {
    triggers: Vec<Trigger>,
    /// For each hashed gram the number of its list in `places`; 0 for none.
    slots: Box<[u8; 1 << BITS]>,
    /// Literals that hold the gram, and where.
    places: Vec<Vec<(u8, u8)>>,
}

impl Gate {
    pub(super) fn new() -> Self {
        let mut gate = Self { triggers: triggers(), slots: Box::new([0; 1 << BITS]), places: vec![Vec::new()] };
        for number in 0..gate.triggers.len() {
            for offset in 0..STRIDE {
                gate.enter(number, offset);
            }
        }
        gate
    }

    fn enter(&mut self, number: usize, offset: usize) {
        let gram = self.triggers.get(number).and_then(|trigger| trigger.literal.as_bytes().get(offset..));
        let Some(gram) = gram.and_then(|rest| rest.first_chunk::<GRAM>()) else { return };
        let Some(slot) = self.slots.get_mut(slot_of(*gram)) else { return };
        // At most 3 * 84 lists: they can be numbered in a byte.
        if *slot == 0 {
            *slot = u8::try_from(self.places.len()).unwrap_or(0);
            self.places.push(Vec::new());
        }
        if let Some(list) = self.places.get_mut(usize::from(*slot))
            && let (Ok(number), Ok(offset)) = (u8::try_from(number), u8::try_from(offset))
        {
            list.push((number, offset));
        }
    }

    /// Whether `text` is to be modelled.
    pub(super) fn opens(&self, text: &[u8]) -> bool {
        let mut counts = characters(text);
        if opens(counts) {
            return true;
        }
        let mut seen = 0_u128;
        let mut at = 0;
        // Four positions at a time, while all of them have a whole gram.
        while let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
            let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, ..] = *bytes;
            let lists = [[b0, b1, b2, b3], [b3, b4, b5, b6], [b6, b7, b8, b9], [b9, b10, b11, b12]]
                .map(|gram| self.slots[slot_of(gram)]);
            if u32::from_ne_bytes(lists) != 0 {
                for (index, list) in lists.into_iter().enumerate() {
                    if list != 0 && self.counted(text, at + STRIDE * index, list, &mut seen, &mut counts) {
                        return true;
                    }
                }
            }
            at += 4 * STRIDE;
        }
        while let Some(gram) = text.get(at..).and_then(|rest| rest.first_chunk::<GRAM>()) {
            let list = self.slots[slot_of(*gram)];
            if list != 0 && self.counted(text, at, list, &mut seen, &mut counts) {
                return true;
            }
            at += STRIDE;
        }
        false
    }

    /// Adds the literal at `at`, if it is one and a new one; whether that opens the gate.
    fn counted(&self, text: &[u8], at: usize, list: u8, seen: &mut u128, counts: &mut Counts) -> bool {
        match self.verify(text, at, list) {
            Some((bit, weight)) if *seen & bit == 0 => {
                *seen |= bit;
                counts.weight += weight;
                opens(*counts)
            }
            _ => false,
        }
    }

    /// The bit and the weight of the literal that has this gram at `at`.
    fn verify(&self, text: &[u8], at: usize, list: u8) -> Option<(u128, u32)> {
        self.places.get(usize::from(list))?.iter().find_map(|&(number, offset)| {
            let trigger = self.triggers.get(usize::from(number))?;
            let start = at.checked_sub(usize::from(offset))?;
            let found = text.get(start..start + trigger.literal.len())?;
            found.eq_ignore_ascii_case(trigger.literal.as_bytes()).then_some((1 << (number & 127), trigger.weight))
        })
    }
}

/// Letters that differ in case only share a slot.
#[inline]
fn slot_of(gram: [u8; GRAM]) -> usize {
    ((u32::from_le_bytes(gram) | 0x2020_2020).wrapping_mul(0x9E37_79B1) >> (32 - BITS)) as usize
}

/// Counts signs, and the first bytes of letters outside ASCII: not those of common punctuation (U+2000), full-width
/// forms and emoji. In two plain sums of bytes, which compilers turn into vector code.
fn characters(text: &[u8]) -> Counts {
    let mut counts = Counts { length: text.len(), ..Counts::default() };
    for chunk in text.chunks(128) {
        let foreign: u8 = chunk.iter().map(|byte| u8::from(byte.wrapping_sub(0xC3) < 0x2C && *byte != 0xE2)).sum();
        let signs: u8 = chunk.iter().map(|byte| u8::from((byte | 0x20).wrapping_sub(b'{') < 3)).sum();
        counts.foreign += usize::from(foreign);
        counts.signs += usize::from(signs);
    }
    counts
}

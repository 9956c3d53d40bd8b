//! Decides cheaply whether a text is worth modelling: looks for literals that attacks hold and plain text rarely does.

/// Texts up to this length are modelled at the first hit; longer ones hold chance hits.
const SHORT: usize = 512;
/// What the distinct literals in a longer text must weigh.
const LONG_WEIGHT: u32 = 3;
/// Letters outside ASCII after which a short text is modelled without a hit.
const FOREIGN: usize = 6;
/// One foreign letter in so many bytes opens the gate of longer texts, too.
const FOREIGN_SHARE: usize = 8;

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

/// Whether a text of `length` bytes, holding distinct triggers of this total `weight` and so many `foreign` letters,
/// is to be modelled.
#[must_use]
pub fn opens(length: usize, weight: u32, foreign: usize) -> bool {
    if length <= SHORT {
        weight > 0 || foreign >= FOREIGN
    } else {
        weight >= LONG_WEIGHT || foreign * FOREIGN_SHARE >= length
    }
}

/// The gate with its table of grams.
#[derive(Debug)]
pub(super) struct Gate {
    triggers: Vec<Trigger>,
    /// For each hashed gram the number of its list in `places`; 0 for none.
    slots: Box<[u8]>,
    /// Literals that hold the gram, and where.
    places: Vec<Vec<(u8, u8)>>,
}

impl Gate {
    pub(super) fn new() -> Self {
        let mut gate =
            Self { triggers: triggers(), slots: vec![0; 1 << BITS].into_boxed_slice(), places: vec![Vec::new()] };
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
        // At most 3 * 64 lists: they can be numbered in a byte.
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
        if opens(text.len(), 0, foreign(text)) {
            return true;
        }
        let (mut seen, mut weight) = (0_u64, 0);
        for at in (0..text.len()).step_by(STRIDE) {
            let Some(gram) = text.get(at..).and_then(|rest| rest.first_chunk::<GRAM>()) else { break };
            let list = self.slots.get(slot_of(*gram)).copied().unwrap_or(0);
            if list != 0
                && let Some((bit, more)) = self.verify(text, at, list)
                && seen & bit == 0
            {
                seen |= bit;
                weight += more;
                if opens(text.len(), weight, 0) {
                    return true;
                }
            }
        }
        false
    }

    /// The bit and the weight of the literal that has this gram at `at`.
    #[cold]
    fn verify(&self, text: &[u8], at: usize, list: u8) -> Option<(u64, u32)> {
        self.places.get(usize::from(list))?.iter().find_map(|&(number, offset)| {
            let trigger = self.triggers.get(usize::from(number))?;
            let start = at.checked_sub(usize::from(offset))?;
            let found = text.get(start..start + trigger.literal.len())?;
            found.eq_ignore_ascii_case(trigger.literal.as_bytes()).then_some((1 << (number & 63), trigger.weight))
        })
    }
}

/// Letters that differ in case only share a slot.
#[inline]
fn slot_of(gram: [u8; GRAM]) -> usize {
    ((u32::from_le_bytes(gram) | 0x2020_2020).wrapping_mul(0x9E37_79B1) >> (32 - BITS)) as usize
}

/// Counts the first bytes of letters outside ASCII: not those of common punctuation (U+2000), full-width forms and
/// emoji.
fn foreign(text: &[u8]) -> usize {
    text.chunks(128)
        .map(|chunk| chunk.iter().map(|byte| u8::from(byte.wrapping_sub(0xC3) < 0x2C && *byte != 0xE2)).sum::<u8>())
        .map(usize::from)
        .sum()
}

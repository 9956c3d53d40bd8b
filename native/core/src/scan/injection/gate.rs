//! Decides cheaply whether a text is worth modelling: looks for literals that attacks hold and plain text rarely does.

use aho_corasick::packed;

/// Texts up to this length are modelled at the first hit; longer ones hold chance hits.
const SHORT: usize = 512;
/// What the distinct literals in a longer text must weigh.
const LONG_WEIGHT: u32 = 3;
/// Bytes of letters outside ASCII after which a short text is modelled without a hit.
const FOREIGN: usize = 6;
/// One foreign letter byte in so many opens the gate of longer texts, too.
const FOREIGN_SHARE: usize = 8;

/// The literals, one a line, `_` standing for a space; a second column gives a weight other than 1.
const SOURCE: &str = include_str!("../../../../../config/injection/gate.txt");

/// A literal of the gate (lower case) and what it weighs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Looked for in the text with ASCII letters folded to lower case.
    pub literal: String,
    /// How much it counts in a text of more than 512 bytes.
    pub weight: u32,
}

/// The literals of the gate, for an engine that looks for them together with its own.
#[must_use]
pub fn triggers() -> Vec<Trigger> {
    SOURCE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
        .map(|line| {
            let (literal, weight) = line.split_once(' ').unwrap_or((line, "1"));
            Trigger { literal: literal.replace('_', " "), weight: weight.trim().parse().unwrap_or(1) }
        })
        .collect()
}

/// Whether a text of `length` bytes, holding distinct triggers of this total `weight` and so many bytes of `foreign`
/// letters, is to be modelled.
#[must_use]
pub fn opens(length: usize, weight: u32, foreign: usize) -> bool {
    if length <= SHORT {
        weight > 0 || foreign >= FOREIGN
    } else {
        weight >= LONG_WEIGHT || foreign * FOREIGN_SHARE >= length
    }
}

/// The gate with its searcher.
#[derive(Debug)]
pub(super) struct Gate {
    searcher: Option<packed::Searcher>,
    weights: Vec<u32>,
}

impl Gate {
    pub(super) fn new() -> Self {
        let triggers = triggers();
        let mut builder = packed::Config::new().builder();
        builder.extend(triggers.iter().map(|trigger| &trigger.literal));
        Self { searcher: builder.build(), weights: triggers.iter().map(|trigger| trigger.weight).collect() }
    }

    /// Whether `text`, in which ASCII letters are lower case, is to be modelled.
    pub(super) fn opens(&self, text: &[u8]) -> bool {
        let Some(searcher) = &self.searcher else { return true };
        if opens(text.len(), 0, foreign(text)) {
            return true;
        }
        let (mut seen, mut weight) = (0_u64, 0);
        for found in searcher.find_iter(text) {
            let bit = 1 << (found.pattern().as_usize() & 63);
            if seen & bit == 0 {
                seen |= bit;
                weight += self.weights.get(found.pattern().as_usize()).copied().unwrap_or(1);
                if opens(text.len(), weight, 0) {
                    return true;
                }
            }
        }
        false
    }
}

/// Counts the lead bytes of letters outside ASCII, without those of common punctuation (U+2000), full-width forms and
/// emoji.
fn foreign(text: &[u8]) -> usize {
    text.chunks(128)
        .map(|chunk| usize::from(chunk.iter().map(|byte| u8::from(matches!(byte, 0xC3..=0xE1 | 0xE3..=0xEE))).sum::<u8>()))
        .sum()
}

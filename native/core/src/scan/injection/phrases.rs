//! Phrase templates: sequences of words with small gaps, read from `config/injection/phrases.txt`.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::tokens::{self, Token};
use crate::scan::normalise::{Normalised, normalise};

/// Tokens that may stand between two words of a phrase when the template does not say.
const ADJACENT: u8 = 1;

/// One word (or any of a set of words) of a phrase.
#[derive(Clone, Copy, Debug)]
struct Step {
    phrase: u16,
    /// Where the state of this step is kept; that of the step before lies before it.
    slot: u16,
    first: bool,
    /// How far behind this step the next may be; 0 marks the last one.
    reach: u8,
}

#[derive(Debug)]
struct Phrase {
    id: &'static str,
    score: f32,
}

/// The templates, compiled: for each word the steps that it fulfils.
#[derive(Debug)]
pub(super) struct Phrases {
    templates: Vec<Phrase>,
    /// By hash, and in each group later steps before earlier ones, so that one word cannot serve two steps.
    steps: HashMap<u32, Box<[Step]>, BuildHasherDefault<Hashed>>,
    /// One bit for each upper half of a hash: most words end here.
    known: Box<[u64]>,
    slots: usize,
}

/// The words are hashed already, by the author of the templates and not by a stranger.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.0 = (self.0 ^ u64::from(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A phrase that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) id: &'static str,
    pub(super) score: f32,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Phrases {
    /// Compiles the text of a template file; the error is the line at fault.
    pub(super) fn parse(source: &'static str) -> Result<Self, &'static str> {
        let mut sets = HashMap::new();
        let mut steps = HashMap::new();
        let mut compiled = Self {
            templates: Vec::new(),
            steps: HashMap::default(),
            known: vec![0; 1024].into_boxed_slice(),
            slots: 0,
        };
        for line in source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (head, body) = line.split_once('=').ok_or(line)?;
            let mut head = head.split_whitespace();
            match (head.next(), head.next(), head.next()) {
                (Some("set"), Some(name), None) => {
                    let words = body.split_whitespace().flat_map(spellings).flatten();
                    sets.entry(name).or_insert_with(BTreeSet::new).extend(words);
                }
                (Some("phrase"), Some(id), Some(score)) => {
                    let score: f32 = score.parse().map_err(|_| line)?;
                    compiled.add(Phrase { id, score }, body, &sets, &mut steps).ok_or(line)?;
                }
                _ => return Err(line),
            }
        }
        for (word, mut steps) in steps {
            steps.sort_by_key(|step| std::cmp::Reverse(step.slot));
            compiled.steps.insert(word, steps.into_boxed_slice());
        }
        Ok(compiled)
    }

    fn add(
        &mut self,
        phrase: Phrase,
        body: &'static str,
        sets: &HashMap<&str, BTreeSet<u32>>,
        steps: &mut HashMap<u32, Vec<Step>>,
    ) -> Option<()> {
        let number = u16::try_from(self.templates.len()).ok()?;
        let mut places: Vec<(u8, BTreeSet<u32>)> = Vec::new();
        let mut reach = 0;
        for item in body.split_whitespace() {
            if let Some(gap) = item.strip_prefix('~') {
                reach = gap.parse::<u8>().ok()?.checked_add(ADJACENT)?;
            } else if let Some(name) = item.strip_prefix('@') {
                places.push((reach, sets.get(name)?.clone()));
                reach = ADJACENT;
            } else {
                for words in spellings(item) {
                    places.push((reach, words));
                    reach = ADJACENT;
                }
            }
        }
        let reaches: Vec<u8> = places.iter().skip(1).map(|(reach, _)| (*reach).max(ADJACENT)).chain([0]).collect();
        for (index, ((_, words), reach)) in places.iter().zip(&reaches).enumerate() {
            let slot = u16::try_from(self.slots).ok()?;
            self.slots += 1;
            for &word in words {
                steps.entry(word).or_default().push(Step { phrase: number, slot, first: index == 0, reach: *reach });
                *self.known.get_mut((word >> 22) as usize)? |= 1 << ((word >> 16) & 63);
            }
        }
        self.templates.push(phrase);
        (!places.is_empty()).then_some(())
    }

    fn may_know(&self, hash: u32) -> bool {
        self.known.get((hash >> 22) as usize).is_some_and(|bits| bits & (1 << ((hash >> 16) & 63)) != 0)
    }
}

/// The hashes of each word of an item: in small letters, with a capital and in capitals, as normalisation leaves them. Of
/// alphabets beside ours it takes some letters for ours, and not the same of both cases.
fn spellings(item: &str) -> Vec<BTreeSet<u32>> {
    let mut capital = item.chars();
    let capital: String = capital.next().iter().flat_map(|first| first.to_uppercase()).chain(capital).collect();
    let all = [item.to_owned(), capital, item.to_uppercase()].map(|item| hashes(&item));
    let words = all.iter().map(Vec::len).min().unwrap_or(0);
    (0..words).map(|word| all.iter().map(|hashes| hashes[word]).collect()).collect()
}

fn hashes(text: &str) -> Vec<u32> {
    let mut normal = Normalised::new();
    let text = if normalise(text, &mut normal) { normal.bytes() } else { text.as_bytes() };
    let mut hashes = Vec::new();
    tokens::each(text, |token| hashes.push(token.hash));
    hashes
}

/// Follows all phrases through one text.
pub(super) struct Search<'phrases> {
    phrases: &'phrases Phrases,
    /// For each step that was taken: up to which token the next one may come (counted from 1). Empty until the first word
    /// that some phrase holds.
    until: Vec<u32>,
    /// For each step that was taken: where its phrase began.
    starts: Vec<usize>,
    /// Up to which token any next step may come.
    open: u32,
    count: u32,
    best: Option<Found>,
}

impl<'phrases> Search<'phrases> {
    pub(super) fn new(phrases: &'phrases Phrases) -> Self {
        Self { phrases, until: Vec::new(), starts: Vec::new(), open: 0, count: 0, best: None }
    }

    #[inline]
    pub(super) fn push(&mut self, token: Token) {
        self.count += 1;
        if self.phrases.may_know(token.hash) {
            self.advance(token);
        }
    }

    fn advance(&mut self, token: Token) {
        let Some(steps) = self.phrases.steps.get(&token.hash) else { return };
        if self.until.is_empty() {
            self.until = vec![0; self.phrases.slots];
            self.starts = vec![0; self.phrases.slots];
        }
        for step in steps {
            let slot = usize::from(step.slot);
            let start = if step.first {
                token.start
            } else {
                if self.count > self.open {
                    continue;
                }
                match slot.checked_sub(1) {
                    Some(before) if self.count <= self.until[before] => self.starts[before],
                    _ => continue,
                }
            };
            if step.reach == 0 {
                self.found(step.phrase, start, token.end);
            } else {
                let until = self.count + u32::from(step.reach);
                self.until[slot] = until;
                self.starts[slot] = start;
                self.open = self.open.max(until);
            }
        }
    }

    fn found(&mut self, phrase: u16, start: usize, end: usize) {
        if let Some(phrase) = self.phrases.templates.get(usize::from(phrase))
            && self.best.is_none_or(|best| phrase.score > best.score)
        {
            self.best = Some(Found { id: phrase.id, score: phrase.score, start, end });
        }
    }

    pub(super) fn finish(self) -> Option<Found> {
        self.best
    }
}

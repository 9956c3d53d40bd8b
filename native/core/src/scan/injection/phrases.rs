//! Phrase templates: sequences of words with small gaps, read from `config/injection/phrases.txt`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::tokens::{self, Token};

/// Tokens that may stand between two words of a phrase when the template does not say.
const ADJACENT: u32 = 1;

/// One word (or any of a set of words) of a phrase.
#[derive(Clone, Copy, Debug)]
struct Step {
    phrase: u16,
    /// Where the state of this step is kept.
    slot: u16,
    /// The greatest distance from the step before; 0 marks the first step.
    reach: u32,
    last: bool,
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
    steps: HashMap<u32, Vec<Step>, BuildHasherDefault<Hashed>>,
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
                    let words: Vec<u32> = body.split_whitespace().flat_map(hashes).collect();
                    sets.entry(name).or_insert_with(Vec::new).extend(words);
                }
                (Some("phrase"), Some(id), Some(score)) => {
                    let score: f32 = score.parse().map_err(|_| line)?;
                    compiled.add(Phrase { id, score }, body, &sets).ok_or(line)?;
                }
                _ => return Err(line),
            }
        }
        for steps in compiled.steps.values_mut() {
            steps.sort_by_key(|step| std::cmp::Reverse(step.slot));
        }
        Ok(compiled)
    }

    fn add(&mut self, phrase: Phrase, body: &'static str, sets: &HashMap<&str, Vec<u32>>) -> Option<()> {
        let number = u16::try_from(self.templates.len()).ok()?;
        let mut places: Vec<(u32, Vec<u32>)> = Vec::new();
        let mut reach = 0;
        for item in body.split_whitespace() {
            if let Some(gap) = item.strip_prefix('~') {
                reach = gap.parse::<u32>().ok()? + ADJACENT;
            } else if let Some(name) = item.strip_prefix('@') {
                places.push((reach, sets.get(name)?.clone()));
                reach = ADJACENT;
            } else {
                for word in hashes(item) {
                    places.push((reach, vec![word]));
                    reach = ADJACENT;
                }
            }
        }
        let count = places.len();
        for (index, (reach, words)) in places.into_iter().enumerate() {
            let slot = u16::try_from(self.slots).ok()?;
            self.slots += 1;
            let reach = if index == 0 { 0 } else { reach.max(ADJACENT) };
            for word in words {
                self.steps.entry(word).or_default().push(Step {
                    phrase: number,
                    slot,
                    reach,
                    last: index + 1 == count,
                });
                *self.known.get_mut((word >> 22) as usize)? |= 1 << ((word >> 16) & 63);
            }
        }
        self.templates.push(phrase);
        (count > 0).then_some(())
    }

    fn may_know(&self, hash: u32) -> bool {
        self.known.get((hash >> 22) as usize).is_some_and(|bits| bits & (1 << ((hash >> 16) & 63)) != 0)
    }
}

fn hashes(text: &str) -> Vec<u32> {
    let mut hashes = Vec::new();
    tokens::each(text.as_bytes(), |token| hashes.push(token.hash));
    hashes
}

/// Follows all phrases through one text.
pub(super) struct Search<'phrases> {
    phrases: &'phrases Phrases,
    /// For each step: the number of the token that last fulfilled it (from 1), and where its phrase began. Empty until
    /// the first word that some phrase holds.
    reached: Vec<(u32, usize)>,
    count: u32,
    best: Option<Found>,
}

impl<'phrases> Search<'phrases> {
    pub(super) fn new(phrases: &'phrases Phrases) -> Self {
        Self { phrases, reached: Vec::new(), count: 0, best: None }
    }

    #[inline]
    pub(super) fn push(&mut self, token: Token) {
        self.count += 1;
        if self.phrases.may_know(token.hash) {
            self.advance(token);
        }
    }

    fn advance(&mut self, token: Token) {
        if self.reached.is_empty() {
            self.reached.resize(self.phrases.slots, (0, 0));
        }
        for step in self.phrases.steps.get(&token.hash).into_iter().flatten() {
            let slot = usize::from(step.slot);
            let start = if step.reach == 0 {
                token.start
            } else {
                match slot.checked_sub(1).and_then(|before| self.reached.get(before)) {
                    Some(&(at, start)) if at != 0 && self.count - at <= step.reach => start,
                    _ => continue,
                }
            };
            if let Some(reached) = self.reached.get_mut(slot) {
                *reached = (self.count, start);
            }
            if step.last {
                self.found(step.phrase, start, token.end);
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

//! Phrase templates: sequences of words with small gaps, read from `config/injection/phrases.txt`.
//!
//! Exemptions are templates, too, read from `exemptions.txt`, and looked for where a phrase was found that they are for.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::thread::LocalKey;

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
    /// How far behind this step the next may be; 0 marks the last one.
    reach: u8,
}

/// The steps that a word fulfils. Later steps come before earlier ones, so that one word cannot serve two steps.
#[derive(Debug, Default)]
struct Steps {
    /// Those that go on from the step before.
    next: Vec<Step>,
    /// Those that begin a phrase.
    first: Vec<Step>,
}

#[derive(Debug)]
struct Phrase {
    /// Of an exemption: how the ids begin of the phrases that it is for.
    id: &'static str,
    score: f32,
    /// Whether all places are told where it is found, and not the strongest phrase alone.
    listed: bool,
    /// Of what takes an exemption back.
    insists: bool,
    /// Whether it counts only where the gate opened.
    gated: bool,
}

/// The templates of the data files.
#[derive(Debug)]
pub(super) struct Templates {
    pub(super) phrases: Phrases,
    pub(super) exemptions: Phrases,
}

/// The templates, compiled: for each word the steps that it fulfils.
#[derive(Debug)]
pub(super) struct Phrases {
    templates: Vec<Phrase>,
    steps: Words,
    /// Of all words, and of those that begin a phrase: most end here, and where nothing is open only the latter matter.
    known: Bits,
    begins: Bits,
    slots: usize,
    /// The state of the last search in this thread.
    kept: &'static LocalKey<Cell<Walk>>,
}

/// One bit for each upper half of a hash.
#[derive(Debug)]
struct Bits(Box<[u64]>);

impl Bits {
    fn new() -> Self {
        Self(vec![0; 1024].into_boxed_slice())
    }

    fn add(&mut self, hash: u32) {
        if let Some(bits) = self.0.get_mut((hash >> 22) as usize) {
            *bits |= 1 << ((hash >> 16) & 63);
        }
    }

    #[inline]
    fn may_have(&self, hash: u32) -> bool {
        self.0.get((hash >> 22) as usize).is_some_and(|bits| bits & (1 << ((hash >> 16) & 63)) != 0)
    }
}

/// The steps of each word, by its hash: the author of the templates chose the words and not a stranger, so that the upper bits
/// of it say where to look.
#[derive(Debug)]
struct Words {
    /// Hashes, and behind which of the steps before them theirs stand; these count from one.
    slots: Box<[(u32, u32)]>,
    all: Vec<Steps>,
}

impl Words {
    fn new(steps: HashMap<u32, Steps>) -> Self {
        let mut words = Self { slots: vec![(0, 0); (4 * steps.len()).next_power_of_two()].into(), all: Vec::new() };
        for (word, steps) in steps {
            words.all.push(steps);
            let (Ok(number), Some(slot)) = (u32::try_from(words.all.len()), words.slot(word)) else { continue };
            words.slots[slot] = (word, number);
        }
        words
    }

    /// Where a word stands, or is to stand.
    #[inline]
    fn slot(&self, word: u32) -> Option<usize> {
        let first = ((u64::from(word) * self.slots.len() as u64) >> u32::BITS) as usize;
        (first..self.slots.len()).chain(0..first).find(|slot| {
            let (own, number) = self.slots[*slot];
            own == word || number == 0
        })
    }

    #[inline]
    fn get(&self, word: u32) -> Option<&Steps> {
        let (_, number) = self.slots[self.slot(word)?];
        self.all.get((number as usize).checked_sub(1)?)
    }
}

/// A phrase or an exemption that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) id: &'static str,
    pub(super) score: f32,
    /// Of an exemption: whether it takes others back.
    pub(super) insists: bool,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Compiles the text of the template files; the error is the line at fault.
pub(super) fn parse(source: &'static str) -> Result<Templates, &'static str> {
    let (mut sets, mut gated) = (HashMap::new(), Vec::new());
    let (mut phrases, mut exemptions) = (Phrases::new(&PHRASES), Phrases::new(&EXEMPTIONS));
    let (mut steps, mut exempting) = (HashMap::new(), HashMap::new());
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
                let phrase = Phrase { id, score, listed: false, insists: false, gated: false };
                phrases.add(phrase, body, &sets, &mut steps).ok_or(line)?;
            }
            (Some(kind @ ("exempt" | "insist")), Some(id), None) => {
                let insists = kind == "insist";
                let exemption = Phrase { id, score: 0.0, listed: true, insists, gated: false };
                exemptions.add(exemption, body, &sets, &mut exempting).ok_or(line)?;
            }
            (Some("gated"), None, None) => gated.extend(body.split_whitespace()),
            _ => return Err(line),
        }
    }
    for phrase in &mut phrases.templates {
        phrase.gated = gated.iter().any(|id| phrase.id.starts_with(id));
        phrase.listed = exemptions.templates.iter().any(|exemption| phrase.id.starts_with(exemption.id));
    }
    phrases.compile(steps);
    exemptions.compile(exempting);
    Ok(Templates { phrases, exemptions })
}

impl Phrases {
    fn new(kept: &'static LocalKey<Cell<Walk>>) -> Self {
        Self {
            templates: Vec::new(),
            steps: Words { slots: Box::default(), all: Vec::new() },
            known: Bits::new(),
            begins: Bits::new(),
            slots: 0,
            kept,
        }
    }

    fn compile(&mut self, mut steps: HashMap<u32, Steps>) {
        for steps in steps.values_mut() {
            steps.next.sort_by_key(|step| std::cmp::Reverse(step.slot));
        }
        self.steps = Words::new(steps);
    }

    fn add(
        &mut self,
        phrase: Phrase,
        body: &'static str,
        sets: &HashMap<&str, BTreeSet<u32>>,
        all: &mut HashMap<u32, Steps>,
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
                let steps = all.entry(word).or_default();
                let step = Step { phrase: number, slot, reach: *reach };
                self.known.add(word);
                if index == 0 {
                    self.begins.add(word);
                    steps.first.push(step);
                } else {
                    steps.next.push(step);
                }
            }
        }
        self.templates.push(phrase);
        (!places.is_empty()).then_some(())
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

/// A step that was taken.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// Up to which token the next one may come.
    until: u32,
    /// Where its phrase began.
    start: u32,
}

/// The state of a search, which the next one goes on with: what was taken before is past.
#[derive(Clone, Debug, Default)]
struct Walk {
    /// By slot. Empty until the first word that some phrase holds.
    taken: Vec<Taken>,
    /// Up to which token any next step may come.
    open: u32,
    /// Tokens so far.
    count: u32,
}

thread_local! {
    /// Of the last search in this thread, so that the steps of all phrases need not be cleared for each text.
    static PHRASES: Cell<Walk> = Cell::default();
    static EXEMPTIONS: Cell<Walk> = Cell::default();
}

impl Walk {
    /// That of the last search, or a new one.
    fn again(phrases: &Phrases) -> Self {
        let (mut walk, slots) = (phrases.kept.take(), phrases.slots);
        walk.close();
        if walk.taken.len() != slots || walk.count > u32::MAX / 2 {
            walk = Self { taken: vec![Taken::default(); slots], ..Self::default() };
        }
        walk.count += 1;
        walk
    }

    /// Whether any step may follow now.
    fn is_open(&self) -> bool {
        self.count <= self.open
    }

    /// Lets what was taken so far be past.
    fn close(&mut self) {
        self.count = self.count.max(self.open);
    }
}

/// Follows all phrases through one stretch of text after another.
#[derive(Clone, Debug)]
pub(super) struct Search<'phrases> {
    phrases: &'phrases Phrases,
    walk: Walk,
    best: Option<Found>,
    listed: Vec<Found>,
    /// Whether the gate opened for this stretch, or it is searched for what needs no gate.
    gate_opened: bool,
}

impl<'phrases> Search<'phrases> {
    pub(super) fn new(phrases: &'phrases Phrases) -> Self {
        Self { phrases, walk: Walk::default(), best: None, listed: Vec::new(), gate_opened: true }
    }

    /// Begins a stretch.
    pub(super) fn begin(&mut self, gate_opened: bool) {
        self.gate_opened = gate_opened;
    }

    /// Takes the next token; it begins less than four gigabytes into the stretch.
    #[inline]
    pub(super) fn push(&mut self, token: Token) {
        self.walk.count += 1;
        let words = if self.walk.is_open() { &self.phrases.known } else { &self.phrases.begins };
        if words.may_have(token.hash) && self.advance(token, token.hash) {
            return;
        }
        if token.spelled != 0 && words.may_have(token.spelled) {
            self.advance(token, token.spelled);
        }
    }

    /// Takes the steps of a word; false if no phrase holds it.
    #[expect(clippy::cast_possible_truncation, reason = "stretches are short, and longer ones only explained")]
    fn advance(&mut self, token: Token, word: u32) -> bool {
        let Some(steps) = self.phrases.steps.get(word) else { return false };
        if self.walk.taken.is_empty() {
            self.walk = Walk::again(self.phrases);
        }
        if self.walk.is_open() {
            let count = self.walk.count;
            for &step in &steps.next {
                if let Some(&Taken { until, start }) = self.walk.taken.get(usize::from(step.slot).wrapping_sub(1))
                    && count <= until
                {
                    self.take(step, start, token.end);
                }
            }
        }
        for &step in &steps.first {
            self.take(step, token.start as u32, token.end);
        }
        true
    }

    #[inline]
    fn take(&mut self, step: Step, start: u32, end: usize) {
        if step.reach == 0 {
            self.found(step.phrase, start as usize, end);
        } else if let Some(taken) = self.walk.taken.get_mut(usize::from(step.slot)) {
            let until = self.walk.count + u32::from(step.reach);
            *taken = Taken { until, start };
            self.walk.open = self.walk.open.max(until);
        }
    }

    fn found(&mut self, phrase: u16, start: usize, end: usize) {
        let Some(Phrase { id, score, listed, insists, gated }) = self.phrases.templates.get(usize::from(phrase)) else {
            return;
        };
        if !self.gate_opened && *gated {
            return;
        }
        let found = Found { id, score: *score, insists: *insists, start, end };
        if *listed {
            self.listed.push(found);
        } else if self.best.is_none_or(|best| found.score > best.score) {
            self.best = Some(found);
        }
    }

    /// What was found in this stretch: the strongest phrase of those that nothing exempts, and all others; the next token is
    /// the first of another.
    pub(super) fn finish(&mut self) -> (Option<Found>, Vec<Found>) {
        self.walk.close();
        (self.best.take(), std::mem::take(&mut self.listed))
    }
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        if !self.walk.taken.is_empty() {
            // At the end of the thread there is no next one.
            let _ = self.phrases.kept.try_with(|kept| kept.set(std::mem::take(&mut self.walk)));
        }
    }
}

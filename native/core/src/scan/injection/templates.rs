//! The phrase templates of `config/injection/phrases.txt` and the files beside it, compiled: for each word the steps that it fulfils.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::thread::LocalKey;

use super::phrases::{EXEMPTIONS, PHRASES, Walk};
use super::tokens::{self, Token};
use crate::scan::normalise::{Normalised, normalise};

const FREQUENT: &str = include_str!("../../../../../config/injection/frequent.txt");

/// Tokens that may stand between two words of a phrase when the template does not say.
const ADJACENT: u8 = 1;

/// One word (or any of a set of words) of a phrase. Phrases that begin alike have these steps in common.
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
pub(super) struct Step {
    /// Where the state of the step before is kept, whose slot is the lower one.
    pub(super) from: u16,
    /// How far behind that one this may be.
    pub(super) reach: u8,
    /// How far behind this one the next may be; 0 marks the last one of a phrase.
    pub(super) open: u8,
    /// Where the state of this step is kept; of the last one the phrase.
    pub(super) slot: u16,
}

/// The bit of a slot. Several slots have it: where it is not set, none of them is open.
pub(super) fn bit_of(slot: u16) -> u64 {
    1 << (slot % 64)
}

/// The steps that a word fulfils.
#[derive(Debug, Default)]
struct Steps {
    /// Those that go on from the step before.
    next: Vec<Step>,
    /// Those that begin a phrase.
    first: Vec<Step>,
    /// Of a word that is the anchor of a phrase.
    around: Option<Surroundings>,
}

/// How many tokens around a word the phrases may reach that are looked for where it stands.
#[derive(Clone, Copy, Debug, Default)]
struct Surroundings {
    before: u32,
    behind: u32,
}

impl Surroundings {
    fn widen(&mut self, other: Self) {
        self.before = self.before.max(other.before);
        self.behind = self.behind.max(other.behind);
    }
}

/// A word that some phrase holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    hash: u32,
    /// Where its steps begin among those of all words: the ones that go on, then the ones that begin a phrase.
    from: u32,
    next: u16,
    first: u16,
    /// The next word with the same upper half of its hash; 0 for none.
    other: u16,
    /// The bits of the slots that its steps go on from.
    pub(super) after: u64,
    /// Of an anchor.
    around: Option<Surroundings>,
}

/// The words of all phrases, by hash: the author of the templates chose them and not a stranger, so that the upper half of it
/// says where to look.
#[derive(Debug)]
struct Words {
    /// For each upper half the number of a word; 0 for none.
    slots: Box<[u16]>,
    /// The first stands for none.
    all: Vec<Word>,
    steps: Vec<Step>,
}

impl Words {
    fn new() -> Self {
        let none = Word { hash: 0, from: 0, next: 0, first: 0, other: 0, after: 0, around: None };
        Self { slots: vec![0; 1 << 16].into(), all: vec![none], steps: Vec::new() }
    }

    /// `None` if there are too many.
    fn add(&mut self, hash: u32, Steps { mut next, first, around }: Steps) -> Option<()> {
        // Later steps before earlier ones, so that one word cannot serve two steps of a phrase.
        next.sort_by_key(|step| std::cmp::Reverse(step.from));
        let slot = self.slots.get_mut((hash >> 16) as usize)?;
        let number = u16::try_from(self.all.len()).ok()?;
        self.all.push(Word {
            hash,
            from: u32::try_from(self.steps.len()).ok()?,
            next: u16::try_from(next.len()).ok()?,
            first: u16::try_from(first.len()).ok()?,
            other: std::mem::replace(slot, number),
            after: next.iter().fold(0, |bits, step| bits | bit_of(step.from)),
            around,
        });
        self.steps.extend(next.into_iter().chain(first));
        Some(())
    }

    #[inline]
    fn get(&self, hash: u32) -> Option<&Word> {
        let mut number = *self.slots.get((hash >> 16) as usize)?;
        loop {
            let word = self.all.get(usize::from(number)).filter(|_| number != 0)?;
            if word.hash == hash {
                return Some(word);
            }
            number = word.other;
        }
    }
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

/// A template: what it says of a text that holds it.
#[derive(Debug)]
pub(super) struct Phrase {
    /// Of an exemption: how the ids begin of the phrases that it is for.
    pub(super) id: &'static str,
    pub(super) score: f32,
    /// Whether all places are told where it is found, and not the strongest phrase alone.
    pub(super) listed: bool,
    /// Of what takes an exemption back.
    pub(super) insists: bool,
    /// Whether it counts only where the gate opened.
    pub(super) gated: bool,
}

/// The templates of the data files.
#[derive(Debug)]
pub(super) struct Templates {
    pub(super) phrases: Phrases,
    pub(super) exemptions: Phrases,
}

/// Templates, compiled.
#[derive(Debug)]
pub(super) struct Phrases {
    templates: Vec<Phrase>,
    words: Words,
    /// Of all words, and of anchors: the words of the step of each phrase that plain text holds least often. Most tokens are none,
    /// and what is far from any is not searched.
    known: Bits,
    anchors: Bits,
    /// How many steps have a state.
    pub(super) slots: usize,
    /// The state of the last search in this thread.
    pub(super) kept: &'static LocalKey<Cell<Walk>>,
}

impl Phrases {
    /// Compiles templates; `None` if there are too many.
    fn new(templates: Vec<Template>, common: &Frequencies, kept: &'static LocalKey<Cell<Walk>>) -> Option<Self> {
        let mut compiler = Compiler::default();
        let (mut known, mut anchors) = (Bits::new(), Bits::new());
        for (number, template) in (0..).zip(&templates) {
            compiler.add(number, template)?;
            let (words, around) = template.anchor(common)?;
            for &word in words {
                anchors.add(word);
                compiler.words.entry(word).or_default().around.get_or_insert_default().widen(around);
            }
        }
        let slots = compiler.opens.len();
        let mut words = Words::new();
        // The words that plain text holds most often last: of those with one slot the last is found first. In one order always,
        // so that one text costs the same in each process.
        let mut all: Vec<_> = compiler.finish().collect();
        all.sort_by(|(a, _), (b, _)| common.share_of(*a).total_cmp(&common.share_of(*b)).then(a.cmp(b)));
        for (hash, steps) in all {
            known.add(hash);
            words.add(hash, steps)?;
        }
        let templates = templates.into_iter().map(|template| template.phrase).collect();
        Some(Self { templates, words, known, anchors, slots, kept })
    }

    pub(super) fn template(&self, number: u16) -> Option<&Phrase> {
        self.templates.get(usize::from(number))
    }

    /// The word with this hash, and its steps: those that go on, and those that begin a phrase.
    #[inline]
    pub(super) fn word(&self, hash: u32) -> Option<(&Word, &[Step], &[Step])> {
        let word = self.words.get(hash)?;
        let steps = self.words.steps.get(word.from as usize..)?;
        let (next, rest) = steps.split_at_checked(usize::from(word.next))?;
        Some((word, next, rest.get(..usize::from(word.first))?))
    }

    /// Lists the places of the tokens of a stretch that may be known, or be read as one that is.
    #[expect(clippy::cast_possible_truncation, reason = "a text has less than four billion tokens")]
    pub(super) fn list(&self, tokens: &[Token], stretch: &Range<u32>, places: &mut Vec<u32>) {
        let end = tokens.len().min(stretch.end as usize);
        let tokens = tokens.get(stretch.start as usize..end).unwrap_or_default();
        places.clear();
        places.resize(tokens.len(), 0);
        let mut count = 0;
        for (place, token) in tokens.iter().enumerate() {
            // Which ones is hard to foretell: all are written, and the next over those that it is not.
            if let Some(slot) = places.get_mut(count) {
                *slot = stretch.start + place as u32;
            }
            count += usize::from(self.known.may_have(token.hash) || token.spelled != 0);
        }
        places.truncate(count);
    }

    /// Finds the stretches of tokens in which some phrase could be, in order, none overlapping another.
    #[expect(clippy::cast_possible_truncation, reason = "a text has less than four billion tokens")]
    pub(super) fn stretches(&self, tokens: &[Token], stretches: &mut Vec<Range<u32>>) {
        stretches.clear();
        for (place, token) in tokens.iter().enumerate() {
            if !self.anchors.may_have(token.hash) && token.spelled == 0 {
                continue;
            }
            let place = place as u32;
            let mut around = self.words.get(token.hash).and_then(|word| word.around);
            if token.spelled != 0
                && let Some(spelled) = self.words.get(token.spelled).and_then(|word| word.around)
            {
                around.get_or_insert_default().widen(spelled);
            }
            let Some(Surroundings { before, behind }) = around else { continue };
            let mut stretch = place.saturating_sub(before)..place + behind + 1;
            // One that reaches far back may do so over several.
            while let Some(last) = stretches.pop_if(|last| stretch.start <= last.end) {
                stretch = stretch.start.min(last.start)..stretch.end.max(last.end);
            }
            stretches.push(stretch);
        }
    }
}

/// A template as it is read.
#[derive(Debug)]
struct Template {
    phrase: Phrase,
    places: Vec<Place>,
}

/// The words that may stand at a place of a phrase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    /// How far behind the place before; 0 of the first.
    reach: u8,
    words: BTreeSet<u32>,
}

impl Template {
    /// `None` if a set has no such name, or a gap is no number.
    fn read(phrase: Phrase, body: &str, sets: &HashMap<&str, BTreeSet<u32>>) -> Option<Self> {
        let (mut places, mut reach) = (Vec::new(), 0);
        for item in body.split_whitespace() {
            let words = if let Some(gap) = item.strip_prefix('~') {
                reach = gap.parse::<u8>().ok()?.checked_add(ADJACENT)?;
                continue;
            } else if let Some(name) = item.strip_prefix('@') {
                vec![sets.get(name)?.clone()]
            } else {
                spellings(item)
            };
            for words in words {
                places.push(Place { reach, words });
                reach = ADJACENT;
            }
        }
        places.first_mut()?.reach = 0;
        Some(Self { phrase, places })
    }

    /// The words of the place that plain text holds least often, and how far the phrase reaches on both sides of it.
    fn anchor(&self, common: &Frequencies) -> Option<(&BTreeSet<u32>, Surroundings)> {
        let share = |place: &Place| place.words.iter().map(|word| common.share_of(*word)).sum::<f32>();
        let shares = self.places.iter().map(share).enumerate();
        let (anchor, _) = shares.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let (before, behind) = self.places.split_at(anchor + 1);
        let sum = |places: &[Place]| places.iter().map(|place| u32::from(place.reach)).sum();
        Some((&self.places[anchor].words, Surroundings { before: sum(before), behind: sum(behind) }))
    }
}

/// The steps of the templates so far.
#[derive(Default)]
struct Compiler {
    words: HashMap<u32, Steps>,
    /// The slots of all steps that are not the last, by that of the step before.
    slots: HashMap<(u16, Place), u16>,
    /// How far behind each slot the next step may be. The first stands for the step before a phrase.
    opens: Vec<u8>,
}

impl Compiler {
    fn add(&mut self, number: u16, template: &Template) -> Option<()> {
        let (last, places) = template.places.split_last()?;
        let mut from = 0;
        for place in places {
            let own = u16::try_from(self.opens.len().max(1)).ok()?;
            self.reach(from, place.reach);
            let slot = *self.slots.entry((from, place.clone())).or_insert(own);
            if slot == own {
                self.reach(slot, 0);
                self.step(place, Step { from, reach: place.reach, open: ADJACENT, slot });
            }
            from = slot;
        }
        self.reach(from, last.reach);
        self.step(last, Step { from, reach: last.reach, open: 0, slot: number });
        Some(())
    }

    /// Lets a slot stay open for so long.
    fn reach(&mut self, slot: u16, reach: u8) {
        let slot = usize::from(slot);
        self.opens.resize(self.opens.len().max(slot + 1), 0);
        self.opens[slot] = self.opens[slot].max(reach);
    }

    fn step(&mut self, place: &Place, step: Step) {
        for &word in &place.words {
            let steps = self.words.entry(word).or_default();
            (if step.from == 0 { &mut steps.first } else { &mut steps.next }).push(step);
        }
    }

    /// The steps of each word.
    fn finish(self) -> impl Iterator<Item = (u32, Steps)> {
        let Self { words, opens, .. } = self;
        words.into_iter().map(move |(hash, mut steps)| {
            for step in steps.next.iter_mut().chain(&mut steps.first).filter(|step| step.open != 0) {
                step.open = opens[usize::from(step.slot)];
            }
            (hash, steps)
        })
    }
}

/// Compiles the text of the template files; the error is the line at fault.
pub(super) fn parse(source: &'static str) -> Result<Templates, &'static str> {
    let (mut sets, mut gated) = (HashMap::new(), Vec::new());
    let (mut phrases, mut exemptions) = (Vec::new(), Vec::new());
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
                phrases.push(Template::read(phrase, body, &sets).ok_or(line)?);
            }
            (Some(kind @ ("exempt" | "insist")), Some(id), None) => {
                let insists = kind == "insist";
                let exemption = Phrase { id, score: 0.0, listed: true, insists, gated: false };
                exemptions.push(Template::read(exemption, body, &sets).ok_or(line)?);
            }
            (Some("gated"), None, None) => gated.extend(body.split_whitespace()),
            _ => return Err(line),
        }
    }
    for Template { phrase, .. } in &mut phrases {
        phrase.gated = gated.iter().any(|id| phrase.id.starts_with(id));
        phrase.listed = exemptions.iter().any(|exemption: &Template| phrase.id.starts_with(exemption.phrase.id));
    }
    let common = Frequencies::new();
    let compile = |templates, kept| Phrases::new(templates, &common, kept).ok_or("too many templates");
    Ok(Templates { phrases: compile(phrases, &PHRASES)?, exemptions: compile(exemptions, &EXEMPTIONS)? })
}

/// The words that plain text holds most often.
struct Frequencies(HashMap<u32, f32>);

impl Frequencies {
    fn new() -> Self {
        let words = FREQUENT.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
        // The share of a word is about that of the first by its rank.
        let ranked = words.zip(1u16..).map(|(word, rank)| (word, 1.0 / f32::from(rank)));
        let spelled =
            ranked.flat_map(|(word, share)| spellings(word).into_iter().flatten().map(move |hash| (hash, share)));
        Self(spelled.collect())
    }

    fn share_of(&self, word: u32) -> f32 {
        // That of a word which is not among them matters where others are not, either.
        self.0.get(&word).copied().unwrap_or(1e-5)
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
    tokens::of_short(text).into_iter().map(|token| token.hash).collect()
}

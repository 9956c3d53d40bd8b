//! Looks for phrases: sequences of words with small gaps.
//!
//! Exemptions are templates, too, and looked for where a phrase was found that they are for.

use std::cell::Cell;
use std::ops::Range;

use super::templates::{Phrase, Phrases, Step, bit_of};
use super::tokens::Token;

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

/// A step that was taken.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// With which token.
    count: u32,
    /// Where its phrase began.
    start: u32,
}

/// The state of a search, which the next one goes on with: what was taken before is past.
#[derive(Clone, Debug, Default)]
pub(super) struct Walk {
    /// By slot. Empty until the first word that some phrase holds.
    taken: Vec<Taken>,
    /// Up to which token any next step may come, and after which slots.
    open: u32,
    after: u64,
    /// Tokens so far.
    count: u32,
}

/// Room for the tokens that matter, and for where phrases could be.
#[derive(Default)]
struct Room {
    places: Vec<u32>,
    stretches: Vec<Range<u32>>,
}

thread_local! {
    static ROOM: Cell<Room> = Cell::default();
    /// Of the last search in this thread, so that the steps of all phrases need not be cleared for each text.
    pub(super) static PHRASES: Cell<Walk> = Cell::default();
    pub(super) static EXEMPTIONS: Cell<Walk> = Cell::default();
}

impl Walk {
    /// That of the last search, or a new one.
    fn again(phrases: &Phrases) -> Self {
        let (mut walk, slots) = (phrases.kept.take(), phrases.slots);
        walk.close();
        if walk.taken.len() != slots || walk.count > u32::MAX / 2 {
            // Of what was never taken everything is too far away.
            walk = Self { taken: vec![Taken::default(); slots], count: u32::from(u8::MAX), ..Self::default() };
        }
        walk.count += 1;
        walk
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
    hits: Hits,
}

/// The phrases found in a stretch.
#[derive(Clone, Debug)]
struct Hits {
    best: Option<Found>,
    listed: Vec<Found>,
    /// Whether the gate opened for this stretch, or it is searched for what needs no gate.
    gate_opened: bool,
}

impl Hits {
    #[cold]
    fn add(&mut self, phrases: &Phrases, phrase: u16, start: u32, end: u32) {
        let Some(Phrase { id, score, listed, insists, gated }) = phrases.template(phrase) else {
            return;
        };
        if !self.gate_opened && *gated {
            return;
        }
        let found = Found { id, score: *score, insists: *insists, start: start as usize, end: end as usize };
        if *listed {
            self.listed.push(found);
        } else if self.best.is_none_or(|best| found.score > best.score) {
            self.best = Some(found);
        }
    }
}

impl<'phrases> Search<'phrases> {
    pub(super) fn new(phrases: &'phrases Phrases) -> Self {
        Self { phrases, walk: Walk::default(), hits: Hits { best: None, listed: Vec::new(), gate_opened: true } }
    }

    /// Begins a stretch.
    pub(super) fn begin(&mut self, gate_opened: bool) {
        self.hits.gate_opened = gate_opened;
    }

    /// Takes the tokens of a stretch.
    #[expect(clippy::cast_possible_truncation, reason = "a text has less than four billion tokens")]
    pub(super) fn follow(&mut self, tokens: &[Token]) {
        if self.walk.taken.is_empty() {
            self.walk = Walk::again(self.phrases);
        }
        let mut room = ROOM.take();
        let Room { places, stretches } = &mut room;
        self.phrases.stretches(tokens, stretches);
        let before = self.walk.count;
        for stretch in stretches.iter() {
            self.phrases.list(tokens, stretch, places);
            for &place in places.iter() {
                let token = tokens[place as usize];
                self.walk.count = before + place + 1;
                self.advance(token, token.hash);
                if token.spelled != 0 {
                    self.advance(token, token.spelled);
                }
            }
        }
        self.walk.count = before + tokens.len() as u32;
        ROOM.set(room);
    }

    /// Takes the steps of a word.
    #[inline]
    fn advance(&mut self, token: Token, word: u32) {
        let Some((word, next, first)) = self.phrases.word(word) else { return };
        let Walk { taken: states, open, after, count, .. } = &mut self.walk;
        let (states, count) = (states.as_mut_slice(), *count);
        if count > *open {
            *after = 0;
        }
        let goes_on = *after & word.after != 0;
        // They are written back once: a word may take many steps.
        let (mut still_open, mut still_after) = (*open, *after);
        let mut take = |step: Step, start: u32, states: &mut [Taken]| {
            if step.open == 0 {
                self.hits.add(self.phrases, step.slot, start, token.end);
            } else if let Some(state) = states.get_mut(usize::from(step.slot)) {
                *state = Taken { count, start };
                still_open = still_open.max(count + u32::from(step.open));
                still_after |= bit_of(step.slot);
            }
        };
        if goes_on {
            // Most steps do not come next: one comparison says that the one before was taken with an earlier token, and in reach.
            // Taken off one by one they cost fewer instructions than an iterator's.
            let last = count - 1;
            let mut rest = next;
            while let Some((step, others)) = rest.split_first() {
                rest = others;
                if let Some(&before) = states.get(usize::from(step.from))
                    && last.wrapping_sub(before.count) < u32::from(step.reach)
                {
                    take(*step, before.start, states);
                }
            }
        }
        for &step in first {
            take(step, token.start, states);
        }
        (*open, *after) = (still_open, still_after);
    }

    /// What was found in this stretch: the strongest phrase of those that nothing exempts, and all others; the next token is
    /// the first of another.
    pub(super) fn finish(&mut self) -> (Option<Found>, Vec<Found>) {
        self.walk.close();
        (self.hits.best.take(), std::mem::take(&mut self.hits.listed))
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

#[cfg(test)]
mod tests;

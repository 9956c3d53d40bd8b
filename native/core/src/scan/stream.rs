//! Text that comes in pieces: the same findings as for the whole, and nothing of a match ever leaves.

use super::injection::{self, Accumulator};
use super::machine::{Found, Machine};
use super::normalise::{Normalised, Normaliser};
use super::policy::Decision;
use super::window::{LOOKBACK, Window};
use super::writer::Writer;
use super::{Finding, Outcome, Scanner};

/// The text must not pass: it was cut before the match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked;

/// What was let go of is moved out when there is so much of it, so that each byte that stays is moved once.
const COMPACT: usize = 1024;

/// One text in pieces.
#[derive(Clone, Debug)]
pub struct Stream {
    scanner: Scanner,
    machine: Machine,
    normaliser: Normaliser,
    normal: Normalised,
    /// The raw text that is held back, and some that is not.
    raw: String,
    /// Where the kept text starts in the whole.
    base: usize,
    writer: Writer,
    settled: Vec<Found>,
    /// Judges the text as a whole, if injections matter.
    injection: Option<Accumulator<'static>>,
}

impl Stream {
    pub(crate) fn new(scanner: Scanner) -> Self {
        let injection = scanner.document.map(|_| injection::shared().accumulator(scanner.channel));
        Self {
            injection,
            scanner,
            machine: Machine::default(),
            normaliser: Normaliser::new(),
            normal: Normalised::new(),
            raw: String::new(),
            base: 0,
            writer: Writer::default(),
            settled: Vec::new(),
        }
    }

    /// Takes more text and appends what can pass.
    ///
    /// # Errors
    /// [`Blocked`] from the match on that blocks: nothing passes any more, but what is found behind it is still told.
    pub fn feed(&mut self, text: &str, out: &mut String) -> Result<(), Blocked> {
        self.raw.push_str(text);
        let from = self.normal.end();
        self.normaliser.feed(text, &mut self.normal);
        self.judge(from);
        self.advance(false, out)
    }

    /// Nothing follows: appends what was held back.
    ///
    /// # Errors
    /// [`Blocked`] as for [`Stream::feed`].
    pub fn finish(&mut self, out: &mut String) -> Result<(), Blocked> {
        let from = self.normal.end();
        self.normaliser.finish(&mut self.normal);
        self.judge(from);
        let passed = self.advance(true, out);
        let verdict = self.injection.take().map(|judge| judge.finish(0)).filter(|verdict| verdict.hit);
        let Some((verdict, rule)) = verdict.zip(self.scanner.document) else { return passed };
        let found = Found { start: 0, end: self.base + self.raw.len(), rule, score: verdict.score };
        self.writer.note(&self.scanner, found);
        if self.writer.decision == Decision::Blocked { Err(Blocked) } else { Ok(()) }
    }

    /// What was found so far, by start. Positions are bytes of the whole text.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.writer.findings
    }

    /// What became of the text so far.
    #[must_use]
    pub fn decision(&self) -> Decision {
        self.writer.decision
    }

    /// How many bytes are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.base + self.raw.len() - self.writer.sent
    }

    /// What became of a text all of which has come, and of which `out` passed.
    pub(crate) fn into_outcome(self, out: String) -> Outcome {
        let Writer { decision, findings, changes, .. } = self.writer;
        Outcome { decision, findings, redacted: changes.then_some(out) }
    }

    fn judge(&mut self, from: usize) {
        if let Some(judge) = &mut self.injection {
            judge.feed(self.normal.bytes().get(from - self.normal.start()..).unwrap_or_default());
        }
    }

    fn advance(&mut self, at_end: bool, out: &mut String) -> Result<(), Blocked> {
        self.settled.clear();
        let window = Window { text: self.normal.bytes(), at_end };
        let safe = self.machine.advance(&self.scanner, &window, self.normal.start(), &mut self.settled);
        for found in &self.settled {
            let found = found.in_raw(&self.normal);
            self.writer.take(&self.scanner, found, &self.raw, self.base, out);
        }
        let end = if at_end { self.base + self.raw.len() } else { self.normal.to_raw_start(safe) };
        self.writer.pass(end, &self.raw, self.base, out);
        self.normal.discard_before(safe.saturating_sub(LOOKBACK));
        let gone = self.writer.sent - self.base;
        if gone > COMPACT && gone > self.raw.len() / 2 {
            self.raw.drain(..gone);
            self.base = self.writer.sent;
        }
        if self.writer.decision == Decision::Blocked { Err(Blocked) } else { Ok(()) }
    }
}

//! Text that comes in pieces: the same findings as for the whole, and nothing of a match ever leaves.

use super::machine::{Found, Machine};
use super::policy::{Action, Decision};
use super::window::{LOOKBACK, Window};
use super::{Finding, Scanner};

/// The text must not pass: it was cut before the match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked;

/// One text in pieces.
#[derive(Clone, Debug)]
pub struct Stream {
    scanner: Scanner,
    machine: Machine,
    /// What is kept: what is held back, and before it what rules may look back at.
    text: Vec<u8>,
    /// Where the kept text starts in the whole.
    base: usize,
    /// Up to here the whole has been given out.
    sent: usize,
    findings: Vec<Finding>,
    decision: Decision,
    settled: Vec<Found>,
}

impl Stream {
    pub(crate) fn new(scanner: Scanner) -> Self {
        Self {
            scanner,
            machine: Machine::default(),
            text: Vec::new(),
            base: 0,
            sent: 0,
            findings: Vec::new(),
            decision: Decision::Allowed,
            settled: Vec::new(),
        }
    }

    /// Takes more text and appends what can pass.
    ///
    /// # Errors
    /// [`Blocked`] from the match on that blocks; nothing passes any more.
    pub fn feed(&mut self, text: &str, out: &mut String) -> Result<(), Blocked> {
        if self.decision == Decision::Blocked {
            return Err(Blocked);
        }
        self.text.extend_from_slice(text.as_bytes());
        self.advance(false, out)
    }

    /// Nothing follows: appends what was held back.
    ///
    /// # Errors
    /// [`Blocked`] as for [`Stream::feed`].
    pub fn finish(&mut self, out: &mut String) -> Result<(), Blocked> {
        if self.decision == Decision::Blocked {
            return Err(Blocked);
        }
        self.advance(true, out)
    }

    /// What was found so far, by start. Positions are bytes of the whole text.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What became of the text so far.
    #[must_use]
    pub fn decision(&self) -> Decision {
        self.decision
    }

    /// How many bytes are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.base + self.text.len() - self.sent
    }

    fn advance(&mut self, at_end: bool, out: &mut String) -> Result<(), Blocked> {
        self.settled.clear();
        let window = Window { text: &self.text, at_end };
        let Scanner { rules, actions } = &self.scanner;
        let safe = self.machine.advance(rules, actions, &window, self.base, &mut self.settled);
        for i in 0..self.settled.len() {
            let found = self.settled[i];
            self.take(found, out)?;
        }
        let safe = if at_end { self.base + self.text.len() } else { safe };
        self.pass(safe, out);
        let keep = self.sent.saturating_sub(LOOKBACK).max(self.base);
        // Moving the rest forward costs its length, so that is done when as much can go.
        if keep - self.base > self.text.len() / 2 {
            self.text.drain(..keep - self.base);
            self.base = keep;
        }
        Ok(())
    }

    fn pass(&mut self, mut to: usize, out: &mut String) {
        // A long run is let go of by bytes; a character is not.
        while self.text.get(to.wrapping_sub(self.base)).is_some_and(|byte| byte & 0xc0 == 0x80) {
            to -= 1;
        }
        if to > self.sent {
            out.push_str(&String::from_utf8_lossy(&self.text[self.sent - self.base..to - self.base]));
            self.sent = to;
        }
    }

    fn take(&mut self, found: Found, out: &mut String) -> Result<(), Blocked> {
        let action = self.scanner.action(found.rule);
        self.decision = self.decision.max(action.into());
        self.findings.push(Finding {
            rule: found.rule,
            start: found.start,
            end: found.end,
            score: found.score,
            action,
        });
        match action {
            Action::Allow | Action::Flag => {}
            Action::Redact | Action::Pseudonymise => {
                self.pass(found.start, out);
                let kind = self.scanner.rules.get(found.rule).map_or("", |rule| rule.kind.as_str());
                out.extend(["<", kind, ">"]);
                self.sent = found.end;
            }
            Action::Block => {
                self.pass(found.start, out);
                return Err(Blocked);
            }
        }
        Ok(())
    }
}

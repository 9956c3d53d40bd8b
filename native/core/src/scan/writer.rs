//! From what was settled to the text that passes.

use super::machine::Found;
use super::policy::{Action, Decision};
use super::{Finding, Scanner};

/// What has passed of a text, and what was found in it. Positions are bytes of the raw text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    /// Up to here the text has been given out or replaced.
    pub(crate) sent: usize,
    pub(crate) findings: Vec<Finding>,
    pub(crate) decision: Decision,
    /// Whether something in the text was replaced or kept back.
    pub(crate) changes: bool,
}

impl Writer {
    /// Takes down a finding; `text` is what is kept of the whole, from `base` on. Behind one that blocks, nothing passes.
    pub(crate) fn take(&mut self, scanner: &Scanner, found: Found, text: &str, base: usize, out: &mut String) {
        let found = on_characters(found, text, base);
        let action = scanner.action(found.rule);
        if action > Action::Flag {
            self.changes = true;
            self.pass(found.start, text, base, out);
        }
        if matches!(action, Action::Redact | Action::Pseudonymise) {
            if self.decision != Decision::Blocked {
                out.extend(["<", scanner.rules.get(found.rule).map_or("", |rule| rule.kind.as_str()), ">"]);
            }
            self.sent = found.end;
        }
        self.note(scanner, found);
    }

    /// Takes down what the text as a whole amounts to, which is known when all of it has passed.
    pub(crate) fn note(&mut self, scanner: &Scanner, found: Found) {
        let Found { rule, start, end, score } = found;
        let action = scanner.action(rule);
        self.decision = self.decision.max(action.into());
        self.findings.push(Finding { rule, start, end, score, action });
    }

    /// Gives out what can pass up to a position; after a block nothing can.
    pub(crate) fn pass(&mut self, to: usize, text: &str, base: usize, out: &mut String) {
        // A long run is let go of by bytes; a character is not.
        let mut kept = to.saturating_sub(base).min(text.len());
        while !text.is_char_boundary(kept) {
            kept -= 1;
        }
        let to = base + kept;
        if to > self.sent {
            if self.decision != Decision::Blocked {
                out.push_str(text.get(self.sent - base..to - base).unwrap_or_default());
            }
            self.sent = to;
        }
    }
}

/// A finding that is followed so many bytes and no further may end within a character: then all of that belongs to it.
fn on_characters(mut found: Found, text: &str, base: usize) -> Found {
    while !text.is_char_boundary(found.start.saturating_sub(base)) {
        found.start -= 1;
    }
    while found.end < base + text.len() && !text.is_char_boundary(found.end.saturating_sub(base)) {
        found.end += 1;
    }
    found
}

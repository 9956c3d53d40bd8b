//! The state between two looks at a text: what is asked, what waits, what is found.

use super::Scanner;
use super::normalise::Normalised;
use super::policy::Action;
use super::prefilter::{self, Candidate, Scratch};
use super::rules::{Rules, judge};
use super::window::{Verdict, Window};

/// A chain of overlapping matches is settled at this length, whatever follows.
const CLUSTER_MAX: usize = 64 << 10;

/// A match in normalised text, in absolute positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) rule: u16,
    pub(crate) score: f32,
}

impl Found {
    /// The same in the text that was normalised.
    pub(crate) fn in_raw(self, normal: &Normalised) -> Self {
        Self { start: normal.to_raw_start(self.start), end: normal.to_raw_end(self.end), ..self }
    }
}

/// A rule that could not decide yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    rule: u16,
    at: usize,
    /// No match of it starts earlier.
    hold: usize,
}

/// Absolute positions count from the start of the text; `base` is where the window starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// Up to here everything has been asked.
    next: usize,
    pending: Vec<Pending>,
    /// Matches that are not settled, by start.
    open: Vec<Found>,
    scratch: Scratch,
}

impl Machine {
    /// Forgets the text, and keeps what memory it has.
    pub(crate) fn reset(&mut self) {
        self.next = 0;
        self.pending.clear();
        self.open.clear();
    }

    /// Looks at what is new, appends what is settled to `settled` in order, and returns up to where that is all there is.
    pub(crate) fn advance(
        &mut self,
        scanner: &Scanner,
        window: &Window<'_>,
        base: usize,
        settled: &mut Vec<Found>,
    ) -> usize {
        let Scanner { rules, actions } = scanner;
        let Self { next, pending, open, scratch } = self;
        pending.retain(|waiting| ask(rules, window, base, waiting.rule, waiting.at, open));
        let from = *next - base;
        let to = prefilter::candidates(rules, window, from, scratch, |candidate| {
            each_rule(rules, window, candidate, |rule, at| {
                if actions.get(usize::from(rule)).is_some_and(|action| *action != Action::Allow)
                    && ask(rules, window, base, rule, base + at, open)
                {
                    let hold = if rules.at(rule).reaches_back { prefilter::run_start(window.text, at) } else { at };
                    // What is not settled is looked at again, and may be waited for already.
                    if pending.iter().any(|waiting| waiting.rule == rule && waiting.at == base + at) {
                        return;
                    }
                    pending.push(Pending { rule, at: base + at, hold: base + hold });
                }
            });
        });
        *next = base + to;
        let decided = pending.iter().map(|waiting| waiting.hold).min().unwrap_or(*next).min(*next);
        self.settle(rules, actions, if window.at_end { usize::MAX } else { decided }, settled);
        self.open.first().map_or(decided, |found| found.start.min(decided))
    }

    /// Closes every chain of overlapping matches that nothing can join any more.
    fn settle(&mut self, rules: &Rules, actions: &[Action], decided: usize, settled: &mut Vec<Found>) {
        if self.open.is_empty() {
            return;
        }
        self.open.sort_by_key(|found| (found.start, found.end, found.rule));
        self.open.dedup_by_key(|found| (found.start, found.end, found.rule));
        let mut from = 0;
        while from < self.open.len() {
            let start = self.open[from].start;
            let mut end = self.open[from].end;
            let mut to = from + 1;
            let mut forced = false;
            while let Some(found) = self.open.get(to).filter(|found| found.start < end) {
                if found.end - start > CLUSTER_MAX {
                    forced = true;
                    break;
                }
                end = end.max(found.end);
                to += 1;
            }
            // A later match could still begin before `end`, unless everything up to there is decided.
            let last_start = self.open[to - 1].start;
            if end > decided && !(forced && last_start < decided) {
                break;
            }
            let after = settled.last().map_or(0, |found| found.end);
            choose(rules, actions, &self.open[from..to], after, settled);
            from = to;
        }
        self.open.drain(..from);
    }
}

/// Whether the answer has to wait; a match is taken down.
fn ask(rules: &Rules, window: &Window<'_>, base: usize, rule: u16, at: usize, open: &mut Vec<Found>) -> bool {
    match judge(rules.at(rule), window, at - base) {
        Verdict::No => false,
        Verdict::More => true,
        Verdict::Match(found) => {
            open.push(Found { start: base + found.start, end: base + found.end, rule, score: found.score });
            false
        }
    }
}

fn each_rule(rules: &Rules, window: &Window<'_>, candidate: Candidate, mut ask: impl FnMut(u16, usize)) {
    match candidate {
        Candidate::At(at) => rules.at.iter().for_each(|rule| ask(*rule, at)),
        Candidate::Colon(at) => rules.colon.iter().for_each(|rule| ask(*rule, at)),
        Candidate::Number(at) => rules.number.iter().for_each(|rule| ask(*rule, at)),
        Candidate::Literal(at, rule) => ask(rule, at),
        Candidate::Token(at) => {
            if let Some(words) = &rules.token_words {
                let mut asked: Vec<u16> = Vec::new();
                for hit in words.find_overlapping_iter(window.context(at)) {
                    for rule in &rules.by_word[hit.pattern().as_usize()] {
                        if !asked.contains(rule) {
                            asked.push(*rule);
                            ask(*rule, at);
                        }
                    }
                }
            }
        }
    }
}

/// Of matches that overlap: the strictest action, then the highest priority, then the longest, then the leftmost; then again
/// among those that do not overlap what was chosen.
fn choose(rules: &Rules, actions: &[Action], chain: &[Found], after: usize, settled: &mut Vec<Found>) {
    let first = settled.len();
    let mut best: Vec<&Found> = chain.iter().filter(|found| found.start >= after).collect();
    best.sort_by_key(|found| {
        let rule = rules.at(found.rule);
        let action = actions.get(usize::from(found.rule)).copied().unwrap_or(Action::Allow);
        (std::cmp::Reverse((action, rule.priority, found.end - found.start)), found.start, found.rule)
    });
    for found in best {
        if settled[first..].iter().all(|chosen| found.end <= chosen.start || found.start >= chosen.end) {
            settled.push(*found);
        }
    }
    settled[first..].sort_by_key(|found| found.start);
}

//! The state between two looks at a text: what is asked, what waits, what is found.

use std::cell::Cell;
use std::collections::VecDeque;

use super::Scanner;
use super::normalise::Normalised;
use super::policy::Action;
use super::prefilter::{self, Candidate, Scratch};
use super::rules::{LastZone, Rules, judge};
use super::views::{self, Seen, View};
use super::window::{Verdict, Window};

/// A chain of overlapping matches is settled at this length, whatever follows.
const CLUSTER_MAX: usize = 64 << 10;

/// A question that has waited for so many bytes is asked again when an eighth more has come, not for every byte: what is
/// read for it from its start is read a bounded number of times.
const PATIENCE: usize = 128;

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

/// What is asked about a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Rule(u16),
    View(View),
}

/// Whether something is spelled out: asked of one position at a time, as it goes on over those that follow.
const SPELLED: Question = Question::View(View::Spelled);

/// A question that could not be answered yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    question: Question,
    at: usize,
    /// No match of it starts earlier.
    hold: usize,
    /// How far the text went when it was asked.
    seen: usize,
}

impl Pending {
    /// Of a question about a position of the window that was asked just now.
    fn new(scanner: &Scanner, window: &Window<'_>, base: usize, question: Question, at: usize) -> Self {
        let hold = if question.reaches_back(&scanner.rules) {
            prefilter::run_start(window.text, at)
        } else {
            prefilter::sign_start(window.text, at)
        };
        Self { question, at: base + at, hold: base + hold, seen: base + window.text.len() }
    }

    fn is_due(&self, window: &Window<'_>, base: usize) -> bool {
        let waited = self.seen.saturating_sub(self.at);
        let news = (base + window.text.len()).saturating_sub(self.seen);
        window.at_end || waited < PATIENCE || news >= waited / 8
    }
}

/// Absolute positions count from the start of the text; `base` is where the window starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// Up to here everything has been asked.
    next: usize,
    pending: Vec<Pending>,
    /// Matches that are not settled, by start.
    open: Vec<Found>,
    /// Where the last match ends that is.
    closed: usize,
    scratch: Scratch,
    /// A view of a view is one deeper.
    depth: u8,
    /// Of what begins before this, nothing is wanted: it is the text before a view.
    first: usize,
    /// Up to here what is spelled out has been put together.
    spelled: usize,
    /// Where it may begin next, if it does not go on that far: asked about once the one that waits is answered.
    spelled_next: VecDeque<usize>,
}

impl Machine {
    /// For a view of that depth, which begins behind so many bytes of the text before it.
    pub(crate) fn of_view(depth: u8, before: usize) -> Self {
        Self { depth, first: before, ..Self::default() }
    }

    /// Forgets the text, and keeps what memory it has.
    pub(crate) fn reset(&mut self) {
        self.next = 0;
        self.spelled = 0;
        self.spelled_next.clear();
        self.pending.clear();
        self.open.clear();
        self.closed = 0;
        self.scratch.reset();
    }

    /// Looks at what is new, appends what is settled to `settled` in order, and returns up to where that is all there is.
    pub(crate) fn advance(
        &mut self,
        scanner: &Scanner,
        window: &Window<'_>,
        base: usize,
        settled: &mut Vec<Found>,
    ) -> usize {
        let Scanner { rules, actions, .. } = scanner;
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain_mut(|waiting| {
            if !waiting.is_due(window, base) {
                return true;
            }
            waiting.seen = base + window.text.len();
            self.ask(scanner, window, base, waiting.question, waiting.at)
        });
        let mut spells = pending.iter().any(|waiting| waiting.question == SPELLED);
        while !spells && let Some(at) = self.spelled_next.pop_front() {
            spells = self.ask(scanner, window, base, SPELLED, at);
            if spells {
                pending.push(Pending::new(scanner, window, base, SPELLED, at - base));
            }
        }
        let from = self.next - base;
        let mut zone = LastZone::default();
        let mut scratch = std::mem::take(&mut self.scratch);
        let spelled = Cell::new(self.spelled.saturating_sub(base));
        let to = prefilter::candidates(rules, window, base, from, &mut scratch, &spelled, |candidate| {
            if candidate.at() + base < self.first && !candidate.reaches_ahead(rules) {
                return;
            }
            each_question(rules, window, candidate, &mut |question, at| {
                // What is not settled is looked at again, and may be waited for already.
                if pending.iter().any(|waiting| waiting.question == question && waiting.at == base + at) {
                    return;
                }
                let verdict = match question {
                    Question::Rule(rule) => {
                        if actions.get(usize::from(rule)).is_none_or(|it| *it == Action::Allow) {
                            return;
                        }
                        Some(judge(rules.at(rule), window, at, &mut zone))
                    }
                    // Within what was put together there is nothing to begin with.
                    Question::View(View::Spelled) if base + at < self.spelled => return,
                    Question::View(_) if self.depth >= views::DEPTH => return,
                    Question::View(_) => None,
                };
                if verdict == Some(Verdict::No) {
                    return;
                }
                if question == SPELLED && spells {
                    if self.spelled_next.back().is_none_or(|last| *last < base + at) {
                        self.spelled_next.push_back(base + at);
                    }
                    return;
                }
                let waits = match (question, verdict) {
                    (Question::Rule(rule), Some(verdict)) => self.note(base, rule, verdict),
                    _ => self.ask(scanner, window, base, question, base + at),
                };
                spells |= waits && question == SPELLED;
                spelled.set(self.spelled.saturating_sub(base));
                if waits {
                    pending.push(Pending::new(scanner, window, base, question, at));
                }
            });
        });
        self.next = base + to;
        // What has not been asked about yet may reach back in a run that is too long to be waited for.
        let open = base + if window.at_end { to } else { scratch.run_start(window.text, base, to) };
        self.scratch = scratch;
        let decided = pending.iter().map(|waiting| waiting.hold).min().unwrap_or(open).min(open);
        self.pending = pending;
        self.settle(rules, actions, if window.at_end { usize::MAX } else { decided }, settled);
        self.open.first().map_or(decided, |found| found.start.min(decided))
    }

    /// Whether the answer has to wait; what is found is taken down.
    #[inline]
    fn ask(&mut self, scanner: &Scanner, window: &Window<'_>, base: usize, question: Question, at: usize) -> bool {
        match question {
            Question::Rule(rule) => {
                return self.note(
                    base,
                    rule,
                    judge(scanner.rules.at(rule), window, at - base, &mut LastZone::default()),
                );
            }
            // Within what was put together there is nothing to begin with.
            Question::View(View::Spelled) if at < self.spelled => return false,
            Question::View(view) => match views::look(scanner, window, at - base, view, self.depth) {
                Seen::No => return false,
                Seen::More => return true,
                Seen::Found { found, end } => {
                    let placed = |found: Found| Found { start: base + found.start, end: base + found.end, ..found };
                    self.open.extend(found.into_iter().map(placed));
                    if view == View::Spelled {
                        self.spelled = base + end;
                    }
                }
            },
        }
        false
    }

    /// Whether the answer of a rule has to wait; a match is taken down.
    fn note(&mut self, base: usize, rule: u16, verdict: Verdict) -> bool {
        if let Verdict::Match(found) = verdict {
            self.open.push(Found { start: base + found.start, end: base + found.end, rule, score: found.score });
        }
        verdict == Verdict::More
    }

    /// Closes every chain of overlapping matches that nothing can join any more.
    fn settle(&mut self, rules: &Rules, actions: &[Action], decided: usize, settled: &mut Vec<Found>) {
        if self.open.is_empty() {
            return;
        }
        // Of one value, seen as it stands and through a view, the surer finding counts, whichever was first.
        self.open
            .sort_by(|a, b| (a.start, a.end, a.rule).cmp(&(b.start, b.end, b.rule)).then(b.score.total_cmp(&a.score)));
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
            choose(rules, actions, &self.open[from..to], self.closed, settled);
            self.closed = settled.last().map_or(0, |found| found.end).max(self.closed);
            from = to;
        }
        self.open.drain(..from);
    }
}

impl Question {
    fn reaches_back(self, rules: &Rules) -> bool {
        match self {
            Self::Rule(rule) => rules.at(rule).reaches_back,
            Self::View(view) => view == View::Marked,
        }
    }
}

#[inline]
fn each_question(rules: &Rules, window: &Window<'_>, candidate: Candidate, ask: &mut impl FnMut(Question, usize)) {
    let mut rule = |rule, at| ask(Question::Rule(rule), at);
    match candidate {
        Candidate::At(at) => rules.at.iter().for_each(|it| rule(*it, at)),
        Candidate::Colon(at) => rules.colon.iter().for_each(|it| rule(*it, at)),
        Candidate::Number(at) => rules.each_of_number(window, at, |it| rule(it, at)),
        Candidate::Literal(at, it) => rule(it, at),
        Candidate::View(at, view) => ask(Question::View(view), at),
        Candidate::Token(at) => rules.each_of_token(window, at, |it| rule(it, at)),
    }
}

/// Of matches that overlap: the strictest action, then the highest priority, then the longest, then the leftmost; then again
/// among those that do not overlap what was chosen.
fn choose(rules: &Rules, actions: &[Action], chain: &[Found], after: usize, settled: &mut Vec<Found>) {
    if let [found] = chain {
        settled.extend((found.start >= after).then_some(*found));
        return;
    }
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

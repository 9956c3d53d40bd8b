//! Looks at plain requests and their answers, and lets pass what passes. What does not is for the stages to refuse.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::request::View;
use crate::scan::body::{BodyOutcome, Counts, counted, redact_request, redact_response};
use crate::scan::{Decision, Scanner, Vault};

/// Who writes a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The caller.
    Request,
    /// The model.
    Response,
}

impl Direction {
    /// As metrics call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// A text that passes.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Never blocked.
    pub decision: Decision,
    /// What was found, by type and action.
    pub counts: Counts,
    /// What passes in its place; None: it does as it is.
    pub body: Option<Vec<u8>>,
    /// None: nobody looked.
    took_ns: Option<u64>,
}

/// What was counted of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// Texts that passed as they were, and those that were changed.
    pub outcomes: [u64; 2],
    /// All of them by how long that took: as many as there are bounds, and one for those that took longer.
    pub durations: Vec<u64>,
    /// All durations together, in nanoseconds.
    pub duration_ns: u64,
    /// How often each type was found, and what was done.
    pub findings: HashMap<(String, &'static str), usize>,
}

/// The scanners of both directions, shared by all routes. None: that direction is not looked at.
#[derive(Debug)]
pub struct Guard {
    request: Option<Scanner>,
    response: Option<Scanner>,
    /// In the place of `response` where pseudonyms have to be restored.
    restorer: Option<Scanner>,
    /// Longer texts, in bytes, are not for this thread.
    longest: usize,
    /// Bounds of the histogram of durations, rising, in nanoseconds.
    bounds: Vec<u64>,
    runs: Mutex<[Runs; 2]>,
}

impl Guard {
    /// Of these scanners.
    #[must_use]
    pub fn new(
        request: Option<Scanner>,
        response: Option<Scanner>,
        restorer: Option<Scanner>,
        longest: usize,
        bounds: Vec<u64>,
    ) -> Self {
        let runs = Mutex::new([empty(&bounds), empty(&bounds)]);
        Self { request, response, restorer, longest, bounds, runs }
    }

    /// Look at a request. key: of its caller's pseudonyms; without one there are none. The vault has those of this
    /// request. None: it does not pass, or is too long.
    #[must_use]
    pub fn request(&self, body: &[u8], view: &View, key: Option<&[u8]>) -> Option<(Checked, Option<Arc<Vault>>)> {
        let Some(scanner) = &self.request else { return Some((Checked::default(), None)) };
        let mut vault = key.map(Vault::new);
        let look = || redact_request(scanner, body, view, vault.as_mut());
        let checked = self.check(scanner, body.len(), look)?;
        Some((checked, vault.filter(|vault| !vault.is_empty()).map(Arc::new)))
    }

    /// Look at a whole answer, and restore the pseudonyms of its request. None: it does not pass, or is too long.
    #[must_use]
    pub fn response(&self, body: &[u8], vault: Option<&Vault>) -> Option<Checked> {
        let scanner = if vault.is_none() { &self.response } else { &self.restorer };
        let Some(scanner) = scanner else { return Some(Checked::default()) };
        self.check(scanner, body.len(), || redact_response(scanner, body, vault))
    }

    fn check(&self, scanner: &Scanner, length: usize, look: impl FnOnce() -> BodyOutcome) -> Option<Checked> {
        if length > self.longest {
            return None;
        }
        let began = Instant::now();
        let BodyOutcome { decision, body, findings } = look();
        if decision == Decision::Blocked {
            return None;
        }
        let counts = counted(scanner, findings.iter().map(|found| &found.finding));
        let took_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Some(Checked { decision, counts, body, took_ns: Some(took_ns) })
    }

    /// Count what goes on its way; of a direction that is not looked at, nothing.
    pub fn count(&self, direction: Direction, checked: &Checked) {
        let Some(took_ns) = checked.took_ns else { return };
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = &mut runs[direction as usize];
        runs.outcomes[usize::from(checked.decision != Decision::Allowed)] += 1;
        runs.durations[self.bounds.partition_point(|bound| *bound < took_ns)] += 1;
        runs.duration_ns += took_ns;
        for (kind, action, count) in &checked.counts {
            *runs.findings.entry((kind.clone(), action)).or_default() += count;
        }
    }

    /// Everything since the last time.
    #[must_use]
    pub fn take(&self) -> [(Direction, Runs); 2] {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        [Direction::Request, Direction::Response]
            .map(|direction| (direction, std::mem::replace(&mut runs[direction as usize], empty(&self.bounds))))
    }
}

fn empty(bounds: &[u64]) -> Runs {
    Runs { durations: vec![0; bounds.len() + 1], ..Runs::default() }
}

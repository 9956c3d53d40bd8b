//! What was counted of requests that are alike, until somebody asks.

use std::sync::{Mutex, PoisonError};

/// Sums since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Requests by duration: as many as there are bounds, and one for those that took longer.
    pub durations: Vec<u64>,
    /// All durations together, in nanoseconds.
    pub duration_ns: u64,
    /// Requests by overhead, likewise.
    pub overheads: Vec<u64>,
    /// All overheads together, in nanoseconds.
    pub overhead_ns: u64,
    /// Tokens: prompt, completion, cached, reasoning.
    pub tokens: [u64; 4],
    /// Nano-USD.
    pub cost: u64,
    /// Requests without a price.
    pub unpriced: u64,
}

/// One request's part.
#[derive(Clone, Copy, Debug)]
pub(super) struct One {
    pub duration_ns: u64,
    pub overhead_ns: u64,
    pub tokens: [u64; 4],
    pub cost: Option<u64>,
}

/// Counts of one set of labels. The bounds of each histogram in nanoseconds, rising.
#[derive(Debug)]
pub struct Tally {
    durations: Vec<u64>,
    overheads: Vec<u64>,
    counts: Mutex<Counts>,
}

impl Tally {
    /// Of histograms with these bounds.
    #[must_use]
    pub fn new(durations: Vec<u64>, overheads: Vec<u64>) -> Self {
        let counts = Mutex::new(empty(&durations, &overheads));
        Self { durations, overheads, counts }
    }

    pub(super) fn add(&self, one: One) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.requests += 1;
        counts.durations[self.bucket(one.duration_ns)] += 1;
        counts.duration_ns += one.duration_ns;
        counts.overheads[self.overheads.partition_point(|bound| *bound < one.overhead_ns)] += 1;
        counts.overhead_ns += one.overhead_ns;
        for (sum, tokens) in counts.tokens.iter_mut().zip(one.tokens) {
            *sum += tokens;
        }
        counts.cost += one.cost.unwrap_or(0);
        counts.unpriced += u64::from(one.cost.is_none());
    }

    /// One that was refused: it took so many nanoseconds, and nobody worked for it.
    pub(super) fn refused(&self, duration_ns: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.requests += 1;
        counts.durations[self.bucket(duration_ns)] += 1;
        counts.duration_ns += duration_ns;
    }

    fn bucket(&self, duration_ns: u64) -> usize {
        self.durations.partition_point(|bound| *bound < duration_ns)
    }

    /// Everything since the last time; None: nothing.
    #[must_use]
    pub fn take(&self) -> Option<Counts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.requests == 0 {
            return None;
        }
        Some(std::mem::replace(&mut *counts, empty(&self.durations, &self.overheads)))
    }
}

fn empty(durations: &[u64], overheads: &[u64]) -> Counts {
    Counts { durations: vec![0; durations.len() + 1], overheads: vec![0; overheads.len() + 1], ..Counts::default() }
}

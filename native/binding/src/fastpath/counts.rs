//! `FastTally` and `FastGuard`.

use std::sync::Arc;

use pyo3::prelude::*;
use tollhouse_core::fastpath::{Direction, Guard, Runs, Tally};

use crate::scan::PyScanner;

#[pyclass(frozen, name = "FastTally", module = "tollhouse._native")]
pub(crate) struct PyFastTally {
    pub(super) tally: Arc<Tally>,
}

#[pymethods]
impl PyFastTally {
    #[new]
    #[pyo3(signature = (*, durations, overheads))]
    fn new(durations: Vec<u64>, overheads: Vec<u64>) -> Self {
        Self { tally: Arc::new(Tally::new(durations, overheads)) }
    }

    /// Requests, by duration, their sum, by overhead, its sum, tokens, cost, those without a price; None: nothing since the last time.
    #[expect(clippy::type_complexity, reason = "a tuple in Python")]
    fn counted(&self) -> Option<(u64, Vec<u64>, u64, Vec<u64>, u64, [u64; 4], u64, u64)> {
        let counts = self.tally.take()?;
        Some((
            counts.requests,
            counts.durations,
            counts.duration_ns,
            counts.overheads,
            counts.overhead_ns,
            counts.tokens,
            counts.cost,
            counts.unpriced,
        ))
    }
}

#[pyclass(frozen, name = "FastGuard", module = "tollhouse._native")]
pub(crate) struct PyFastGuard {
    pub(super) guard: Arc<Guard>,
}

#[pymethods]
impl PyFastGuard {
    #[new]
    #[pyo3(signature = (*, request, response, restorer, longest, durations))]
    fn new(
        request: Option<&PyScanner>,
        response: Option<&PyScanner>,
        restorer: Option<&PyScanner>,
        longest: usize,
        durations: Vec<u64>,
    ) -> Self {
        let [request, response, restorer] =
            [request, response, restorer].map(|given| given.map(|given| given.scanner.clone()));
        Self { guard: Arc::new(Guard::new(request, response, restorer, longest, durations)) }
    }

    /// Of each direction: name, allowed, transformed, by duration, their sum, findings.
    #[expect(clippy::type_complexity, reason = "a tuple in Python")]
    fn counted(&self) -> Vec<(&'static str, [u64; 2], Vec<u64>, u64, Vec<(String, &'static str, usize)>)> {
        let of = |(direction, runs): (Direction, Runs)| {
            let findings = runs.findings.into_iter().map(|((kind, action), count)| (kind, action, count)).collect();
            (direction.name(), runs.outcomes, runs.durations, runs.duration_ns, findings)
        };
        self.guard.take().map(of).into()
    }
}

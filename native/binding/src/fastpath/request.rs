//! `FastRequest`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use tollhouse_core::fastpath::{Answer, Checked, Direction, Ended, Noted, Reserved};
use tollhouse_core::request::View;
use tollhouse_core::scan::Vault;

use super::refusal::epoch_s;
use super::route::PyFastRoute;
use crate::quota::PyQuotaStore;
use crate::request::PyRequestView;
use crate::response::PyResponseReader;
use crate::scan::{PyVault, run};
use crate::server::PyRequestReader;

/// From this size on the body is not copied behind its head.
const JOINED: usize = 65_536;

/// Head and body for the upstream, a small body in one piece with the head.
fn written<'py>(
    py: Python<'py>,
    reserved: &Reserved,
    body: &[u8],
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let Reserved { head, edits, length, .. } = reserved;
    let write = |out: &mut [u8]| match edits {
        Some(edits) => fill(out, edits.pieces(body)),
        None => out.copy_from_slice(body),
    };
    let joined = if *length <= JOINED { *length } else { 0 };
    let first = PyBytes::new_with(py, head.len() + joined, |out| {
        let (start, rest) = out.split_at_mut(head.len());
        start.copy_from_slice(head);
        if joined > 0 {
            write(rest);
        }
        Ok(())
    })?;
    let second = PyBytes::new_with(py, length - joined, |out| {
        if joined == 0 {
            write(out);
        }
        Ok(())
    })?;
    Ok((first, second))
}

fn fill<'a>(out: &mut [u8], pieces: impl Iterator<Item = &'a [u8]>) {
    let mut at = 0;
    for piece in pieces {
        out[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
}

#[pyclass(name = "FastRequest", module = "tollhouse._native")]
pub(crate) struct PyFastRequest {
    begun: Instant,
    /// Since then it waits for a place, or to be told that there is none.
    waits: Option<Instant>,
    waited: Duration,
    sent: Instant,
    took: Option<Duration>,
    digest: [u8; 32],
    id: String,
    route: Py<PyFastRoute>,
    /// As it passes; while the reader still has it, None.
    body: Option<Vec<u8>>,
    #[pyo3(get)]
    closes: bool,
    #[pyo3(get)]
    is_plain: bool,
    /// Of a plain one.
    view: View,
    checked: Checked,
    vault: Option<Arc<Vault>>,
    reserved: Option<Reserved>,
    /// Of the answer.
    answered: Checked,
    ended: Option<Ended>,
}

#[pymethods]
impl PyFastRequest {
    #[getter]
    fn way(&self, py: Python<'_>) -> Py<PyAny> {
        self.route.get().way.clone_ref(py)
    }

    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.digest)
    }

    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    /// Whether a limit has refused the last one of its route.
    #[getter]
    fn is_limited(&self) -> bool {
        self.route.get().route.gate.is_limited()
    }

    /// Whether nobody else can be asked than its upstream.
    #[getter]
    fn is_alone(&self) -> bool {
        self.route.get().route.busy.is_some()
    }

    /// The response, the line of the log and the meter, if a limit refuses it as it came; None: nothing was done.
    #[pyo3(signature = (store, reader, last, /))]
    fn limited<'py>(
        &self,
        py: Python<'py>,
        store: &PyQuotaStore,
        reader: &mut PyRequestReader,
        last: &[u8],
    ) -> Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>, usize)> {
        let found = self.route.get();
        let route = &found.route;
        let body = reader.requests.ready();
        let read = if self.is_plain { None } else { Some(route.read(body)?) };
        let view = read.as_ref().unwrap_or(&self.view);
        let denial = route.denial(&store.0, &found.plan.get().0, view, body.len())?;
        let response = route.account.bounds.get(denial.meter)?.response(denial, &self.id, last)?;
        let stream = view.stream;
        let line = self.refused(reader, &route.limited, stream);
        Some((PyBytes::new(py, &response), PyBytes::new(py, &line), denial.meter))
    }

    /// The response and the line of the log where its upstream's queue is full; None: nothing was done.
    #[pyo3(signature = (reader, last, /))]
    fn busy<'py>(
        &self,
        py: Python<'py>,
        reader: &mut PyRequestReader,
        last: &[u8],
    ) -> Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let route = &self.route.get().route;
        let refusal = route.busy.as_ref()?;
        let stream = !self.is_plain && route.read(reader.requests.ready())?.stream;
        let response = refusal.response(&self.id, last);
        let line = self.refused(reader, &refusal.noted, stream);
        Some((PyBytes::new(py, &response), PyBytes::new(py, &line)))
    }

    /// It waits from now on, as it came: that is nobody's work.
    fn waits(&mut self) {
        self.waits = Some(Instant::now());
    }

    /// The line of the log where its client has gone meanwhile.
    #[pyo3(signature = (reader, /))]
    fn gone<'py>(&self, py: Python<'py>, reader: &mut PyRequestReader) -> Bound<'py, PyBytes> {
        let route = &self.route.get().route;
        // What it says may be for the stages to read: that it looks like a stream is known.
        let stream = !self.is_plain && route.read(reader.requests.ready()).is_none_or(|view| view.stream);
        PyBytes::new(py, &self.refused(reader, &route.gone, stream))
    }

    /// Nanoseconds that it has waited; from now on it does not.
    fn waits_no_more(&mut self) -> u128 {
        if let Some(since) = self.waits.take() {
            self.waited += since.elapsed();
        }
        self.waited.as_nanos()
    }

    /// Head and body for the upstream, in one piece or in two; None if it does not pass, or nothing could be reserved.
    #[pyo3(signature = (store, reader, /))]
    fn reserve<'py>(
        &mut self,
        py: Python<'py>,
        store: &PyQuotaStore,
        reader: &mut PyRequestReader,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>> {
        let found = self.route.get();
        let route = &found.route;
        let came = reader.requests.ready();
        if let Some(guard) = &route.guard {
            let look = || guard.request(came, &self.view, route.pseudonym_key.as_deref());
            let Some((mut checked, vault)) = run(py, came.len(), look)? else { return Ok(None) };
            self.body = checked.body.take();
            (self.checked, self.vault) = (checked, vault);
            if let Some(body) = &self.body {
                let Ok(view) = View::parse(body, route.known.kind, route.known.limits) else { return Ok(None) };
                self.view = view;
            }
        }
        let body = self.body.as_deref().unwrap_or(came);
        let reserved = route.reserve(&store.0, &found.plan.get().0, &self.id, &self.view, body);
        let Some(reserved) = reserved else { return Ok(None) };
        let Ok(parts) = written(py, &reserved, body) else {
            // Nobody has been asked. If that cannot be written down either, the hold ends by itself.
            let _ = store.0.release(reserved.hold, store.0.times());
            return Ok(None);
        };
        let taken = reader.requests.take();
        self.body.get_or_insert(taken);
        if let Some(guard) = &route.guard {
            guard.count(Direction::Request, &self.checked);
        }
        self.reserved = Some(reserved);
        self.sent = Instant::now();
        Ok(Some(parts))
    }

    /// The response, once all that was reserved is settled; None: the answer is no plain success, and nothing was done.
    #[pyo3(signature = (store, reader, last, /))]
    fn end<'py>(
        &mut self,
        py: Python<'py>,
        store: &PyQuotaStore,
        reader: &mut PyResponseReader,
        last: &[u8],
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let route = &self.route.get().route;
        let Some(reserved) = &self.reserved else { return Ok(None) };
        let upstream = self.sent.elapsed() + self.waited;
        let Some(success) = route.success(reserved, &reader.response) else { return Ok(None) };
        let body = success.body;
        let size = body.len();
        if let Some(guard) = &route.guard {
            let Some(answered) = run(py, size, || guard.response(body, self.vault.as_deref()))? else {
                return Ok(None);
            };
            self.answered = answered;
        }
        let decision = self.checked.decision.max(self.answered.decision);
        let answer = Answer { body: self.answered.body.as_deref().unwrap_or(body), decision };
        let times = (self.begun.elapsed(), upstream);
        let Some((response, ended)) = route.end(&store.0, &self.id, reserved, &success, answer, times, last) else {
            return Ok(None);
        };
        if let Some(guard) = &route.guard {
            guard.count(Direction::Response, &self.answered);
        }
        self.ended = Some(ended);
        reader.response.consume(size); // a client that reads slowly has it in its buffer
        Ok(Some(PyBytes::new(py, &response)))
    }

    /// Count it, now that it is over.
    fn count(&mut self) {
        if let Some(ended) = &self.ended {
            let took = self.begun.elapsed();
            self.route.get().route.count(ended, took);
            self.took = Some(took);
        }
    }

    /// Its line in the access log, once it was counted.
    fn line<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let at = epoch_s();
        let mut findings: Vec<(String, usize)> = Vec::new();
        for (kind, _, count) in self.checked.counts.iter().chain(&self.answered.counts) {
            match findings.iter_mut().find(|(known, _)| known == kind) {
                Some((_, sum)) => *sum += count,
                None => findings.push((kind.clone(), *count)),
            }
        }
        let line = self.route.get().route.line(&self.id, self.ended.as_ref()?, &findings, self.took?, at);
        Some(PyBytes::new(py, &line))
    }

    /// That of the body, once it was reserved for.
    fn take_view(&mut self, py: Python<'_>) -> PyRequestView {
        let known = &self.route.get().route.known;
        let body = PyBytes::new(py, self.body.as_deref().unwrap_or_default()).unbind();
        PyRequestView::new(body, std::mem::take(&mut self.view), known.kind, known.limits)
    }

    /// What was decided about the request, and what was found in it, by type and action.
    #[getter]
    fn decision(&self) -> &'static str {
        self.checked.decision.name()
    }

    #[getter]
    fn counts(&self) -> Vec<(String, &'static str, usize)> {
        self.checked.counts.clone()
    }

    #[getter]
    fn vault(&self) -> Option<PyVault> {
        self.vault.as_ref().map(|vault| PyVault { vault: Arc::clone(vault) })
    }

    /// Nanoseconds since it began, and since it was sent; and those that it waited before that.
    #[getter]
    fn elapsed(&self) -> (u128, u128, u128) {
        (self.begun.elapsed().as_nanos(), self.sent.elapsed().as_nanos(), self.waited.as_nanos())
    }

    /// What the store has said, as it says it: hold, nano-USD, when, standings.
    #[getter]
    fn admitted<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let Some(reserved) = &self.reserved else { return Ok(None) };
        let meters = PyTuple::new(py, reserved.meters.iter().copied())?;
        (reserved.hold, reserved.granted, reserved.at_ms, meters).into_pyobject(py).map(Some)
    }
}

impl PyFastRequest {
    /// closes: the connection ends with it; view: of a plain one.
    pub(super) fn new(
        begun: Instant,
        id: String,
        digest: [u8; 32],
        route: Py<PyFastRoute>,
        view: Option<View>,
        closes: bool,
    ) -> Self {
        Self {
            begun,
            waits: None,
            waited: Duration::ZERO,
            is_plain: view.is_some(),
            sent: begun,
            took: None,
            digest,
            id,
            route,
            body: None,
            closes,
            view: view.unwrap_or_default(),
            checked: Checked::default(),
            vault: None,
            reserved: None,
            answered: Checked::default(),
            ended: None,
        }
    }

    /// What it said is gone, and it is counted. Its line in the log.
    fn refused(&self, reader: &mut PyRequestReader, noted: &Noted, stream: bool) -> Vec<u8> {
        drop(reader.requests.take());
        noted.note(&self.id, Some(stream), self.begun.elapsed(), epoch_s())
    }
}

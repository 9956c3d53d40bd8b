//! `FastPath`, `FastRoute` and `FastRequest`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use sha2::{Digest, Sha256};
use tollhouse_core::fastpath::{
    Account, Answer, Asked, Checked, Direction, Ended, Facts, Gate, Guard, Known, Noted, Refusal, Reserved, Route,
    Tally, Upstream, What, asked, models, request_id, wants_stream,
};
use tollhouse_core::http1::request::Requests;
use tollhouse_core::ids::new_id;
use tollhouse_core::json::Limits;
use tollhouse_core::request::{Kind, Model, View};
use tollhouse_core::scan::Vault;

use crate::cost::PyPrice;
use crate::quota::{PyQuotaPlan, PyQuotaStore};
use crate::request::PyRequestView;
use crate::response::PyResponseReader;
use crate::scan::{PyScanner, PyVault, run};
use crate::server::PyRequestReader;

/// From this size on the body is not copied behind its head.
const JOINED: usize = 65_536;
/// Bodies up to this size are waited for before anything is begun.
const EXPECTED: u64 = 65_536;

#[pyclass(frozen, name = "FastTally", module = "tollhouse._native")]
pub(crate) struct PyFastTally {
    tally: Arc<Tally>,
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
    guard: Arc<Guard>,
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
        let of = |(direction, runs): (Direction, tollhouse_core::fastpath::Runs)| {
            let findings = runs.findings.into_iter().map(|((kind, action), count)| (kind, action, count)).collect();
            (direction.name(), runs.outcomes, runs.durations, runs.duration_ns, findings)
        };
        self.guard.take().map(of).into()
    }
}

/// For the log's line: from the method to the status, from the key to the provider, the error. And who counts.
type PyNoted<'py> = (String, String, String, PyRef<'py, PyFastTally>);

fn noted_of((asked, who, error, tally): PyNoted<'_>) -> Noted {
    Noted { asked, who, error, tally: Arc::clone(&tally.tally) }
}

#[pyclass(frozen, name = "FastRefusal", module = "tollhouse._native")]
pub(crate) struct PyFastRefusal {
    refusal: Refusal,
}

#[pymethods]
impl PyFastRefusal {
    #[new]
    #[pyo3(signature = (*, head, body, behind, noted))]
    fn new(head: Vec<u8>, body: Vec<u8>, behind: Option<Vec<u8>>, noted: PyNoted<'_>) -> Self {
        let noted = noted_of(noted);
        Self { refusal: Refusal { head, body: (body, behind), noted } }
    }
}

#[pyclass(frozen, name = "Shedding", module = "tollhouse._native")]
pub(crate) struct PyShedding {
    refusals: HashMap<String, Py<PyFastRefusal>>,
}

#[pymethods]
impl PyShedding {
    #[new]
    #[pyo3(signature = (refusals, /))]
    fn new(refusals: HashMap<String, Py<PyFastRefusal>>) -> Self {
        Self { refusals }
    }

    /// The response, the line of the log and whether that is the end of the connection, if it may be refused; None: nothing was done.
    #[pyo3(signature = (reader, last, closes, /))]
    fn refuse<'py>(
        &self,
        py: Python<'py>,
        reader: &mut PyRequestReader,
        last: &[u8],
        closes: bool,
    ) -> Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>, bool)> {
        let begun = Instant::now();
        let requests = &mut reader.requests;
        let path = std::str::from_utf8(requests.path()).ok().filter(|_| requests.method() == b"POST");
        let found = path.and_then(|path| self.refusals.get(path))?;
        let refusal = &found.get().refusal;
        let Ok(id) = request_id(requests).map_or_else(new_id, |id| Ok(id.to_owned())) else { return None };
        let closes = closes || !requests.keep_alive();
        let closing = if closes { [b"connection: close\r\n", last].concat() } else { last.to_vec() };
        let response = refusal.response(&id, &closing);
        let line = refusal.noted.note(&id, None, begun.elapsed(), epoch_s());
        drop(requests.take());
        Some((PyBytes::new(py, &response), PyBytes::new(py, &line), closes))
    }
}

#[pyclass(frozen, name = "FastRoute", module = "tollhouse._native")]
pub(crate) struct PyFastRoute {
    route: Route,
    plan: Py<PyQuotaPlan>,
    #[pyo3(get)]
    way: Py<PyAny>,
}

#[pymethods]
impl PyFastRoute {
    #[new]
    #[pyo3(signature = (
        *, way, plan, path, kind, model, max_bytes, max_depth, max_nodes, until_ms, upstream_model, head, limit,
        price, actual, max_output, context, tokens_per_image, has_budget, has_hard, expires_in_ms, bounds, meta, entry,
        lines, returned, log_asked, log_who, tallies, limited, busy, guard, pseudonym_key
    ))]
    #[expect(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "named arguments in Python")]
    fn new(
        way: Py<PyAny>,
        plan: Py<PyQuotaPlan>,
        path: String,
        kind: &str,
        model: String,
        max_bytes: usize,
        max_depth: usize,
        max_nodes: usize,
        until_ms: u64,
        upstream_model: String,
        head: Vec<u8>,
        limit: String,
        price: Option<&PyPrice>,
        actual: Option<&PyPrice>,
        max_output: Option<u64>,
        context: Option<u64>,
        tokens_per_image: u64,
        has_budget: bool,
        has_hard: bool,
        expires_in_ms: u64,
        bounds: Vec<(String, u64, Option<String>)>,
        meta: Vec<u8>,
        entry: Vec<u8>,
        lines: [Vec<u8>; 2],
        returned: Vec<Vec<u8>>,
        log_asked: String,
        log_who: String,
        tallies: [PyRef<'_, PyFastTally>; 2],
        limited: PyNoted<'_>,
        busy: Option<&PyFastRefusal>,
        guard: Option<&PyFastGuard>,
        pseudonym_key: Option<Vec<u8>>,
    ) -> PyResult<Self> {
        let kind = Kind::from_name(kind).ok_or_else(|| PyValueError::new_err("unknown kind of request"))?;
        let limits = Limits { max_depth, max_nodes };
        let shared = |price: Option<&PyPrice>| price.map(|price| Arc::clone(&price.price));
        let bound = |(what, limit, said): (String, u64, Option<String>)| {
            let what = What::from_name(&what).ok_or_else(|| PyValueError::new_err("unknown kind of meter"))?;
            PyResult::Ok(tollhouse_core::fastpath::Bound { what, limit, said })
        };
        let bounds = bounds.into_iter().map(bound).collect::<PyResult<_>>()?;
        let route = Route {
            known: Known { path, kind, model, max_bytes, limits, until_ms },
            upstream: Upstream { model: upstream_model, head, limit },
            account: Account {
                price: shared(price),
                actual: shared(actual),
                model: Model { max_output, context, tokens_per_image },
                has_budget,
                has_hard,
                expires_in_ms,
                bounds,
                meta,
                entry,
            },
            facts: Facts { lines, returned, log_asked, log_who },
            tallies: tallies.each_ref().map(|tally| Arc::clone(&tally.tally)),
            guard: guard.map(|guard| Arc::clone(&guard.guard)),
            pseudonym_key,
            limited: noted_of(limited),
            busy: busy.map(|busy| busy.refusal.clone()),
            gate: Gate::default(),
        };
        Ok(Self { route, plan, way })
    }

    /// A limit refuses.
    fn limit(&self) {
        self.route.gate.limit();
    }

    /// Something could be reserved again.
    fn reopen(&self) {
        self.route.gate.open();
    }
}

/// By path and model.
type Routes = HashMap<String, ByModel>;
type ByModel = HashMap<String, Py<PyFastRoute>>;

#[pyclass(name = "FastPath", module = "tollhouse._native")]
pub(crate) struct PyFastPath {
    routes: HashMap<[u8; 32], Routes>,
}

#[pymethods]
impl PyFastPath {
    #[new]
    fn new() -> Self {
        Self { routes: HashMap::new() }
    }

    #[pyo3(signature = (digest, route, /))]
    fn learn(&mut self, digest: [u8; 32], route: Py<PyFastRoute>) {
        let known = &route.get().route.known;
        let (path, model) = (known.path.clone(), known.model.clone());
        self.routes.entry(digest).or_default().entry(path).or_default().insert(model, route);
    }

    #[pyo3(signature = (digest, path, model, /))]
    fn forget(&mut self, digest: [u8; 32], path: &str, model: &str) {
        let Some(of_key) = self.routes.get_mut(&digest) else { return };
        if let Some(of_path) = of_key.get_mut(path) {
            of_path.remove(model);
            if of_path.is_empty() {
                of_key.remove(path);
            }
        }
        if of_key.is_empty() {
            self.routes.remove(&digest);
        }
    }

    fn clear(&mut self) {
        self.routes.clear();
    }

    #[pyo3(signature = (reader, /))]
    fn expects(&self, reader: &PyRequestReader) -> bool {
        let requests = &reader.requests;
        requests.missing().is_some_and(|missing| missing <= EXPECTED) && self.routes_of(requests).is_some()
    }

    #[pyo3(signature = (reader, /))]
    fn find(&self, py: Python<'_>, reader: &PyRequestReader) -> Option<PyFastRequest> {
        let begun = Instant::now();
        let requests = &reader.requests;
        let (asked, digest, routes) = self.routes_of(requests)?;
        let body = requests.ready();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let known = models(body).find_map(|model| routes.get(model))?;
        let route = Some(&known.get().route).filter(|route| route.holds(wall_ms))?;
        // A view of what is no plain request is made where it is needed.
        let view = if wants_stream(body) { None } else { Some(route.read(body)?).filter(Route::is_plain) };
        Some(PyFastRequest {
            begun,
            is_plain: view.is_some(),
            sent: begun,
            took: None,
            digest,
            id: asked.request_id.map_or_else(new_id, |id| Ok(id.to_owned())).ok()?,
            route: known.clone_ref(py),
            body: None,
            closes: !requests.keep_alive(),
            view: view.unwrap_or_default(),
            checked: Checked::default(),
            vault: None,
            reserved: None,
            answered: Checked::default(),
            ended: None,
        })
    }
}

impl PyFastPath {
    /// Those of a plain head's key and path.
    fn routes_of<'a>(&self, requests: &'a Requests) -> Option<(Asked<'a>, [u8; 32], &ByModel)> {
        let asked = asked(requests)?;
        let digest: [u8; 32] = Sha256::digest(asked.token).into();
        let routes = self.routes.get(&digest)?.get(std::str::from_utf8(requests.path()).ok()?)?;
        Some((asked, digest, routes))
    }
}

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
        let upstream = self.sent.elapsed();
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

    /// Nanoseconds since it began, and since it was sent.
    #[getter]
    fn elapsed(&self) -> (u128, u128) {
        (self.begun.elapsed().as_nanos(), self.sent.elapsed().as_nanos())
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
    /// What it said is gone, and it is counted. Its line in the log.
    fn refused(&self, reader: &mut PyRequestReader, noted: &Noted, stream: bool) -> Vec<u8> {
        drop(reader.requests.take());
        noted.note(&self.id, Some(stream), self.begun.elapsed(), epoch_s())
    }
}

fn epoch_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[pyfunction]
#[pyo3(signature = (nano, /))]
pub(crate) fn usd(nano: i64) -> String {
    tollhouse_core::fastpath::usd(nano)
}

#[pyfunction]
#[pyo3(signature = (ms, /))]
pub(crate) fn duration(ms: u64) -> String {
    tollhouse_core::fastpath::duration(ms)
}

//! `FastPath`, `FastRoute` and `FastRequest`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use sha2::{Digest, Sha256};
use tollhouse_core::fastpath::{Account, Ended, Facts, Known, Reserved, Route, Tally, Upstream, asked};
use tollhouse_core::json::Limits;
use tollhouse_core::request::{Kind, Model, View};

use crate::cost::PyPrice;
use crate::quota::{PyQuotaPlan, PyQuotaStore};
use crate::response::PyResponseReader;
use crate::server::PyRequestReader;

/// From this size on the body is not copied behind its head.
const JOINED: usize = 65_536;

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
        price, actual, max_output, context, tokens_per_image, has_budget, has_hard, expires_in_ms, requests, tokens,
        meta, entry, lines, returned, log_asked, log_who, tally
    ))]
    #[expect(clippy::too_many_arguments, reason = "named arguments in Python")]
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
        requests: Vec<(usize, u64)>,
        tokens: Vec<(usize, u64)>,
        meta: Vec<u8>,
        entry: Vec<u8>,
        lines: Vec<u8>,
        returned: Vec<Vec<u8>>,
        log_asked: String,
        log_who: String,
        tally: &PyFastTally,
    ) -> PyResult<Self> {
        let kind = Kind::from_name(kind).ok_or_else(|| PyValueError::new_err("unknown kind of request"))?;
        let limits = Limits { max_depth, max_nodes };
        let shared = |price: Option<&PyPrice>| price.map(|price| Arc::clone(&price.price));
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
                buckets: [requests, tokens],
                meta,
                entry,
            },
            facts: Facts { lines, returned, log_asked, log_who },
            tally: Arc::clone(&tally.tally),
        };
        Ok(Self { route, plan, way })
    }
}

/// By path and model.
type Routes = HashMap<String, HashMap<String, Py<PyFastRoute>>>;

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
        if let Some(routes) = self.routes.get_mut(&digest).and_then(|routes| routes.get_mut(path)) {
            routes.remove(model);
        }
    }

    fn clear(&mut self) {
        self.routes.clear();
    }

    #[pyo3(signature = (reader, id, /))]
    fn find(&self, py: Python<'_>, reader: &PyRequestReader, id: &str) -> Option<PyFastRequest> {
        let begun = Instant::now();
        let requests = &reader.requests;
        let asked = asked(requests)?;
        let digest: [u8; 32] = Sha256::digest(asked.token).into();
        let routes = self.routes.get(&digest)?.get(std::str::from_utf8(requests.path()).ok()?)?;
        let body = requests.ready();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let view = routes.values().next()?.get().route.read(body)?;
        let route = routes.get(view.model.as_deref()?).filter(|route| route.get().route.holds(wall_ms))?;
        Some(PyFastRequest {
            begun,
            sent: begun,
            answered: None,
            digest,
            id: asked.request_id.unwrap_or(id).to_owned(),
            route: route.clone_ref(py),
            body: PyBytes::new(py, body).unbind(),
            closes: !requests.keep_alive(),
            view,
            reserved: None,
            ended: None,
        })
    }
}

#[pyclass(name = "FastRequest", module = "tollhouse._native")]
pub(crate) struct PyFastRequest {
    begun: Instant,
    sent: Instant,
    answered: Option<Duration>,
    digest: [u8; 32],
    id: String,
    route: Py<PyFastRoute>,
    #[pyo3(get)]
    body: Py<PyBytes>,
    #[pyo3(get)]
    closes: bool,
    view: View,
    reserved: Option<Reserved>,
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

    /// Head and body for the upstream, in one piece or in two; None if nothing could be reserved.
    #[pyo3(signature = (store, reader, /))]
    fn reserve<'py>(
        &mut self,
        py: Python<'py>,
        store: &PyQuotaStore,
        reader: &mut PyRequestReader,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>> {
        let found = self.route.get();
        let plan = &found.plan.get().0;
        let body = self.body.bind(py);
        let Some(mut reserved) = found.route.reserve(&store.0, plan, &self.id, &self.view, body.as_bytes()) else {
            return Ok(None);
        };
        reader.requests.consume();
        let head = std::mem::take(&mut reserved.head);
        let changed = reserved.body.take();
        self.reserved = Some(reserved);
        let size = changed.as_ref().map_or(body.as_bytes().len(), Vec::len);
        let parts = if size <= JOINED {
            let bytes = changed.as_deref().unwrap_or(body.as_bytes());
            let joined = PyBytes::new_with(py, head.len() + size, |out| {
                out[..head.len()].copy_from_slice(&head);
                out[head.len()..].copy_from_slice(bytes);
                Ok(())
            })?;
            (joined, PyBytes::new(py, b""))
        } else {
            let own = changed.map(|bytes| PyBytes::new(py, &bytes));
            (PyBytes::new(py, &head), own.unwrap_or_else(|| body.clone()))
        };
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
    ) -> Option<Bound<'py, PyBytes>> {
        let found = self.route.get();
        let reserved = self.reserved.as_ref()?;
        let times = (self.begun.elapsed(), self.sent.elapsed());
        let (response, ended) = found.route.end(&store.0, &self.id, reserved, &reader.response, times, last)?;
        self.ended = Some(ended);
        let size = reader.response.ready().len();
        reader.response.consume(size); // a client that reads slowly has it in its buffer
        Some(PyBytes::new(py, &response))
    }

    /// Count it, now that it is over.
    fn count(&mut self) {
        if let Some(ended) = &self.ended {
            let took = self.begun.elapsed();
            self.route.get().route.count(ended, took);
            self.answered = Some(took);
        }
    }

    /// Its line in the access log, once it was counted.
    fn line<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let line = self.route.get().route.line(&self.id, self.ended.as_ref()?, self.answered?, at);
        Some(PyBytes::new(py, &line))
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

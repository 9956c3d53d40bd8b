//! `FastRoute` and `FastPath`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use sha2::{Digest, Sha256};
use tollhouse_core::fastpath::{
    Account, Asked, Bound, Facts, Gate, Known, Route, Upstream, What, asked, models, wants_stream,
};
use tollhouse_core::http1::request::Requests;
use tollhouse_core::ids::new_id;
use tollhouse_core::json::Limits;
use tollhouse_core::request::{Kind, Model};

use super::counts::{PyFastGuard, PyFastTally};
use super::refusal::{PyFastRefusal, PyNoted, noted_of};
use super::request::PyFastRequest;
use crate::cost::PyPrice;
use crate::quota::PyQuotaPlan;
use crate::server::PyRequestReader;

/// Bodies up to this size are waited for before anything is begun.
const EXPECTED: u64 = 65_536;

#[pyclass(frozen, name = "FastRoute", module = "tollhouse._native")]
pub(crate) struct PyFastRoute {
    pub(super) route: Route,
    pub(super) plan: Py<PyQuotaPlan>,
    #[pyo3(get)]
    pub(super) way: Py<PyAny>,
}

#[pymethods]
impl PyFastRoute {
    #[new]
    #[pyo3(signature = (
        *, way, plan, path, kind, model, max_bytes, max_depth, max_nodes, until_ms, upstream_model, head, limit,
        price, actual, max_output, context, tokens_per_image, has_budget, has_hard, expires_in_ms, bounds, meta, entry,
        lines, returned, log_asked, log_who, tallies, limited, busy, gone, guard, pseudonym_key
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
        gone: PyNoted<'_>,
        guard: Option<&PyFastGuard>,
        pseudonym_key: Option<Vec<u8>>,
    ) -> PyResult<Self> {
        let kind = Kind::from_name(kind).ok_or_else(|| PyValueError::new_err("unknown kind of request"))?;
        let limits = Limits { max_depth, max_nodes };
        let shared = |price: Option<&PyPrice>| price.map(|price| Arc::clone(&price.price));
        let bound = |(what, limit, said): (String, u64, Option<String>)| {
            let what = What::from_name(&what).ok_or_else(|| PyValueError::new_err("unknown kind of meter"))?;
            PyResult::Ok(Bound { what, limit, said })
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
            gone: noted_of(gone),
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
        let id = asked.request_id.map_or_else(new_id, |id| Ok(id.to_owned())).ok()?;
        Some(PyFastRequest::new(begun, id, digest, known.clone_ref(py), view, !requests.keep_alive()))
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

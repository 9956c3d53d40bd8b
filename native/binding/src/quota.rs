//! `QuotaStore` and `QuotaPlan`.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use pyo3::exceptions::{PyBlockingIOError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use tollhouse_core::quota::{
    Admission, Bucket, Budget, Kind, Meter, MeterError, Outcome, Plan, Refill, Request, Store, StoreError, Times,
};

/// Meters as plain values, told apart by how many they are: a bucket is (name, capacity, amount, period, whether it
/// refills by interval, whether it counts tokens), a budget (name, cap, start, end), a parallel limit (name, capacity).
#[derive(FromPyObject)]
enum Described {
    Bucket(String, u64, u64, u64, bool, bool),
    Budget(String, u64, u64, u64),
    Parallel(String, u64),
}

fn meter(described: Described) -> PyResult<Meter> {
    let refused = |name: &str, error: MeterError| PyValueError::new_err(format!("{name}: {error}"));
    let (name, kind) = match described {
        Described::Bucket(name, capacity, amount, period, is_interval, counts_tokens) => {
            let refill = if is_interval { Refill::Interval } else { Refill::Continuous };
            let bucket = Bucket::new(capacity, amount, period, refill, counts_tokens);
            let bucket = bucket.map_err(|error| refused(&name, error))?;
            (name, Kind::Bucket(bucket))
        }
        Described::Parallel(name, capacity) => (name, Kind::Parallel(capacity)),
        Described::Budget(name, cap, start, end) => (name, Kind::Budget(Budget { cap, start, end })),
    };
    Meter::new(&name, kind).map_err(|error| refused(&name, error))
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn failed(error: StoreError) -> PyErr {
    match &error {
        StoreError::Journal(inner) if inner.kind() == ErrorKind::ResourceBusy => {
            PyBlockingIOError::new_err(error.to_string())
        }
        _ => PyOSError::new_err(error.to_string()),
    }
}

#[pyclass(frozen, name = "QuotaPlan", module = "tollhouse._native")]
pub(crate) struct PyQuotaPlan(pub(crate) Plan);

#[pyclass(frozen, name = "QuotaStore", module = "tollhouse._native")]
pub(crate) struct PyQuotaStore(pub(crate) Arc<Store>);

/// What the ledger has not got yet. It does not keep the store, which is to go when it is handed over.
#[pyclass(frozen, name = "QuotaRecords", module = "tollhouse._native")]
pub(crate) struct PyQuotaRecords(pub(crate) Weak<Store>);

impl PyQuotaStore {
    /// Tests tell the time; everybody else has the store's clock.
    fn times(&self, now_ms: Option<u64>) -> Times {
        now_ms.map_or_else(|| self.0.times(), |now| Times { now, wall: now })
    }
}

#[pymethods]
impl PyQuotaStore {
    #[new]
    #[pyo3(signature = (folder=None, *, stored=0, segment_bytes=16_777_216))]
    fn new(py: Python<'_>, folder: Option<PathBuf>, stored: u64, segment_bytes: usize) -> PyResult<Self> {
        let store = match folder {
            None => Store::in_memory(),
            Some(folder) => py.detach(|| Store::open(&folder, stored, segment_bytes)).map_err(failed)?,
        };
        Ok(Self(Arc::new(store)))
    }

    #[pyo3(signature = (meters, /))]
    fn plan(&self, meters: Vec<Described>) -> PyResult<PyQuotaPlan> {
        let meters = meters.into_iter().map(meter).collect::<PyResult<Vec<Meter>>>()?;
        Ok(PyQuotaPlan(self.0.plan(meters)))
    }

    #[pyo3(signature = (plan, /, tokens, want, minimum, expires_in_ms, meta, now_ms=None))]
    #[expect(clippy::too_many_arguments, reason = "a call from Python")]
    fn admit<'py>(
        &self,
        py: Python<'py>,
        plan: &PyQuotaPlan,
        tokens: u64,
        want: u64,
        minimum: u64,
        expires_in_ms: u64,
        meta: &[u8],
        now_ms: Option<u64>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let times = self.times(now_ms);
        let Times { now, wall } = times;
        let expires_at = now.saturating_add(expires_in_ms);
        let request = Request { id: 0, now, wall, expires_at, tokens, want, minimum, meta };
        match self.0.admit(&plan.0, request).map_err(failed)? {
            Admission::Admitted(id, granted) => {
                let mut standings = Vec::with_capacity(plan.0.len());
                self.0.standings(&plan.0, times, |standing| standings.push((standing.remaining, standing.reset)));
                (id, granted, wall, PyTuple::new(py, standings)?).into_pyobject(py)
            }
            Admission::Stale => (wall,).into_pyobject(py),
            Admission::Denied(denial) => (denial.meter, denial.wait, denial.remaining).into_pyobject(py),
        }
    }

    #[pyo3(signature = (hold, /, amount, tokens, entry, now_ms=None))]
    fn settle(&self, hold: u64, amount: u64, tokens: u64, entry: &[u8], now_ms: Option<u64>) -> PyResult<&'static str> {
        self.0.settle(hold, amount, tokens, entry, self.times(now_ms)).map(name).map_err(failed)
    }

    #[pyo3(signature = (hold, /, now_ms=None))]
    fn release(&self, hold: u64, now_ms: Option<u64>) -> PyResult<&'static str> {
        self.0.release(hold, self.times(now_ms)).map(name).map_err(failed)
    }

    #[pyo3(signature = (limit, /, now_ms=None))]
    fn expire_due(&self, limit: usize, now_ms: Option<u64>) -> PyResult<usize> {
        self.0.expire_due(limit, self.times(now_ms)).map_err(failed)
    }

    #[pyo3(signature = (limit, /))]
    fn unstored<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for entry in self.0.unstored(0, limit) {
            let (meta, detail) = (PyBytes::new(py, &entry.meta), PyBytes::new(py, &entry.entry));
            list.append((entry.seq, entry.verb.name(), entry.hold, entry.amount, entry.wall, meta, detail))?;
        }
        Ok(list)
    }

    fn records(&self) -> PyQuotaRecords {
        PyQuotaRecords(Arc::downgrade(&self.0))
    }

    #[pyo3(signature = (seq, /))]
    fn stored(&self, seq: u64) {
        self.0.stored(seq);
    }

    fn accounts(&self) -> Vec<(String, u64, i64, u64)> {
        let accounts = self.0.accounts().into_iter();
        accounts.map(|(name, start, account)| (name, start, account.posted, account.reserved)).collect()
    }

    #[getter]
    fn open_holds(&self) -> usize {
        self.0.open_count()
    }

    #[getter]
    fn now_ms(&self) -> u64 {
        self.0.times().wall
    }
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Settled(_) => "settled",
        Outcome::Late(_) => "late",
        Outcome::Released => "released",
        Outcome::Expired(_) => "expired",
        Outcome::Early => "early",
        Outcome::Duplicate => "duplicate",
        Outcome::Unknown => "unknown",
    }
}

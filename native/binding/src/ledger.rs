//! `LedgerDatabase`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyMemoryError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple};
use tollhouse_core::ledger::{Charge, Database, Error, Kind, Value};

use crate::quota::PyQuotaRecords;

#[pyclass(frozen, name = "LedgerDatabase", module = "tollhouse._native")]
pub(crate) struct PyLedgerDatabase(Mutex<Option<Database>>);

/// `Charge` of middlewares/stores/ledger.py.
type Described = (Position, String, String, i64, i64, PyBackedBytes);

#[derive(FromPyObject)]
enum Position {
    Embedded(u64),
    Shared(String),
}

impl PyLedgerDatabase {
    /// Its lock is taken without the interpreter's, and so is everything done that may wait for a disk.
    fn run<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut Database) -> Result<T, Error> + Send) -> PyResult<T> {
        let done = py.detach(|| self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(work));
        match done {
            Some(done) => done.map_err(|error| raised(py, &error)),
            None => Err(sqlite_error(py, "ProgrammingError", "Cannot operate on a closed database.", None)),
        }
    }
}

#[pymethods]
impl PyLedgerDatabase {
    #[new]
    #[pyo3(signature = (path, *, read_only=false, busy_s=5.0))]
    fn new(py: Python<'_>, path: PathBuf, read_only: bool, busy_s: f64) -> PyResult<Self> {
        let busy = Duration::try_from_secs_f64(busy_s).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let opened = py.detach(move || Database::open(&path, read_only, busy));
        Ok(Self(Mutex::new(Some(opened.map_err(|error| raised(py, &error))?))))
    }

    #[pyo3(signature = (sql, parameters=Vec::new(), /), text_signature = "($self, sql, parameters=(), /)")]
    fn execute<'py>(
        &self,
        py: Python<'py>,
        sql: &str,
        parameters: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let parameters = parameters.into_iter().map(|given| value(&given)).collect::<PyResult<Vec<Value>>>()?;
        let rows = self.run(py, |db| db.execute(sql, &parameters))?;
        rows.into_iter().map(|row| tuple(py, row)).collect()
    }

    #[pyo3(signature = (source, /))]
    fn last(&self, py: Python<'_>, source: &str) -> PyResult<Option<String>> {
        self.run(py, |db| db.last(source))
    }

    #[pyo3(signature = (source, charges, /))]
    #[expect(clippy::needless_pass_by_value, reason = "as it comes from Python")]
    fn append(&self, py: Python<'_>, source: &str, charges: Vec<Described>) -> PyResult<()> {
        let position = match charges.last() {
            None => return Ok(()),
            Some((Position::Embedded(number), ..)) => number.to_string(),
            Some((Position::Shared(id), ..)) => id.clone(),
        };
        let charges = charges.iter().map(|(position, status, hold, amount, at_ms, detail)| Charge {
            status,
            hold,
            is_shared: matches!(position, Position::Shared(_)),
            amount: *amount,
            at_ms: *at_ms,
            detail,
        });
        self.run(py, |db| db.append(source, &position, charges))
    }

    #[pyo3(signature = (source, records, limit, /))]
    fn append_from(&self, py: Python<'_>, source: &str, records: &PyQuotaRecords, limit: usize) -> PyResult<usize> {
        // The store is let go of before the interpreter is asked for: whoever hands it over waits for nobody.
        self.run(py, |db| records.0.upgrade().map_or(Ok(0), |store| db.append_from(source, &store, limit)))
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
}

fn value(given: &Bound<'_, PyAny>) -> PyResult<Value> {
    if given.is_none() {
        Ok(Value::Null)
    } else if given.is_instance_of::<PyInt>() {
        given.extract().map(Value::Integer)
    } else if given.is_instance_of::<PyString>() {
        given.extract().map(Value::Text)
    } else {
        Err(PyTypeError::new_err("a parameter is None, an int or a str"))
    }
}

fn tuple(py: Python<'_>, row: Vec<Value>) -> PyResult<Bound<'_, PyTuple>> {
    let row = row.into_iter().map(|value| match value {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Integer(number) => number.into_bound_py_any(py),
        Value::Real(number) => number.into_bound_py_any(py),
        Value::Text(text) => text.into_bound_py_any(py),
        Value::Blob(bytes) => PyBytes::new(py, &bytes).into_bound_py_any(py),
    });
    PyTuple::new(py, row.collect::<PyResult<Vec<_>>>()?)
}

/// As Python's own sqlite3 raises it, so that nobody needs to know which copy of `SQLite` has a file.
fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error.kind() {
        Kind::Database => "DatabaseError",
        Kind::Data => "DataError",
        Kind::Integrity => "IntegrityError",
        Kind::Interface => "InterfaceError",
        Kind::Internal => "InternalError",
        Kind::Operational => "OperationalError",
        Kind::Programming => "ProgrammingError",
        Kind::Memory => return PyMemoryError::new_err(()),
        Kind::Value => return PyValueError::new_err(error.to_string()),
    };
    sqlite_error(py, class, &error.to_string(), error.code())
}

fn sqlite_error(py: Python<'_>, class: &str, message: &str, code: Option<i32>) -> PyErr {
    let made = || {
        let error = py.import("sqlite3")?.getattr(class)?.call1((message,))?;
        if let Some(code) = code {
            error.setattr("sqlite_errorcode", code)?;
        }
        Ok(error)
    };
    made().map_or_else(|error| error, PyErr::from_value)
}

//! `EventRedactor`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use tollhouse_core::scan::Scanner;
use tollhouse_core::scan::body::{Counts, counted};
use tollhouse_core::scan::events::{EventRedactor, Stop};
use tollhouse_core::tap::Dialect;

use super::body::PyVault;
use super::{decision_name, run};

#[pyclass(name = "EventRedactor", module = "tollhouse._native")]
pub(crate) struct PyEventRedactor {
    scanner: Scanner,
    redactor: EventRedactor,
    /// What may go out of the last piece.
    out: Vec<u8>,
    stopped: Option<Stop>,
}

impl PyEventRedactor {
    pub(super) fn new(scanner: &Scanner, dialect: &str, vault: Option<&PyVault>) -> PyResult<Self> {
        let dialect = Dialect::from_name(dialect).ok_or_else(|| PyValueError::new_err("unknown dialect"))?;
        let vault = vault.map(|vault| Arc::clone(&vault.vault));
        let redactor = EventRedactor::new(scanner, dialect, vault);
        Ok(Self { scanner: scanner.clone(), redactor, out: Vec::new(), stopped: None })
    }
}

#[pymethods]
impl PyEventRedactor {
    #[pyo3(signature = (chunk, /))]
    fn feed<'py>(&mut self, chunk: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyBytes>> {
        let py = chunk.py();
        let piece = chunk.as_bytes();
        let Self { redactor, out, stopped, .. } = self;
        out.clear();
        *stopped = run(py, piece.len(), || redactor.feed(piece, out))?.err();
        Ok(if self.out == piece { chunk.clone() } else { PyBytes::new(py, &self.out) })
    }

    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let Self { redactor, out, stopped, .. } = self;
        out.clear();
        *stopped = run(py, 0, || redactor.finish(out))?.err();
        Ok(PyBytes::new(py, &self.out))
    }

    fn fail<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.out.clear();
        self.redactor.fail(&mut self.out);
        self.stopped.get_or_insert(Stop::Failed);
        PyBytes::new(py, &self.out)
    }

    #[getter]
    fn stopped(&self) -> Option<&'static str> {
        self.stopped.map(|stop| match stop {
            Stop::Blocked => "blocked",
            Stop::TooLarge => "too_large",
            Stop::Failed => "failed",
        })
    }

    #[getter]
    fn decision<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        decision_name(py, self.redactor.decision())
    }

    #[getter]
    fn counts(&self) -> Counts {
        counted(&self.scanner, self.redactor.findings().iter().map(|found| &found.finding))
    }
}

//! `ScanStream`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use tollhouse_core::scan::{Decision, Scanner, Stream};

use super::finding::{self, Known};
use super::offsets::Trail;
use super::{decision_name, run};

#[pyclass(name = "ScanStream", module = "tollhouse")]
pub(crate) struct PyScanStream {
    scanner: Scanner,
    stream: Stream,
    /// What may pass of the last piece.
    out: String,
    trail: Trail,
    known: Vec<Known>,
    finished: bool,
}

impl PyScanStream {
    pub(super) fn new(scanner: &Scanner) -> Self {
        Self {
            scanner: scanner.clone(),
            stream: scanner.stream(),
            out: String::new(),
            trail: Trail::default(),
            known: Vec::new(),
            finished: false,
        }
    }

    fn note(&mut self) {
        for found in self.stream.findings().iter().skip(self.known.len()) {
            let place = |at| self.trail.chars(at);
            self.known.push(Known::new(self.scanner.rules(), found, place));
        }
    }
}

#[pymethods]
impl PyScanStream {
    #[pyo3(signature = (text, /))]
    fn feed<'py>(&mut self, text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyString>> {
        if self.finished {
            return Err(PyValueError::new_err("the stream is finished"));
        }
        let py = text.py();
        let piece = text.to_str()?;
        self.out.clear();
        self.trail.push(piece);
        let Self { stream, out, .. } = self;
        // A block shows in `decision`; what precedes it may still pass.
        let _ = run(py, piece.len(), || stream.feed(piece, out))?;
        self.note();
        Ok(if self.out == piece { text.clone() } else { PyString::new(py, &self.out) })
    }

    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.out.clear();
        if !self.finished {
            self.finished = true;
            let Self { stream, out, .. } = self;
            let _ = run(py, 0, || stream.finish(out))?;
            self.note();
        }
        Ok(PyString::new(py, &self.out))
    }

    #[getter]
    fn findings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        finding::list(py, &self.known)
    }

    #[getter]
    fn decision<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        decision_name(py, self.stream.decision())
    }

    fn __repr__(&self) -> String {
        let decision: Decision = self.stream.decision();
        format!("<ScanStream {} findings={}>", decision.name(), self.known.len())
    }
}

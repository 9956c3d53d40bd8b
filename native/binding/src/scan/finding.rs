//! `Finding`.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use tollhouse_core::scan::{Action, Finding, Rules};

/// A finding with its names, in characters; all that is left of the text is where it stood.
#[derive(Clone, PartialEq)]
pub(super) struct Known {
    kind: String,
    rule: String,
    start: usize,
    end: usize,
    score: f64,
    action: Action,
}

impl Known {
    /// `place` turns a position in bytes into one in characters.
    pub(super) fn new(rules: &Rules, found: &Finding, mut place: impl FnMut(usize) -> usize) -> Self {
        let (kind, rule) =
            rules.get(found.rule).map_or_else(Default::default, |rule| (rule.kind.clone(), rule.id.clone()));
        Self {
            kind,
            rule,
            start: place(found.start),
            end: place(found.end),
            // What single precision adds behind the fourth digit is noise.
            score: (f64::from(found.score) * 1e4).round() / 1e4,
            action: found.action,
        }
    }
}

pub(super) fn list<'py>(py: Python<'py>, known: &[Known]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for known in known {
        list.append(PyFinding { known: known.clone() })?;
    }
    Ok(list)
}

#[pyclass(frozen, eq, name = "Finding", module = "tollhouse")]
#[derive(PartialEq)]
pub(crate) struct PyFinding {
    known: Known,
}

#[pymethods]
impl PyFinding {
    #[getter]
    fn r#type<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::intern(py, &self.known.kind)
    }

    #[getter]
    fn rule<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::intern(py, &self.known.rule)
    }

    #[getter]
    fn start(&self) -> usize {
        self.known.start
    }

    #[getter]
    fn end(&self) -> usize {
        self.known.end
    }

    #[getter]
    fn score(&self) -> f64 {
        self.known.score
    }

    #[getter]
    fn action<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::intern(py, self.known.action.name())
    }

    fn __repr__(&self) -> String {
        let Known { kind, rule, start, end, score, action } = &self.known;
        format!("<Finding {kind} rule={rule} start={start} end={end} score={score} action={}>", action.name())
    }
}

//! `Scanner`, `ScanStream`, `ScanResult` and `Finding`.

mod body;
mod events;
mod finding;
mod offsets;
mod policy;
mod rules;
mod stream;

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use tollhouse_core::scan::{Decision, Outcome, Rules, Scanner};

use crate::request::PyRequestView;

pub(crate) use body::{PyBodyResult, PyVault};
pub(crate) use events::PyEventRedactor;
use finding::Known;
pub(crate) use finding::PyFinding;
use offsets::Cursor;
pub(crate) use stream::PyScanStream;

/// Texts from this size on are scanned without holding the interpreter.
const DETACH_FROM: usize = 65536;

#[pyclass(frozen, name = "Scanner", module = "tollhouse")]
pub(crate) struct PyScanner {
    pub(crate) scanner: Scanner,
}

#[pymethods]
impl PyScanner {
    #[new]
    #[pyo3(signature = (policy=None, rules=None))]
    fn new(policy: Option<&Bound<'_, PyAny>>, rules: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let rules = match rules {
            None => Rules::builtin(),
            Some(given) => rules::load(given)?,
        };
        let policy = policy::parse(policy, &rules).map_err(|problems| PyValueError::new_err(problems.join("\n")))?;
        Ok(Self { scanner: Scanner::new(rules, &policy) })
    }

    #[pyo3(signature = (text, /))]
    fn scan(&self, text: &Bound<'_, PyString>) -> PyResult<PyScanResult> {
        if let Ok(borrowed) = text.to_str() {
            return self.look(text, borrowed);
        }
        // Lone surrogates have no UTF-8: each is a question mark to the rules, so positions stay.
        let bytes = text.call_method1(intern!(text.py(), "encode"), ("utf-8", "replace"))?;
        self.look(text, &String::from_utf8_lossy(bytes.cast::<PyBytes>()?.as_bytes()))
    }

    fn stream(&self) -> PyScanStream {
        PyScanStream::new(&self.scanner)
    }

    #[pyo3(signature = (view, key=None, /))]
    fn scan_request(&self, view: &Bound<'_, PyRequestView>, key: Option<&[u8]>) -> PyResult<PyBodyResult> {
        self.request(view, key)
    }

    #[pyo3(signature = (body, key=None, /))]
    fn scan_json(&self, py: Python<'_>, body: &[u8], key: Option<&[u8]>) -> PyResult<PyBodyResult> {
        self.json(py, body, key)
    }

    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over what it has converted")]
    #[pyo3(signature = (body, vault=None, /))]
    fn scan_answer(&self, py: Python<'_>, body: &[u8], vault: Option<PyRef<'_, PyVault>>) -> PyResult<PyBodyResult> {
        self.answer(py, body, vault.as_deref())
    }

    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over what it has converted")]
    #[pyo3(signature = (dialect, vault=None, /))]
    fn event_redactor(&self, dialect: &str, vault: Option<PyRef<'_, PyVault>>) -> PyResult<PyEventRedactor> {
        PyEventRedactor::new(&self.scanner, dialect, vault.as_deref())
    }

    #[getter]
    fn rules(&self) -> Vec<(&str, &str, &'static str)> {
        self.scanner.rules().iter().map(|rule| (rule.id.as_str(), rule.kind.as_str(), rule.family.name())).collect()
    }
}

impl PyScanner {
    fn look(&self, original: &Bound<'_, PyString>, text: &str) -> PyResult<PyScanResult> {
        let py = original.py();
        let Outcome { decision, findings, redacted } = run(py, text.len(), || self.scanner.scan(text))?;
        if findings.is_empty() && redacted.is_none() {
            return Ok(PyScanResult { text: original.clone().unbind(), found: None });
        }
        let mut cursor = Cursor::default();
        let mut place = |at: usize| cursor.chars(text.as_bytes(), at);
        let known = findings.iter().map(|found| Known::new(self.scanner.rules(), found, &mut place)).collect();
        let text = redacted.map_or_else(|| original.clone().unbind(), |text| PyString::new(py, &text).unbind());
        Ok(PyScanResult { text, found: Some(Box::new(Found { decision, known })) })
    }
}

/// Runs a scan, without the interpreter if it takes long. A panic is an ordinary error: whoever called must not let the
/// text pass.
pub(crate) fn run<T: Send>(py: Python<'_>, length: usize, scan: impl FnOnce() -> T + Send) -> PyResult<T> {
    let caught = || catch_unwind(AssertUnwindSafe(scan));
    let outcome = if length < DETACH_FROM { caught() } else { py.detach(caught) };
    outcome.map_err(|_| PyRuntimeError::new_err("the scanner failed"))
}

/// What a result has to say beyond that there is nothing to say.
struct Found {
    decision: Decision,
    known: Vec<Known>,
}

#[pyclass(frozen, name = "ScanResult", module = "tollhouse")]
pub(crate) struct PyScanResult {
    text: Py<PyString>,
    found: Option<Box<Found>>,
}

#[pymethods]
impl PyScanResult {
    #[getter]
    fn decision<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        decision_name(py, self.found.as_ref().map_or(Decision::Allowed, |found| found.decision))
    }

    #[getter]
    fn findings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        finding::list(py, self.found.as_ref().map_or(&[], |found| found.known.as_slice()))
    }

    #[getter]
    fn redacted(&self, py: Python<'_>) -> Py<PyString> {
        self.text.clone_ref(py)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let count = self.found.as_ref().map_or(0, |found| found.known.len());
        format!("<ScanResult {} findings={count}>", self.decision(py))
    }
}

fn decision_name(py: Python<'_>, decision: Decision) -> &Bound<'_, PyString> {
    match decision {
        Decision::Allowed => intern!(py, "ALLOWED"),
        Decision::Transformed => intern!(py, "TRANSFORMED"),
        Decision::Blocked => intern!(py, "BLOCKED"),
    }
}

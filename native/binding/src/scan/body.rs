//! Whole bodies: `BodyResult` and `Vault`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use tollhouse_core::scan::Decision;
use tollhouse_core::scan::body::{self, BodyOutcome, Counts, counted};
use tollhouse_core::scan::pseudonym::Vault;

use super::{PyScanner, decision_name, run};
use crate::request::PyRequestView;

/// The pseudonyms of one request, for the way back.
#[pyclass(frozen, name = "Vault", module = "tollhouse._native")]
pub(crate) struct PyVault {
    pub(crate) vault: Arc<Vault>,
}

#[pymethods]
impl PyVault {
    fn __len__(&self) -> usize {
        self.vault.len()
    }

    fn __repr__(&self) -> String {
        format!("<Vault of {}>", self.vault.len())
    }
}

#[pyclass(frozen, name = "BodyResult", module = "tollhouse._native")]
pub(crate) struct PyBodyResult {
    decision: Decision,
    body: Option<Py<PyBytes>>,
    vault: Option<Py<PyVault>>,
    counts: Counts,
}

#[pymethods]
impl PyBodyResult {
    #[getter]
    fn decision<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        decision_name(py, self.decision)
    }

    #[getter]
    fn body(&self, py: Python<'_>) -> Option<Py<PyBytes>> {
        self.body.as_ref().map(|body| body.clone_ref(py))
    }

    #[getter]
    fn vault(&self, py: Python<'_>) -> Option<Py<PyVault>> {
        self.vault.as_ref().map(|vault| vault.clone_ref(py))
    }

    #[getter]
    fn counts(&self) -> Counts {
        self.counts.clone()
    }
}

impl PyScanner {
    pub(super) fn request(&self, view: &Bound<'_, PyRequestView>, key: Option<&[u8]>) -> PyResult<PyBodyResult> {
        let py = view.py();
        let PyRequestView { body, view, .. } = view.get();
        let bytes = body.as_bytes(py);
        self.whole(py, bytes.len(), key, |vault| Some(body::redact_request(&self.scanner, bytes, view, vault)))
    }

    pub(super) fn json(&self, py: Python<'_>, body: &[u8], key: Option<&[u8]>) -> PyResult<PyBodyResult> {
        self.whole(py, body.len(), key, |vault| body::redact_json(&self.scanner, body, vault).ok())
    }

    pub(super) fn answer(&self, py: Python<'_>, body: &[u8], vault: Option<&PyVault>) -> PyResult<PyBodyResult> {
        let vault = vault.map(|vault| Arc::clone(&vault.vault));
        self.whole(py, body.len(), None, |_| Some(body::redact_response(&self.scanner, body, vault.as_deref())))
    }

    /// Runs a scan, without the interpreter if it takes long.
    fn whole(
        &self,
        py: Python<'_>,
        length: usize,
        key: Option<&[u8]>,
        scan: impl FnOnce(Option<&mut Vault>) -> Option<BodyOutcome> + Send,
    ) -> PyResult<PyBodyResult> {
        let mut vault = key.map(Vault::new);
        let outcome = run(py, length, || scan(vault.as_mut()))?;
        let outcome = outcome.ok_or_else(|| PyValueError::new_err("the text is not JSON"))?;
        let counts = counted(&self.scanner, outcome.findings.iter().map(|found| &found.finding));
        let vault =
            vault.filter(|vault| !vault.is_empty()).map(|vault| Py::new(py, PyVault { vault: Arc::new(vault) }));
        Ok(PyBodyResult {
            decision: outcome.decision,
            body: outcome.body.map(|body| PyBytes::new(py, &body).unbind()),
            vault: vault.transpose()?,
            counts,
        })
    }
}

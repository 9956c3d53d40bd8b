//! Keyed digests of what passes, for receipts.

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use tollhouse_core::digest::KeyedDigest;

/// Bytes that take longer than to let others have the interpreter meanwhile.
const LONG: usize = 4096;

/// HMAC-SHA-256 with one key.
#[pyclass(frozen, name = "KeyedDigest", module = "tollhouse._native")]
pub(crate) struct PyKeyedDigest(KeyedDigest);

#[pymethods]
impl PyKeyedDigest {
    #[new]
    #[pyo3(signature = (key, /))]
    fn new(key: &[u8]) -> PyResult<Self> {
        KeyedDigest::new(key).map(Self).ok_or_else(|| PyValueError::new_err("a key of a keyed digest is not empty"))
    }

    #[pyo3(signature = (content, /))]
    fn of(&self, py: Python<'_>, content: &[u8]) -> String {
        let digest = || {
            let mut own = self.0.clone();
            own.update(content);
            hex(&own.digest())
        };
        if content.len() > LONG { py.detach(digest) } else { digest() }
    }

    #[pyo3(signature = (send, /))]
    fn passing(&self, send: Py<PyAny>) -> PyDigestedSend {
        PyDigestedSend { digest: self.0.clone(), inner: Some(send) }
    }

    #[expect(clippy::unused_self, reason = "asked of an object")]
    fn __repr__(&self) -> &'static str {
        "KeyedDigest(***)"
    }
}

/// An ASGI `send` that digests the bodies that it hands on.
#[pyclass(name = "DigestedSend", module = "tollhouse._native")]
pub(crate) struct PyDigestedSend {
    digest: KeyedDigest,
    inner: Option<Py<PyAny>>,
}

#[pymethods]
impl PyDigestedSend {
    fn __call__<'py>(slf: &Bound<'py, Self>, message: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let body = message.get_item(intern!(py, "body"))?;
        let inner = {
            let mut this = slf.borrow_mut();
            if let Some(body) = body {
                // A view of somebody's buffer, say: ASGI does not forbid it clearly enough.
                let bytes = match body.cast_into::<PyBytes>() {
                    Ok(bytes) => bytes,
                    Err(other) => py.get_type::<PyBytes>().call1((other.into_inner(),))?.cast_into()?,
                };
                this.digest.update(bytes.as_bytes());
            }
            this.inner.as_ref().map(|inner| inner.clone_ref(py))
        };
        match inner {
            // Not while this is borrowed: what is behind it may call back.
            Some(inner) => inner.into_bound(py).call1((message,)),
            None => Err(PyValueError::new_err("nothing is sent any more")),
        }
    }

    #[getter]
    fn inner<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.inner.as_ref().map(|inner| inner.bind(py).clone())
    }

    /// As the one behind it is.
    #[getter]
    fn is_eager<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let found = match &self.inner {
            Some(inner) => inner.bind(py).getattr_opt(intern!(py, "is_eager"))?,
            None => None,
        };
        Ok(found.unwrap_or_else(|| {
            false.into_pyobject(py).map_or_else(|never| match never {}, |no| no.to_owned().into_any())
        }))
    }

    #[getter]
    fn sent(&self) -> u64 {
        self.digest.taken()
    }

    fn hexdigest(&self) -> String {
        hex(&self.digest.digest())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.inner)
    }

    fn __clear__(&mut self) {
        self.inner = None;
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

//! Ed25519 for signed policies and receipts.

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};
use tollhouse_core::signing::{self, NoKey, SigningKey};
use zeroize::Zeroizing;

/// A private key, which is shown by `pem` alone.
#[pyclass(frozen, name = "SigningKey", module = "tollhouse._native")]
pub(crate) struct PySigningKey(SigningKey);

#[pymethods]
impl PySigningKey {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        SigningKey::generate().map(Self).map_err(raised)
    }

    #[staticmethod]
    fn from_pem(pem: &Bound<'_, PyByteArray>) -> PyResult<Self> {
        let copy = Zeroizing::new(pem.to_vec());
        SigningKey::from_pem(&copy).map(Self).map_err(raised)
    }

    /// Mutable, so that whoever has used it can wipe it.
    fn pem<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyByteArray>> {
        Ok(PyByteArray::new(py, self.0.to_pem().map_err(raised)?.as_bytes()))
    }

    #[getter]
    fn public<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.public())
    }

    fn sign<'py>(&self, py: Python<'py>, message: &[u8]) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.sign(message))
    }

    #[expect(clippy::unused_self, reason = "asked of an object")]
    fn __repr__(&self) -> &'static str {
        "SigningKey(***)"
    }
}

/// Whether the holder of a public key has signed a message.
#[pyfunction]
#[pyo3(signature = (public, signature, message, /))]
pub(crate) fn verify_ed25519(public: &[u8], signature: &[u8], message: &[u8]) -> bool {
    signing::verifies(public, signature, message)
}

fn raised(error: NoKey) -> PyErr {
    match error {
        NoKey::Malformed => PyValueError::new_err(error.to_string()),
        NoKey::NoRandomness => PyOSError::new_err(error.to_string()),
    }
}

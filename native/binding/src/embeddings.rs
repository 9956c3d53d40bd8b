//! Embeddings, told to models that are asked otherwise than `OpenAI`'s.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use tollhouse_core::dialects::Warnings;
use tollhouse_core::embeddings::{Dialect, Part, write_answer, write_calls};

use crate::request::{DETACH_FROM, PyRequestView, raise};

type Calls<'py> = (Vec<(Bound<'py, PyBytes>, usize)>, bool, Vec<String>);

fn dialect(name: &str) -> PyResult<Dialect> {
    Dialect::from_name(name).ok_or_else(|| PyValueError::new_err("unknown dialect"))
}

/// The calls that a request comes to.
#[pyfunction]
#[pyo3(signature = (view, dialect_name, /))]
pub(crate) fn embedding_calls<'py>(py: Python<'py>, view: &PyRequestView, dialect_name: &str) -> PyResult<Calls<'py>> {
    let dialect = dialect(dialect_name)?;
    let bytes = view.body.as_bytes(py);
    let mut warnings = Warnings::default();
    let mut write = || write_calls(bytes, dialect, &mut warnings);
    let written = if bytes.len() < DETACH_FROM { write() } else { py.detach(write) };
    let calls = written.map_err(|error| raise(py, &error))?;
    let bodies = calls.bodies.into_iter().map(|(body, texts)| (PyBytes::new(py, &body), texts)).collect();
    Ok((bodies, calls.is_base64, warnings.names().to_vec()))
}

/// Their answers as one.
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over what it has converted")]
#[pyfunction]
#[pyo3(signature = (parts, dialect_name, /, *, model, base64=false))]
pub(crate) fn embedding_answer<'py>(
    py: Python<'py>,
    parts: Vec<(PyBackedBytes, usize, Option<u64>)>,
    dialect_name: &str,
    model: &str,
    base64: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let dialect = dialect(dialect_name)?;
    let write = || {
        let parts: Vec<Part<'_>> =
            parts.iter().map(|(body, texts, tokens)| Part { body, texts: *texts, tokens: *tokens }).collect();
        write_answer(&parts, dialect, model, base64)
    };
    let size: usize = parts.iter().map(|(body, ..)| body.len()).sum();
    let written = if size < DETACH_FROM { write() } else { py.detach(write) };
    written.map(|body| PyBytes::new(py, &body)).ok_or_else(|| PyValueError::new_err("not as documented"))
}

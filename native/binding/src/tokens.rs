//! `count_tokens`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use tollhouse_core::tokens::Encoding;

/// Texts from this size on are counted without holding the interpreter: about 50 us.
pub(crate) const DETACH_FROM: usize = 2048;

pub(crate) fn encoding(name: &str) -> PyResult<Encoding> {
    Encoding::from_name(name).ok_or_else(|| PyValueError::new_err("unknown encoding"))
}

#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over what it has converted")]
#[pyo3(signature = (text, encoding, /))]
pub(crate) fn count_tokens(py: Python<'_>, text: PyBackedStr, encoding: &str) -> PyResult<u64> {
    let encoding = self::encoding(encoding)?;
    let count = || encoding.count(&text);
    Ok(if text.len() < DETACH_FROM { count() } else { py.detach(count) })
}

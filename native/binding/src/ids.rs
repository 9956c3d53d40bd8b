//! `new_id`.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use tollhouse_core::ids;

#[pyfunction]
pub(crate) fn new_id() -> PyResult<String> {
    ids::new_id().map_err(|_| PyOSError::new_err("the system has no random bytes"))
}

//! `FastPath`, `FastRoute`, `FastRequest`, and what refuses and counts beside them.

mod counts;
mod refusal;
mod request;
mod route;

use pyo3::prelude::*;

pub(crate) use counts::{PyFastGuard, PyFastTally};
pub(crate) use refusal::{PyFastRefusal, PyShedding};
pub(crate) use request::PyFastRequest;
pub(crate) use route::{PyFastPath, PyFastRoute};

#[pyfunction]
#[pyo3(signature = (nano, /))]
pub(crate) fn usd(nano: i64) -> String {
    tollhouse_core::fastpath::usd(nano)
}

#[pyfunction]
#[pyo3(signature = (ms, /))]
pub(crate) fn duration(ms: u64) -> String {
    tollhouse_core::fastpath::duration(ms)
}

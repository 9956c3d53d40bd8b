//! `RequestView` and `RequestError`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use tollhouse_core::json::Limits;
use tollhouse_core::request::{Kind, RequestError, View};

/// Bodies from this size on are parsed without holding the interpreter.
const DETACH_FROM: usize = 65536;

#[pyclass(extends = PyValueError, frozen, name = "RequestError", module = "tollhouse._native", skip_from_py_object)]
pub(crate) struct PyRequestError {
    #[pyo3(get)]
    message: String,
    #[pyo3(get)]
    param: Option<String>,
    #[pyo3(get)]
    code: Option<String>,
}

#[pymethods]
impl PyRequestError {
    #[new]
    #[pyo3(signature = (message, param=None, code=None, /))]
    fn new(message: String, param: Option<String>, code: Option<String>) -> Self {
        Self {
            message,
            param,
            code,
        }
    }

    fn __str__(&self) -> &str {
        &self.message
    }
}

fn raise(py: Python<'_>, error: &RequestError) -> PyErr {
    let args = (error.message(), error.param(), Some(error.code()));
    let made = args
        .into_pyobject(py)
        .and_then(|args: Bound<'_, PyTuple>| py.get_type::<PyRequestError>().call1(args));
    made.map_or_else(|error| error, PyErr::from_value)
}

#[pyclass(
    frozen,
    name = "RequestView",
    module = "tollhouse._native",
    skip_from_py_object
)]
pub(crate) struct PyRequestView {
    body: Py<PyBytes>,
    view: View,
}

#[pymethods]
impl PyRequestView {
    #[staticmethod]
    #[pyo3(signature = (body, kind, /, *, max_depth=64, max_nodes=100_000))]
    fn parse(
        body: &Bound<'_, PyBytes>,
        kind: &str,
        max_depth: usize,
        max_nodes: usize,
    ) -> PyResult<Self> {
        let py = body.py();
        let kind = Kind::from_name(kind)
            .ok_or_else(|| PyValueError::new_err("unknown kind of request"))?;
        let limits = Limits {
            max_depth,
            max_nodes,
        };
        let bytes = body.as_bytes();
        let parsed = if bytes.len() < DETACH_FROM {
            View::parse(bytes, kind, limits)
        } else {
            py.detach(|| View::parse(bytes, kind, limits))
        };
        let view = parsed.map_err(|error| raise(py, &error))?;
        Ok(Self {
            body: body.clone().unbind(),
            view,
        })
    }

    #[getter]
    fn body(&self, py: Python<'_>) -> Py<PyBytes> {
        self.body.clone_ref(py)
    }

    #[getter]
    fn model(&self) -> Option<&str> {
        self.view.model.as_deref()
    }

    #[getter]
    fn stream(&self) -> bool {
        self.view.stream
    }

    #[getter]
    fn include_usage(&self) -> bool {
        self.view.include_usage
    }

    #[getter]
    fn max_tokens(&self) -> Option<u64> {
        self.view.max_tokens
    }

    #[getter]
    fn n(&self) -> u32 {
        self.view.n
    }

    fn segments(&self) -> Vec<(usize, usize, &'static str, bool)> {
        let segments = self.view.segments.iter();
        segments
            .map(|s| {
                (
                    s.string.start,
                    s.string.end,
                    s.kind.name(),
                    s.string.escaped,
                )
            })
            .collect()
    }

    #[pyo3(signature = (*, model=None, include_usage=false))]
    fn rewrite(&self, py: Python<'_>, model: Option<&str>, include_usage: bool) -> Py<PyBytes> {
        let rewritten = self
            .view
            .rewrite(self.body.as_bytes(py), model, include_usage);
        rewritten.map_or_else(
            || self.body.clone_ref(py),
            |body| PyBytes::new(py, &body).unbind(),
        )
    }
}

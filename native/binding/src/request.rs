//! `RequestView` and `RequestError`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tollhouse_core::dialects::{self, Warnings};
use tollhouse_core::json::Limits;
use tollhouse_core::request::{self, Changes, Kind, View};

use crate::tokens;

/// Bodies from this size on are parsed without holding the interpreter.
pub(crate) const DETACH_FROM: usize = 65536;

// A class of our own cannot extend ValueError under the stable ABI of 3.11, so the parts are attributes.
pyo3::create_exception!(tollhouse._native, RequestError, PyValueError);

pub(crate) fn raise(py: Python<'_>, error: &request::RequestError) -> PyErr {
    let raised = RequestError::new_err(error.message().to_owned());
    let value = raised.value(py);
    let named = value
        .setattr("message", error.message())
        .and_then(|()| value.setattr("param", error.param()))
        .and_then(|()| value.setattr("code", error.code()));
    named.err().unwrap_or(raised)
}

#[pyclass(frozen, name = "RequestView", module = "tollhouse._native")]
pub(crate) struct PyRequestView {
    pub(crate) body: Py<PyBytes>,
    pub(crate) view: View,
    kind: Kind,
    limits: Limits,
}

impl PyRequestView {
    pub(crate) fn new(body: Py<PyBytes>, view: View, kind: Kind, limits: Limits) -> Self {
        Self { body, view, kind, limits }
    }
}

#[pymethods]
impl PyRequestView {
    #[staticmethod]
    #[pyo3(signature = (body, kind, /, *, max_depth=64, max_nodes=100_000))]
    fn parse(body: &Bound<'_, PyBytes>, kind: &str, max_depth: usize, max_nodes: usize) -> PyResult<Self> {
        let kind = Kind::from_name(kind).ok_or_else(|| PyValueError::new_err("unknown kind of request"))?;
        Self::read(body, kind, Limits { max_depth, max_nodes })
    }

    #[pyo3(signature = (body, /))]
    fn replaced(&self, body: &Bound<'_, PyBytes>) -> PyResult<Self> {
        Self::read(body, self.kind, self.limits)
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

    #[getter]
    fn service_tier(&self) -> Option<&str> {
        self.view.service_tier()
    }

    #[getter]
    fn thinks(&self) -> Option<bool> {
        self.view.thinks
    }

    #[getter]
    fn session(&self) -> Option<&str> {
        self.view.session()
    }

    #[getter]
    fn previous_response_id(&self) -> Option<&str> {
        self.view.previous_response_id()
    }

    fn tools(&self, py: Python<'_>) -> Vec<String> {
        self.view.tools(self.body.as_bytes(py))
    }

    #[pyo3(signature = (*, tokens_per_image=50_000))]
    fn prompt_bound(&self, tokens_per_image: u32) -> Option<u64> {
        self.view.prompt_bound(u64::from(tokens_per_image))
    }

    #[pyo3(signature = (encoding, /))]
    fn prompt_tokens(&self, py: Python<'_>, encoding: &str) -> PyResult<u64> {
        let encoding = tokens::encoding(encoding)?;
        let body = self.body.as_bytes(py);
        let count = || self.view.prompt_tokens(body, encoding);
        Ok(if body.len() < tokens::DETACH_FROM { count() } else { py.detach(count) })
    }

    /// Tokens of the prompt at most and about, of each answer at most, answers, tokens for buckets, whether the upstream
    /// is to be told the bound.
    #[pyo3(signature = (*, max_output=None, context=None, tokens_per_image=50_000))]
    fn quote(
        &self,
        py: Python<'_>,
        max_output: Option<u64>,
        context: Option<u64>,
        tokens_per_image: u64,
    ) -> (u64, u64, u64, u64, u64, bool) {
        let model = request::Model { max_output, context, tokens_per_image };
        let quote = request::Quote::of(&self.view, self.body.as_bytes(py).len(), model);
        (quote.prompt, quote.estimate, quote.output, quote.choices, quote.tokens, quote.must_limit)
    }

    fn segments(&self) -> Vec<(usize, usize, &'static str, bool)> {
        let segments = self.view.segments.iter().filter(|s| s.form == request::Form::String);
        segments.map(|s| (s.string.start, s.string.end, s.kind.name(), s.string.escaped)).collect()
    }

    #[getter]
    fn choices(&self) -> u32 {
        self.view.choices()
    }

    #[pyo3(signature = (
        *, model=None, include_usage=false, max_tokens=None, proven=false, without_model=false, version=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "named arguments in Python")]
    fn rewrite(
        &self,
        py: Python<'_>,
        model: Option<&str>,
        include_usage: bool,
        max_tokens: Option<(u64, &str)>,
        proven: bool,
        without_model: bool,
        version: Option<&str>,
    ) -> Py<PyBytes> {
        let changes = Changes { model, include_usage, max_tokens, proven, without_model, version };
        let rewritten = self.view.rewrite(self.body.as_bytes(py), changes);
        rewritten.map_or_else(|| self.body.clone_ref(py), |body| PyBytes::new(py, &body).unbind())
    }
}

/// A request in the dialect of an upstream, and what could not be told to it.
#[pyfunction]
#[pyo3(signature = (view, dialect, /, *, model, max_tokens=None, default_tokens=None))]
pub(crate) fn translate_request<'py>(
    py: Python<'py>,
    view: &PyRequestView,
    dialect: &str,
    model: &str,
    max_tokens: Option<u64>,
    default_tokens: Option<u64>,
) -> PyResult<(Bound<'py, PyBytes>, Vec<String>)> {
    let read = dialects::request_reader(view.kind.name());
    let write = dialects::request_writer(dialect);
    let (Some(read), Some(write)) = (read, write) else {
        return Err(PyValueError::new_err("unknown dialect"));
    };
    let bytes = view.body.as_bytes(py);
    let translate = || {
        let mut conversation = read(bytes)?;
        model.clone_into(&mut conversation.model);
        conversation.max_tokens = match (conversation.max_tokens, max_tokens) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (asked, most) => asked.or(most).or(default_tokens),
        };
        let mut warnings = Warnings::default();
        dialects::ready(&mut conversation, dialect, &mut warnings)?;
        write(&conversation, &mut warnings).map(|body| (body, warnings))
    };
    let translated = if bytes.len() < DETACH_FROM { translate() } else { py.detach(translate) };
    let (body, warnings) = translated.map_err(|error| raise(py, &error))?;
    Ok((PyBytes::new(py, &body), warnings.names().to_vec()))
}

impl PyRequestView {
    fn read(body: &Bound<'_, PyBytes>, kind: Kind, limits: Limits) -> PyResult<Self> {
        let py = body.py();
        let bytes = body.as_bytes();
        let parsed = if bytes.len() < DETACH_FROM {
            View::parse(bytes, kind, limits)
        } else {
            py.detach(|| View::parse(bytes, kind, limits))
        };
        let view = parsed.map_err(|error| raise(py, &error))?;
        Ok(Self { body: body.clone().unbind(), view, kind, limits })
    }
}

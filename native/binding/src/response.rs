//! `ResponseReader`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyTuple};
use tollhouse_core::cost::Kind;
use tollhouse_core::dialects::{self, Setting};
use tollhouse_core::http1;
use tollhouse_core::response::{Limits, Response, Translation};
use tollhouse_core::tap::Dialect;

use crate::cost::{PyPrice, PyTokens};

#[pyclass(name = "ResponseReader", module = "tollhouse._native")]
pub(crate) struct PyResponseReader {
    pub(crate) response: Response,
}

#[pymethods]
impl PyResponseReader {
    #[new]
    #[pyo3(signature = (
        dialect, /, *, client=None, strip_usage=false, stream=false, request_id="", model="", created=0, request=None,
        max_head=65_536, max_headers=100, max_body=67_108_864, max_event=1_048_576
    ))]
    #[expect(clippy::too_many_arguments, reason = "named arguments in Python")]
    fn new(
        dialect: &str,
        client: Option<&str>,
        strip_usage: bool,
        stream: bool,
        request_id: &str,
        model: &str,
        created: u64,
        request: Option<&[u8]>,
        max_head: usize,
        max_headers: usize,
        max_body: usize,
        max_event: usize,
    ) -> PyResult<Self> {
        let limits = Limits { http: http1::Limits { max_head, max_headers }, max_body, max_event };
        let unknown = || PyValueError::new_err("unknown dialect");
        let Some(client) = client.filter(|client| *client != dialect) else {
            let dialect = Dialect::from_name(dialect).ok_or_else(unknown)?;
            let mut response = Response::new(dialect, strip_usage, limits);
            if stream {
                response.expect_stream();
            }
            return Ok(Self { response });
        };
        let setting = Setting {
            request_id: request_id.to_owned(),
            model: model.to_owned(),
            created,
            include_usage: !strip_usage,
            request: request.unwrap_or_default().to_vec(),
        };
        let reader = dialects::answer_reader(dialect, &setting).ok_or_else(unknown)?;
        let writer = dialects::answer_writer(client, &setting).ok_or_else(unknown)?;
        let client = Dialect::from_name(client).ok_or_else(unknown)?;
        let mut response = Response::new(client, strip_usage, limits);
        response.translate(Translation::new(reader, writer), client);
        if stream {
            response.expect_stream();
        }
        Ok(Self { response })
    }

    #[pyo3(signature = (choices, /))]
    fn expect_choices(&mut self, choices: u32) {
        self.response.expect_choices(choices);
    }

    #[pyo3(signature = (tokens, /))]
    fn limit_output(&mut self, tokens: u64) {
        self.response.limit_output(tokens);
    }

    #[pyo3(signature = (data, /))]
    fn feed(&mut self, data: &[u8]) -> u8 {
        self.response.feed(data)
    }

    fn eof(&mut self) -> u8 {
        self.response.eof()
    }

    fn lost(&mut self) -> u8 {
        self.response.lost()
    }

    #[pyo3(signature = (limit=None, /))]
    fn take<'py>(&mut self, py: Python<'py>, limit: Option<usize>) -> Bound<'py, PyBytes> {
        let ready = self.response.ready();
        let count = limit.map_or(ready.len(), |limit| limit.min(ready.len()));
        let taken = PyBytes::new(py, &ready[..count]);
        self.response.consume(count);
        taken
    }

    #[getter]
    fn pending(&self) -> usize {
        self.response.ready().len()
    }

    #[getter]
    fn status(&self) -> u16 {
        self.response.status()
    }

    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for (name, value) in self.response.headers() {
            list.append(PyTuple::new(py, [PyBytes::new(py, name), PyBytes::new(py, value)])?)?;
        }
        Ok(list)
    }

    /// The headers among `names` (lower case), as they came.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over what it has converted")]
    #[pyo3(signature = (names, /))]
    fn pick<'py>(&self, py: Python<'py>, names: Vec<PyBackedBytes>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for (name, value) in self.response.headers() {
            if names.iter().any(|wanted| wanted[..] == *name) {
                list.append(PyTuple::new(py, [PyBytes::new(py, name), PyBytes::new(py, value)])?)?;
            }
        }
        Ok(list)
    }

    #[getter]
    fn is_event_stream(&self) -> bool {
        self.response.is_event_stream()
    }

    #[getter]
    fn translated(&self) -> bool {
        self.response.is_translated()
    }

    #[getter]
    fn reusable(&self) -> bool {
        self.response.is_reusable()
    }

    #[getter]
    fn fault(&self) -> Option<(&'static str, &str)> {
        self.response.fault().map(|fault| (fault.kind, fault.message.as_str()))
    }

    #[getter]
    fn error_event<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.response.error_event().map(|event| PyBytes::new(py, event))
    }

    #[getter]
    fn events(&self) -> u64 {
        self.response.events()
    }

    #[getter]
    fn malformed_events(&self) -> u64 {
        self.response.malformed_events()
    }

    #[getter]
    fn done(&self) -> bool {
        self.response.is_done()
    }

    #[getter]
    fn ended(&self) -> bool {
        self.response.is_ended()
    }

    #[getter]
    fn at_its_end(&self) -> bool {
        self.response.is_at_its_end()
    }

    #[getter]
    fn cut(&self) -> bool {
        self.response.is_cut()
    }

    #[getter]
    fn usage(&self) -> Option<(u64, u64, u64, u64)> {
        let tokens = self.response.tokens()?;
        Some((tokens.prompt(), tokens.completion(), tokens.cached(), tokens.get(Kind::Reasoning)))
    }

    #[getter]
    fn tokens(&self) -> Option<PyTokens> {
        self.response.tokens().map(|tokens| PyTokens { tokens })
    }

    #[pyo3(signature = (price, /))]
    fn cost(&self, price: &PyPrice) -> Option<u64> {
        Some(price.price.cost(&self.response.tokens()?))
    }

    #[pyo3(signature = (price, /))]
    fn tell_cost(&mut self, price: &PyPrice) {
        self.response.tell_cost(Arc::clone(&price.price));
    }

    #[getter]
    fn text_bytes(&self) -> u64 {
        self.response.text_bytes()
    }

    #[pyo3(signature = (message, code, status=None, /))]
    fn fault_event<'py>(
        &mut self,
        py: Python<'py>,
        message: &str,
        code: &str,
        status: Option<u16>,
    ) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.response.fault_event(message, code, status))
    }
}

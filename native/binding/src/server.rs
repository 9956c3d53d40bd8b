//! `RequestReader` and `encode_headers`: HTTP/1.1 as a server speaks it.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use tollhouse_core::http1::Limits;
use tollhouse_core::http1::encode::{Said, header_line};
use tollhouse_core::http1::request::Requests;

#[pyclass(name = "RequestReader", module = "tollhouse._native")]
pub(crate) struct PyRequestReader {
    pub(crate) requests: Requests,
}

#[pymethods]
impl PyRequestReader {
    #[new]
    #[pyo3(signature = (*, max_head=65_536, max_headers=100))]
    fn new(max_head: usize, max_headers: usize) -> Self {
        Self { requests: Requests::new(Limits { max_head, max_headers }) }
    }

    #[pyo3(signature = (data, /))]
    fn feed(&mut self, data: &[u8]) -> u8 {
        self.requests.feed(data)
    }

    fn proceed(&mut self) -> u8 {
        self.requests.proceed()
    }

    fn take<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let taken = PyBytes::new(py, self.requests.ready());
        self.requests.consume();
        taken
    }

    /// Method, decoded path, raw path, query, minor version, headers, keep-alive.
    fn head<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let requests = &self.requests;
        let headers = PyList::empty(py);
        for (name, value) in requests.headers() {
            headers.append(PyTuple::new(py, [PyBytes::new(py, name), PyBytes::new(py, value)])?)?;
        }
        let raw = requests.path();
        let path = if raw.contains(&b'%') { decoded(raw) } else { raw.to_vec() };
        (
            PyString::new(py, &String::from_utf8_lossy(requests.method())),
            PyString::new(py, &String::from_utf8_lossy(&path)),
            PyBytes::new(py, raw),
            PyBytes::new(py, requests.query()),
            requests.minor_version(),
            headers,
            requests.keep_alive(),
        )
            .into_pyobject(py)
    }

    #[getter]
    fn held(&self) -> usize {
        self.requests.held()
    }

    #[getter]
    fn has_begun(&self) -> bool {
        self.requests.has_begun()
    }

    #[getter]
    fn expects_continue(&self) -> bool {
        self.requests.expects_continue()
    }

    #[getter]
    fn refused(&self) -> Option<(u16, &'static str)> {
        self.requests.refused().map(|refused| (refused.status, refused.message))
    }
}

/// The header lines; the content-length, whether the connection closes, and the body is an event stream.
#[pyfunction]
#[pyo3(signature = (first, headers, /))]
pub(crate) fn encode_headers<'py>(
    py: Python<'py>,
    first: &[u8],
    headers: &Bound<'py, PyList>,
) -> PyResult<(Bound<'py, PyBytes>, Option<u64>, bool, bool)> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(first);
    let mut said = Said::default();
    for header in headers.iter() {
        let (name, value): (Bound<'py, PyBytes>, Bound<'py, PyBytes>) = match header.extract() {
            Ok(pair) => pair,
            // ASGI allows any sequence of two.
            Err(_) => (header.get_item(0)?.extract()?, header.get_item(1)?.extract()?),
        };
        header_line(&mut out, name.as_bytes(), value.as_bytes(), &mut said).map_err(PyValueError::new_err)?;
    }
    Ok((PyBytes::new(py, &out), said.length, said.closes, said.is_event_stream))
}

/// Percent-decoded; what is no escape stays as it is.
fn decoded(raw: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if let (b'%', Some(high), Some(low)) = (byte, hex(raw.get(at + 1)), hex(raw.get(at + 2))) {
            out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    out
}

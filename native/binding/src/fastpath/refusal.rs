//! `FastRefusal` and `Shedding`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tollhouse_core::fastpath::{Noted, Refusal, request_id};
use tollhouse_core::ids::new_id;

use super::counts::PyFastTally;
use crate::server::PyRequestReader;

/// For the log's line: from the method to the status, from the key to the provider, the error. And who counts.
pub(super) type PyNoted<'py> = (String, String, String, PyRef<'py, PyFastTally>);

pub(super) fn noted_of((asked, who, error, tally): PyNoted<'_>) -> Noted {
    Noted { asked, who, error, tally: Arc::clone(&tally.tally) }
}

#[pyclass(frozen, name = "FastRefusal", module = "tollhouse._native")]
pub(crate) struct PyFastRefusal {
    pub(super) refusal: Refusal,
}

#[pymethods]
impl PyFastRefusal {
    #[new]
    #[pyo3(signature = (*, head, body, behind, noted))]
    fn new(head: Vec<u8>, body: Vec<u8>, behind: Option<Vec<u8>>, noted: PyNoted<'_>) -> Self {
        let noted = noted_of(noted);
        Self { refusal: Refusal { head, body: (body, behind), noted } }
    }
}

#[pyclass(frozen, name = "Shedding", module = "tollhouse._native")]
pub(crate) struct PyShedding {
    refusals: HashMap<String, Py<PyFastRefusal>>,
}

#[pymethods]
impl PyShedding {
    #[new]
    #[pyo3(signature = (refusals, /))]
    fn new(refusals: HashMap<String, Py<PyFastRefusal>>) -> Self {
        Self { refusals }
    }

    /// The response, the line of the log and whether that is the end of the connection, if it may be refused; None: nothing was done.
    #[pyo3(signature = (reader, last, closes, /))]
    fn refuse<'py>(
        &self,
        py: Python<'py>,
        reader: &mut PyRequestReader,
        last: &[u8],
        closes: bool,
    ) -> Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>, bool)> {
        let begun = Instant::now();
        let requests = &mut reader.requests;
        let path = std::str::from_utf8(requests.path()).ok().filter(|_| requests.method() == b"POST");
        let found = path.and_then(|path| self.refusals.get(path))?;
        let refusal = &found.get().refusal;
        let Ok(id) = request_id(requests).map_or_else(new_id, |id| Ok(id.to_owned())) else { return None };
        let closes = closes || !requests.keep_alive();
        let closing = if closes { [b"connection: close\r\n", last].concat() } else { last.to_vec() };
        let response = refusal.response(&id, &closing);
        let line = refusal.noted.note(&id, None, begun.elapsed(), epoch_s());
        drop(requests.take());
        Some((PyBytes::new(py, &response), PyBytes::new(py, &line), closes))
    }
}

/// Now, as logs tell it.
pub(super) fn epoch_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

//! `PriceTable`, `Price` and `Tokens`.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::exceptions::{PyKeyError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyDict, PyString, PyTuple};
use tollhouse_core::cost::{CostError, Entry, Kind, Price, Table};
use tollhouse_core::usage::{MOST_TOKENS, Tokens, Usage};

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err hands over")]
fn raise(error: CostError) -> PyErr {
    if error.is_range() {
        PyOverflowError::new_err(error.to_string())
    } else {
        PyValueError::new_err(error.to_string())
    }
}

#[pyclass(frozen, eq, name = "Tokens", module = "tollhouse._native")]
#[derive(PartialEq, Eq)]
pub(crate) struct PyTokens {
    pub(crate) tokens: Tokens,
}

#[pymethods]
impl PyTokens {
    #[new]
    #[pyo3(signature = (**counts))]
    fn new(counts: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let mut tokens = Tokens::default();
        for (name, count) in counts.into_iter().flatten() {
            let kind = kind(&name.extract::<String>()?).map_err(|error| PyTypeError::new_err(error.to_string()))?;
            let count: u64 = count.extract()?;
            tokens = tokens.with(kind, count.min(MOST_TOKENS + 1));
        }
        if tokens.prompt() > MOST_TOKENS || tokens.completion() > MOST_TOKENS {
            return Err(PyOverflowError::new_err(format!("more than {MOST_TOKENS} tokens")));
        }
        Ok(Self { tokens })
    }

    #[staticmethod]
    #[pyo3(signature = (json, /))]
    fn find(json: &[u8]) -> Option<Self> {
        Usage::find(json).tokens().map(|tokens| Self { tokens })
    }

    fn __getitem__(&self, kind: &str) -> PyResult<u64> {
        Ok(self.tokens.get(self::kind(kind)?))
    }

    #[getter]
    fn prompt(&self) -> u64 {
        self.tokens.prompt()
    }

    #[getter]
    fn completion(&self) -> u64 {
        self.tokens.completion()
    }

    #[getter]
    fn summary<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.tokens.summary())
    }

    fn __repr__(&self) -> String {
        let counts = Kind::ALL.into_iter().filter(|kind| self.tokens.get(*kind) > 0);
        let counts: Vec<String> = counts.map(|kind| format!("{}={}", kind.name(), self.tokens.get(kind))).collect();
        format!("Tokens({})", counts.join(", "))
    }
}

fn kind(name: &str) -> PyResult<Kind> {
    Kind::from_name(name).ok_or_else(|| PyKeyError::new_err(format!("{name} is no kind of tokens")))
}

#[pyclass(frozen, name = "Price", module = "tollhouse._native")]
pub(crate) struct PyPrice {
    pub(crate) price: Arc<Price>,
    hides_thoughts: bool,
}

#[pymethods]
impl PyPrice {
    #[pyo3(signature = (tokens, /))]
    fn cost(&self, tokens: &PyTokens) -> u64 {
        self.price.cost(&tokens.tokens)
    }

    #[pyo3(signature = (prompt_tokens, output_tokens, /))]
    fn bound(&self, prompt_tokens: u64, output_tokens: u64) -> PyResult<u64> {
        self.price.bound(prompt_tokens, output_tokens).map_err(raise)
    }

    #[pyo3(signature = (prompt_tokens, amount, choices=1, /))]
    fn affordable_output(&self, prompt_tokens: u64, amount: u64, choices: u64) -> PyResult<Option<u64>> {
        self.price.affordable_output(prompt_tokens, amount, choices).map_err(raise)
    }

    #[pyo3(signature = (name, /))]
    fn variant(&self, name: &str) -> Option<Self> {
        self.price.variant(name).map(|price| Self { price: Arc::clone(price), ..*self })
    }

    #[pyo3(signature = (kind, /, prompt_tokens=0))]
    fn rate(&self, kind: &str, prompt_tokens: u64) -> PyResult<u64> {
        Ok(self.price.rate(self::kind(kind)?, prompt_tokens))
    }

    #[getter]
    fn is_free(&self) -> bool {
        self.price.is_free()
    }

    #[getter]
    fn hides_thoughts(&self) -> bool {
        self.hides_thoughts
    }

    #[getter]
    fn max_output(&self) -> Option<u64> {
        self.price.max_output
    }

    #[getter]
    fn context(&self) -> Option<u64> {
        self.price.context
    }
}

#[pyclass(frozen, name = "PriceTable", module = "tollhouse._native")]
pub(crate) struct PyPriceTable {
    table: Table,
}

#[pymethods]
impl PyPriceTable {
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands over what it has converted")]
    #[pyo3(signature = (json, overrides=None, *, day=""))]
    fn new(py: Python<'_>, json: PyBackedBytes, overrides: Option<&Bound<'_, PyDict>>, day: &str) -> PyResult<Self> {
        let mut entries = BTreeMap::new();
        for (name, value) in overrides.into_iter().flatten() {
            entries.insert(name.extract()?, entry(&value)?);
        }
        let table = py.detach(|| Table::new(&json, entries, day)).map_err(raise)?;
        Ok(Self { table })
    }

    #[getter]
    fn version(&self) -> &str {
        self.table.version()
    }

    #[pyo3(signature = (provider, model, /))]
    fn find(&self, provider: &str, model: &str) -> Option<PyPrice> {
        let hides_thoughts = self.table.hides_thoughts(provider, model);
        self.table.find(provider, model).map(|price| PyPrice { price, hides_thoughts })
    }
}

fn entry(value: &Bound<'_, PyAny>) -> PyResult<Entry> {
    if let Ok(other) = value.cast::<PyString>() {
        return Ok(Entry::SameAs(other.extract()?));
    }
    let (mut price, mut above) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in value.cast::<PyDict>()? {
        match name.extract()? {
            "above" => above = value.extract()?,
            kind => drop(price.insert(kind.to_owned(), value.extract()?)),
        }
    }
    Ok(Entry::Prices(price, above))
}

//! Rules as Python gives them: mappings, or the paths of files (TOML or YAML), one or a list.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use tollhouse_core::scan::rules::{Pack, parse_pack};
use tollhouse_core::scan::{RuleSpec, Rules};

/// The built-in rules and these. Raises `ValueError` with a line for everything that is wrong.
pub(super) fn load(given: &Bound<'_, PyAny>) -> PyResult<Arc<Rules>> {
    let mut specs = Vec::new();
    let mut problems = Vec::new();
    let items: Vec<Bound<'_, PyAny>> = if given.is_instance_of::<PyList>() || given.is_instance_of::<PyTuple>() {
        given.try_iter()?.collect::<PyResult<_>>()?
    } else {
        vec![given.clone()]
    };
    for (number, item) in items.iter().enumerate() {
        match one(item, number + 1) {
            Ok(read) => specs.extend(read),
            Err(problem) => problems.push(problem),
        }
    }
    // Also when something is wrong already: everything is told at once.
    match Rules::load(specs) {
        Ok(rules) if problems.is_empty() => return Ok(rules),
        Ok(_) => {}
        Err(errors) => problems.extend(errors.iter().map(ToString::to_string)),
    }
    Err(PyValueError::new_err(problems.join("\n")))
}

fn one(item: &Bound<'_, PyAny>, number: usize) -> Result<Vec<RuleSpec>, String> {
    if !item.is_instance_of::<PyString>()
        && let Ok(json) = to_json(item)
        && json.starts_with('{')
    {
        let name = item.get_item("id").and_then(|id| id.extract()).unwrap_or_else(|_| format!("number {number}"));
        let spec = serde_json::from_str(&json).map_err(|error| format!("rule {name}: {}", said(&error)))?;
        return Ok(vec![spec]);
    }
    match item.extract::<PathBuf>() {
        Ok(path) => file(item.py(), &path),
        Err(_) => Err(format!("rule number {number}: must be a mapping or the path of a file")),
    }
}

fn file(py: Python<'_>, path: &Path) -> Result<Vec<RuleSpec>, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: cannot be read: {error}"))?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => parse_pack(&name.to_string(), &text).map_err(|error| error.to_string()),
        Some("yaml" | "yml") => {
            let json = yaml_to_json(py, &text).map_err(|error| format!("{name}: {}", error.value(py)))?;
            let pack: Pack = serde_json::from_str(&json).map_err(|error| format!("{name}: {}", said(&error)))?;
            Ok(pack.into_rules())
        }
        _ => Err(format!("{name}: must end in .toml, .yaml or .yml")),
    }
}

fn yaml_to_json(py: Python<'_>, text: &str) -> PyResult<String> {
    to_json(&py.import("yaml")?.call_method1("safe_load", (text,))?)
}

fn to_json(value: &Bound<'_, PyAny>) -> PyResult<String> {
    value.py().import("json")?.call_method1("dumps", (value,))?.extract()
}

/// The reason without a place in JSON that nobody has written.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

//! The extension module `tollhouse._native`: a thin layer that only converts.

use pyo3::prelude::*;

/// Native parts of Tollhouse.
#[pymodule]
mod _native {
    use super::{Bound, PyModule, PyModuleMethods, PyResult, pymodule};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

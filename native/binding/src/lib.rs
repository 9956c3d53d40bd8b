//! The extension module `tollhouse._native`: a thin layer that only converts.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

mod aws;
mod cost;
mod digest;
mod embeddings;
mod fastpath;
mod heap;
mod ids;
mod ledger;
mod quota;
mod request;
mod response;
mod scan;
mod server;
mod signing;
mod tokens;

/// A panic's own message can quote the text that was being read; its place cannot.
fn hush() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        eprintln!("tollhouse: internal error at {place}");
    }));
}

/// Native parts of Tollhouse.
#[pymodule]
mod _native {
    use super::request::RequestError;
    use super::{Bound, PyModule, PyModuleMethods, PyResult, PyTuple};

    #[pymodule_export]
    use super::aws::sign_aws;
    #[pymodule_export]
    use super::cost::{PyPrice, PyPriceTable, PyTokens};
    #[pymodule_export]
    use super::digest::{PyDigestedSend, PyKeyedDigest};
    #[pymodule_export]
    use super::embeddings::{embedding_answer, embedding_calls};
    #[pymodule_export]
    use super::fastpath::{
        PyFastGuard, PyFastPath, PyFastRefusal, PyFastRequest, PyFastRoute, PyFastTally, PyShedding, duration, usd,
    };
    #[pymodule_export]
    use super::heap::heap_bytes;
    #[pymodule_export]
    use super::ids::new_id;
    #[pymodule_export]
    use super::ledger::PyLedgerDatabase;
    #[pymodule_export]
    use super::quota::{PyQuotaPlan, PyQuotaRecords, PyQuotaStore};
    #[pymodule_export]
    use super::request::PyRequestView;
    #[pymodule_export]
    use super::request::translate_request;
    #[pymodule_export]
    use super::response::PyResponseReader;
    #[pymodule_export]
    use super::scan::{PyBodyResult, PyEventRedactor, PyFinding, PyScanResult, PyScanStream, PyScanner, PyVault};
    #[pymodule_export]
    use super::server::PyRequestReader;
    #[pymodule_export]
    use super::server::encode_headers;
    #[pymodule_export]
    use super::signing::{PySigningKey, verify_ed25519};
    #[pymodule_export]
    use super::tokens::count_tokens;

    #[pymodule_export]
    const HEAD: u8 = tollhouse_core::response::HEAD;
    #[pymodule_export]
    const READY: u8 = tollhouse_core::response::READY;
    #[pymodule_export]
    const END: u8 = tollhouse_core::response::END;
    #[pymodule_export]
    const FAULT: u8 = tollhouse_core::response::FAULT;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::hush();
        module.add("LEDGER_WHO", PyTuple::new(module.py(), tollhouse_core::ledger::WHO)?)?;
        module.add("LEDGER_TOKENS", PyTuple::new(module.py(), tollhouse_core::ledger::TOKENS)?)?;
        module.add("RequestError", module.py().get_type::<RequestError>())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

//! Signatures for AWS.

use pyo3::prelude::*;
use tollhouse_core::sigv4::{Request, Signer};

/// The value of `authorization` for a POST.
#[pyfunction]
#[pyo3(signature = (path, headers, body, /, *, access_key, secret_key, region, service, date))]
#[expect(clippy::too_many_arguments, reason = "named arguments in Python")]
#[expect(clippy::needless_pass_by_value, reason = "Python's list is converted")]
pub(crate) fn sign_aws(
    path: &str,
    headers: Vec<(String, String)>,
    body: &[u8],
    access_key: &str,
    secret_key: &str,
    region: &str,
    service: &str,
    date: &str,
) -> String {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let request = Request { method: "POST", path, query: "", headers: &headers, body, date };
    Signer { access_key, secret_key, region, service }.authorization(&request)
}

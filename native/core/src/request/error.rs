//! Why a body is refused.

use std::fmt;

use crate::json;

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    message: String,
    param: Option<String>,
    code: &'static str,
}

impl RequestError {
    pub(crate) fn new(message: impl Into<String>, param: impl Into<String>, code: &'static str) -> Self {
        Self { message: message.into(), param: Some(param.into()), code }
    }

    pub(super) fn no_object(message: &str) -> Self {
        Self { message: message.into(), param: None, code: "invalid_type" }
    }

    pub(crate) fn wrong_type(param: impl Into<String>, wanted: &str) -> Self {
        let param = param.into();
        Self::new(format!("{param} must be {wanted}"), param, "invalid_type")
    }

    pub(crate) fn missing(param: &str) -> Self {
        Self::new(format!("{param} is required"), param, "missing_required_parameter")
    }

    /// For the caller; quotes nothing of the body.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The field at fault.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// A stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RequestError {}

impl From<json::Error> for RequestError {
    fn from(error: json::Error) -> Self {
        Self { message: error.to_string(), param: None, code: error.kind().code() }
    }
}

//! Why a price or a number is refused.

use std::fmt;

/// Why a table, a price or a number of tokens is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostError {
    message: String,
    is_range: bool,
}

impl CostError {
    pub(super) fn data(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_range: false }
    }

    pub(super) fn range(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_range: true }
    }

    /// The numbers are too large, rather than the data malformed.
    #[must_use]
    pub fn is_range(&self) -> bool {
        self.is_range
    }
}

impl fmt::Display for CostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CostError {}

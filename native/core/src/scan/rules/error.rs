//! Why a rule is refused.

use std::fmt;

/// A rule that cannot be used, by name and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The rule's id, or where it stands when it has none.
    pub rule: String,
    /// What is wrong.
    pub reason: String,
}

impl RuleError {
    pub(crate) fn new(rule: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { rule: rule.into(), reason: reason.to_string() }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}", self.rule, self.reason)
    }
}

impl std::error::Error for RuleError {}

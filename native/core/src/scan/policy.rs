//! What is done about a finding, and what became of a text.

/// What is done about a finding, from the mildest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing: the rule is not even tried.
    Allow,
    /// Reported, the text stays.
    Flag,
    /// Replaced by `<TYPE>`.
    Redact,
    /// Replaced by `<TYPE_digest>`, which the answer's way back undoes.
    Pseudonymise,
    /// The text does not pass.
    Block,
}

impl Action {
    /// By the name that configurations use.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "allow" => Self::Allow,
            "flag" => Self::Flag,
            "redact" => Self::Redact,
            "pseudonymise" => Self::Pseudonymise,
            "block" => Self::Block,
            _ => return None,
        })
    }

    /// The name that configurations use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Flag => "flag",
            Self::Redact => "redact",
            Self::Pseudonymise => "pseudonymise",
            Self::Block => "block",
        }
    }
}

/// What became of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// It passes as it is.
    #[default]
    Allowed,
    /// It passes with something replaced.
    Transformed,
    /// It does not pass.
    Blocked,
}

impl Decision {
    /// The name that answers and headers use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "ALLOWED",
            Self::Transformed => "TRANSFORMED",
            Self::Blocked => "BLOCKED",
        }
    }
}

impl From<Action> for Decision {
    fn from(action: Action) -> Self {
        match action {
            Action::Allow | Action::Flag => Self::Allowed,
            Action::Redact | Action::Pseudonymise => Self::Transformed,
            Action::Block => Self::Blocked,
        }
    }
}

/// Which of the three sorts of thing a rule looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// What tells of a person.
    Pii,
    /// What opens a door.
    Secrets,
    /// What tries to steer a model.
    Injection,
}

impl Family {
    /// The name that configurations use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pii => "pii",
            Self::Secrets => "secrets",
            Self::Injection => "injection",
        }
    }
}

/// Actions by family, and exceptions by type or by rule; the narrowest wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For personal data.
    pub pii: Action,
    /// For credentials.
    pub secrets: Action,
    /// For attacks.
    pub injection: Action,
    /// By type (`EMAIL_ADDRESS`) or by rule (`github-pat`), the rule first.
    pub overrides: Vec<(String, Action)>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { pii: Action::Redact, secrets: Action::Redact, injection: Action::Block, overrides: Vec::new() }
    }
}

impl Policy {
    /// The action for one rule. Of an attack nothing can be replaced: where that is asked for, it is blocked.
    #[must_use]
    pub fn action(&self, family: Family, kind: &str, rule: &str) -> Action {
        let named = |name: &str| self.overrides.iter().rev().find(|(key, _)| key == name).map(|(_, action)| *action);
        let action = named(rule).or_else(|| named(kind)).unwrap_or(match family {
            Family::Pii => self.pii,
            Family::Secrets => self.secrets,
            Family::Injection => self.injection,
        });
        let replaces = matches!(action, Action::Redact | Action::Pseudonymise);
        if family == Family::Injection && replaces { Action::Block } else { action }
    }
}

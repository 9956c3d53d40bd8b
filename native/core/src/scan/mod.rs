//! Detection: what in a text tells of a person, opens a door or steers a model, and what is done about it.

pub mod body;
mod bytes;
pub mod decode;
pub mod events;
pub mod injection;
mod machine;
mod mask;
mod matchers;
pub mod normalise;
pub mod policy;
pub mod prefilter;
pub mod pseudonym;
pub mod rules;
mod simd;
mod stoplist;
mod stream;
mod validators;
mod views;
mod whole;
pub mod window;
mod writer;

use std::sync::Arc;

pub use injection::Channel;
pub use policy::{Action, Decision, Family, Policy};
pub use pseudonym::{Restorer, Vault};
pub use rules::{Rule, RuleError, RuleSpec, Rules};
pub use stream::{Blocked, Stream};

/// Something that was found; never the value itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// The rule, for [`Rules::get`].
    pub rule: u16,
    /// First byte in the text.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// What was done about it.
    pub action: Action,
}

/// What became of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Whether it passes.
    pub decision: Decision,
    /// What was found, by start.
    pub findings: Vec<Finding>,
    /// The text that passes, if it is not the text that came.
    pub redacted: Option<String>,
}

/// Rules and what is done about their findings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Scanner {
    rules: Arc<Rules>,
    actions: Arc<[Action]>,
    /// The rule for injections, unless they are allowed.
    document: Option<u16>,
    channel: Channel,
}

impl Scanner {
    /// A scanner for these rules under this policy.
    #[must_use]
    pub fn new(rules: Arc<Rules>, policy: &Policy) -> Self {
        let actions: Arc<[Action]> =
            rules.iter().map(|rule| policy.action(rule.family, &rule.kind, &rule.id)).collect();
        let document =
            rules.document.filter(|rule| actions.get(usize::from(*rule)).is_some_and(|it| *it != Action::Allow));
        Self { rules, actions, document, channel: Channel::User }
    }

    /// The same for text of another origin: of a tool's output less is believed.
    #[must_use]
    pub fn for_channel(&self, channel: Channel) -> Self {
        Self { channel, ..self.clone() }
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Looks at a whole text.
    #[must_use]
    pub fn scan(&self, text: &str) -> Outcome {
        whole::scan(self, text)
    }

    /// Looks at a text that comes in pieces.
    #[must_use]
    pub fn stream(&self) -> Stream {
        Stream::new(self.clone())
    }

    fn action(&self, rule: u16) -> Action {
        self.actions.get(usize::from(rule)).copied().unwrap_or(Action::Block)
    }
}

#[cfg(test)]
mod tests;

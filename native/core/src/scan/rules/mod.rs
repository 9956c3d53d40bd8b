//! Rules: what is looked for, read from packs and compiled once.

mod compile;
mod error;
mod evidence;
mod expression;
mod front;
mod labels;
mod literals;
pub(crate) mod shape;
mod spec;
mod words;

use std::sync::{Arc, LazyLock};

pub use compile::{Rule, Rules};
pub use error::RuleError;
pub(crate) use evidence::{alone, judge};
pub(crate) use labels::{Labels, LastZone, zone};
pub(crate) use literals::NEAR;
pub use spec::{Boundary, Pack, Require, RuleSpec, Start};

/// The packs that every scanner has.
const BUILTIN: &[(&str, &str)] = &[
    ("injection.toml", include_str!("../../../../../config/rules/injection.toml")),
    ("pii-contact.toml", include_str!("../../../../../config/rules/pii-contact.toml")),
    ("pii-europe.toml", include_str!("../../../../../config/rules/pii-europe.toml")),
    ("pii-finance.toml", include_str!("../../../../../config/rules/pii-finance.toml")),
    ("pii-labelled.toml", include_str!("../../../../../config/rules/pii-labelled.toml")),
    ("pii-us.toml", include_str!("../../../../../config/rules/pii-us.toml")),
    ("pii-world.toml", include_str!("../../../../../config/rules/pii-world.toml")),
    ("secrets-distinctive.toml", include_str!("../../../../../config/rules/secrets-distinctive.toml")),
    ("secrets-keyword.toml", include_str!("../../../../../config/rules/secrets-keyword.toml")),
    ("secrets-structural.toml", include_str!("../../../../../config/rules/secrets-structural.toml")),
];

static SHARED: LazyLock<Arc<Rules>> = LazyLock::new(|| match Rules::load(Vec::new()) {
    Ok(rules) => rules,
    Err(errors) => unreachable!("a built-in rule is refused: {errors:?}"),
});

impl Rules {
    /// The built-in rules, compiled once in a process.
    #[must_use]
    pub fn builtin() -> Arc<Self> {
        Arc::clone(&SHARED)
    }

    /// The built-in rules and more.
    ///
    /// # Errors
    /// Every rule that cannot be used, with its name and the reason; then none is.
    pub fn load(extra: Vec<RuleSpec>) -> Result<Arc<Self>, Vec<RuleError>> {
        let mut specs = Vec::new();
        let mut errors = Vec::new();
        for (name, text) in BUILTIN {
            match parse_pack(name, text) {
                Ok(rules) => specs.extend(rules.into_iter().map(|rule| (rule, true))),
                Err(error) => errors.push(error),
            }
        }
        specs.extend(extra.into_iter().map(|rule| (rule, false)));
        compile::compile(&specs, errors).map(Arc::new)
    }
}

/// The rules of one file, each with the family of the file unless it says otherwise.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn parse_pack(name: &str, text: &str) -> Result<Vec<RuleSpec>, RuleError> {
    let pack: Pack = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        RuleError::new(format!("{name}:{line}"), error.message().trim())
    })?;
    Ok(pack.into_rules())
}

/// The built-in rules as they are written.
#[cfg(test)]
pub(crate) fn builtin_specs() -> Vec<RuleSpec> {
    BUILTIN.iter().flat_map(|(name, text)| parse_pack(name, text).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests;

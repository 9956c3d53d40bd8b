//! Shapes that code tells better than an expression, each a function from a position to a verdict.

mod email;

use super::window::{Verdict, Window};

/// Says whether a value stands where a trigger was seen. It may begin up to [`super::window::REACH`] bytes earlier, but never
/// before a byte that breaks runs (see [`super::prefilter::breaks`]).
pub type Matcher = fn(&Window<'_>, usize) -> Verdict;

/// What makes the engine ask a matcher about a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// An `@`.
    At,
    /// A `:`.
    Colon,
    /// The start of an alphanumeric run that holds a digit (see [`super::rules::Start::Number`]).
    Number,
    /// One of these, which need not be letters.
    Literals(&'static [&'static str]),
}

/// All matchers by the names that rules use.
pub const MATCHERS: &[(&str, Trigger, Matcher)] = &[("email", Trigger::At, email::email)];

/// The matcher of a name.
#[must_use]
pub fn by_name(name: &str) -> Option<(Trigger, Matcher)> {
    MATCHERS.iter().find(|(known, ..)| *known == name).map(|(_, trigger, matcher)| (*trigger, *matcher))
}

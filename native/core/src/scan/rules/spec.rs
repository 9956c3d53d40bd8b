//! A rule as people write it.

use serde::Deserialize;

use crate::scan::policy::Family;

/// One file of rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// What all rules of the file look for.
    pub family: Family,
    /// The rules.
    #[serde(default, rename = "rule", alias = "rules")]
    pub rules: Vec<RuleSpec>,
}

impl Pack {
    /// The rules, each with the family of the file unless it says otherwise.
    #[must_use]
    pub fn into_rules(self) -> Vec<RuleSpec> {
        let family = self.family;
        self.rules.into_iter().map(|rule| RuleSpec { family: rule.family.or(Some(family)), ..rule }).collect()
    }
}

/// Where a match can begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At one of the rule's literals.
    #[default]
    Literal,
    /// At an alphanumeric run that holds a digit, or that a digit follows after one separator.
    Number,
    /// At a token of eight bytes or more that one of the rule's context words precedes.
    Token,
    /// The text as a whole: the detector of injections.
    Document,
}

/// What must stand directly beside a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boundary {
    /// Anything.
    None,
    /// No letter, digit or underscore.
    #[default]
    Word,
    /// Nor a character that would make it a part of a longer token: `-`, `+`, `/`, `=`, or `.` before more of the same.
    Token,
    /// Nor the head of an account number, one blank or hyphen between: `RS35 2600 0560 ...`.
    Group,
}

/// Which evidence a match needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// The shape is enough.
    None,
    /// A context word stands before it.
    Context,
    /// The validator accepts it.
    Validator,
    /// One of the two.
    Either,
    /// Both.
    Both,
}

/// One rule. Lengths are bytes of normalised text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Unique name.
    pub id: String,
    /// The type that findings report; needed where no family gives it.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Overrides the family of the file.
    #[serde(default)]
    pub family: Option<Family>,
    /// Where a match can begin.
    #[serde(default)]
    pub start: Start,
    /// What `start = "literal"` looks for.
    #[serde(default)]
    pub literals: Vec<String>,
    /// Literals and expressions ignore the case of ASCII letters.
    #[serde(default)]
    pub ignore_case: bool,
    /// Precedes the value and is no part of it.
    #[serde(default)]
    pub lead: Option<String>,
    /// The value.
    #[serde(default)]
    pub regex: Option<String>,
    /// Must follow the value and is no part of it.
    #[serde(default)]
    pub trail: Option<String>,
    /// A matcher by name, instead of expressions.
    #[serde(default)]
    pub matcher: Option<String>,
    /// What must stand beside the value.
    #[serde(default)]
    pub boundary: Boundary,
    /// A check by name.
    #[serde(default)]
    pub validator: Option<String>,
    /// Words that make a match likely when they precede it.
    #[serde(default)]
    pub context: Vec<String>,
    /// Words that name the value: whole words (`word*` may go on), with no digit between them and the value. They count as
    /// context.
    #[serde(default)]
    pub labels: Vec<String>,
    /// That the value is all of the text counts as context.
    #[serde(default)]
    pub alone: bool,
    /// Which evidence is needed; by default what the rule has, and one of the two where it has both.
    #[serde(default)]
    pub require: Option<Require>,
    /// Least Shannon entropy, bits per byte.
    #[serde(default)]
    pub entropy: f32,
    /// Refuse placeholders; by default for secrets only.
    #[serde(default)]
    pub stoplist: Option<bool>,
    /// Least length of the value.
    #[serde(default)]
    pub min_len: usize,
    /// Greatest length of lead and value, at most 4,096.
    #[serde(default)]
    pub max_len: Option<usize>,
    /// Who wins where findings overlap.
    #[serde(default)]
    pub priority: Option<u8>,
    /// Confidence of a match with the evidence that it needs.
    #[serde(default)]
    pub score: Option<f32>,
    /// Texts that hold a match.
    #[serde(default)]
    pub examples: Vec<String>,
    /// Texts that hold none.
    #[serde(default)]
    pub counter_examples: Vec<String>,
}

//! From rules as people write them to tables that the engine reads.

use aho_corasick::{AhoCorasick, MatchKind};
use regex_syntax::hir::Hir;

use super::error::RuleError;
use super::evidence::BLANKS;
use super::expression::Expression;
use super::front::{Front, Fronts};
use super::labels::Labels;
use super::literals::{FINGERPRINT, HEAD, Literals};
use super::shape::{begins_with_digit, pair, token_lead};
use super::spec::{Boundary, Require, RuleSpec, Start};
use super::words::{Around, Collected, Words};
use crate::scan::matchers::{self, Matcher, Trigger};
use crate::scan::policy::Family;
use crate::scan::prefilter::{AHEAD, breaks};
use crate::scan::simd::Fingerprints;
use crate::scan::validators::{self, Validator};
use crate::scan::window::{LONG_TOKEN, MAX_LEN, REACH, Window};

const DEFAULT_MAX_LEN: usize = 256;

/// What a rule looks for.
#[derive(Debug)]
pub(crate) enum Value {
    Expressions(Box<Expressions>),
    Matcher(Matcher),
    /// The text as a whole.
    Document,
}

/// A value, what precedes it and what must follow.
#[derive(Debug)]
pub(crate) struct Expressions {
    pub(crate) lead: Option<Expression>,
    pub(crate) value: Expression,
    pub(crate) trail: Option<Expression>,
}

/// A rule that is ready for use.
#[derive(Debug)]
pub struct Rule {
    /// Its unique name.
    pub id: String,
    /// The type that its findings report.
    pub kind: String,
    /// Which sort of thing it looks for.
    pub family: Family,
    pub(crate) value: Value,
    pub(crate) boundary: Boundary,
    pub(crate) validator: Option<Validator>,
    pub(crate) context: Option<AhoCorasick>,
    pub(crate) labels: Option<Labels>,
    pub(crate) alone: bool,
    pub(crate) require: Require,
    pub(crate) entropy: f32,
    pub(crate) stoplist: bool,
    pub(crate) min_len: usize,
    pub(crate) max_len: usize,
    pub(crate) priority: u8,
    pub(crate) score: f32,
    /// A match may begin before its trigger.
    pub(crate) reaches_back: bool,
}

impl Rule {
    /// Whether a match may begin behind the literal that starts it: behind a lead, or where a matcher looks.
    pub(crate) fn reaches_ahead(&self) -> bool {
        match &self.value {
            Value::Expressions(expressions) => expressions.lead.is_some(),
            Value::Matcher(_) => true,
            Value::Document => false,
        }
    }

    /// Whether a match needs a word before the place where it is asked about, unless it stands alone.
    fn is_named(&self) -> bool {
        matches!(self.value, Value::Expressions(_)) && matches!(self.require, Require::Context | Require::Both)
    }
}

/// Rules that are ready for use, by what starts them.
#[derive(Debug)]
pub struct Rules {
    all: Vec<Rule>,
    /// Literals that long tokens are searched for.
    pub(crate) inner: Literals,
    /// Literals that all text is searched for.
    pub(crate) outer: Literals,
    /// Of the literals that all text is searched for.
    pub(crate) prints: Fingerprints<FINGERPRINT, HEAD>,
    /// Of those that long tokens are searched for.
    pub(crate) inner_prints: Fingerprints<FINGERPRINT, HEAD>,
    /// Whether none of these stands where there are digits alone.
    pub(crate) inner_shows: bool,
    pub(crate) at: Vec<u16>,
    pub(crate) colon: Vec<u16>,
    /// Rules to try where a number starts.
    number: Fronts,
    /// Words that name their values, by the places of these rules among them.
    number_words: Words,
    /// One of them is an expression that single digits may match, with something between them.
    pub(crate) sparse: bool,
    /// One of those for numbers or tokens has a lead.
    pub(crate) leads: bool,
    /// The rule of the detector of injections.
    pub(crate) document: Option<u16>,
    /// Rules to try where a token starts, if one of their context words stands before it.
    token: Fronts,
    /// These words, by the places of their rules among the rules for tokens.
    token_words: Words,
}

impl Rules {
    /// A rule by the number that findings carry.
    #[must_use]
    pub fn get(&self, rule: u16) -> Option<&Rule> {
        self.all.get(usize::from(rule))
    }

    /// All rules, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.all.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Calls back for every rule to try where a number starts.
    pub(crate) fn each_of_number(&self, window: &Window<'_>, at: usize, mut found: impl FnMut(u16)) {
        self.number.each(window, at, |row, bits| {
            // A value that stands alone needs no name.
            let is_named = at > BLANKS && self.number_words.are_needed(row, bits);
            let bits = if is_named { self.number_words.before(window, at).in_row(row, bits) } else { bits };
            self.number.rules(row, bits).for_each(&mut found);
        });
    }

    /// Calls back for every rule to try where a token starts.
    pub(crate) fn each_of_token(&self, window: &Window<'_>, at: usize, mut found: impl FnMut(u16)) {
        let words = self.token_words.before(window, at);
        if words.is_empty() {
            return;
        }
        self.token.each(window, at, |row, bits| self.token.rules(row, words.in_row(row, bits)).for_each(&mut found));
    }

    #[inline]
    pub(crate) fn at(&self, rule: u16) -> &Rule {
        &self.all[usize::from(rule)]
    }
}

/// Compiles rules; the flag says whether one is built in, so that its automaton may wait.
pub(super) fn compile(specs: &[(RuleSpec, bool)], mut errors: Vec<RuleError>) -> Result<Rules, Vec<RuleError>> {
    let mut tables = Tables::default();
    let mut rules = Vec::with_capacity(specs.len());
    let mut seen = std::collections::HashSet::new();
    for (spec, builtin) in specs {
        let name = if spec.id.is_empty() { format!("number {}", rules.len() + 1) } else { spec.id.clone() };
        if !seen.insert(spec.id.clone()) {
            errors.push(RuleError::new(&name, "another rule has this id"));
            continue;
        }
        let Ok(number) = u16::try_from(rules.len()) else {
            errors.push(RuleError::new(&name, "there are more than 65,535 rules"));
            break;
        };
        match rule(spec, *builtin).and_then(|(made, starts)| tables.add(number, &made, spec, starts).map(|()| made)) {
            Ok(made) => rules.push(made),
            Err(reason) => errors.push(RuleError::new(name, reason)),
        }
    }
    if errors.is_empty() { Ok(tables.build(rules)) } else { Err(errors) }
}

pub(super) fn automaton<W: AsRef<[u8]>>(words: &[W], folded: bool) -> Result<AhoCorasick, String> {
    AhoCorasick::builder()
        .ascii_case_insensitive(folded)
        .match_kind(MatchKind::Standard)
        .build(words)
        .map_err(|error| error.to_string())
}

/// What starts the search for a rule's value.
enum Starts {
    At,
    Colon,
    Number { front: Front, sparse: bool },
    Token(Front),
    Document,
    Literals { texts: Vec<String>, folded: bool, in_token: bool },
}

fn rule(spec: &RuleSpec, builtin: bool) -> Result<(Rule, Starts), String> {
    if spec.id.is_empty() {
        return Err("it has no id".into());
    }
    let family = spec.family.ok_or("it has no family (pii, secrets or injection)")?;
    if spec.kind.is_empty() {
        return Err("it has no type".into());
    }
    let max_len = spec.max_len.unwrap_or(DEFAULT_MAX_LEN);
    if max_len == 0 || max_len > MAX_LEN || spec.min_len > max_len {
        return Err(format!("max_len must be 1 to {MAX_LEN} and not below min_len"));
    }
    let (value, starts, reaches_back) = value(spec, builtin)?;
    let validator = match &spec.validator {
        Some(name) => Some(validators::by_name(name).ok_or_else(|| format!("there is no validator \"{name}\""))?),
        None => None,
    };
    let context = if spec.context.is_empty() { None } else { Some(automaton(&words(&spec.context)?, true)?) };
    let labels = if spec.labels.is_empty() { None } else { Some(Labels::new(&words(&spec.labels)?)?) };
    let require = require(spec, validator.is_some(), context.is_some() || labels.is_some() || spec.alone)?;
    Ok((
        Rule {
            id: spec.id.clone(),
            kind: spec.kind.clone(),
            family,
            value,
            boundary: spec.boundary,
            validator,
            context,
            labels,
            alone: spec.alone,
            require,
            entropy: spec.entropy,
            stoplist: spec.stoplist.unwrap_or(family == Family::Secrets),
            min_len: spec.min_len,
            max_len,
            priority: spec.priority.unwrap_or(50),
            score: spec.score.unwrap_or(0.85).clamp(0.0, 1.0),
            reaches_back,
        },
        starts,
    ))
}

fn value(spec: &RuleSpec, builtin: bool) -> Result<(Value, Starts, bool), String> {
    if let Some(name) = &spec.matcher {
        if spec.regex.is_some() || spec.lead.is_some() || spec.trail.is_some() {
            return Err("it has a matcher and expressions: one of them".into());
        }
        let (trigger, matcher) = matchers::by_name(name).ok_or_else(|| format!("there is no matcher \"{name}\""))?;
        let front = |pattern: &str| Expression::new(pattern, false).map(|(_, hir)| Front::of([&hir], Boundary::None));
        let starts = match trigger {
            Trigger::At => Starts::At,
            Trigger::Colon => Starts::Colon,
            Trigger::Token(_) if spec.context.is_empty() => return Err("its matcher needs context words".into()),
            Trigger::Token(pattern) => Starts::Token(front(pattern)?),
            Trigger::Number(pattern) | Trigger::Signed(pattern) => {
                Starts::Number { front: front(pattern)?, sparse: false }
            }
            Trigger::Literals(texts) => Starts::Literals {
                texts: texts.iter().map(|text| (*text).to_owned()).collect(),
                folded: spec.ignore_case,
                in_token: false,
            },
        };
        return Ok((Value::Matcher(matcher), starts, !matches!(trigger, Trigger::Number(_))));
    }
    if spec.start == Start::Document {
        let bare = spec.regex.is_none() && spec.lead.is_none() && spec.trail.is_none() && spec.literals.is_empty();
        let injection = spec.family == Some(Family::Injection);
        return if builtin && bare && injection {
            Ok((Value::Document, Starts::Document, false))
        } else {
            Err("the document as a whole is the built-in detector's".into())
        };
    }
    let pattern = match (&spec.regex, spec.literals.as_slice()) {
        (Some(pattern), _) => pattern.clone(),
        (None, [literal]) => escape(literal),
        (None, []) => return Err("it has neither a regex nor a matcher nor a literal".into()),
        (None, several) => several.iter().map(|literal| escape(literal)).collect::<Vec<_>>().join("|"),
    };
    let expression = |name: &str, pattern: &str| {
        let (made, hir) = Expression::new(pattern, spec.ignore_case).map_err(|reason| format!("{name}: {reason}"))?;
        if !builtin {
            made.compile().map_err(|reason| format!("{name}: {reason}"))?;
        }
        Ok::<_, String>((made, hir))
    };
    let optional = |name: &str, pattern: &Option<String>| match pattern {
        Some(pattern) => expression(name, pattern).map(|(made, hir)| (Some(made), Some(hir))),
        None => Ok((None, None)),
    };
    let (lead, lead_shape) = optional("lead", &spec.lead)?;
    let (value, shape) = expression("regex", &pattern)?;
    let (trail, trail_shape) = optional("trail", &spec.trail)?;
    let front = || {
        // What must follow the value says more of it than the boundary.
        let boundary = if trail.is_some() { Boundary::None } else { spec.boundary };
        Front::of(lead_shape.iter().chain([&shape]).chain(&trail_shape), boundary)
    };
    let starts = match spec.start {
        Start::Literal if spec.literals.is_empty() => return Err("it starts at literals and has none".into()),
        Start::Literal => Starts::Literals {
            texts: words(&spec.literals)?,
            folded: spec.ignore_case,
            in_token: in_token(lead_shape.as_ref(), &shape),
        },
        Start::Number => {
            let parts = lead_shape.iter().chain([&shape]).chain(&trail_shape);
            let sparse = begins_with_digit(parts.clone()) && pair(parts).is_none_or(|by| by > AHEAD);
            Starts::Number { front: front(), sparse }
        }
        Start::Token if spec.context.is_empty() => return Err("a token rule needs context words".into()),
        Start::Token => Starts::Token(front()),
        Start::Document => Starts::Document,
    };
    Ok((Value::Expressions(Box::new(Expressions { lead, value, trail })), starts, false))
}

/// Whether every match begins with so many bytes of a token that long tokens alone need be searched.
fn in_token(lead: Option<&Hir>, value: &Hir) -> bool {
    let (count, open) = lead.map_or((0, true), token_lead);
    count + if open { token_lead(value).0 } else { 0 } >= LONG_TOKEN
}

fn words(words: &[String]) -> Result<Vec<String>, String> {
    if let Some(word) = words.iter().find(|word| word.is_empty() || word.len() > REACH / 4) {
        return Err(format!("\"{word}\" must have 1 to {} bytes", REACH / 4));
    }
    Ok(words.to_vec())
}

fn require(spec: &RuleSpec, validator: bool, context: bool) -> Result<Require, String> {
    let wanted = spec.require.unwrap_or(match (validator, context) {
        (true, true) => Require::Either,
        (true, false) => Require::Validator,
        (false, true) => Require::Context,
        (false, false) => Require::None,
    });
    let possible = match wanted {
        Require::None => true,
        Require::Context => context,
        Require::Validator => validator,
        Require::Either | Require::Both => context && validator,
    };
    if possible { Ok(wanted) } else { Err("it requires evidence that it does not have (validator, context)".into()) }
}

fn escape(literal: &str) -> String {
    let mut pattern = String::new();
    for c in literal.chars() {
        if c.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[derive(Default)]
struct Tables {
    inner: Literals,
    outer: Literals,
    at: Vec<u16>,
    colon: Vec<u16>,
    number: Vec<(u16, Front)>,
    number_words: Collected,
    sparse: bool,
    leads: bool,
    document: Option<u16>,
    token: Vec<(u16, Front)>,
    token_words: Collected,
}

impl Tables {
    fn add(&mut self, number: u16, rule: &Rule, spec: &RuleSpec, starts: Starts) -> Result<(), String> {
        self.leads |= spec.lead.is_some() && matches!(starts, Starts::Number { .. } | Starts::Token(_));
        match starts {
            Starts::At => self.at.push(number),
            Starts::Colon => self.colon.push(number),
            Starts::Number { front, sparse } => {
                // There are no more of them than rules.
                let place = u16::try_from(self.number.len()).unwrap_or(u16::MAX);
                if rule.is_named() {
                    let labels = rule.labels.iter().flat_map(Labels::beginnings);
                    labels.for_each(|(text, around)| self.number_words.add(text, around, place));
                    let words = spec.context.iter();
                    words.for_each(|word| self.number_words.add(word.as_bytes(), Around::Anything, place));
                } else {
                    self.number_words.add_free(place);
                }
                self.number.push((number, front));
                self.sparse |= sparse;
            }
            Starts::Document => self.document = Some(number),
            Starts::Token(front) => {
                let place = u16::try_from(self.token.len()).unwrap_or(u16::MAX);
                let words = spec.context.iter();
                words.for_each(|word| self.token_words.add(word.as_bytes(), Around::Anything, place));
                self.token.push((number, front));
            }
            Starts::Literals { texts, folded, in_token } => {
                let literals = if in_token { &mut self.inner } else { &mut self.outer };
                for text in texts {
                    if !text.is_ascii() || text.bytes().position(breaks).unwrap_or(text.len()) < HEAD - 1 {
                        return Err(format!(
                            "the literal \"{text}\" must be ASCII and begin with a word of {HEAD} bytes or more"
                        ));
                    }
                    // What follows a break is left to the expression: literals must be known once their run is.
                    let end = text.bytes().position(breaks).map_or(text.len(), |at| at + 1);
                    literals.add(&text[..end], number, folded);
                }
            }
        }
        Ok(())
    }

    fn build(mut self, rules: Vec<Rule>) -> Rules {
        self.inner.sort();
        self.outer.sort();
        Rules {
            all: rules,
            inner_prints: Fingerprints::new(self.inner.fingerprints()),
            inner_shows: self.inner.show_beside_digits(),
            inner: self.inner,
            prints: Fingerprints::new(self.outer.fingerprints()),
            outer: self.outer,
            at: self.at,
            colon: self.colon,
            number: Fronts::new(self.number),
            number_words: self.number_words.build(),
            sparse: self.sparse,
            leads: self.leads,
            document: self.document,
            token: Fronts::new(self.token),
            token_words: self.token_words.build(),
        }
    }
}

//! From rules as people write them to tables that the engine reads.

use aho_corasick::{AhoCorasick, MatchKind};

use super::error::RuleError;
use super::expression::Expression;
use super::labels::Labels;
use super::literals::{HEAD, Literals};
use super::spec::{Boundary, Require, RuleSpec, Start};
use crate::scan::matchers::{self, Matcher, Trigger};
use crate::scan::policy::Family;
use crate::scan::prefilter::{Heads, breaks};
use crate::scan::validators::{self, Validator};
use crate::scan::window::{LONG_TOKEN, MAX_LEN, REACH};

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

/// Rules that are ready for use, by what starts them.
#[derive(Debug)]
pub struct Rules {
    all: Vec<Rule>,
    /// Literals that long tokens are searched for.
    pub(crate) inner: Literals,
    /// Literals that all text is searched for.
    pub(crate) outer: Literals,
    pub(crate) heads: Heads,
    pub(crate) at: Vec<u16>,
    pub(crate) colon: Vec<u16>,
    /// For each length of the alphanumeric run at which a number starts, to 63 and more: the rules to try.
    pub(crate) number: Vec<Vec<u16>>,
    /// The rule of the detector of injections.
    pub(crate) document: Option<u16>,
    pub(crate) token_words: Option<AhoCorasick>,
    /// For each context word of token rules: the rules to try.
    pub(crate) by_word: Vec<Vec<u16>>,
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

    pub(crate) fn at(&self, rule: u16) -> &Rule {
        &self.all[usize::from(rule)]
    }
}

/// Compiles rules; the flag says whether one is built in, so that its automaton may wait.
pub(super) fn compile(specs: &[(RuleSpec, bool)], mut errors: Vec<RuleError>) -> Result<Rules, Vec<RuleError>> {
    let mut tables = Tables { number: vec![Vec::new(); 64], ..Tables::default() };
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
        match rule(spec, *builtin).and_then(|(made, starts)| tables.add(number, spec, starts).map(|()| made)) {
            Ok(made) => rules.push(made),
            Err(reason) => errors.push(RuleError::new(name, reason)),
        }
    }
    match tables.build(rules) {
        Ok(rules) if errors.is_empty() => Ok(rules),
        Ok(_) => Err(errors),
        Err(reason) => {
            errors.push(RuleError::new("all", reason));
            Err(errors)
        }
    }
}

pub(super) fn automaton(words: &[String], folded: bool) -> Result<AhoCorasick, String> {
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
    /// With the set of lengths of the first run.
    Number(u64),
    Token,
    Document,
    Literals {
        texts: Vec<String>,
        folded: bool,
        in_token: bool,
    },
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
        let starts = match trigger {
            Trigger::At => Starts::At,
            Trigger::Colon => Starts::Colon,
            Trigger::Token if spec.context.is_empty() => return Err("its matcher needs context words".into()),
            Trigger::Token => Starts::Token,
            Trigger::Number | Trigger::Signed => Starts::Number(u64::MAX),
            Trigger::Literals(texts) => Starts::Literals {
                texts: texts.iter().map(|text| (*text).to_owned()).collect(),
                folded: spec.ignore_case,
                in_token: false,
            },
        };
        return Ok((Value::Matcher(matcher), starts, trigger != Trigger::Number));
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
        let made = Expression::new(pattern, spec.ignore_case).map_err(|reason| format!("{name}: {reason}"))?;
        if !builtin {
            made.compile().map_err(|reason| format!("{name}: {reason}"))?;
        }
        Ok::<_, String>(made)
    };
    let optional =
        |name: &str, pattern: &Option<String>| pattern.as_ref().map(|pattern| expression(name, pattern)).transpose();
    let expressions = Expressions {
        lead: optional("lead", &spec.lead)?,
        value: expression("regex", &pattern)?,
        trail: optional("trail", &spec.trail)?,
    };
    let starts = match spec.start {
        Start::Literal if spec.literals.is_empty() => return Err("it starts at literals and has none".into()),
        Start::Literal => Starts::Literals {
            texts: words(&spec.literals)?,
            folded: spec.ignore_case,
            in_token: in_token(expressions.lead.as_ref(), &expressions.value),
        },
        Start::Number => Starts::Number(first_runs(spec.boundary, expressions.lead.as_ref(), &expressions.value)),
        Start::Token if spec.context.is_empty() => return Err("a token rule needs context words".into()),
        Start::Token => Starts::Token,
        Start::Document => Starts::Document,
    };
    Ok((Value::Expressions(Box::new(expressions)), starts, false))
}

/// The lengths that the alphanumeric run can have at which a match starts.
fn first_runs(boundary: Boundary, lead: Option<&Expression>, value: &Expression) -> u64 {
    if boundary == Boundary::None {
        return u64::MAX;
    }
    match lead {
        Some(lead) => lead.first_run().then(value.first_run()).lengths(),
        None => value.first_run().lengths(),
    }
}

/// Whether every match begins with so many bytes of a token that long tokens alone need be searched.
fn in_token(lead: Option<&Expression>, value: &Expression) -> bool {
    let (count, open) = lead.map_or((0, true), Expression::token_lead);
    count + if open { value.token_lead().0 } else { 0 } >= LONG_TOKEN
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
    number: Vec<Vec<u16>>,
    document: Option<u16>,
    token_words: Vec<String>,
    by_word: Vec<Vec<u16>>,
}

impl Tables {
    fn add(&mut self, number: u16, spec: &RuleSpec, starts: Starts) -> Result<(), String> {
        match starts {
            Starts::At => self.at.push(number),
            Starts::Colon => self.colon.push(number),
            Starts::Number(lengths) => {
                for (length, rules) in self.number.iter_mut().enumerate() {
                    if lengths >> length & 1 != 0 {
                        rules.push(number);
                    }
                }
            }
            Starts::Document => self.document = Some(number),
            Starts::Token => {
                for word in &spec.context {
                    let at = place(&mut self.token_words, &mut self.by_word, &word.to_ascii_lowercase());
                    self.by_word[at].push(number);
                }
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

    fn build(mut self, rules: Vec<Rule>) -> Result<Rules, String> {
        let optional = |words: &[String]| if words.is_empty() { Ok(None) } else { automaton(words, true).map(Some) };
        self.inner.sort();
        self.outer.sort();
        Ok(Rules {
            all: rules,
            inner: self.inner,
            heads: Heads::new(self.outer.heads()),
            outer: self.outer,
            at: self.at,
            colon: self.colon,
            number: self.number,
            document: self.document,
            token_words: optional(&self.token_words)?,
            by_word: self.by_word,
        })
    }
}

fn place<T: Default>(words: &mut Vec<String>, rules: &mut Vec<T>, word: &str) -> usize {
    words.iter().position(|known| known == word).unwrap_or_else(|| {
        words.push(word.to_owned());
        rules.push(T::default());
        words.len() - 1
    })
}

//! What a match needs beside its shape.

use super::compile::{Expressions, Rule, Value};
use super::expression::Extent;
use super::labels::LastZone;
use super::spec::{Boundary, Require};
use crate::scan::stoplist;
use crate::scan::window::{Match, Verdict, Window, is_word};

/// Whether a rule's value stands at a position, evidence included.
pub(crate) fn judge(rule: &Rule, window: &Window<'_>, at: usize, zone: &mut LastZone) -> Verdict {
    let (from, found) = match &rule.value {
        Value::Document => return Verdict::No,
        Value::Matcher(matcher) => match matcher(window, at) {
            Verdict::Match(found) => (found.start, found),
            other => return other,
        },
        Value::Expressions(expressions) => {
            let Expressions { lead, value, trail } = &**expressions;
            let start = match lead.as_ref().map(|lead| lead.extent(window, at, rule.max_len)) {
                None => at,
                Some(Extent::End(end)) => end,
                Some(Extent::No) => return Verdict::No,
                Some(Extent::More) => return Verdict::More,
            };
            let limit = rule.max_len.saturating_sub(start - at);
            let end = match value.extent(window, start, limit) {
                Extent::End(end) if end > start => end,
                Extent::End(_) | Extent::No => return Verdict::No,
                Extent::More => return Verdict::More,
            };
            match trail.as_ref().map(|trail| trail.extent(window, end, rule.max_len)) {
                None | Some(Extent::End(_)) => {}
                Some(Extent::No) => return Verdict::No,
                Some(Extent::More) => return Verdict::More,
            }
            (at, Match { start, end, score: rule.score })
        }
    };
    match bounded(rule.boundary, window, found.start, found.end) {
        Some(true) => {}
        Some(false) => return Verdict::No,
        None => return Verdict::More,
    }
    let Some(value) = window.text.get(found.start..found.end) else { return Verdict::No };
    if value.len() < rule.min_len
        || (rule.entropy > 0.0 && entropy(value) < rule.entropy)
        || (rule.stoplist && (stoplist::is_placeholder(value) || stoplist::is_digest_mark(window.context(found.start))))
    {
        return Verdict::No;
    }
    let Some(alone) = (if rule.alone { alone(window, found.start, found.end) } else { Some(false) }) else {
        return Verdict::More;
    };
    match score(rule, window, from, value, found.score, alone, zone) {
        Some(score) => Verdict::Match(Match { score, ..found }),
        None => Verdict::No,
    }
}

/// So many blanks at most stand around a value that stands alone.
pub(super) const BLANKS: usize = 4;

/// Whether nothing but blanks stands around a value. None: it depends on what follows.
pub(crate) fn alone(window: &Window<'_>, start: usize, end: usize) -> Option<bool> {
    // What is cut off in front of a window leaves more than that.
    if start > BLANKS || !window.text[..start].iter().all(u8::is_ascii_whitespace) {
        return Some(false);
    }
    let (last, open) = window.run(end, BLANKS, |byte| byte.is_ascii_whitespace());
    if open || window.unknown(last) { None } else { Some(window.get(last).is_none()) }
}

/// None: it depends on what follows.
fn bounded(boundary: Boundary, window: &Window<'_>, start: usize, end: usize) -> Option<bool> {
    if boundary == Boundary::None {
        return Some(true);
    }
    let joined = |byte: u8| is_word(byte) || (boundary != Boundary::Word && matches!(byte, b'-' | b'+' | b'/' | b'.'));
    if window.before(start).is_some_and(joined) || (boundary == Boundary::Group && follows_head(window, start)) {
        return Some(false);
    }
    if window.unknown(end) {
        return None;
    }
    let Some(next) = window.get(end) else { return Some(true) };
    if is_word(next) {
        return Some(false);
    }
    if boundary == Boundary::Word {
        return Some(true);
    }
    if matches!(next, b'-' | b'+' | b'/' | b'=') {
        return Some(false);
    }
    if next == b'.' {
        if window.unknown(end + 1) {
            return None;
        }
        return Some(!window.get(end + 1).is_some_and(is_word));
    }
    Some(true)
}

/// Whether the country and the check digits of an account number stand before a position.
fn follows_head(window: &Window<'_>, at: usize) -> bool {
    let before = window.context(at);
    match before {
        [rest @ .., a, b, c, d, b' ' | b'-'] => {
            a.is_ascii_uppercase()
                && b.is_ascii_uppercase()
                && c.is_ascii_digit()
                && d.is_ascii_digit()
                && !rest.last().is_some_and(|byte| is_word(*byte))
        }
        _ => false,
    }
}

fn score(
    rule: &Rule,
    window: &Window<'_>,
    from: usize,
    value: &[u8],
    shape: f32,
    alone: bool,
    zone: &mut LastZone,
) -> Option<f32> {
    let valid = || rule.validator.is_some_and(|check| check(value));
    let mut likely = || {
        alone
            || rule.labels.as_ref().is_some_and(|labels| labels.are_in(zone.of(window, from)))
            || rule.context.as_ref().is_some_and(|words| words.is_match(window.context(from)))
    };
    match rule.require {
        Require::None => Some(if valid() { shape.max(0.98) } else { shape }),
        Require::Context => likely().then_some(shape),
        Require::Validator => valid().then_some(shape),
        Require::Both => (valid() && likely()).then_some(shape),
        Require::Either => match (valid(), likely()) {
            (true, true) => Some(shape.max(0.95)),
            (true, false) => Some(shape),
            (false, true) => Some(shape * 0.8),
            (false, false) => None,
        },
    }
}

/// Shannon entropy in bits per byte.
pub(crate) fn entropy(value: &[u8]) -> f32 {
    let mut counts = [0u16; 256];
    for byte in value {
        let count = &mut counts[usize::from(*byte)];
        *count = count.saturating_add(1);
    }
    #[expect(clippy::cast_precision_loss, reason = "values have at most 4,096 bytes")]
    let total = value.len() as f32;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f32::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum()
}

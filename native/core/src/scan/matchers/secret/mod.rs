//! Secrets that have no shape of their own: what they are called tells, and that nobody would say them.

mod naming;
mod password;
mod words;

use super::super::bytes::ByteSet;
use super::super::stoplist::is_placeholder;
use super::super::stoplist::randomness::{Shape, is_uuid};
use super::super::window::{Match, Verdict, Window};
use naming::{Naming, naming};

pub(super) use password::password;

const VALUE_MAX: usize = 2048;
/// A longer value that ends like the name of a secret does so by chance.
const NAME_MAX: usize = 32;

/// A generated value behind a name such as `api_key` or in a sentence on a token.
pub(super) fn named(window: &Window<'_>, at: usize) -> Verdict {
    let start = widen(window, at);
    let naming = naming(window, start);
    if naming == Naming::None {
        return Verdict::No;
    }
    let end = match value_end(window, start, naming) {
        Ok(end) => end,
        Err(verdict) => return verdict,
    };
    let value = &window.text[start..end];
    let shape = Shape::of(value);
    let generated = |least: usize, surprise: f32| {
        value.len() >= least
            && shape.letters > 1
            && (shape.surprise >= surprise || shape.is_dense())
            && !is_listing(value)
    };
    let hex = |least: usize| shape.is_hex() && value.len() >= least;
    let number = shape.digits == value.len() && (24..=100).contains(&value.len());
    let score = match naming {
        Naming::None => None,
        Naming::Assigned if hex(16) || number || is_uuid(value) => Some(0.75),
        Naming::Assigned => generated(10, 1.5).then_some(0.8),
        Naming::Adjacent if hex(20) || number || is_uuid(value) => Some(0.7),
        Naming::Adjacent => generated(12, 3.0).then_some(0.75),
        Naming::Mentioned if hex(28) => Some(0.5),
        Naming::Mentioned => (shape.surprise >= 5.0 && generated(14, 5.0)).then_some(0.6),
    };
    score.map_or(Verdict::No, |score| Verdict::Match(Match { start, end, score }))
}

/// A generated value near the name of a service (the context words of the rule).
pub(super) fn vendor(window: &Window<'_>, at: usize) -> Verdict {
    let start = widen(window, at);
    let end = match value_end(window, start, Naming::Adjacent) {
        Ok(end) => end,
        Err(verdict) => return verdict,
    };
    let value = &window.text[start..end];
    let shape = Shape::of(value);
    let least = if shape.is_hex() { 24 } else { 14 };
    let generated = shape.letters > 1 && value.len() >= least && shape.surprise >= 4.0 && !is_listing(value);
    if generated || is_uuid(value) || (shape.is_hex() && value.len() >= least) {
        Verdict::Match(Match { start, end, score: 0.6 })
    } else {
        Verdict::No
    }
}

/// A generated value that hangs on a name: `service-secret-0c2c...`, `token_51f6...`.
pub(super) fn attached(window: &Window<'_>, at: usize) -> Verdict {
    const LEAST: usize = 16;
    // The name first: it is short, and a chain of numbers would have its rest looked at from every link.
    if !window.before(at).is_some_and(|byte| matches!(byte, b'-' | b'_' | b'.'))
        || !naming::names_secret(window, at - 1)
    {
        return Verdict::No;
    }
    let (end, open) = window.run(at, VALUE_MAX, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if open || window.unknown(end + 1) {
        return Verdict::More;
    }
    let value = &window.text[at..end];
    let shape = Shape::of(value);
    let generated = value.len() >= LEAST && shape.letters > 1 && shape.surprise >= 4.0 && !is_listing(value);
    let fits = is_uuid(value) || generated || (shape.is_hex() && value.len() >= 24);
    if !fits
        || window.get(end).is_some_and(|byte| matches!(byte, b'(' | b'@' | b'_' | b'.' | b'/'))
        || is_placeholder(value)
    {
        return Verdict::No;
    }
    Verdict::Match(Match { start: at, end, score: 0.6 })
}

/// Base64 may begin with a sign, which begins no token.
fn widen(window: &Window<'_>, at: usize) -> usize {
    let signs =
        window.text[at.saturating_sub(3)..at].iter().rev().take_while(|byte| matches!(byte, b'+' | b'/')).count();
    let start = at - signs;
    let free = window
        .before(start)
        .is_none_or(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'"' | b'\'' | b'`' | b'=' | b':'));
    if signs < 3 && free { start } else { at }
}

/// What a value consists of, beside equals signs; and one in quotes.
static BARE: ByteSet = ByteSet::of(b"_+/.~-").alphanumeric();
static QUOTED: ByteSet = ByteSet::of(b"_+/.~-!@#$%^&*?:|").alphanumeric();

/// Where the value ends that starts here, or why there is none.
fn value_end(window: &Window<'_>, start: usize, naming: Naming) -> Result<usize, Verdict> {
    let text = window.text;
    if window.before(start).is_some_and(|byte| matches!(byte, b'.' | b'/' | b'+' | b'@' | b'#' | b'$' | b'&' | b'%')) {
        return Err(Verdict::No);
    }
    let quote = window.before(start).filter(|byte| naming == Naming::Assigned && matches!(byte, b'"' | b'\''));
    let bytes = if quote.is_some() { &QUOTED } else { &BARE };
    let (mut end, mut open) = window.run(start, VALUE_MAX, |byte| bytes.has(byte));
    if !open && window.get(end) == Some(b'=') {
        let signs = |byte: u8| byte == b'=' || (bytes.has(byte) && !byte.is_ascii_alphanumeric());
        (end, open) = window.run(end, VALUE_MAX - (end - start), signs);
        // `a=b`: the value is what follows, and is asked about by itself.
        if !open && end - start < VALUE_MAX && window.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Verdict::No);
        }
    }
    if open {
        return Err(Verdict::More);
    }
    if end - start >= VALUE_MAX {
        return Err(Verdict::No);
    }
    if window.unknown(end + 2) {
        return Err(Verdict::More);
    }
    let called = window.get(end).is_some_and(|byte| matches!(byte, b'(' | b'@'));
    let scheme = text[end..].starts_with(b"://") || text[start..end].windows(3).any(|three| three == b"://");
    if called || scheme {
        return Err(Verdict::No);
    }
    // Cut short in the text: `ops_eyJ..`.
    if text[start..end].ends_with(b"..") {
        return Err(Verdict::No);
    }
    while end > start && matches!(text[end - 1], b'.' | b'-' | b'~' | b':' | b'?' | b'!' | b',') {
        end -= 1;
    }
    let value = &text[start..end];
    if value.len() < 8 || is_placeholder(value) || (value.len() < NAME_MAX && naming::is_secret_name(value)) {
        return Err(Verdict::No);
    }
    Ok(end)
}

/// Paths, versions, dates and names with dots and dashes: the greater part is words or numbers.
fn is_listing(value: &[u8]) -> bool {
    let (mut parts, mut plain, mut all) = (0usize, 0usize, 0usize);
    for part in value.split(|byte| !byte.is_ascii_alphanumeric()).filter(|part| !part.is_empty()) {
        parts += 1;
        all += part.len();
        let shape = Shape::of(part);
        if (part.len() < 8 && shape.surprise < 3.0) || (shape.surprise < 0.5 && !(shape.is_dense() && part.len() >= 14))
        {
            plain += part.len();
        }
    }
    parts > 1 && 2 * plain > all && Shape::of(value).surprise < 6.0
}

#[cfg(test)]
mod tests;

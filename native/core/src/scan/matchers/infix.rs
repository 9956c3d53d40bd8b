//! Keys that are known by a mark in their middle or at their end.

use crate::scan::stoplist::randomness::Shape;
use crate::scan::window::{Match, Verdict, Window};

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'~' | b'.')
}

fn alone(window: &Window<'_>, start: usize, accept: impl Fn(u8) -> bool) -> bool {
    !window.before(start).is_some_and(accept)
}

/// A client secret of Microsoft Entra: three characters, a digit, `Q~`, and 31 to 34 more.
pub(super) fn entra(window: &Window<'_>, at: usize) -> Verdict {
    let (end, open) = window.run(at + 3, 40, is_token);
    if open {
        return Verdict::More;
    }
    let end = if window.text[end - 1] == b'.' { end - 1 } else { end };
    let Some(start) = at.checked_sub(3) else { return Verdict::No };
    let tail = end - (at + 3);
    if !(31..=34).contains(&tail)
        || !window.text[start..at].iter().all(|byte| is_token(*byte))
        || !alone(window, start, is_token)
        || Shape::of(&window.text[at..end]).surprise < 4.0
    {
        return Verdict::No;
    }
    Verdict::Match(Match { start, end, score: 0.95 })
}

/// A token of `HashiCorp` Terraform Cloud: 14 characters, `.atlasv1.`, and 60 to 70 more.
pub(super) fn terraform(window: &Window<'_>, at: usize) -> Verdict {
    let (end, open) = window.run(at + 9, 80, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'='));
    if open {
        return Verdict::More;
    }
    let Some(start) = at.checked_sub(14) else { return Verdict::No };
    let fits = (60..=72).contains(&(end - at - 9)) && window.text[start..at].iter().all(u8::is_ascii_alphanumeric);
    if fits && alone(window, start, |byte| byte.is_ascii_alphanumeric()) {
        Verdict::Match(Match { start, end, score: 0.98 })
    } else {
        Verdict::No
    }
}

/// A licence key of `MaxMind`: 6, 29 characters and `_mmk`, 40 in all.
pub(super) fn maxmind(window: &Window<'_>, at: usize) -> Verdict {
    if window.unknown(at + 4) {
        return Verdict::More;
    }
    let end = at + 4;
    let Some(start) = end.checked_sub(40) else { return Verdict::No };
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let fits = window.text[start..at].iter().all(|byte| word(*byte)) && window.text[start + 6] == b'_';
    if fits && alone(window, start, word) && !window.get(end).is_some_and(word) {
        Verdict::Match(Match { start, end, score: 0.95 })
    } else {
        Verdict::No
    }
}

/// A legacy key of `OpenAI`, which holds `T3BlbkFJ` (its name in base64) in its middle.
pub(super) fn openai(window: &Window<'_>, at: usize) -> Verdict {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let (end, open) = window.run(at, 140, word);
    if open {
        return Verdict::More;
    }
    let least = at.saturating_sub(140);
    let mut start = at;
    while start > least && word(window.text[start - 1]) {
        start -= 1;
    }
    let fits = window.text[start..at].starts_with(b"sk-") && at - start >= 20 && end - at >= 24;
    if fits { Verdict::Match(Match { start, end, score: 0.98 }) } else { Verdict::No }
}

/// A key of Mailchimp: 32 hexadecimal digits, `-us` and the number of a data centre.
pub(super) fn mailchimp(window: &Window<'_>, at: usize) -> Verdict {
    let (end, open) = window.run(at + 3, 3, |byte| byte.is_ascii_digit());
    if open {
        return Verdict::More;
    }
    let Some(start) = at.checked_sub(32) else { return Verdict::No };
    let fits = (1..=2).contains(&(end - at - 3))
        && window.text[start..at].iter().all(u8::is_ascii_hexdigit)
        && Shape::of(&window.text[start..at]).is_hex();
    if fits
        && alone(window, start, |byte| byte.is_ascii_alphanumeric())
        && !window.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric())
    {
        Verdict::Match(Match { start, end, score: 0.95 })
    } else {
        Verdict::No
    }
}

#[cfg(test)]
mod tests;

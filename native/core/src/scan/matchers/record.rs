//! Fields of delimited records: what they are has no label there but the head of the column.
//!
//! They count in lines with commas, bars, semicolons or tabs, when an e-mail address, a social security number or a card
//! stands before them.

use crate::scan::window::{LOOKBACK, Match, Verdict, Window};

/// A day, of a year in which somebody who is in such a record could be born.
pub(super) fn date(window: &Window<'_>, at: usize) -> Verdict {
    field(window, at, |value| year(value).is_some_and(|year| (1900..=2012).contains(&year)))
}

/// The number of an account.
pub(super) fn account(window: &Window<'_>, at: usize) -> Verdict {
    let before = &window.text[at.saturating_sub(20)..at];
    let card = before.len() == 20 && is_card(&before[..19]);
    if card { field(window, at, |value| value.len() >= 8 && value.iter().all(u8::is_ascii_digit)) } else { Verdict::No }
}

/// The number of a passport: one or two letters, perhaps one more, and digits.
pub(super) fn passport(window: &Window<'_>, at: usize) -> Verdict {
    field(window, at, |value| {
        let letters = value.iter().filter(|byte| byte.is_ascii_uppercase()).count();
        let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
        value.len() == 9
            && value[0].is_ascii_uppercase()
            && letters <= 2
            && letters + digits == 9
            && value[3..].iter().all(u8::is_ascii_digit)
    })
}

fn field(window: &Window<'_>, at: usize, accept: impl Fn(&[u8]) -> bool) -> Verdict {
    let text = window.text;
    let delimits = |byte: u8| matches!(byte, b',' | b'|' | b'\t' | b';');
    let delimiter = match window.before(at) {
        Some(b'"') => at.checked_sub(2).and_then(|before| window.get(before)),
        byte => byte,
    };
    if !delimiter.is_some_and(delimits) {
        return Verdict::No;
    }
    let (end, open) = window.run(at, 18, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'.'));
    if open || window.unknown(end) {
        return Verdict::More;
    }
    let closed = window.get(end).is_none_or(|byte| delimits(byte) || matches!(byte, b'\n' | b'\r' | b'"'));
    if !closed || !accept(&text[at..end]) {
        return Verdict::No;
    }
    let from = at.saturating_sub(LOOKBACK);
    let line = text[from..at].iter().rposition(|byte| *byte == b'\n').map_or(from, |line| from + line + 1);
    let before = &text[line..at];
    let personal = before.contains(&b'@') || before.windows(11).any(is_serial) || before.windows(19).any(is_card);
    if personal { Verdict::Match(Match { start: at, end, score: 0.7 }) } else { Verdict::No }
}

fn is_card(part: &[u8]) -> bool {
    part.iter().enumerate().all(|(i, byte)| if i % 5 == 4 { *byte == b'-' } else { byte.is_ascii_digit() })
}

fn is_serial(part: &[u8]) -> bool {
    part.iter().enumerate().all(|(i, byte)| if i == 3 || i == 6 { *byte == b'-' } else { byte.is_ascii_digit() })
}

/// The year of a day: year first or last.
fn year(day: &[u8]) -> Option<u32> {
    let number = |part: &[u8]| {
        part.iter().try_fold(0, |sum: u32, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
    };
    let mut parts = day.split(|byte| !byte.is_ascii_digit());
    let (a, b, c) = (parts.next()?, parts.next()?, parts.next()?);
    let small =
        |part: &[u8]| matches!(part.len(), 1 | 2) && number(part).is_some_and(|value| (1..=31).contains(&value));
    if parts.next().is_some() || !small(b) {
        return None;
    }
    match (a.len(), c.len()) {
        (4, _) if small(c) => number(a),
        (_, 4) if small(a) => number(c),
        _ => None,
    }
}

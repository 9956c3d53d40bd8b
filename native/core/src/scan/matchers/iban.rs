//! International account numbers (ISO 13616): as long as their country has them, in one piece or in groups of four
//! with blanks, hyphens or full stops between.

use crate::scan::validators;
use crate::scan::window::{Match, Verdict, Window};

/// The number whose country stands here.
pub(super) fn iban(window: &Window<'_>, at: usize) -> Verdict {
    for known in 0..4 {
        let expected = |byte: u8| if known < 2 { byte.is_ascii_alphabetic() } else { byte.is_ascii_digit() };
        match window.get(at + known) {
            Some(byte) if expected(byte) => {}
            None if !window.at_end => return Verdict::More,
            _ => return Verdict::No,
        }
    }
    let country = [window.text[at].to_ascii_uppercase(), window.text[at + 1].to_ascii_uppercase()];
    let Some(length) = validators::iban_length(country) else { return Verdict::No };
    let mut end = at + 4;
    let mut seen = 4;
    let separator = window.get(end).filter(|byte| matches!(byte, b' ' | b'-' | b'.'));
    while seen < length {
        if window.unknown(end) {
            return Verdict::More;
        }
        let Some(mut byte) = window.get(end) else { return Verdict::No };
        if seen % 4 == 0 && separator == Some(byte) {
            end += 1;
            if window.unknown(end) {
                return Verdict::More;
            }
            byte = window.get(end).unwrap_or(b' ');
        }
        if !byte.is_ascii_alphanumeric() {
            return Verdict::No;
        }
        end += 1;
        seen += 1;
    }
    Verdict::Match(Match { start: at, end, score: 0.95 })
}

//! What the shape of an expression promises of every match, so that a text without it need not be searched.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::scan::bytes::ByteSet;

/// How many bytes of a token every match begins with: letters, digits and `_ + - . / = ~`.
///
/// `open` tells whether the next part of the expression would continue the count.
pub(crate) fn token_lead(hir: &Hir) -> (usize, bool) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => (0, true),
        HirKind::Literal(literal) => {
            let count = literal.0.iter().take_while(|byte| is_token(**byte)).count();
            (count, count == literal.0.len())
        }
        HirKind::Class(class) => {
            let all = match class {
                Class::Bytes(class) => class.iter().all(|range| (range.start()..=range.end()).all(is_token)),
                Class::Unicode(class) => {
                    class.iter().all(|range| (range.start()..=range.end()).all(|c| u8::try_from(c).is_ok_and(is_token)))
                }
            };
            (usize::from(all), all)
        }
        HirKind::Repetition(repetition) => {
            let (each, open) = token_lead(&repetition.sub);
            let least = repetition.min as usize;
            if open { (each * least, true) } else { (if least == 0 { 0 } else { each }, false) }
        }
        HirKind::Capture(capture) => token_lead(&capture.sub),
        HirKind::Concat(parts) => {
            let mut count = 0;
            for part in parts {
                let (more, open) = token_lead(part);
                count += more;
                if !open {
                    return (count, false);
                }
            }
            (count, true)
        }
        HirKind::Alternation(parts) => parts
            .iter()
            .map(token_lead)
            .reduce(|(count, open), (more, still)| (count.min(more), open && still))
            .unwrap_or((0, false)),
    }
}

/// By how many bytes every match of expressions that follow each other shows two letters or digits side by side. None: not
/// every match does.
pub(super) fn pair<'a>(parts: impl IntoIterator<Item = &'a Hir>) -> Option<usize> {
    let (mut before, mut joins) = (0usize, false);
    for part in parts {
        let solid = is_solid(part);
        if solid && joins {
            return Some(before + 1);
        }
        let inner = match part.kind() {
            HirKind::Literal(literal) => {
                let both = |two: &[u8]| two.iter().all(u8::is_ascii_alphanumeric);
                literal.0.windows(2).position(both).map(|at| at + 2)
            }
            _ if solid && part.properties().minimum_len() > Some(1) => Some(2),
            HirKind::Repetition(repetition) if repetition.min > 0 => pair([&*repetition.sub]),
            HirKind::Capture(capture) => pair([&*capture.sub]),
            HirKind::Concat(parts) => pair(parts),
            HirKind::Alternation(parts) => {
                parts.iter().try_fold(0, |most: usize, part| pair([part]).map(|by| most.max(by)))
            }
            _ => None,
        };
        if let Some(by) = inner {
            return Some(before + by);
        }
        before += part.properties().maximum_len()?;
        joins = solid;
    }
    None
}

/// Whether a match of expressions that follow each other may begin with a digit.
pub(super) fn begins_with_digit<'a>(parts: impl IntoIterator<Item = &'a Hir>) -> bool {
    for part in parts {
        let begins = match part.kind() {
            HirKind::Literal(literal) => literal.0.first().is_some_and(u8::is_ascii_digit),
            HirKind::Class(Class::Bytes(class)) => {
                class.iter().any(|range| range.start() <= b'9' && range.end() >= b'0')
            }
            HirKind::Class(Class::Unicode(_)) => true,
            HirKind::Repetition(repetition) => begins_with_digit([&*repetition.sub]),
            HirKind::Capture(capture) => begins_with_digit([&*capture.sub]),
            HirKind::Concat(parts) => begins_with_digit(parts),
            HirKind::Alternation(parts) => parts.iter().any(|part| begins_with_digit([part])),
            HirKind::Empty | HirKind::Look(_) => false,
        };
        if begins {
            return true;
        }
        if part.properties().minimum_len() > Some(0) {
            return false;
        }
    }
    false
}

/// Whether every match is letters and digits, one at least.
fn is_solid(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.iter().all(u8::is_ascii_alphanumeric),
        HirKind::Class(Class::Bytes(class)) => {
            class.iter().all(|range| (range.start()..=range.end()).all(|byte| byte.is_ascii_alphanumeric()))
        }
        HirKind::Repetition(repetition) => repetition.min > 0 && is_solid(&repetition.sub),
        HirKind::Capture(capture) => is_solid(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().all(is_solid),
        _ => false,
    }
}

static TOKEN: ByteSet = ByteSet::of(b"_+-./=~").alphanumeric();

/// Letters, digits and what joins them in a token.
#[inline]
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN.has(byte)
}

#[cfg(test)]
mod tests {
    use regex_automata::util::syntax;

    use super::*;

    fn hir(pattern: &str) -> Hir {
        syntax::parse_with(pattern, &syntax::Config::new().unicode(false).utf8(false)).expect("a pattern")
    }

    #[test]
    fn two_letters_or_digits_side_by_side_show_at_a_place() {
        for (pattern, by) in [
            ("[0-9]{3}-[0-9]", Some(2)),
            ("[1-8]-[0-9]{4}", Some(4)),
            ("[A-Z]?-?(?:[0-9][a-f]|x{2,}|-ab)", Some(5)),
            ("(?:19|20)?[0-9]{6}", Some(4)),
            ("[0-9](?:-[0-9]){3,}", None),
            ("[0-9]+", None),
            ("a*b-[0-9]{2}", None),
            ("[0-9]{2}|[0-9]-", None),
        ] {
            assert_eq!(pair([&hir(pattern)]), by, "{pattern}");
        }
    }

    #[test]
    fn matches_may_begin_with_a_digit_or_not() {
        for (pattern, begins) in [("[A-Z]?[0-9]", true), ("a[0-9]", false), ("(?:-|1)x", true), ("[^a]", true)] {
            assert_eq!(begins_with_digit([&hir(pattern)]), begins, "{pattern}");
        }
    }
}

//! What the shape of an expression promises of every match, so that a text without it need not be searched.

use regex_syntax::hir::{Class, Hir, HirKind};

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

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.' | b'/' | b'=' | b'~');
        byte += 1;
    }
    table
};

/// Letters, digits and what joins them in a token.
#[inline]
pub(crate) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

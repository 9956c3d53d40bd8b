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

/// How the letters and digits are numbered that a match begins with: bit `n` of a set for a run of `n`, the last for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstRun {
    /// Lengths with which the expression ends or could be continued.
    open: u64,
    /// Lengths after which it goes on with something else.
    closed: u64,
}

impl FirstRun {
    const START: Self = Self { open: 1, closed: 0 };

    /// The lengths of the first run of all matches that stand between other bytes than letters and digits.
    pub(crate) fn lengths(self) -> u64 {
        self.open | self.closed
    }

    pub(crate) fn then(self, next: Self) -> Self {
        Self { open: sums(self.open, next.open), closed: self.closed | sums(self.open, next.closed) }
    }

    fn or(self, other: Self) -> Self {
        Self { open: self.open | other.open, closed: self.closed | other.closed }
    }

    /// Of expressions that follow each other.
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a Hir>) -> Self {
        parts.into_iter().fold(Self::START, |all, part| all.then(Self::of_one(part)))
    }

    fn of_one(hir: &Hir) -> Self {
        let of_byte = |alnum: bool, other: bool| Self { open: u64::from(alnum) << 1, closed: u64::from(other) };
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::START,
            HirKind::Literal(literal) => literal.0.iter().fold(Self::START, |all, byte| {
                all.then(of_byte(byte.is_ascii_alphanumeric(), !byte.is_ascii_alphanumeric()))
            }),
            HirKind::Class(Class::Bytes(class)) => {
                let bytes = || class.iter().flat_map(|range| range.start()..=range.end());
                of_byte(
                    bytes().any(|byte| byte.is_ascii_alphanumeric()),
                    bytes().any(|byte| !byte.is_ascii_alphanumeric()),
                )
            }
            HirKind::Class(Class::Unicode(_)) => of_byte(true, true),
            HirKind::Repetition(repetition) => {
                let each = Self::of_one(&repetition.sub);
                let least = repetition.min.min(64);
                let mut all = (0..least).fold(Self::START, |all, _| all.then(each));
                for _ in least..repetition.max.unwrap_or(64).min(64) {
                    all = all.or(all.then(each));
                }
                all
            }
            HirKind::Capture(capture) => Self::of_one(&capture.sub),
            HirKind::Concat(parts) => Self::of(parts),
            HirKind::Alternation(parts) => parts.iter().map(Self::of_one).reduce(Self::or).unwrap_or(Self::START),
        }
    }
}

/// All sums of a number of the one set and one of the other; from 63 on they are one.
fn sums(a: u64, b: u64) -> u64 {
    let (mut from, mut all) = (a, 0);
    while from != 0 {
        let shift = from.trailing_zeros();
        from &= from - 1;
        all |= b << shift;
        // What is shifted out is long.
        if shift > 0 && b >> (63 - shift) >> 1 != 0 {
            all |= 1 << 63;
        }
    }
    all
}

//! How unlike words a value is: generated tokens hold letter pairs that no language has, and digits amid letters.

use std::sync::LazyLock;

/// For each first letter, the second letters that are common in English words and in the names of programs: about 300 pairs,
/// which make up 98.5% of all that stand in such words. Bit 0 is `a`.
const COMMON_PAIRS: [u32; 26] = [
    0x01fe_bdee,
    0x0016_4911,
    0x011e_4d95,
    0x0136_6919,
    0x01ff_fdff,
    0x001a_4931,
    0x011e_69d1,
    0x011a_6111,
    0x023f_fc7f,
    0x0010_4011,
    0x0004_2111,
    0x013c_c93d,
    0x0114_d113,
    0x013c_ed7d,
    0x017e_fd7f,
    0x011e_c991,
    0x0010_0000,
    0x013e_fd7d,
    0x015d_fdb5,
    0x015e_d99d,
    0x000e_b95f,
    0x0000_4111,
    0x0006_6191,
    0x0008_8101,
    0x000c_c114,
    0x0000_0111,
];

/// What a value is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shape {
    /// Letters of either case.
    pub letters: usize,
    /// Decimal digits.
    pub digits: usize,
    /// Bytes that are no hexadecimal digit.
    pub beyond_hex: usize,
    /// Everything that is no letter and no digit.
    pub marks: usize,
    /// How unlike words it is: above 4 for nearly every generated token of 16 characters, below 0 for nearly every word.
    pub surprise: f32,
}

impl Shape {
    /// Looks at a value once.
    #[must_use]
    pub(crate) fn of(value: &[u8]) -> Self {
        let mut shape = Self::default();
        let pairs = &*PAIRS;
        let mut before: Option<u8> = None;
        for byte in value {
            let Kind { number, letter, digit, beyond_hex } = KIND[usize::from(*byte)];
            shape.letters += usize::from(letter);
            shape.digits += usize::from(digit);
            shape.beyond_hex += usize::from(beyond_hex);
            if let Some(first) = before {
                shape.surprise += pairs[usize::from(first) % KINDS][usize::from(number) % KINDS];
            }
            before = Some(number);
        }
        shape.marks = value.len() - shape.letters - shape.digits;
        shape
    }

    /// Whether a good part of it is letters and a good part digits, and nothing else.
    #[must_use]
    pub(crate) fn is_dense(&self) -> bool {
        let all = self.letters + self.digits;
        self.marks == 0 && 4 * self.letters >= all && 4 * self.digits >= all
    }

    /// Whether it is a run of hexadecimal digits that holds both letters and decimal digits.
    #[must_use]
    pub(crate) fn is_hex(&self) -> bool {
        self.beyond_hex == 0 && self.digits > 1 && self.letters > 1
    }
}

/// Letters, digits, and one for all else.
const KINDS: usize = 64;

/// What a byte counts as.
#[derive(Clone, Copy)]
struct Kind {
    /// Of the kind; letters are a kind each.
    number: u8,
    letter: bool,
    digit: bool,
    beyond_hex: bool,
}

/// By byte.
static KIND: [Kind; 256] = {
    let mut all = [Kind { number: 27, letter: false, digit: false, beyond_hex: true }; 256];
    let mut byte = 0;
    while byte < 128u8 {
        all[byte as usize] = Kind {
            number: match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 32,
                b'0'..=b'9' => 26,
                _ => 27,
            },
            letter: byte.is_ascii_alphabetic(),
            digit: byte.is_ascii_digit(),
            beyond_hex: !byte.is_ascii_hexdigit(),
        };
        byte += 1;
    }
    all
};

/// What each pair of kinds counts.
static PAIRS: LazyLock<Box<[[f32; KINDS]; KINDS]>> = LazyLock::new(|| {
    let mut pairs = Box::new([[0.0; KINDS]; KINDS]);
    let kind = |byte: u8| usize::from(KIND[usize::from(byte)].number);
    for first in 0..128 {
        for second in 0..128 {
            pairs[kind(first)][kind(second)] = pair(first, second);
        }
    }
    pairs
});

fn pair(first: u8, second: u8) -> f32 {
    let letters = (first.is_ascii_alphabetic(), second.is_ascii_alphabetic());
    match letters {
        (true, true) if !common(first, second) => 2.2,
        // The hump of a name in camel case.
        (true, true) if first.is_ascii_lowercase() && second.is_ascii_uppercase() => -0.2,
        (true, true) => -1.0,
        (true, false) if second.is_ascii_digit() => 1.3,
        (false, true) if first.is_ascii_digit() => 1.3,
        (false, false) if first.is_ascii_digit() && second.is_ascii_digit() => -0.2,
        _ => -0.3,
    }
}

fn common(first: u8, second: u8) -> bool {
    let index = |letter: u8| usize::from(letter.to_ascii_lowercase() - b'a');
    COMMON_PAIRS.get(index(first)).is_some_and(|seconds| seconds >> index(second) & 1 == 1)
}

/// Whether a value without any other evidence than a word nearby is taken for a generated one.
#[must_use]
pub(crate) fn is_random(value: &[u8]) -> bool {
    let shape = Shape::of(value);
    shape.surprise >= 3.0 || (shape.is_hex() && value.len() >= 16)
}

/// Whether letters and digits are mixed as words and numbers do not mix them: enough where a service is named and the length
/// is right.
#[must_use]
pub(crate) fn is_mixed(value: &[u8]) -> bool {
    let shape = Shape::of(value);
    let turns = value.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    (shape.letters > 1 && shape.digits > 1 && turns > 2) || is_random(value)
}

/// The groups 8-4-4-4-12 of letters and digits, hexadecimal as a rule.
#[must_use]
pub(crate) fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().any(u8::is_ascii_digit)
        && value.iter().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_alphanumeric(),
        })
}

#[cfg(test)]
mod tests;

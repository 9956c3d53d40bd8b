//! Reads one character reference of HTML: decimal, hexadecimal, or one of the names of punctuation.

use super::escape::{Escape, NESTED};

/// The names by which ASCII, white space, dashes, quotes and the invisible characters can be written, in the order of
/// their bytes.
const NAMES: [(&str, char); 68] = [
    ("AMP", '&'),
    ("GT", '>'),
    ("Hat", '^'),
    ("LT", '<'),
    ("NewLine", '\n'),
    ("NoBreak", '\u{2060}'),
    ("QUOT", '"'),
    ("Tab", '\t'),
    ("UnderBar", '_'),
    ("VerticalLine", '|'),
    ("ZeroWidthSpace", '\u{200B}'),
    ("amp", '&'),
    ("apos", '\''),
    ("ast", '*'),
    ("bsol", '\\'),
    ("bull", '•'),
    ("colon", ':'),
    ("comma", ','),
    ("commat", '@'),
    ("dash", '‐'),
    ("dollar", '$'),
    ("emsp", ' '),
    ("ensp", ' '),
    ("equals", '='),
    ("excl", '!'),
    ("grave", '`'),
    ("gt", '>'),
    ("hellip", '…'),
    ("horbar", '―'),
    ("hyphen", '‐'),
    ("lbrace", '{'),
    ("lbrack", '['),
    ("lcub", '{'),
    ("ldquo", '“'),
    ("lowbar", '_'),
    ("lpar", '('),
    ("lrm", '\u{200E}'),
    ("lsqb", '['),
    ("lsquo", '‘'),
    ("lt", '<'),
    ("mdash", '—'),
    ("midast", '*'),
    ("middot", '·'),
    ("minus", '−'),
    ("nbsp", ' '),
    ("ndash", '–'),
    ("num", '#'),
    ("numsp", ' '),
    ("percnt", '%'),
    ("period", '.'),
    ("plus", '+'),
    ("quest", '?'),
    ("quot", '"'),
    ("rbrace", '}'),
    ("rbrack", ']'),
    ("rcub", '}'),
    ("rdquo", '”'),
    ("rlm", '\u{200F}'),
    ("rpar", ')'),
    ("rsqb", ']'),
    ("rsquo", '’'),
    ("semi", ';'),
    ("shy", '\u{AD}'),
    ("sol", '/'),
    ("thinsp", ' '),
    ("verbar", '|'),
    ("zwj", '\u{200D}'),
    ("zwnj", '\u{200C}'),
];

/// Digits that a numeric reference may have, leading zeros included.
const MAX_DIGITS: usize = 8;

/// Reads the reference at the front of `text`, which begins with an ampersand that may be escaped itself.
pub(super) fn read(text: &[u8], last: bool) -> Escape {
    let mut outer = Escape::No;
    let mut at = 1;
    for _ in 0..=NESTED {
        match body(text.get(at..).unwrap_or_default(), last) {
            Escape::Char('&', width) => {
                at += width;
                outer = Escape::Char('&', at);
            }
            Escape::Char(character, width) => return Escape::Char(character, at + width),
            Escape::More => return if last { outer } else { Escape::More },
            Escape::No => return outer,
        }
    }
    outer
}

/// What follows the ampersand.
fn body(text: &[u8], last: bool) -> Escape {
    match text {
        [] => Escape::More,
        [b'#'] => Escape::More,
        [b'#', b'x' | b'X', digits @ ..] => numeric(digits, 16, 2, last),
        [b'#', digits @ ..] => numeric(digits, 10, 1, last),
        _ => named(text),
    }
}

/// A numeric reference, whose semicolon may be missing as browsers allow.
fn numeric(text: &[u8], radix: u32, before: usize, last: bool) -> Escape {
    let mut value = 0_u32;
    let mut count = 0;
    for &byte in text.iter().take(MAX_DIGITS + 1) {
        let Some(digit) = char::from(byte).to_digit(radix) else { break };
        value = value.saturating_mul(radix).saturating_add(digit);
        count += 1;
    }
    if count > MAX_DIGITS {
        return Escape::No;
    }
    let end = match text.get(count) {
        Some(b';') => count + 1,
        Some(_) => count,
        None if last => count,
        None => return Escape::More,
    };
    match char::from_u32(value) {
        Some(character) if count > 0 => Escape::Char(character, before + end),
        _ => Escape::No,
    }
}

/// For each letter, the first of `NAMES` that begins with it.
const FIRST: [u8; 128] = {
    let mut first = [0; 128];
    let mut place = NAMES.len();
    while place > 0 {
        place -= 1;
        #[expect(clippy::cast_possible_truncation, reason = "there are fewer")]
        {
            first[NAMES[place].0.as_bytes()[0] as usize] = place as u8;
        }
    }
    first
};

/// The longest of `NAMES`.
const MAX_NAME: usize = 14;

/// A named reference with its semicolon.
fn named(text: &[u8]) -> Escape {
    match text.iter().take(MAX_NAME + 1).position(|byte| !byte.is_ascii_alphabetic()) {
        Some(end) if end > 0 && text[end] == b';' => {
            let from = usize::from(FIRST[usize::from(text[0] & 0x7f)]);
            let mut alike = NAMES[from..].iter().take_while(|(name, _)| name.as_bytes()[0] == text[0]);
            let named = alike.find(|(name, _)| name.as_bytes() == &text[..end]);
            named.map_or(Escape::No, |(_, character)| Escape::Char(*character, end + 1))
        }
        None if NAMES.iter().any(|(name, _)| name.as_bytes().starts_with(text)) => Escape::More,
        _ => Escape::No,
    }
}

//! JSON Web Tokens (RFC 7519): three parts in base64url, the first of which is a JSON object.

use crate::base64::digit;
use crate::scan::validators::base64;
use crate::scan::window::{Match, Verdict, Window};

const PART_MAX: usize = 4096;
/// The shortest header of which it is not asked what it says.
const HEADER_MIN: usize = 16;

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// The token that begins at `eyJ`, which is `{"` in base64.
pub(super) fn jwt(window: &Window<'_>, at: usize) -> Verdict {
    let text = window.text;
    if window.before(at).is_some_and(is_base64url) {
        return Verdict::No;
    }
    let mut ends = [at; 3];
    let mut from = at;
    for (i, end) in ends.iter_mut().enumerate() {
        let (stop, open) = window.run(from, PART_MAX, is_base64url);
        if open {
            return Verdict::More;
        }
        *end = stop;
        if i == 2 {
            break;
        }
        if stop - from < 10 || window.get(stop) != Some(b'.') {
            return Verdict::No;
        }
        // Of a short one nothing that follows makes a token.
        if i == 0 && stop - at < HEADER_MIN && !names_algorithm(&text[at..stop]) {
            return Verdict::No;
        }
        from = stop + 1;
    }
    let [header, payload, signature] = ends;
    let parsed = names_algorithm(&text[at..header]);
    // An unsigned token has an empty third part.
    let unsigned = signature - payload < 11;
    if unsigned && !(parsed && text[header + 1..].starts_with(b"eyJ")) {
        return Verdict::No;
    }
    if !parsed && (header - at < HEADER_MIN || payload - header < 12) {
        return Verdict::No;
    }
    Verdict::Match(Match { start: at, end: signature, score: if parsed { 0.98 } else { 0.8 } })
}

/// Whether a header reads as JSON that names its algorithm or its type.
fn names_algorithm(header: &[u8]) -> bool {
    ends_with_brace(header)
        && base64::decode(header).is_some_and(|json| {
            json.starts_with(b"{")
                && json.ends_with(b"}")
                && [&b"\"alg\""[..], b"\"typ\"", b"\"enc\""]
                    .iter()
                    .any(|name| json.windows(5).any(|part| part == *name))
        })
}

/// Whether the last byte behind a text in Base64 is a closing brace, or the text ends in padding: a look at two digits.
fn ends_with_brace(text: &[u8]) -> bool {
    let [.., before, last] = *text else { return false };
    let (Some(before), Some(last_digit)) = (digit(before), digit(last)) else { return last == b'=' };
    let last = match text.len() % 4 {
        0 => before << 6 | last_digit,
        3 => before << 4 | last_digit >> 2,
        2 => before << 2 | last_digit >> 4,
        _ => return false,
    };
    last == b'}'
}

#[cfg(test)]
mod tests;

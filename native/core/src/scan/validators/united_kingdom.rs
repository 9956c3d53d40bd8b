//! Numbers of the United Kingdom.

use super::{characters, exactly, uniform, weighted};

/// A patient of the NHS: modulus 11 over ten digits.
pub(super) fn nhs(value: &[u8]) -> bool {
    let Some(found) = exactly::<10>(value) else { return false };
    let check = 11 - weighted(&found[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    !uniform(&found) && check != 10 && check % 11 == u32::from(found[9])
}

/// A national insurance number: a prefix that HMRC issues, six digits, and A to D.
pub(super) fn nino(value: &[u8]) -> bool {
    let Some(found) = characters::<9>(value) else { return false };
    let [first, second, ..] = found;
    !matches!(first, b'D' | b'F' | b'I' | b'Q' | b'U' | b'V')
        && !matches!(second, b'D' | b'F' | b'I' | b'O' | b'Q' | b'U' | b'V')
        && !matches!(&found[..2], b"BG" | b"GB" | b"KN" | b"NK" | b"NT" | b"TN" | b"ZZ")
        && first.is_ascii_uppercase()
        && second.is_ascii_uppercase()
        && found[2..8].iter().all(u8::is_ascii_digit)
        && matches!(found[8], b'A'..=b'D')
}

//! Numbers of the Nordic countries.

use super::{characters, exactly, is_day, luhn, number, weighted};

/// A Finnish identity code: a day of birth, a sign of the century, a serial and a check character.
pub(super) fn hetu(value: &[u8]) -> bool {
    const CHECK: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let &[ref birth @ .., sign, a, b, c, check] = value else { return false };
    let Some(birth) = exactly::<6>(birth).filter(|_| birth.len() == 6) else { return false };
    let Some(serial) = exactly::<3>(&[a, b, c]) else { return false };
    let sum = number(&birth) * 1000 + number(&serial);
    matches!(sign.to_ascii_uppercase(), b'+' | b'-' | b'U'..=b'Y' | b'A'..=b'F')
        && is_day(number(&birth[2..4]), number(&birth[..2]))
        && number(&serial) >= 2
        && CHECK.get(usize::try_from(sum % 31).unwrap_or(31)) == Some(&check.to_ascii_uppercase())
}

/// A Swedish personal or coordination number: a day of birth (sixty added for the latter), a serial, and Luhn.
pub(super) fn personnummer(value: &[u8]) -> bool {
    let long = exactly::<12>(value);
    let Some(found) = long.map_or_else(|| exactly::<10>(value), |found| found[2..].try_into().ok()) else {
        return false;
    };
    let day = number(&found[4..6]);
    long.is_none_or(|long| matches!(number(&long[..2]), 18..=20))
        && is_day(number(&found[2..4]), if day > 60 { day - 60 } else { day })
        && luhn::passes(&found)
}

/// A Swedish organisation: the third digit is 2 at least, and Luhn.
pub(super) fn orgnr(value: &[u8]) -> bool {
    exactly::<10>(value).is_some_and(|found| found[2] >= 2 && found[0] != 0 && luhn::passes(&found))
}

/// A Danish person: a day of birth and a serial; the check digit has been optional since 2007.
pub(super) fn cpr(value: &[u8]) -> bool {
    exactly::<10>(value).is_some_and(|found| is_day(number(&found[2..4]), number(&found[..2])))
}

/// A Norwegian person: a day of birth (forty added for a D-number) and two check digits.
pub(super) fn fodselsnummer(value: &[u8]) -> bool {
    let Some(found) = exactly::<11>(value) else { return false };
    let day = number(&found[..2]);
    let first = weighted(&found[..10], &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]);
    let second = weighted(&found, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]);
    is_day(number(&found[2..4]), if day > 40 { day - 40 } else { day })
        && first.is_multiple_of(11)
        && second.is_multiple_of(11)
        && characters::<11>(value).is_some()
}

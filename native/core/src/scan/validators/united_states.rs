//! Numbers of the United States.

use super::{characters, exactly, luhn, number, uniform, weighted};

/// A social security number that could be assigned (SSA: area, group and serial), and none of the published samples.
pub(super) fn ssn(value: &[u8]) -> bool {
    let Some(found) = exactly::<9>(value) else { return false };
    let (area, group, serial) = (number(&found[..3]), number(&found[3..5]), number(&found[5..]));
    let sample = matches!(number(&found), 78_051_120 | 219_099_999 | 123_456_789 | 987_654_321);
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0 && !sample && !uniform(&found)
}

/// An individual taxpayer number: 9, and a group of the ranges that the IRS assigns.
pub(super) fn itin(value: &[u8]) -> bool {
    exactly::<9>(value)
        .is_some_and(|found| found[0] == 9 && matches!(found[3] * 10 + found[4], 50..=65 | 70..=88 | 90..=92 | 94..=99))
}

/// A provider (CMS): 1 or 2, and Luhn over the number behind 80840.
pub(super) fn npi(value: &[u8]) -> bool {
    let Some(found) = exactly::<10>(value) else { return false };
    let mut whole = [8, 0, 8, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    whole[5..].copy_from_slice(&found);
    matches!(found[0], 1 | 2) && !uniform(&found[1..]) && luhn::passes(&whole)
}

/// A prescriber (DEA): a registrant's letter, a letter or 9, six digits and their check digit.
pub(super) fn dea(value: &[u8]) -> bool {
    let Some(found) = characters::<9>(value) else { return false };
    let Some(digits) = exactly::<7>(&found[2..]) else { return false };
    let sum = weighted(&digits[..6], &[1, 2, 1, 2, 1, 2]);
    matches!(found[0], b'A'..=b'H' | b'J'..=b'M' | b'P' | b'R'..=b'U' | b'X')
        && (found[1].is_ascii_uppercase() || found[1] == b'9')
        && !uniform(&digits)
        && sum % 10 == u32::from(digits[6])
}

/// A vehicle (ISO 3779; the check digit of 49 CFR 565, which only North America requires).
pub(super) fn vin(value: &[u8]) -> bool {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let Some(found) = characters::<17>(value) else { return false };
    let mut sum = 0;
    for (byte, weight) in found.iter().zip(WEIGHTS) {
        let value = match byte {
            b'0'..=b'9' => u32::from(byte - b'0'),
            b'A'..=b'H' => u32::from(byte - b'A') + 1,
            b'J'..=b'N' => u32::from(byte - b'J') + 1,
            b'P' => 7,
            b'R' => 9,
            b'S'..=b'Z' => u32::from(byte - b'S') + 2,
            _ => return false,
        };
        sum += value * weight;
    }
    let check = if found[8] == b'X' { 10 } else { u32::from(found[8].wrapping_sub(b'0')) };
    sum % 11 == check && found.iter().any(u8::is_ascii_uppercase)
}

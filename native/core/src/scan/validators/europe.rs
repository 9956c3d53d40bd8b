//! Numbers of continental Europe.

use super::{base36, characters, digits, exactly, is_day, number, uniform, weighted};

/// The check of ISO 7064 MOD 11,10 over all digits of a value, which German and Croatian numbers use.
pub(super) fn mod11_10(value: &[u8]) -> bool {
    let Some((found, count)) = digits::<16>(value) else { return false };
    let Some((check, rest)) = found[..count].split_last() else { return false };
    let product = rest.iter().fold(10, |product, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    count >= 9 && !uniform(&found[..count]) && (11 - product) % 10 == u32::from(*check)
}

/// A German tax payer: MOD 11,10; of the first ten digits one or two are repeated, never more than thrice.
pub(super) fn steuer_id(value: &[u8]) -> bool {
    let Some(found) = exactly::<11>(value) else { return false };
    let mut counts = [0u32; 10];
    found[..10].iter().for_each(|digit| counts[usize::from(*digit)] += 1);
    let missing = counts.iter().filter(|count| **count == 0).count();
    found[0] > 0 && counts.iter().all(|count| *count <= 3) && missing <= 2 && mod11_10(value)
}

/// A Croatian: eleven digits, MOD 11,10.
pub(super) fn oib(value: &[u8]) -> bool {
    exactly::<11>(value).is_some() && mod11_10(value)
}

/// A German pension number: area, day of birth, letter, serial, and a check over the cross sums of weighted digits.
pub(super) fn rvnr(value: &[u8]) -> bool {
    let Some(found) = characters::<12>(value) else { return false };
    let letter = found[8].wrapping_sub(b'A').wrapping_add(1);
    let mut all = [0u8; 12];
    let (Some(head), Some(tail)) = (exactly::<8>(&found[..8]), exactly::<3>(&found[9..])) else { return false };
    all[..8].copy_from_slice(&head);
    all[8] = letter / 10;
    all[9] = letter % 10;
    all[10..].copy_from_slice(&tail[..2]);
    let sum: u32 = all
        .iter()
        .zip([2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1])
        .map(|(digit, weight)| {
            let product = u32::from(*digit) * weight;
            product / 10 + product % 10
        })
        .sum();
    let day = number(&head[2..4]);
    letter <= 26 && is_day(number(&head[4..6]), if day > 50 { day - 50 } else { day }) && sum % 10 == u32::from(tail[2])
}

/// A German health insurance number: a letter as two digits, eight digits, and Luhn counted from the front.
pub(super) fn kvnr(value: &[u8]) -> bool {
    let Some(found) = characters::<10>(value) else { return false };
    let Some(tail) = exactly::<9>(&found[1..]) else { return false };
    let letter = found[0].wrapping_sub(b'A').wrapping_add(1);
    let mut all = [0u8; 10];
    all[0] = letter / 10;
    all[1] = letter % 10;
    all[2..].copy_from_slice(&tail[..8]);
    let sum: u32 = all
        .iter()
        .enumerate()
        .map(|(i, digit)| {
            let product = u32::from(*digit) << (i & 1);
            product / 10 + product % 10
        })
        .sum();
    letter <= 26 && sum % 10 == u32::from(tail[8])
}

/// A German physician: six digits weighted 4 and 9, a check digit, a field.
pub(super) fn lanr(value: &[u8]) -> bool {
    exactly::<9>(value).is_some_and(|found| {
        let sum = weighted(&found[..6], &[4, 9, 4, 9, 4, 9]);
        !uniform(&found[..6]) && (10 - sum % 10) % 10 == u32::from(found[6])
    })
}

/// The check digit of travel documents (ICAO 9303): weights 7, 3, 1 over digits and letters; here the last of a value.
pub(super) fn mrz(value: &[u8]) -> bool {
    let Some((check, rest)) = value.split_last() else { return false };
    let sum: u32 = rest.iter().zip([7, 3, 1].iter().cycle()).map(|(byte, weight)| base36(*byte) * weight).sum();
    check.is_ascii_digit() && sum % 10 == u32::from(check - b'0')
}

/// A French person (INSEE): sex, year and month of birth, place, serial, and a key of 97; Corsica has letters.
pub(super) fn nir(value: &[u8]) -> bool {
    let Some(mut found) = characters::<15>(value) else { return false };
    let less = match &found[5..7] {
        b"2A" => 1_000_000,
        b"2B" => 2_000_000,
        _ => 0,
    };
    if less > 0 {
        found[6] = b'0';
    }
    let Some(digits) = exactly::<15>(&found) else { return false };
    let month = number(&digits[3..5]);
    let body = number(&digits[..13]) - less;
    matches!(digits[0], 1..=4 | 7 | 8)
        && matches!(month, 1..=12 | 20 | 30..=42)
        && digits[7..10] != [0; 3]
        && digits[10..13] != [0; 3]
        && 97 - body % 97 == number(&digits[13..])
}

/// A Spaniard or foreigner in Spain: a letter by modulus 23; X, Y, Z stand for 0, 1, 2 in front.
pub(super) fn dni(value: &[u8]) -> bool {
    let Some(mut found) = characters::<9>(value) else { return false };
    if let b'X'..=b'Z' = found[0] {
        found[0] -= b'X' - b'0';
    }
    let Some(digits) = exactly::<8>(&found[..8]) else { return false };
    let at = usize::try_from(number(&digits) % 23).unwrap_or(0);
    number(&digits) > 0 && b"TRWAGMYFPDXBNJZSQVHLCKE"[at] == found[8]
}

/// An Italian company or trader: seven digits, the office that gave the number out, and a Luhn digit.
pub(super) fn partita_iva(value: &[u8]) -> bool {
    let Some(digits) = exactly::<11>(value) else { return false };
    matches!(number(&digits[7..10]), 1..=121 | 888 | 999) && super::luhn::passes(&digits)
}

/// An Italian: fifteen characters that odd and even places value differently, and a check letter.
pub(super) fn codice_fiscale(value: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let Some(found) = characters::<16>(value) else { return false };
    let sum: u32 = found[..15]
        .iter()
        .enumerate()
        .map(|(i, byte)| {
            let at = if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' };
            if i % 2 == 0 { ODD[usize::from(at)] } else { u32::from(at) }
        })
        .sum();
    sum % 26 == u32::from(found[15].wrapping_sub(b'A'))
}

/// A Pole: a day of birth with the century in the month, and ten weights.
pub(super) fn pesel(value: &[u8]) -> bool {
    let Some(found) = exactly::<11>(value) else { return false };
    let sum = weighted(&found[..10], &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    is_day(number(&found[2..4]) % 20, number(&found[4..6])) && (10 - sum % 10) % 10 == u32::from(found[10])
}

/// A citizen of the Netherlands: the eleven test with -1 for the last digit.
pub(super) fn bsn(value: &[u8]) -> bool {
    exactly::<9>(value).is_some_and(|found| {
        let sum = weighted(&found[..8], &[9, 8, 7, 6, 5, 4, 3, 2]);
        !uniform(&found) && sum % 11 == u32::from(found[8])
    })
}

/// A Belgian: a day of birth, a serial, and a key of 97, with a 2 in front for those born since 2000.
pub(super) fn rijksregister(value: &[u8]) -> bool {
    let Some(found) = exactly::<11>(value) else { return false };
    let (body, key) = (number(&found[..9]), number(&found[9..]));
    let month = number(&found[2..4]) % 20;
    (month == 0 || is_day(month, number(&found[4..6]).max(1)))
        && !uniform(&found)
        && (97 - body % 97 == key || 97 - (body + 2_000_000_000) % 97 == key)
}

/// A Portuguese tax payer: modulus 11 over nine digits.
pub(super) fn pt_nif(value: &[u8]) -> bool {
    exactly::<9>(value).is_some_and(|found| {
        let rest = weighted(&found[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        found[0] != 0
            && found[0] != 4
            && !uniform(&found)
            && u32::from(found[8]) == if rest < 2 { 0 } else { 11 - rest }
    })
}

/// A Swiss insured person: 756, and the check digit of EAN-13.
pub(super) fn ahv(value: &[u8]) -> bool {
    exactly::<13>(value).is_some_and(|found| {
        found[..3] == [7, 5, 6] && weighted(&found, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
    })
}

/// A Romanian: sex and century, a day of birth, a county, and twelve weights.
pub(super) fn ro_cnp(value: &[u8]) -> bool {
    let Some(found) = exactly::<13>(value) else { return false };
    let rest = weighted(&found[..12], &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    found[0] > 0
        && is_day(number(&found[3..5]), number(&found[5..7]))
        && u32::from(found[12]) == if rest == 10 { 1 } else { rest }
}

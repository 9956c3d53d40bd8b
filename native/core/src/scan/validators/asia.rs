//! Numbers of Asia and Africa.

use super::{base36, characters, digits, exactly, is_day, luhn, number, uniform, weighted};

/// The multiplication of the dihedral group D5, which Verhoeff's scheme rests on.
const fn dihedral(a: u8, b: u8) -> u8 {
    match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    }
}

/// Whether the digits of a value pass Verhoeff's check.
pub(super) fn verhoeff(value: &[u8]) -> bool {
    const STEP: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let Some((found, count)) = digits::<32>(value) else { return false };
    let check = found[..count]
        .iter()
        .rev()
        .enumerate()
        .fold(0, |check, (i, digit)| dihedral(check, (0..i % 8).fold(*digit, |digit, _| STEP[usize::from(digit)])));
    count >= 2 && check == 0
}

/// An Indian resident: 2 to 9 in front, no palindrome, Verhoeff.
pub(super) fn aadhaar(value: &[u8]) -> bool {
    exactly::<12>(value).is_some_and(|found| found[0] > 1 && !found.iter().eq(found.iter().rev()) && verhoeff(value))
}

/// An Indian tax payer: the fourth letter says what they are.
pub(super) fn pan(value: &[u8]) -> bool {
    characters::<10>(value).is_some_and(|found| {
        matches!(found[3], b'A' | b'B' | b'C' | b'E' | b'F' | b'G' | b'H' | b'J' | b'K' | b'L' | b'P' | b'T')
            && &found[5..9] != b"0000"
    })
}

/// An Indian business: a state, a PAN, and a check character in base 36.
pub(super) fn gstin(value: &[u8]) -> bool {
    let Some(found) = characters::<15>(value) else { return false };
    let sum: u32 = found[..14]
        .iter()
        .enumerate()
        .map(|(i, byte)| {
            let product = base36(*byte) * if i % 2 == 0 { 1 } else { 2 };
            product / 36 + product % 36
        })
        .sum();
    (36 - sum % 36) % 36 == base36(found[14])
}

/// A Singaporean or foreigner there: a letter of the century, seven weighted digits, a check letter.
pub(super) fn sg_nric(value: &[u8]) -> bool {
    let Some(found) = characters::<9>(value) else { return false };
    let Some(digits) = exactly::<7>(&found[1..8]) else { return false };
    let (table, offset): (&[u8; 11], u32) = match found[0] {
        b'S' => (b"JZIHGFEDCBA", 0),
        b'T' => (b"JZIHGFEDCBA", 4),
        b'F' => (b"XWUTRQPNMLK", 0),
        b'G' => (b"XWUTRQPNMLK", 4),
        b'M' => (b"KLJNPQRTUWX", 3),
        _ => return false,
    };
    let sum = weighted(&digits, &[2, 7, 6, 5, 4, 3, 2]) + offset;
    let at = usize::try_from(sum % 11).unwrap_or(0);
    table[if found[0] == b'M' { 10 - at } else { at }] == found[8]
}

/// A business, a company or another entity in Singapore: weights and a check letter for each of the three.
pub(super) fn sg_uen(value: &[u8]) -> bool {
    const SIGNS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWX0123456789";
    let check = |letters: &[u8; 11], sum: u32| letters[usize::try_from(sum % 11).unwrap_or(0)];
    if let Some([head @ .., last]) = characters::<9>(value) {
        return exactly::<8>(&head)
            .is_some_and(|found| check(b"XMKECAWLJDB", weighted(&found, &[10, 4, 9, 3, 8, 2, 7, 1])) == last);
    }
    let Some([head @ .., last]) = characters::<10>(value) else { return false };
    if let Some(found) = exactly::<9>(&head) {
        return check(b"ZKCMDNERGWH", weighted(&found, &[10, 8, 6, 4, 9, 7, 5, 3, 1])) == last;
    }
    let places =
        head.map(|byte| SIGNS.iter().position(|sign| *sign == byte).and_then(|place| u8::try_from(place).ok()));
    let Some(places) = places.into_iter().collect::<Option<Vec<_>>>() else { return false };
    let sum = weighted(&places, &[4, 3, 5, 3, 10, 2, 2, 5, 7]);
    SIGNS[usize::try_from((sum + 6) % 11).unwrap_or(0)] == last
}

/// A Thai person: modulus 11 over thirteen digits, the first 1 to 8.
pub(super) fn th_id(value: &[u8]) -> bool {
    let Some(found) = exactly::<13>(value) else { return false };
    let sum = weighted(&found[..12], &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
    matches!(found[0], 1..=8) && !uniform(&found) && (11 - sum % 11) % 10 == u32::from(found[12])
}

/// A Turkish citizen: two check digits over eleven, the first not 0.
pub(super) fn tckn(value: &[u8]) -> bool {
    let Some(found) = exactly::<11>(value) else { return false };
    let odd = weighted(&found[..9], &[1, 0, 1, 0, 1, 0, 1, 0, 1]);
    let even = weighted(&found[..8], &[0, 1, 0, 1, 0, 1, 0, 1]);
    let sum = weighted(&found[..10], &[1; 10]);
    found[0] > 0
        && found[10].is_multiple_of(2)
        && (odd * 7 + 90 - even) % 10 == u32::from(found[9])
        && sum % 10 == u32::from(found[10])
}

/// A Korean resident or foreigner: a day of birth and a digit of century and sex; check digits ended in 2020.
pub(super) fn kr_rrn(value: &[u8]) -> bool {
    exactly::<13>(value).is_some_and(|found| {
        !uniform(&found) && is_day(number(&found[2..4]), number(&found[4..6])) && matches!(found[6], 1..=8)
    })
}

/// A Korean business: nine weights, the ninth product's tens added.
pub(super) fn kr_brn(value: &[u8]) -> bool {
    let Some(found) = exactly::<10>(value) else { return false };
    let sum = weighted(&found[..9], &[1, 3, 7, 1, 3, 7, 1, 3, 5]) + u32::from(found[8]) * 5 / 10;
    (10 - sum % 10) % 10 == u32::from(found[9])
}

/// A Chinese resident (GB 11643): a day of birth, and ISO 7064 MOD 11-2 with X for ten.
pub(super) fn cn_resident(value: &[u8]) -> bool {
    let Some(found) = characters::<18>(value) else { return false };
    let Some(digits) = exactly::<17>(&found[..17]) else { return false };
    let sum = weighted(&digits, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    let check = b"10X98765432"[usize::try_from(sum % 11).unwrap_or(0)];
    matches!(number(&digits[6..8]), 18..=20)
        && is_day(number(&digits[10..12]), number(&digits[12..14]))
        && check == found[17]
}

/// A Japanese person (My Number): modulus 11 over twelve digits.
pub(super) fn my_number(value: &[u8]) -> bool {
    let Some(found) = exactly::<12>(value) else { return false };
    let rest = weighted(&found[..11], &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    !uniform(&found) && u32::from(found[11]) == if rest < 2 { 0 } else { 11 - rest }
}

/// An Israeli: Luhn over nine digits.
pub(super) fn il_id(value: &[u8]) -> bool {
    exactly::<9>(value).is_some_and(|found| !uniform(&found) && luhn::passes(&found))
}

/// A South African: a day of birth, 0 to 2 for citizenship, and Luhn.
pub(super) fn za_id(value: &[u8]) -> bool {
    exactly::<13>(value).is_some_and(|found| {
        is_day(number(&found[2..4]), number(&found[4..6])) && found[10] <= 2 && luhn::passes(&found)
    })
}

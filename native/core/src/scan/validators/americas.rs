//! Numbers of Brazil, Canada and Mexico.

use super::{characters, exactly, is_day, luhn, uniform, weighted};

fn mod11(digits: &[u8], weights: &[u32]) -> u32 {
    match weighted(digits, weights) % 11 {
        0 | 1 => 0,
        rest => 11 - rest,
    }
}

/// A Brazilian person: two check digits.
pub(super) fn cpf(value: &[u8]) -> bool {
    const WEIGHTS: [u32; 10] = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2];
    let Some(found) = exactly::<11>(value) else { return false };
    !uniform(&found)
        && mod11(&found[..9], &WEIGHTS[1..]) == u32::from(found[9])
        && mod11(&found[..10], &WEIGHTS) == u32::from(found[10])
}

/// A Brazilian company: two check digits.
pub(super) fn cnpj(value: &[u8]) -> bool {
    const WEIGHTS: [u32; 13] = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
    let Some(found) = exactly::<14>(value) else { return false };
    !uniform(&found)
        && mod11(&found[..12], &WEIGHTS[1..]) == u32::from(found[12])
        && mod11(&found[..13], &WEIGHTS) == u32::from(found[13])
}

/// A Canadian social insurance number: Luhn; 0 and 8 are not issued.
pub(super) fn sin(value: &[u8]) -> bool {
    exactly::<9>(value).is_some_and(|found| !matches!(found[0], 0 | 8) && !uniform(&found) && luhn::passes(&found))
}

/// A Mexican person: four letters, a day of birth, H, M or X, six more, and a check digit over an alphabet with Ñ.
pub(super) fn curp(value: &[u8]) -> bool {
    let Some(found) = characters::<18>(value) else { return false };
    let sum: u32 = found[..17]
        .iter()
        .zip((2..=18).rev())
        .map(|(byte, weight)| {
            let value = match byte {
                b'0'..=b'9' => u32::from(byte - b'0'),
                b'A'..=b'N' => u32::from(byte - b'A') + 10,
                _ => u32::from(byte - b'A') + 11,
            };
            value * weight
        })
        .sum();
    let Some(birth) = exactly::<6>(&found[4..10]) else { return false };
    is_day(super::number(&birth[2..4]), super::number(&birth[4..]))
        && matches!(found[10], b'H' | b'M' | b'X')
        && (10 - sum % 10) % 10 == u32::from(found[17].wrapping_sub(b'0'))
}

//! The check digit of cards and many other numbers (ISO/IEC 7812-1, annex B).

use super::digits;

/// Whether the digits of a value, at least two, pass the Luhn check.
pub(super) fn luhn(value: &[u8]) -> bool {
    let Some((found, count)) = digits::<32>(value) else { return false };
    let sum: u32 = found[..count]
        .iter()
        .rev()
        .enumerate()
        .map(|(i, digit)| {
            let weighted = u32::from(*digit) << (i & 1);
            weighted / 10 + weighted % 10
        })
        .sum();
    count >= 2 && sum.is_multiple_of(10)
}

//! The check digit of cards and many other numbers (ISO/IEC 7812-1, annex B).

use super::digits;

/// Whether the digits of a value, at least two, pass the Luhn check.
pub(super) fn luhn(value: &[u8]) -> bool {
    digits::<32>(value).is_some_and(|(found, count)| count >= 2 && passes(&found[..count]))
}

/// Whether digits pass the check.
pub(super) fn passes(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, digit)| {
            let weighted = u32::from(*digit) << (i & 1);
            weighted / 10 + weighted % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

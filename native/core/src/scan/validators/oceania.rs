//! Numbers of Australia.

use super::{exactly, uniform, weighted};

/// A business: one less in front, eleven weights, modulus 89.
pub(super) fn abn(value: &[u8]) -> bool {
    let Some(mut found) = exactly::<11>(value).filter(|found| found[0] > 0) else { return false };
    found[0] -= 1;
    weighted(&found, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]).is_multiple_of(89)
}

/// A company: eight weights, and the complement to ten.
pub(super) fn acn(value: &[u8]) -> bool {
    let Some(found) = exactly::<9>(value) else { return false };
    let sum = weighted(&found[..8], &[8, 7, 6, 5, 4, 3, 2, 1]);
    !uniform(&found) && (10 - sum % 10) % 10 == u32::from(found[8])
}

/// A tax file: nine weights, modulus 11.
pub(super) fn tfn(value: &[u8]) -> bool {
    exactly::<9>(value)
        .is_some_and(|found| !uniform(&found) && weighted(&found, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11))
}

/// A Medicare card: 2 to 6 in front, and the ninth digit checks eight.
pub(super) fn medicare(value: &[u8]) -> bool {
    let Some((found, count)) = super::digits::<11>(value) else { return false };
    matches!(count, 10 | 11)
        && matches!(found[0], 2..=6)
        && weighted(&found[..8], &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == u32::from(found[8])
}

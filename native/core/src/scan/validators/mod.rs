//! Checks that a value of the right shape must pass: check digits, ranges, lengths.

pub(crate) mod base64;
mod github_crc32;
mod luhn;

/// Says whether a value passes. It gets the value as it stands in the normalised text, separators included.
pub type Validator = fn(&[u8]) -> bool;

/// All checks by the names that rules use.
pub const VALIDATORS: &[(&str, Validator)] = &[
    ("basic-credentials", base64::basic_credentials),
    ("github-crc32", github_crc32::github_crc32),
    ("luhn", luhn::luhn),
    ("mixed", super::stoplist::randomness::is_mixed),
    ("password", super::stoplist::is_plausible_password),
    ("random", super::stoplist::randomness::is_random),
];

/// The check of a name.
#[must_use]
pub fn by_name(name: &str) -> Option<Validator> {
    VALIDATORS.iter().find(|(known, _)| *known == name).map(|(_, check)| *check)
}

/// The digits of a value, without whatever separates them; at most `N` of them, else nothing.
#[must_use]
pub fn digits<const N: usize>(value: &[u8]) -> Option<([u8; N], usize)> {
    let mut found = [0; N];
    let mut count = 0;
    for byte in value.iter().filter(|byte| byte.is_ascii_digit()) {
        *found.get_mut(count)? = byte - b'0';
        count += 1;
    }
    Some((found, count))
}

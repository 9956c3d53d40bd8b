//! Checks that a value of the right shape must pass: check digits, ranges, lengths.
//!
//! Each follows the standard or the register's own description of its number; a value comes with its separators.

mod americas;
mod asia;
mod bank;
pub(crate) mod base64;
mod crypto;
mod europe;
mod github_crc32;
mod hash;
mod luhn;
mod network;
mod nordic;
mod oceania;
mod united_kingdom;
mod united_states;

#[cfg(test)]
mod tests;

/// Says whether a value passes. It gets the value as it stands in the normalised text, separators included.
pub(super) type Validator = fn(&[u8]) -> bool;

/// All checks by the names that rules use.
pub(super) const VALIDATORS: &[(&str, Validator)] = &[
    ("aadhaar", asia::aadhaar),
    ("aba", bank::aba),
    ("abn", oceania::abn),
    ("acn", oceania::acn),
    ("ahv", europe::ahv),
    ("any-card", bank::any_card),
    ("au-medicare", oceania::medicare),
    ("base58check", crypto::base58check),
    ("basic-credentials", base64::basic_credentials),
    ("bech32", crypto::bech32),
    ("bic", bank::bic),
    ("bsn", europe::bsn),
    ("card", bank::card),
    ("cn-resident", asia::cn_resident),
    ("cnpj", americas::cnpj),
    ("codice-fiscale", europe::codice_fiscale),
    ("cpf", americas::cpf),
    ("cpr", nordic::cpr),
    ("curp", americas::curp),
    ("dea", united_states::dea),
    ("dni", europe::dni),
    ("eip55", crypto::eip55),
    ("fodselsnummer", nordic::fodselsnummer),
    ("github-crc32", github_crc32::github_crc32),
    ("gstin", asia::gstin),
    ("hetu", nordic::hetu),
    ("iban", bank::iban),
    ("il-id", asia::il_id),
    ("ipv4", network::ipv4),
    ("iso7064-mod11-10", europe::mod11_10),
    ("itin", united_states::itin),
    ("kr-brn", asia::kr_brn),
    ("kr-rrn", asia::kr_rrn),
    ("kvnr", europe::kvnr),
    ("lanr", europe::lanr),
    ("luhn", luhn::luhn),
    ("mac", network::mac),
    ("mixed", super::stoplist::randomness::is_mixed),
    ("mrz", europe::mrz),
    ("my-number", asia::my_number),
    ("nhs", united_kingdom::nhs),
    ("nino", united_kingdom::nino),
    ("nir", europe::nir),
    ("npi", united_states::npi),
    ("oib", europe::oib),
    ("orgnr", nordic::orgnr),
    ("pan", asia::pan),
    ("partita-iva", europe::partita_iva),
    ("password", super::stoplist::is_plausible_password),
    ("personnummer", nordic::personnummer),
    ("pesel", europe::pesel),
    ("pt-nif", europe::pt_nif),
    ("random", super::stoplist::randomness::is_random),
    ("rijksregister", europe::rijksregister),
    ("ro-cnp", europe::ro_cnp),
    ("rvnr", europe::rvnr),
    ("sg-nric", asia::sg_nric),
    ("sg-uen", asia::sg_uen),
    ("sin", americas::sin),
    ("ssn", united_states::ssn),
    ("steuer-id", europe::steuer_id),
    ("tckn", asia::tckn),
    ("tfn", oceania::tfn),
    ("th-id", asia::th_id),
    ("verhoeff", asia::verhoeff),
    ("vin", united_states::vin),
    ("za-id", asia::za_id),
];

pub(crate) use bank::iban_length;
pub(crate) use network::mac as is_somebodys;

/// The check of a name.
#[must_use]
pub(super) fn by_name(name: &str) -> Option<Validator> {
    VALIDATORS.iter().find(|(known, _)| *known == name).map(|(_, check)| *check)
}

/// The digits of a value, without whatever separates them; at most `N` of them, else nothing.
#[must_use]
pub(super) fn digits<const N: usize>(value: &[u8]) -> Option<([u8; N], usize)> {
    let mut found = [0; N];
    let mut count = 0;
    for byte in value.iter().filter(|byte| byte.is_ascii_digit()) {
        *found.get_mut(count)? = byte - b'0';
        count += 1;
    }
    Some((found, count))
}

/// The digits of a value that has exactly `N`.
fn exactly<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    digits::<N>(value).filter(|(_, count)| *count == N).map(|(found, _)| found)
}

/// The letters, in upper case, and digits of a value that has exactly `N`.
fn characters<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    let mut found = [0; N];
    let mut count = 0;
    for byte in value.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        *found.get_mut(count)? = byte.to_ascii_uppercase();
        count += 1;
    }
    (count == N).then_some(found)
}

/// The sum of digits, each times its weight.
fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum()
}

/// The number that digits spell.
fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(*digit))
}

/// Whether all digits are the same: such numbers pass many checks and are placeholders.
fn uniform(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| pair[0] == pair[1])
}

/// Whether there is such a day in some year; 29 February always counts.
fn is_day(month: u64, day: u64) -> bool {
    let days = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// The value of a digit or letter in base 36.
fn base36(byte: u8) -> u32 {
    match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        _ => u32::from(byte.to_ascii_uppercase().saturating_sub(b'A')) + 10,
    }
}

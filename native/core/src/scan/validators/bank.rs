//! Cards, accounts and banks.

use super::{base36, digits, exactly, luhn, uniform, weighted};

/// A card of a network whose cards are everywhere: a length and a leading number that it issues (ISO/IEC 7812 and the networks'
/// own ranges), and Luhn.
pub(super) fn card(value: &[u8]) -> bool {
    is_card(value, issued)
}

/// A card of any network: some give out whole ranges in many lengths, which long numbers often meet.
pub(super) fn any_card(value: &[u8]) -> bool {
    is_card(value, |head, length| issued(head, length) || issued_rarely(head, length))
}

fn is_card(value: &[u8], issued: impl Fn(u32, usize) -> bool) -> bool {
    let Some((found, count)) = digits::<19>(value) else { return false };
    let found = &found[..count];
    let Some(head) = found.get(..4) else { return false };
    let head = head.iter().fold(0, |sum, digit| sum * 10 + u32::from(*digit));
    issued(head, count) && !uniform(found) && luhn::passes(found)
}

/// Whether the networks issue cards of this length and beginning in number.
fn issued(head: u32, length: usize) -> bool {
    match head {
        // American Express.
        3400..=3499 | 3700..=3799 => length == 15,
        // Diners Club.
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => length == 14,
        // Visa, Mastercard, Mir, JCB, RuPay, Discover, UnionPay, Maestro, Verve, Dankort.
        4000..=4999
        | 5100..=5599
        | 2221..=2720
        | 2200..=2204
        | 3528..=3589
        | 8100..=8299
        | 6000..=6099
        | 6200..=6299
        | 6440..=6599
        | 6304
        | 6370..=6399
        | 6706
        | 6709
        | 6759
        | 6761..=6763
        | 6771
        | 5018..=5020
        | 5038
        | 5060..=5089
        | 5893 => length == 16,
        _ => false,
    }
}

/// Whether a network could issue cards of this length and beginning.
fn issued_rarely(head: u32, length: usize) -> bool {
    match head {
        // Visa.
        4000..=4999 => matches!(length, 13 | 19),
        // Maestro, Discover, UnionPay, Verve, Troy.
        5000..=5099 | 5600..=6999 => (13..=19).contains(&length),
        // Older JCB and enRoute, UATP.
        1000..=1999 | 2131 | 2014 | 2149 => length == 15,
        // Diners Club.
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => (14..=19).contains(&length),
        _ => false,
    }
}

/// Countries of the IBAN registry (SWIFT, release 98), each with the length that its numbers have and, behind country and check
/// digits, how many letters may come first (one digit here), how many digits then do (two), and how many at the end (one).
const IBANS: &[u8] =
    b"AD240080AE230190AL280080AT200160AZ280000BA200160BE160120BG224060BH220000BI270230BR290230BY284040CH210050CR220180\
CY280080CZ240200DE220180DJ270230DK180140DO284200EE200160EG290250ES240200FI180140FK182120FO180140FR270102GB224140\
GE222160GI230000GL180140GR270070GT280000HN284200HR210170HU280240IE224140IL230190IQ234150IS260220IT271100JO304040\
KW300000KZ200030LB280040LC320000LI210050LT200160LU200030LV210000LY250210MC270102MD240000ME220180MK190032MN200160\
MR270230MT314050MU304190NI284200NL184100NO150110OM230030PK240000PL280240PS290000PT250210QA290000RO240000RS220180\
RU330140SA240020SC314200SD180140SE240200SI190150SK240200SM271100SO230190ST250210SV284200TL230190TN240200TR260050\
UA290060VA220180VG244160XK200160YE304040";

fn iban_of(country: [u8; 2]) -> Option<[u8; 8]> {
    IBANS.as_chunks().0.iter().copied().find(|entry| entry[..2] == country)
}

fn number(digits: &[u8]) -> usize {
    digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

/// How long the account numbers of a country are.
pub(crate) fn iban_length(country: [u8; 2]) -> Option<usize> {
    Some(number(&iban_of(country)?[2..4]))
}

/// Whether no letter stands in a number where its country has digits, as one does in most hexadecimal ids. (Digits in the
/// place of letters are let pass: what is made up for examples has them.)
fn has_digits(entry: [u8; 8], account: &[u8]) -> bool {
    let (first, count, last) = (number(&entry[4..5]), number(&entry[5..7]), number(&entry[7..]));
    let digits = |range: Option<&[u8]>| range.is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    digits(account.get(first..first + count))
        && digits(account.len().checked_sub(last).and_then(|at| account.get(at..)))
}

/// An account: a country of the registry, its length, digits where it has them, and ISO 7064 MOD 97-10.
pub(super) fn iban(value: &[u8]) -> bool {
    let mut found = [0u8; 34];
    let mut count = 0;
    for byte in value.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        let Some(place) = found.get_mut(count) else { return false };
        *place = byte.to_ascii_uppercase();
        count += 1;
    }
    let Some(entry) = iban_of([found[0], found[1]]) else { return false };
    if count != number(&entry[2..4]) || !has_digits(entry, &found[4..count]) {
        return false;
    }
    let moved = found[4..count].iter().chain(&found[..4]);
    let rest = moved.fold(0, |rest, byte| {
        let digit = base36(*byte);
        (rest * if digit > 9 { 100 } else { 10 } + digit) % 97
    });
    rest == 1
}

/// A bank in a country (ISO 9362): letters of the bank, a country of ISO 3166, a place, a branch.
pub(super) fn bic(value: &[u8]) -> bool {
    const COUNTRIES: &[u8] = b"ADAEAFAGAIALAMAOARATAUAWAZBABBBDBEBFBGBHBIBJBMBNBOBRBSBTBWBYBZCACDCFCGCHCICKCLCMCNCOCRCUCVCW\
CYCZDEDJDKDMDODZECEEEGERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGTGUGWGYHKHNHRHTHUIDIEILIMINIQIRISITJEJMJOJPKEKGKHKI\
KMKNKPKRKWKYKZLALBLCLILKLRLSLTLULVLYMAMCMDMEMGMHMKMLMMMNMOMPMQMRMSMTMUMVMWMXMYMZNANCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPL\
PMPRPSPTPWPYQARERORSRURWSASBSCSDSESGSHSISKSLSMSNSOSRSSSTSVSXSYSZTCTDTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUSUYUZVAVCVEVGVIVNVUWF\
WSXKYEYTZAZMZW";
    matches!(value.len(), 8 | 11)
        && value[..6].iter().all(u8::is_ascii_uppercase)
        && value[6..].iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        && COUNTRIES.chunks(2).any(|country| country == &value[4..6])
}

/// A routing transit number: a Federal Reserve prefix, and the weights 3, 7, 1.
pub(super) fn aba(value: &[u8]) -> bool {
    let Some(found) = exactly::<9>(value) else { return false };
    matches!(found[0] * 10 + found[1], 1..=12 | 21..=32 | 61..=72 | 80)
        && weighted(&found, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
}

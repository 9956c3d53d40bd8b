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

/// Countries of the IBAN registry (SWIFT, release 98), each with the length that its numbers have.
const IBAN_LENGTHS: &[u8] = b"AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29\
ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20\
LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29\
PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20\
YE30";

/// How long the account numbers of a country are.
pub(crate) fn iban_length(country: [u8; 2]) -> Option<usize> {
    let entry = IBAN_LENGTHS.chunks_exact(4).find(|entry| entry[..2] == country)?;
    Some(usize::from(entry[2] - b'0') * 10 + usize::from(entry[3] - b'0'))
}

/// An account: a country of the registry, its length, and ISO 7064 MOD 97-10.
pub(super) fn iban(value: &[u8]) -> bool {
    let mut found = [0u8; 34];
    let mut count = 0;
    for byte in value.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        let Some(place) = found.get_mut(count) else { return false };
        *place = byte.to_ascii_uppercase();
        count += 1;
    }
    if count < 5 || iban_length([found[0], found[1]]) != Some(count) {
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

//! Addresses of crypto-currencies.

use super::hash::{keccak256, sha256};

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// A Bitcoin address of the first kinds: 21 bytes in base 58, and four of their double SHA-256.
pub(super) fn base58check(value: &[u8]) -> bool {
    let mut bytes = [0u8; 25];
    if !(25..=35).contains(&value.len()) {
        return false;
    }
    for byte in value {
        let Some(digit) = BASE58.iter().position(|known| known == byte) else { return false };
        let mut carry = u32::try_from(digit).unwrap_or(0);
        for place in bytes.iter_mut().rev() {
            let sum = u32::from(*place) * 58 + carry;
            *place = u8::try_from(sum & 0xff).unwrap_or(0);
            carry = sum >> 8;
        }
        if carry > 0 {
            return false;
        }
    }
    sha256(&sha256(&bytes[..21]))[..4] == bytes[21..]
}

/// A Bitcoin address of witness programs (BIP 173 and 350): a human-readable part, and a checksum over five-bit words.
pub(super) fn bech32(value: &[u8]) -> bool {
    let lower = value.iter().any(u8::is_ascii_lowercase);
    if (lower && value.iter().any(u8::is_ascii_uppercase)) || !(14..=90).contains(&value.len()) {
        return false;
    }
    let Some(split) = value.iter().rposition(|byte| *byte == b'1') else { return false };
    let (name, data) = (&value[..split], &value[split + 1..]);
    let name = || name.iter().map(u8::to_ascii_lowercase);
    let mut check = 1;
    for high in name() {
        check = step(check, u32::from(high >> 5));
    }
    check = step(check, 0);
    for low in name() {
        check = step(check, u32::from(low & 31));
    }
    for byte in data {
        let Some(word) = BECH32.iter().position(|known| *known == byte.to_ascii_lowercase()) else { return false };
        check = step(check, u32::try_from(word).unwrap_or(0));
    }
    matches!(check, 1 | 0x2bc8_30a3)
}

fn step(check: u32, word: u32) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = check >> 25;
    GENERATOR
        .iter()
        .enumerate()
        .filter(|(i, _)| top >> i & 1 == 1)
        .fold((check & 0x01ff_ffff) << 5 ^ word, |check, (_, generator)| check ^ generator)
}

/// An Ethereum address: the case of its letters is the hash of the address (EIP-55).
/// One case alone is what hashes and contracts have as well.
pub(super) fn eip55(value: &[u8]) -> bool {
    let Some(address) = value.strip_prefix(b"0x").and_then(|hex| <&[u8; 40]>::try_from(hex).ok()) else { return false };
    if !address.iter().all(u8::is_ascii_hexdigit) || address.iter().all(|byte| *byte == address[0]) {
        return false;
    }
    if !address.iter().any(u8::is_ascii_uppercase) || !address.iter().any(u8::is_ascii_lowercase) {
        return false;
    }
    let hash = keccak256(&address.to_ascii_lowercase());
    address.iter().enumerate().all(|(i, byte)| {
        let nibble = hash[i / 2] >> (if i % 2 == 0 { 4 } else { 0 }) & 15;
        !byte.is_ascii_alphabetic() || byte.is_ascii_uppercase() == (nibble >= 8)
    })
}

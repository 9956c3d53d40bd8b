//! Addresses of machines.

/// Four numbers up to 255, without leading zeros.
pub(super) fn ipv4(value: &[u8]) -> bool {
    let mut count = 0;
    for part in value.split(|byte| *byte == b'.') {
        count += 1;
        let plain = part.len() == 1 || (matches!(part.len(), 2 | 3) && part[0] != b'0');
        let digits = part.iter().all(u8::is_ascii_digit);
        // At most three digits from here on.
        if !plain || !digits || part.iter().fold(0u16, |sum, byte| sum * 10 + u16::from(byte - b'0')) > 255 {
            return false;
        }
    }
    count == 4
}

/// An address of an interface: neither that of nobody (all zero) nor that of everybody (all ones).
pub(crate) fn mac(value: &[u8]) -> bool {
    let digits = || value.iter().filter(|byte| byte.is_ascii_hexdigit());
    digits().any(|byte| *byte != b'0') && digits().any(|byte| !byte.eq_ignore_ascii_case(&b'f'))
}

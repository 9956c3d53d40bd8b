//! Addresses of machines.

/// Four numbers up to 255, without leading zeros.
pub(super) fn ipv4(value: &[u8]) -> bool {
    let mut count = 0;
    for part in value.split(|byte| *byte == b'.') {
        count += 1;
        let number =
            part.iter().try_fold(0u32, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')));
        let plain = part.len() == 1 || (matches!(part.len(), 2 | 3) && part[0] != b'0');
        if !plain || number.is_none_or(|number| number > 255) {
            return false;
        }
    }
    count == 4
}

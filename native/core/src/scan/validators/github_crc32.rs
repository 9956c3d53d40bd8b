//! The check value of GitHub's tokens: the last six characters are the CRC-32 of those before, in base62.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECK: usize = 6;

/// Whether the check value of a token (`ghp_` and 36 characters) is right.
pub(super) fn github_crc32(value: &[u8]) -> bool {
    let Some(body) = value.iter().position(|byte| *byte == b'_').map(|mark| &value[mark + 1..]) else { return false };
    let Some((random, check)) = body.len().checked_sub(CHECK).and_then(|at| body.split_at_checked(at)) else {
        return false;
    };
    let mut sum = crc32(random);
    let mut expected = [b'0'; CHECK];
    for digit in expected.iter_mut().rev() {
        *digit = DIGITS[(sum % 62) as usize];
        sum /= 62;
    }
    expected == check
}

/// CRC-32 as in IEEE 802.3, bit by bit: it is asked for a few bytes of few texts.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

#[cfg(test)]
mod tests;

//! Secrets behind Base64.

const LONGEST: usize = 4096;

/// The bytes behind a text, or nothing if it is no Base64 or too long.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > LONGEST + 3 {
        return None;
    }
    crate::base64::decode(text).filter(|plain| plain.len() <= LONGEST / 4 * 3)
}

/// Whether a value reads as `user:password` behind base64 (RFC 7617).
pub(super) fn basic_credentials(value: &[u8]) -> bool {
    decode(value).is_some_and(|plain| {
        let colon = plain.iter().position(|byte| *byte == b':');
        colon.is_some_and(|colon| colon > 0 && colon + 1 < plain.len())
            && std::str::from_utf8(&plain).is_ok_and(|text| !text.chars().any(char::is_control))
    })
}

#[cfg(test)]
mod tests;

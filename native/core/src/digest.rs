//! HMAC-SHA-256 (RFC 2104) with a key that is prepared once, of what comes in pieces.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a digest.
pub const DIGEST: usize = 32;

/// A digest under way. A clone goes on from where it is.
#[derive(Clone)]
pub struct KeyedDigest {
    mac: Hmac<Sha256>,
    taken: u64,
}

impl KeyedDigest {
    /// Of nothing so far. A key may have any length; None for none at all, which would make it a plain digest.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        if key.is_empty() {
            return None;
        }
        <Hmac<Sha256> as KeyInit>::new_from_slice(key).ok().map(|mac| Self { mac, taken: 0 })
    }

    /// The next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.mac.update(piece);
        self.taken += piece.len() as u64;
    }

    /// Bytes of all pieces so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Of all pieces so far; more may follow.
    #[must_use]
    pub fn digest(&self) -> [u8; DIGEST] {
        self.mac.clone().finalize().into_bytes().into()
    }
}

impl fmt::Debug for KeyedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyedDigest(***, {} bytes)", self.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        hex.as_bytes().chunks(2).map(digits).collect()
    }

    /// RFC 4231, 4.2, 4.3 and 4.7 (a key longer than a block).
    #[test]
    fn is_the_rfcs() {
        let cases: [(&[u8], &[u8], &str); 3] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, text, expected) in cases {
            let mut digest = KeyedDigest::new(key).unwrap();
            digest.update(text);
            assert_eq!(digest.digest().as_slice(), bytes(expected));
        }
    }

    #[test]
    fn pieces_make_what_the_whole_makes() {
        let text: Vec<u8> = (0..300_u32).map(|n| n.to_le_bytes()[0]).collect();
        let empty = KeyedDigest::new(b"key").unwrap();
        let mut whole = empty.clone();
        whole.update(&text);
        for cut in 0..=text.len() {
            let mut pieces = empty.clone();
            pieces.update(&text[..cut]);
            assert_eq!(pieces.taken(), cut as u64);
            pieces.update(&text[cut..]);
            assert_eq!(pieces.digest(), whole.digest());
        }
    }

    #[test]
    fn no_key_makes_no_digest_and_none_is_shown() {
        assert!(KeyedDigest::new(b"").is_none());
        assert_eq!(format!("{:?}", KeyedDigest::new(b"secret").unwrap()), "KeyedDigest(***, 0 bytes)");
    }
}

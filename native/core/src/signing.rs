//! Ed25519 (RFC 8032): keys in PEM, signatures, and strict verification.
//!
//! Private keys are wiped from memory when they are dropped, and are shown nowhere.

use std::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use zeroize::Zeroizing;

/// Bytes of a public key, and of the seed that a private one is made of.
pub const KEY: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE: usize = 64;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Why there is no key. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// No Ed25519 key in PEM (PKCS#8, not encrypted).
    Malformed,
    /// The system gives no random bytes.
    NoRandomness,
}

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "no Ed25519 key in PEM",
            Self::NoRandomness => "the system gives no random bytes",
        })
    }
}

impl std::error::Error for NoKey {}

/// A private key.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new one.
    ///
    /// # Errors
    ///
    /// If the system has no randomness.
    pub fn generate() -> Result<Self, NoKey> {
        let mut seed = Zeroizing::new([0; KEY]);
        getrandom::fill(&mut *seed).map_err(|_| NoKey::NoRandomness)?;
        Ok(Self::from_seed(&seed))
    }

    /// Of its 32 bytes, as RFC 8032 calls a private key.
    #[must_use]
    pub fn from_seed(seed: &[u8; KEY]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The first key of a PEM file: PKCS#8 (RFC 5958), as OpenSSL writes it. Words around it, which RFC 7468 allows, are
    /// skipped.
    ///
    /// # Errors
    ///
    /// If there is none, it is encrypted or for another algorithm, or its public half is not its own.
    pub fn from_pem(file: &[u8]) -> Result<Self, NoKey> {
        let text = std::str::from_utf8(file).map_err(|_| NoKey::Malformed)?;
        let begin = text.find(BEGIN).ok_or(NoKey::Malformed)?;
        let length = text[begin..].find(END).ok_or(NoKey::Malformed)?;
        let pem = &text[begin..begin + length + END.len()];
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|_| NoKey::Malformed)
    }

    /// The PEM file, PKCS#8 in its first version, which is what every other program reads.
    ///
    /// # Errors
    ///
    /// None for a key that is there.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, NoKey> {
        let mut pair = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem = pair.to_pkcs8_pem(LineEnding::LF).map_err(|_| NoKey::Malformed);
        zeroize::Zeroize::zeroize(&mut pair.secret_key);
        pem
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; KEY] {
        self.0.verifying_key().to_bytes()
    }

    /// The signature of a message; always the same for the same message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

/// Whether a key has signed a message. Strict: no keys or points of small order, by which one signature could stand for
/// several messages, and no second way to write a signature.
#[must_use]
pub fn verifies(public: &[u8], signature: &[u8], message: &[u8]) -> bool {
    let (Ok(public), Ok(signature)) = (<&[u8; KEY]>::try_from(public), <&[u8; SIGNATURE]>::try_from(signature)) else {
        return false;
    };
    let Ok(key) = VerifyingKey::from_bytes(public) else { return false };
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

#[cfg(test)]
mod tests;

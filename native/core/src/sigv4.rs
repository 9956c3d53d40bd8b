//! AWS Signature Version 4 for requests with a body in memory.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Who signs, and for what.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The access key's id.
    pub access_key: &'a str,
    /// Its secret half.
    pub secret_key: &'a str,
    /// "us-east-1"
    pub region: &'a str,
    /// "bedrock"
    pub service: &'a str,
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// "POST"
    pub method: &'a str,
    /// As it is sent, percent-encoded once. The signature covers it encoded once more (every service but S3).
    pub path: &'a str,
    /// As it is sent, without the question mark.
    pub query: &'a str,
    /// Headers to sign, names in lower case; `host` and `x-amz-date` are among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// All of the body.
    pub body: &'a [u8],
    /// "20150830T123600Z"; the value of `x-amz-date`.
    pub date: &'a str,
}

impl Signer<'_> {
    /// The value of the `authorization` header.
    #[must_use]
    pub fn authorization(&self, request: &Request<'_>) -> String {
        let (canonical, signed) = canonical(request);
        let day = request.date.get(..8).unwrap_or(request.date);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", request.date, hex(&Sha256::digest(canonical)));
        let mut key = keyed(format!("AWS4{}", self.secret_key).as_bytes(), day.as_bytes());
        for part in [self.region, self.service, "aws4_request"] {
            key = keyed(&key, part.as_bytes());
        }
        let signature = hex(&keyed(&key, text.as_bytes()));
        let access = self.access_key;
        format!("AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={signed}, Signature={signature}")
    }
}

/// The canonical request, and the names of its headers.
fn canonical(request: &Request<'_>) -> (String, String) {
    let mut headers: Vec<(&str, String)> = request
        .headers
        .iter()
        .map(|(name, value)| (*name, value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")))
        .collect();
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let signed = names.join(";");
    let mut query: Vec<(&str, &str)> = request
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    query.sort_unstable();
    let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut text = format!("{}\n{}\n{}\n", request.method, encoded(request.path), query.join("&"));
    for (name, value) in &headers {
        let _ = writeln!(text, "{name}:{value}");
    }
    let _ = write!(text, "\n{signed}\n{}", hex(&Sha256::digest(request.body)));
    (text, signed)
}

/// A path, percent-encoded but for its slashes and what is unreserved.
#[must_use]
pub fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn keyed(key: &[u8], text: &[u8]) -> [u8; 32] {
    // A key of HMAC may have any length.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return [0; 32] };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests;

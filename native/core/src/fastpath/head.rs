//! Heads of requests that say nothing out of the ordinary.

use crate::http1::request::Requests;

const LONGEST_ID: usize = 128;

/// What a plain head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The caller's key.
    pub token: &'a [u8],
    /// The caller's `x-request-id`, if it is one that may be taken over.
    pub request_id: Option<&'a str>,
}

/// None where any header could make a difference to the gateway or its upstream: a list of what cannot, not of what can.
#[must_use]
pub fn asked(requests: &Requests) -> Option<Asked<'_>> {
    let is_plain = requests.method() == b"POST" && requests.minor_version() == 1 && requests.query().is_empty();
    if !is_plain || requests.expects_continue() {
        return None;
    }
    let (mut token, mut request_id, mut host) = (None, None, None);
    for (name, value) in requests.headers() {
        match name {
            b"content-length" | b"content-type" | b"accept" | b"accept-encoding" | b"accept-language"
            | b"user-agent" | b"connection" | b"keep-alive" => {}
            b"host" => {
                if value.is_empty() || host.replace(value).is_some() {
                    return None;
                }
            }
            b"authorization" => {
                let given = value.strip_prefix(b"Bearer ").map(<[u8]>::trim_ascii).filter(|given| !given.is_empty())?;
                if token.replace(given).is_some() {
                    return None;
                }
            }
            b"x-request-id" => {
                if request_id.replace(sane(value)?).is_some() {
                    return None;
                }
            }
            _ if name.starts_with(b"x-stainless-") => {} // what OpenAI's and Anthropic's clients tell of themselves
            _ => return None,
        }
    }
    host?;
    Some(Asked { token: token?, request_id })
}

/// The caller's `x-request-id`, whatever else the head says: if there is one, and it may be taken over.
#[must_use]
pub fn request_id(requests: &Requests) -> Option<&str> {
    let given = requests.headers().filter(|(name, _)| *name == b"x-request-id").last();
    given.and_then(|(_, value)| sane(value))
}

/// An id that can be repeated in headers, logs and records.
fn sane(id: &[u8]) -> Option<&str> {
    let is_sane = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
    let fits = !id.is_empty() && id.len() <= LONGEST_ID && id.iter().all(is_sane);
    if fits { std::str::from_utf8(id).ok() } else { None }
}

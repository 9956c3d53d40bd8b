//! Heads of HTTP/1.1 messages, as far as the two programs need them.

use std::io;
use std::str::from_utf8;

/// What a head says about the message.
pub struct Head {
    /// Bytes up to and including the empty line.
    pub len: usize,
    /// The status of a response; 0 for a request.
    pub status: u16,
    /// `content-length`.
    pub length: Option<usize>,
    /// Whether the body is chunked.
    pub chunked: bool,
    /// Whether the connection ends with this message.
    pub close: bool,
}

/// The head at the start of `buf`, or None while it is incomplete.
///
/// # Errors
/// When a line is not what HTTP/1.1 allows.
pub fn head(buf: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = memchr::memmem::find(buf, b"\r\n\r\n") else { return Ok(None) };
    let text = from_utf8(&buf[..end]).map_err(io::Error::other)?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = match first.strip_prefix("HTTP/1.1 ") {
        Some(rest) => rest.get(..3).and_then(|code| code.parse().ok()).ok_or_else(|| io::Error::other("bad status"))?,
        None => 0,
    };
    let mut head = Head { len: end + 4, status, length: None, chunked: false, close: false };
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other("header without a colon"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.length = Some(value.parse().map_err(io::Error::other)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = value.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            head.close = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(head))
}

/// The bytes of the value of the first `"name":` in a JSON text, up to the next comma, brace or quote.
#[must_use]
pub fn json_field<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let key = format!("\"{name}\"");
    let rest = from_utf8(&body[memchr::memmem::find(body, key.as_bytes())? + key.len()..]).ok()?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start();
    Some(value.split([',', '}', '"']).next()?.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_head_is_read() {
        let head = head(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nbody").unwrap().unwrap();
        assert_eq!((head.len, head.status, head.length, head.chunked), (39, 200, Some(12), false));
    }

    #[test]
    fn a_field_is_found_with_and_without_a_space() {
        assert_eq!(json_field(b"{\"stream\": true,\"seed\":7}", "stream"), Some("true"));
        assert_eq!(json_field(b"{\"stream\": true,\"seed\":7}", "seed"), Some("7"));
    }
}

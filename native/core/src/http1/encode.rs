//! Heads of responses, as a server writes them.

use super::parse_length;

/// What the headers of a response say about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The `content-length`.
    pub length: Option<u64>,
    /// There is `connection: close`.
    pub closes: bool,
    /// The body is `text/event-stream`.
    pub is_event_stream: bool,
}

/// Appends a header line to `out`; none for `transfer-encoding`, which is the server's own business.
///
/// # Errors
/// A header that would end its line: that is how responses are split. A second or senseless `content-length`.
pub fn header_line(out: &mut Vec<u8>, name: &[u8], value: &[u8], said: &mut Said) -> Result<(), &'static str> {
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err("the name of a response header is not valid");
    }
    if memchr::memchr3(b'\r', b'\n', 0, value).is_some() {
        return Err("a response header holds a line break");
    }
    match name.len() {
        12 if name.eq_ignore_ascii_case(b"content-type") => {
            said.is_event_stream = value.starts_with(b"text/event-stream");
        }
        10 if name.eq_ignore_ascii_case(b"connection") => said.closes |= value.eq_ignore_ascii_case(b"close"),
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            let length = parse_length(value).ok_or("the content-length of the response is no number")?;
            if said.length.replace(length).is_some() {
                return Err("a response has at most one content-length");
            }
        }
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => return Ok(()),
        _ => {}
    }
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// What a header's name may consist of (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_and_told_apart() {
        let (mut out, mut said) = (Vec::new(), Said::default());
        for (name, value) in [(&b"x-a"[..], &b"1"[..]), (b"content-length", b"2"), (b"connection", b"Close")] {
            header_line(&mut out, name, value, &mut said).unwrap();
        }
        assert_eq!(out, b"x-a: 1\r\ncontent-length: 2\r\nconnection: Close\r\n");
        assert_eq!(said, Said { length: Some(2), closes: true, is_event_stream: false });
    }

    #[test]
    fn what_would_split_a_response_is_refused() {
        for (name, value) in [(&b"a"[..], &b"b\r\nc: d"[..]), (b"a\n", b"b"), (b"a:", b"b"), (b"", b"b"), (b"a", b"\0")]
        {
            assert!(header_line(&mut Vec::new(), name, value, &mut Said::default()).is_err());
        }
    }
}

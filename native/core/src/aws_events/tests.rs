use super::{Framer, FramingError, Message, MessageKind};

/// A message of string headers.
pub(crate) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(u8::try_from(name.len()).unwrap());
        block.extend_from_slice(name.as_bytes());
        block.push(7);
        block.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        block.extend_from_slice(value.as_bytes());
    }
    sealed(&block, payload)
}

/// An event as Bedrock sends it.
pub(crate) fn event(name: &str, payload: &[u8]) -> Vec<u8> {
    message(&[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")], payload)
}

fn sealed(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let total = u32::try_from(headers.len() + payload.len() + 16).unwrap();
    let mut bytes = total.to_be_bytes().to_vec();
    bytes.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes.extend_from_slice(headers);
    bytes.extend_from_slice(payload);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

type Found = Vec<(MessageKind, Vec<u8>, Vec<u8>)>;

fn all(pieces: &[&[u8]]) -> Result<Found, FramingError> {
    let mut framer = Framer::new();
    let mut found = Vec::new();
    for piece in pieces {
        framer.push(piece);
        while let Some(Message { kind, name, payload }) = framer.next_message()? {
            found.push((kind, name.to_vec(), payload.to_vec()));
        }
    }
    assert_eq!(framer.held(), 0);
    Ok(found)
}

fn stream() -> Vec<u8> {
    let mut bytes = event("messageStart", br#"{"role":"assistant"}"#);
    // Headers of every type, none of them of interest.
    let mut block = b"\x01a\x00\x01b\x01\x01c\x02\x07\x01d\x03\x00\x01\x01e\x04\x00\x00\x00\x01".to_vec();
    block.extend_from_slice(
        b"\x01f\x05\x00\x00\x00\x00\x00\x00\x00\x01\x01g\x06\x00\x02hi\x01h\x08\x00\x00\x00\x00\x00\x00\x00\x01",
    );
    block.extend_from_slice(b"\x01i\x090123456789abcdef\x0b:event-type\x07\x00\x01x");
    bytes.extend_from_slice(&sealed(&block, b"{}"));
    bytes.extend_from_slice(&message(
        &[(":message-type", "exception"), (":exception-type", "throttlingException")],
        br#"{"message":"slow down"}"#,
    ));
    bytes.extend_from_slice(&message(
        &[(":message-type", "error"), (":error-code", "InternalFailure"), (":error-message", "it broke")],
        b"",
    ));
    bytes
}

#[test]
fn events_exceptions_and_errors_are_told_apart() {
    let expected = [
        (MessageKind::Event, b"messageStart".to_vec(), br#"{"role":"assistant"}"#.to_vec()),
        (MessageKind::Event, b"x".to_vec(), b"{}".to_vec()),
        (MessageKind::Exception, b"throttlingException".to_vec(), br#"{"message":"slow down"}"#.to_vec()),
        (MessageKind::Error, b"InternalFailure".to_vec(), b"it broke".to_vec()),
    ];
    assert_eq!(all(&[&stream()]).unwrap(), expected);
}

#[test]
fn any_cut_gives_the_same_messages() {
    let bytes = stream();
    let whole = all(&[&bytes]).unwrap();
    for at in 0..=bytes.len() {
        assert_eq!(all(&[&bytes[..at], &bytes[at..]]).unwrap(), whole, "cut at {at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(all(&single).unwrap(), whole);
}

#[test]
fn a_changed_bit_anywhere_is_an_error() {
    let bytes = event("contentBlockDelta", br#"{"delta":{"text":"hi"}}"#);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let mut framer = Framer::new();
        framer.push(&changed);
        assert_eq!(framer.next_message(), Err(FramingError::Checksum), "bit {bit}");
    }
}

#[test]
fn impossible_lengths_are_refused_before_anything_is_held() {
    for (total, headers) in [(15_u32, 0_u32), (16, 1), (20 << 20, 0), (u32::MAX, u32::MAX)] {
        let mut bytes = total.to_be_bytes().to_vec();
        bytes.extend_from_slice(&headers.to_be_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        let mut framer = Framer::new();
        framer.push(&bytes);
        assert!(matches!(framer.next_message(), Err(FramingError::Malformed(_))), "{total} {headers}");
    }
}

#[test]
fn headers_that_reach_beyond_their_block_are_refused() {
    for block in [&b"\x05ab"[..], b"\x01a\x0a", b"\x01a\x07\x00\x09x", b"\x01a\x05\x00", b"\x01a", b"\x01a\x07\x00"] {
        let mut framer = Framer::new();
        framer.push(&sealed(block, b"payload enough for any header to run into"));
        assert!(matches!(framer.next_message(), Err(FramingError::Malformed(_))), "{block:?}");
    }
}

#[test]
fn a_message_that_was_cut_short_stays_held() {
    let bytes = event("metadata", b"{}");
    let mut framer = Framer::new();
    framer.push(&bytes[..bytes.len() - 1]);
    assert_eq!(framer.next_message(), Ok(None));
    assert_eq!(framer.held(), bytes.len() - 1);
}

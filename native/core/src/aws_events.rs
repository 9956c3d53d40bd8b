//! Framing of `application/vnd.amazon.eventstream`: binary messages with checksums.
//!
//! <https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream>: total length, length
//! of the headers, CRC of these two; headers; payload; CRC of all before it. Numbers are big-endian.

use crate::pending::Pending;
use std::ops::Range;

const PRELUDE: usize = 12;
/// Of a message: what the AWS SDKs take at most.
const LARGEST: usize = 16 * 1024 * 1024;

/// No message of this framing, or one that was changed on its way. Nothing that follows can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    /// A CRC does not fit.
    Checksum,
    /// Lengths or headers make no sense; what of them.
    Malformed(&'static str),
}

impl FramingError {
    /// What is wrong.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Checksum => "a message of the event stream has a wrong checksum",
            Self::Malformed(what) => what,
        }
    }
}

/// What kind of message it is, by `:message-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// An event of the API's model.
    Event,
    /// An error of the API's model; the payload describes it.
    Exception,
    /// Any other error; `:error-message` describes it.
    Error,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What kind.
    pub kind: MessageKind,
    /// The event's or exception's type, or the error's code.
    pub name: &'a [u8],
    /// JSON; of an error its message, which is plain text.
    pub payload: &'a [u8],
}

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub struct Framer {
    pending: Pending,
    /// The CRC of the present message's prelude was checked.
    checked: bool,
}

impl Framer {
    /// A framer at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Add what was read; then call `next_message` until it has none.
    pub fn push(&mut self, data: &[u8]) {
        self.pending.push(data);
    }

    /// Bytes that wait for the end of their message. After the stream has ended they are a message that was cut short.
    #[must_use]
    pub fn held(&self) -> usize {
        self.pending.held()
    }

    /// The next complete message; None: more bytes are needed.
    ///
    /// # Errors
    /// A checksum that does not fit, or no message at all. There is no way to find the next one.
    pub fn next_message(&mut self) -> Result<Option<Message<'_>>, FramingError> {
        let bytes = &self.pending.bytes[self.pending.start..];
        if bytes.len() < PRELUDE {
            return Ok(None);
        }
        let (total, headers) = (number(bytes, 0), number(bytes, 4));
        if !self.checked {
            if crc32fast::hash(&bytes[..8]) != word(bytes, 8) {
                return Err(FramingError::Checksum);
            }
            if !(PRELUDE + 4..=LARGEST).contains(&total) || headers > total - PRELUDE - 4 {
                return Err(FramingError::Malformed("a message of the event stream has an impossible length"));
            }
            self.checked = true;
        }
        if bytes.len() < total {
            return Ok(None);
        }
        if crc32fast::hash(&bytes[..total - 4]) != word(bytes, total - 4) {
            return Err(FramingError::Checksum);
        }
        let at = self.pending.start;
        self.pending.start += total;
        self.checked = false;
        let message = &self.pending.bytes[at..at + total];
        read(&message[PRELUDE..PRELUDE + headers], &message[PRELUDE + headers..total - 4]).map(Some)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn number(bytes: &[u8], at: usize) -> usize {
    usize::try_from(word(bytes, at)).unwrap_or(usize::MAX)
}

fn read<'a>(headers: &'a [u8], payload: &'a [u8]) -> Result<Message<'a>, FramingError> {
    let mut kind = MessageKind::Event;
    let (mut event, mut exception, mut code, mut words) = (None, None, None, None);
    let mut at = 0;
    while at < headers.len() {
        let (name, value) = header(headers, &mut at).ok_or(FramingError::Malformed("a header is malformed"))?;
        let value = value.map(|value| &headers[value]);
        match name {
            b":message-type" => {
                kind = match value {
                    Some(b"event") => MessageKind::Event,
                    Some(b"exception") => MessageKind::Exception,
                    Some(b"error") => MessageKind::Error,
                    _ => return Err(FramingError::Malformed("a message of the event stream has an unknown type")),
                }
            }
            b":event-type" => event = value,
            b":exception-type" => exception = value,
            b":error-code" => code = value,
            b":error-message" => words = value,
            _ => {}
        }
    }
    let (name, payload) = match kind {
        MessageKind::Event => (event, payload),
        MessageKind::Exception => (exception, payload),
        MessageKind::Error => (code, words.unwrap_or(payload)),
    };
    Ok(Message { kind, name: name.unwrap_or_default(), payload })
}

/// A header's name and, of a string, where its value stands.
fn header<'a>(headers: &'a [u8], at: &mut usize) -> Option<(&'a [u8], Option<Range<usize>>)> {
    let name_at = *at + 1;
    let name_end = name_at + usize::from(*headers.get(*at)?);
    let name = headers.get(name_at..name_end)?;
    let value_at = name_end + 1;
    let sized = |at: usize| Some(2 + usize::from(u16::from_be_bytes(headers.get(at..at + 2)?.try_into().ok()?)));
    let kind = *headers.get(name_end)?;
    let length = match kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        6 | 7 => sized(value_at)?,
        9 => 16,
        _ => return None,
    };
    *at = value_at + length;
    if *at > headers.len() {
        return None;
    }
    Some((name, (kind == 7).then_some(value_at + 2..*at)))
}

#[cfg(test)]
pub(crate) mod tests;

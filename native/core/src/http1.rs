//! HTTP/1.1 responses, decoded incrementally (RFC 9112): bytes in, a head and pieces of the body out.

use std::ops::Range;

/// Bounds on a message's framing.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the status line and headers together; also of chunk extensions and trailers together.
    pub max_head: usize,
    /// Number of headers; at most `HARD_MAX_HEADERS`.
    pub max_headers: usize,
}

/// The size of the table that headers are parsed into.
pub const HARD_MAX_HEADERS: usize = 128;
const MAX_INFORMATIONAL: u32 = 16;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The grammar is broken, or two readers could frame the message differently.
    Malformed(&'static str),
    /// The head or the framing of the body is larger than allowed.
    TooLarge,
    /// A `Content-Encoding` although none was asked for.
    Encoded,
}

/// One step of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// The head is known now.
    Head,
    /// A piece of the body: a range of the bytes that were given.
    Body(Range<usize>),
    /// The message is complete.
    End,
}

#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    Chunked(Chunk),
    UntilClose,
    End,
}

#[derive(Clone, Copy, Debug)]
enum Chunk {
    Size { value: u64, digits: u8 },
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
}

/// A response being read.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    state: State,
    /// The head: partial until it is complete, then with its header names in lower case.
    head: Vec<u8>,
    headers: Vec<(Range<usize>, Range<usize>)>,
    status: u16,
    informational: u32,
    framing: usize,
    keep_alive: bool,
    event_stream: bool,
}

impl Decoder {
    /// A decoder at the start of a response.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Head,
            head: Vec::new(),
            headers: Vec::new(),
            status: 0,
            informational: 0,
            framing: 0,
            keep_alive: false,
            event_stream: false,
        }
    }

    /// The final status, 0 until the head is complete.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// End-to-end headers, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers.iter().map(|(name, value)| (&self.head[name.clone()], &self.head[value.clone()]))
    }

    /// Whether the body is `text/event-stream`.
    #[must_use]
    pub fn is_event_stream(&self) -> bool {
        self.event_stream
    }

    /// Whether the message ended exactly and the connection may carry another one.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.keep_alive && matches!(self.state, State::End)
    }

    /// The message may not be followed by another on this connection.
    pub fn forbid_reuse(&mut self) {
        self.keep_alive = false;
    }

    /// The peer closed its side. True if that completes the message.
    pub fn eof(&mut self) -> bool {
        self.keep_alive = false;
        if matches!(self.state, State::UntilClose) {
            self.state = State::End;
        }
        matches!(self.state, State::End)
    }

    /// Advance over `data` from `*at`; call again until it answers `More` or `End`.
    ///
    /// # Errors
    /// A message that cannot be understood; nothing more can be read from its connection.
    pub fn step(&mut self, data: &[u8], at: &mut usize) -> Result<Step, Error> {
        loop {
            match &mut self.state {
                State::End => return Ok(Step::End),
                State::Head => {
                    if *at == data.len() {
                        return Ok(Step::More);
                    }
                    return if self.read_head(data, at)? { Ok(Step::Head) } else { Ok(Step::More) };
                }
                State::Length(0) => self.state = State::End,
                State::Length(left) => {
                    let piece = take(data, at, *left);
                    *left -= piece.len() as u64;
                    return Ok(if piece.is_empty() { Step::More } else { Step::Body(piece) });
                }
                State::UntilClose => {
                    let piece = take(data, at, u64::MAX);
                    return Ok(if piece.is_empty() { Step::More } else { Step::Body(piece) });
                }
                State::Chunked(Chunk::Data(left)) if *left > 0 => {
                    let piece = take(data, at, *left);
                    *left -= piece.len() as u64;
                    return Ok(if piece.is_empty() { Step::More } else { Step::Body(piece) });
                }
                State::Chunked(chunk) => {
                    if matches!(chunk, Chunk::Data(0)) {
                        *chunk = Chunk::DataCr;
                    }
                    let Some(&byte) = data.get(*at) else {
                        return Ok(Step::More);
                    };
                    *at += 1;
                    match chunk.advance(byte)? {
                        Some(next) => {
                            if matches!(next, Chunk::Extension(_) | Chunk::Trailer) {
                                self.framing += 1;
                                if self.framing > self.limits.max_head {
                                    return Err(Error::TooLarge);
                                }
                            }
                            *chunk = next;
                        }
                        None => self.state = State::End,
                    }
                }
            }
        }
    }

    /// Collect the head; true once it is complete and final.
    fn read_head(&mut self, data: &[u8], at: &mut usize) -> Result<bool, Error> {
        loop {
            let known = self.head.len();
            let rest = &data[*at..];
            // What is added is looked at once; three bytes back, as the blank line may be split.
            let room = (self.limits.max_head + 1).saturating_sub(known).min(rest.len());
            self.head.extend_from_slice(&rest[..room]);
            let from = known.saturating_sub(3);
            let Some(found) = memchr::memmem::find(&self.head[from..], b"\r\n\r\n") else {
                if has_bare_lf(&self.head, known) {
                    return Err(Error::Malformed("a line of the head ends without CR"));
                }
                *at += room;
                if self.head.len() > self.limits.max_head {
                    return Err(Error::TooLarge);
                }
                return Ok(false);
            };
            let end = from + found + 4;
            *at += end - known;
            self.head.truncate(end);
            if has_bare_lf(&self.head, 0) {
                return Err(Error::Malformed("a line of the head ends without CR"));
            }
            self.parse_head()?;
            if self.status >= 200 {
                return Ok(true);
            }
            self.informational += 1;
            if self.status == 101 || self.informational > MAX_INFORMATIONAL {
                return Err(Error::Malformed("too many informational responses, or a switch of protocols"));
            }
            self.status = 0;
            self.head.clear();
            if *at == data.len() {
                return Ok(false);
            }
        }
    }

    fn parse_head(&mut self) -> Result<(), Error> {
        let mut table = [httparse::EMPTY_HEADER; HARD_MAX_HEADERS];
        let table = &mut table[..self.limits.max_headers.min(HARD_MAX_HEADERS)];
        let mut response = httparse::Response::new(table);
        match response.parse(&self.head) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Error::TooLarge),
            _ => return Err(Error::Malformed("the head is no HTTP/1.1")),
        }
        let version = response.version.unwrap_or(0);
        self.status = response.code.unwrap_or(0);
        if self.status < 100 {
            return Err(Error::Malformed("the status is no HTTP status"));
        }
        if self.status < 200 {
            return Ok(());
        }
        let mut facts = Facts { keep_alive: version == 1, ..Facts::default() };
        let base = self.head.as_ptr() as usize;
        let span = |text: &[u8]| {
            let start = text.as_ptr() as usize - base;
            start..start + text.len()
        };
        let mut spans = Vec::with_capacity(response.headers.len());
        for header in response.headers.iter() {
            facts.note(header.name, header.value)?;
            spans.push((span(header.name.as_bytes()), span(header.value)));
        }
        for (name, _) in &spans {
            self.head[name.clone()].make_ascii_lowercase();
        }
        let head = &self.head;
        spans.retain(|(name, _)| !facts.is_hop_by_hop(&head[name.clone()]));
        self.headers = spans;
        self.keep_alive = facts.keep_alive;
        self.event_stream = facts.event_stream;
        self.state = facts.body(self.status)?;
        if matches!(self.state, State::UntilClose) {
            self.keep_alive = false;
        }
        Ok(())
    }
}

/// What the headers say about framing.
#[derive(Default)]
struct Facts {
    keep_alive: bool,
    event_stream: bool,
    length: Option<u64>,
    chunked: bool,
    named_hops: Vec<Vec<u8>>,
}

const HOP_BY_HOP: [&[u8]; 8] = [
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

impl Facts {
    fn note(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("content-length") {
            let length = parse_length(value).ok_or(Error::Malformed("Content-Length is no number"))?;
            if self.length.is_some_and(|known| known != length) {
                return Err(Error::Malformed("several Content-Length that differ"));
            }
            self.length = Some(length);
        } else if is("transfer-encoding") {
            if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Error::Malformed("an unknown Transfer-Encoding"));
            }
            self.chunked = true;
        } else if is("content-encoding") {
            let value = value.trim_ascii();
            if !value.is_empty() && !value.eq_ignore_ascii_case(b"identity") {
                return Err(Error::Encoded);
            }
        } else if is("content-type") {
            let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            self.event_stream = kind.eq_ignore_ascii_case(b"text/event-stream");
        } else if is("connection") {
            for token in value.split(|byte| *byte == b',') {
                let token = token.trim_ascii().to_ascii_lowercase();
                match &*token {
                    b"close" => self.keep_alive = false,
                    b"keep-alive" | b"" => {}
                    _ => self.named_hops.push(token),
                }
            }
        }
        Ok(())
    }

    fn is_hop_by_hop(&self, name: &[u8]) -> bool {
        HOP_BY_HOP.contains(&name) || self.named_hops.iter().any(|hop| hop == name)
    }

    fn body(&self, status: u16) -> Result<State, Error> {
        if self.chunked && self.length.is_some() {
            return Err(Error::Malformed("both Content-Length and Transfer-Encoding"));
        }
        if status == 204 || status == 304 {
            return Ok(State::End);
        }
        Ok(match self.length {
            Some(length) => State::Length(length),
            None if self.chunked => State::Chunked(Chunk::Size { value: 0, digits: 0 }),
            None => State::UntilClose,
        })
    }
}

impl Chunk {
    /// The state after a byte of framing; None when the body is complete.
    fn advance(self, byte: u8) -> Result<Option<Self>, Error> {
        const BAD: Error = Error::Malformed("the chunked body is malformed");
        Ok(Some(match (self, byte) {
            (Self::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == 15 {
                    return Err(BAD);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                Self::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 1.., value } | Self::Extension(value), b'\r') => Self::SizeLf(value),
            (Self::Size { digits: 1.., value }, b';' | b' ' | b'\t') => Self::Extension(value),
            (Self::Extension(_), b'\n') => return Err(BAD),
            (Self::Extension(value), _) => Self::Extension(value),
            (Self::SizeLf(0), b'\n') => Self::TrailerStart,
            (Self::SizeLf(value), b'\n') => Self::Data(value),
            (Self::Data(_) | Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { value: 0, digits: 0 },
            (Self::TrailerStart, b'\r') => Self::LastLf,
            (Self::TrailerStart | Self::Trailer, b'\n') => return Err(BAD),
            (Self::Trailer, b'\r') => Self::TrailerLf,
            (Self::TrailerStart | Self::Trailer, _) => Self::Trailer,
            (Self::TrailerLf, b'\n') => Self::TrailerStart,
            (Self::LastLf, b'\n') => return Ok(None),
            _ => return Err(BAD),
        }))
    }
}

fn take(data: &[u8], at: &mut usize, most: u64) -> Range<usize> {
    let start = *at;
    let left = data.len() - start;
    let length = usize::try_from(most).map_or(left, |most| most.min(left));
    *at = start + length;
    start..*at
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// Whether a line feed from `from` on has no carriage return before it.
fn has_bare_lf(head: &[u8], from: usize) -> bool {
    memchr::memchr_iter(b'\n', &head[from..]).any(|n| from + n == 0 || head[from + n - 1] != b'\r')
}

#[cfg(test)]
mod tests;

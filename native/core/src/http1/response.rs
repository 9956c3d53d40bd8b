//! Responses.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::{Body, Error, HARD_MAX_HEADERS, Limits, Step, collect_head, parse_length, span};

const MAX_INFORMATIONAL: u32 = 16;

/// A response being read.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// None until the head is complete.
    body: Option<Body>,
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
            body: None,
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
        self.keep_alive && matches!(self.body, Some(Body::End))
    }

    /// The message may not be followed by another on this connection.
    pub fn forbid_reuse(&mut self) {
        self.keep_alive = false;
    }

    /// The peer closed its side. True if that completes the message.
    pub fn eof(&mut self) -> bool {
        self.keep_alive = false;
        if matches!(self.body, Some(Body::UntilClose)) {
            self.body = Some(Body::End);
        }
        matches!(self.body, Some(Body::End))
    }

    /// Advance over `data` from `*at`; call again until it answers `More` or `End`.
    ///
    /// # Errors
    /// A message that cannot be understood; nothing more can be read from its connection.
    pub fn step(&mut self, data: &[u8], at: &mut usize) -> Result<Step, Error> {
        match &mut self.body {
            Some(body) => body.step(data, at, &mut self.framing, &self.limits),
            None if *at == data.len() => Ok(Step::More),
            None => Ok(if self.read_head(data, at)? { Step::Head } else { Step::More }),
        }
    }

    /// Collect the head; true once it is complete and final.
    fn read_head(&mut self, data: &[u8], at: &mut usize) -> Result<bool, Error> {
        while collect_head(&mut self.head, data, at, &self.limits)? {
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
        // What speaks another protocol is told at once, not when it has been silent for long enough.
        if self.head.iter().zip(b"HTTP/1.").any(|(one, other)| one != other) {
            return Err(Error::Malformed("the head is no HTTP/1.1"));
        }
        Ok(false)
    }

    fn parse_head(&mut self) -> Result<(), Error> {
        let mut table = [const { MaybeUninit::uninit() }; HARD_MAX_HEADERS];
        let table = &mut table[..self.limits.max_headers.min(HARD_MAX_HEADERS)];
        let mut response = httparse::Response::new(&mut []);
        match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, &self.head, table) {
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
        let mut spans = Vec::with_capacity(response.headers.len());
        for header in response.headers.iter() {
            facts.note(header.name, header.value)?;
            spans.push((span(&self.head, header.name.as_bytes()), span(&self.head, header.value)));
        }
        for (name, _) in &spans {
            self.head[name.clone()].make_ascii_lowercase();
        }
        let head = &self.head;
        spans.retain(|(name, _)| !facts.is_hop_by_hop(&head[name.clone()]));
        self.headers = spans;
        self.keep_alive = facts.keep_alive;
        self.event_stream = facts.event_stream;
        let body = facts.body(self.status)?;
        if matches!(body, Body::UntilClose) {
            self.keep_alive = false;
        }
        self.body = Some(body);
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

    fn body(&self, status: u16) -> Result<Body, Error> {
        if self.chunked && self.length.is_some() {
            return Err(Error::Malformed("both Content-Length and Transfer-Encoding"));
        }
        if status == 204 || status == 304 {
            return Ok(Body::End);
        }
        Ok(match self.length {
            Some(length) => Body::Length(length),
            None if self.chunked => Body::CHUNKED,
            None => Body::UntilClose,
        })
    }
}

#[cfg(test)]
mod tests;

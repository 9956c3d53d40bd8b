//! Requests of clients, as a server reads them: one after the other on a connection, pipelined ones kept back.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::{Body, Error, HARD_MAX_HEADERS, Limits, Step, collect_head, parse_length, span};

/// The head is known.
pub const HEAD: u8 = 1;
/// Bytes of the body can be taken.
pub const READY: u8 = 2;
/// The message is complete; what came after it waits for `proceed`.
pub const END: u8 = 4;
/// Nothing more can be read from this connection.
pub const FAULT: u8 = 8;

/// Why a request cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status to answer with.
    pub status: u16,
    /// For the client.
    pub message: &'static str,
}

/// The requests of a connection.
#[derive(Debug)]
pub struct Requests {
    limits: Limits,
    head: Vec<u8>,
    /// Where in it names and values stand, once it is parsed.
    headers: Vec<(Range<usize>, Range<usize>)>,
    parsed: Option<Parsed>,
    framing: usize,
    body: Vec<u8>,
    rest: Vec<u8>,
    flags: u8,
    refused: Option<Refused>,
}

#[derive(Debug)]
struct Parsed {
    method: Range<usize>,
    path: Range<usize>,
    query: Range<usize>,
    minor: u8,
    body: Body,
    keep_alive: bool,
    expects_continue: bool,
}

impl Requests {
    /// At the start of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            head: Vec::new(),
            headers: Vec::new(),
            parsed: None,
            framing: 0,
            body: Vec::new(),
            rest: Vec::new(),
            flags: 0,
            refused: None,
        }
    }

    /// Take in what was read; returns flags. Behind the end of a message it is only kept.
    pub fn feed(&mut self, data: &[u8]) -> u8 {
        if self.flags & FAULT != 0 {
            return self.flags;
        }
        if self.flags & END != 0 {
            self.rest.extend_from_slice(data);
            return self.flags;
        }
        let mut at = 0;
        if let Err(refused) = self.advance(data, &mut at) {
            self.refused = Some(refused);
            self.flags |= FAULT;
        } else if at < data.len() {
            self.rest.extend_from_slice(&data[at..]);
        }
        self.flags
    }

    /// Go on to the next message, once this one is complete and answered; returns flags.
    pub fn proceed(&mut self) -> u8 {
        debug_assert!(self.flags & END != 0, "the message before is complete");
        self.flags = 0;
        self.head.clear();
        self.headers.clear();
        self.parsed = None;
        self.framing = 0;
        self.body = Vec::new();
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() { 0 } else { self.feed(&rest) }
    }

    /// Bytes of the body that were not taken yet.
    #[must_use]
    pub fn ready(&self) -> &[u8] {
        &self.body
    }

    /// The ready bytes were copied elsewhere.
    pub fn consume(&mut self) {
        self.flags &= !READY;
        self.body = Vec::new();
    }

    /// Bytes of the body that are still to come, where the head has come and said how many there are.
    #[must_use]
    pub fn missing(&self) -> Option<u64> {
        match self.parsed.as_ref()?.body {
            Body::Length(length) => Some(length),
            _ => None,
        }
    }

    /// The ready bytes, which are taken.
    pub fn take(&mut self) -> Vec<u8> {
        self.flags &= !READY;
        std::mem::take(&mut self.body)
    }

    /// Bytes that are held, of this message's body and of what came after it.
    #[must_use]
    pub fn held(&self) -> usize {
        self.body.len() + self.rest.len()
    }

    /// Whether anything of the next message has come.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        !self.head.is_empty()
    }

    /// Method; empty until the head is known, like everything else of the head.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.part(|parsed| &parsed.method)
    }

    /// Path as it came.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.part(|parsed| &parsed.path)
    }

    /// What stands behind the question mark.
    #[must_use]
    pub fn query(&self) -> &[u8] {
        self.part(|parsed| &parsed.query)
    }

    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    #[must_use]
    pub fn minor_version(&self) -> u8 {
        self.parsed.as_ref().map_or(1, |parsed| parsed.minor)
    }

    /// Headers, names in lower case; none until the whole head is known to be one.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let known: &[_] = if self.parsed.is_some() { &self.headers } else { &[] };
        known.iter().map(|(name, value)| (&self.head[name.clone()], &self.head[value.clone()]))
    }

    /// Whether the client wants the connection to go on after this message.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.parsed.as_ref().is_some_and(|parsed| parsed.keep_alive)
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.parsed.as_ref().is_some_and(|parsed| parsed.expects_continue)
    }

    /// Why there is FAULT.
    #[must_use]
    pub fn refused(&self) -> Option<Refused> {
        self.refused
    }

    fn part(&self, range: impl Fn(&Parsed) -> &Range<usize>) -> &[u8] {
        self.parsed.as_ref().map_or(&[], |parsed| &self.head[range(parsed).clone()])
    }

    fn advance(&mut self, data: &[u8], at: &mut usize) -> Result<(), Refused> {
        loop {
            if let Some(parsed) = &mut self.parsed {
                match parsed.body.step(data, at, &mut self.framing, &self.limits) {
                    Ok(Step::Body(range)) => {
                        self.body.extend_from_slice(&data[range]);
                        self.flags |= READY;
                    }
                    Ok(Step::End) => {
                        self.flags |= END;
                        return Ok(());
                    }
                    Ok(_) => return Ok(()),
                    Err(error) => return Err(refusal(error)),
                }
            } else {
                // Blank lines before a request are to be ignored (RFC 9112, 2.2), cut in two or not.
                if self.head == b"\r" && data.get(*at) == Some(&b'\n') {
                    self.head.clear();
                    *at += 1;
                }
                while self.head.is_empty() && data[*at..].starts_with(b"\r\n") {
                    *at += 2;
                }
                if *at == data.len() {
                    return Ok(());
                }
                let is_complete = collect_head(&mut self.head, data, at, &self.limits).map_err(refusal)?;
                match parse(&mut self.head, &mut self.headers, &self.limits)? {
                    Some(parsed) => self.parsed = Some(parsed),
                    // What can never become a request is told at once, not when the client's time is over.
                    None if is_complete => return Err(BAD_HEAD),
                    None => return Ok(()),
                }
                self.flags |= HEAD;
            }
        }
    }
}

fn refusal(error: Error) -> Refused {
    match error {
        Error::Malformed(message) => Refused { status: 400, message },
        Error::TooLarge => Refused { status: 431, message: "the head of the request is too large" },
        Error::Encoded => Refused { status: 415, message: "the request is encoded" },
    }
}

const BAD_HEAD: Refused = bad("the head of the request is no HTTP/1.1");

const fn bad(message: &'static str) -> Refused {
    Refused { status: 400, message }
}

/// None while the head is not complete.
fn parse(
    head: &mut [u8],
    headers: &mut Vec<(Range<usize>, Range<usize>)>,
    limits: &Limits,
) -> Result<Option<Parsed>, Refused> {
    let mut table = [const { MaybeUninit::uninit() }; HARD_MAX_HEADERS];
    let table = &mut table[..limits.max_headers.min(HARD_MAX_HEADERS)];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, table) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refused { status: 431, message: "the request has too many headers" });
        }
        Err(httparse::Error::Version) => return Err(bad("only HTTP/1.0 and HTTP/1.1 are spoken here")),
        Err(_) => return Err(BAD_HEAD),
    }
    let minor = request.version.unwrap_or(0);
    let mut framing = Framing { keep_alive: minor == 1, ..Framing::default() };
    headers.clear();
    headers.reserve(request.headers.len());
    for header in request.headers.iter() {
        framing.note(header.name, header.value)?;
        headers.push((span(head, header.name.as_bytes()), span(head, header.value)));
    }
    let method = span(head, request.method.unwrap_or_default().as_bytes());
    let (path, query) = target(head, span(head, request.path.unwrap_or_default().as_bytes()))?;
    for (name, _) in &*headers {
        head[name.clone()].make_ascii_lowercase();
    }
    let body = framing.body(minor)?;
    Ok(Some(Parsed {
        method,
        path,
        query,
        minor,
        body,
        keep_alive: framing.keep_alive,
        expects_continue: framing.expects_continue && minor == 1,
    }))
}

/// Path and query of a request target: `/path?query`, `*`, or the absolute form that proxies send.
fn target(head: &[u8], whole: Range<usize>) -> Result<(Range<usize>, Range<usize>), Refused> {
    let text = &head[whole.clone()];
    let mut start = whole.start;
    if !text.starts_with(b"/") && text != b"*" {
        let scheme = [&b"http://"[..], b"https://"]
            .into_iter()
            .find(|scheme| text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)));
        let authority = scheme.map_or(0, <[u8]>::len);
        let slash = text[authority..].iter().position(|byte| *byte == b'/');
        match (authority, slash) {
            (1.., Some(slash)) => start += authority + slash,
            _ => return Err(bad("the request target is no path")),
        }
    }
    let text = &head[start..whole.end];
    let path_end = text.iter().position(|byte| matches!(byte, b'?' | b'#')).map_or(whole.end, |n| start + n);
    let query_start = (path_end + 1).min(whole.end);
    Ok((start..path_end, query_start..whole.end))
}

/// What the headers say about framing.
#[derive(Default)]
struct Framing {
    keep_alive: bool,
    expects_continue: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    fn note(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("content-length") {
            let length = parse_length(value).ok_or(bad("Content-Length is no number"))?;
            if self.length.replace(length).is_some() {
                return Err(bad("a request has at most one Content-Length"));
            }
        } else if is("transfer-encoding") {
            if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(bad("the only Transfer-Encoding known here is chunked"));
            }
            self.chunked = true;
        } else if is("connection") {
            for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if token.eq_ignore_ascii_case(b"close") {
                    self.keep_alive = false;
                }
            }
        } else if is("expect") {
            self.expects_continue = value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
        }
        Ok(())
    }

    fn body(&self, minor: u8) -> Result<Body, Refused> {
        if self.chunked && (self.length.is_some() || minor == 0) {
            return Err(bad("a request has either Content-Length or Transfer-Encoding, not both"));
        }
        Ok(match self.length {
            Some(length) => Body::Length(length),
            None if self.chunked => Body::CHUNKED,
            None => Body::End,
        })
    }
}

#[cfg(test)]
mod tests;

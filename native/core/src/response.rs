//! One response of an upstream: decoded, framed and tapped in one pass over what each read brings.

use std::sync::Arc;

mod framing;
mod stream;
mod translation;
mod unfold;

use framing::Framing;
use stream::Stream;
pub use translation::Translation;

use crate::cost::Price;
use crate::http1::response::Decoder;
use crate::http1::{self, Step};
use crate::tap::Dialect;
use crate::usage::Tokens;

/// Bounds on a response.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of the head and the framing.
    pub http: http1::Limits,
    /// Bytes of a body that is no event stream.
    pub max_body: usize,
    /// Bytes of one event.
    pub max_event: usize,
}

/// Status and headers are known.
pub const HEAD: u8 = 1;
/// There is something to take.
pub const READY: u8 = 2;
/// The message is complete.
pub const END: u8 = 4;
/// Something is wrong; nothing more will come.
pub const FAULT: u8 = 8;

/// Room that an open stream keeps for its next events.
const KEPT_ROOM: usize = 256 * 1024;

/// Why a response cannot be used further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// "protocol", "`too_large`", "truncated", "encoding", "`stream_error`", "`malformed_event`" or "spent".
    pub kind: &'static str,
    /// For the caller; the upstream's own words only where it named them its error message.
    pub message: String,
}

/// A response being read.
#[derive(Debug)]
pub struct Response {
    decoder: Decoder,
    limits: Limits,
    dialect: Dialect,
    flags: u8,
    out: Vec<u8>,
    /// Bytes of `out` that were taken already.
    taken: usize,
    fault: Option<Fault>,
    framer: Option<Framing>,
    /// The body is neither looked into nor held: sound, files.
    passes: bool,
    /// The caller gets events, whatever the upstream sends.
    streams: bool,
    is_cut: bool,
    stream: Stream,
}

impl Response {
    /// A response to a request that was sent just now.
    #[must_use]
    pub fn new(dialect: Dialect, strip_usage: bool, limits: Limits) -> Self {
        Self {
            decoder: Decoder::new(limits.http),
            limits,
            dialect,
            flags: 0,
            out: Vec::new(),
            taken: 0,
            fault: None,
            framer: None,
            passes: false,
            streams: false,
            is_cut: false,
            stream: Stream::new(dialect, strip_usage, limits.max_body as u64),
        }
    }

    /// Tell the answer in the dialect of the caller, `client`; an answer without success stays as it is.
    pub fn translate(&mut self, translation: Translation, client: Dialect) {
        self.dialect = client;
        self.stream.translation = Some(Box::new(translation));
    }

    /// The caller has asked for a stream; a success that is none is told as one.
    pub fn expect_stream(&mut self) {
        self.streams = true;
    }

    /// The caller does not get what the upstream sends, but what that says.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        self.stream.translation.is_some()
    }

    /// How many choices the caller has asked for; 1 if nothing is said.
    pub fn expect_choices(&mut self, choices: u32) {
        self.stream.choices = choices;
    }

    /// End the stream in front of the event with which it surely has more generated tokens.
    pub fn limit_output(&mut self, tokens: u64) {
        self.stream.max_output = tokens;
    }

    /// Tell what the answer has cost in the chunk that has nothing but its usage (`x_gateway_cost_usd`).
    pub fn tell_cost(&mut self, price: Arc<Price>) {
        self.stream.price = Some(price);
    }

    /// Take in what was read; returns flags.
    pub fn feed(&mut self, data: &[u8]) -> u8 {
        if self.flags & FAULT != 0 {
            return self.flags;
        }
        if self.flags & END != 0 {
            if !data.is_empty() {
                self.decoder.forbid_reuse();
            }
            return self.flags;
        }
        let mut at = 0;
        loop {
            match self.decoder.step(data, &mut at) {
                Ok(Step::More) => break,
                Ok(Step::Head) => self.begin(),
                Ok(Step::Body(range)) => {
                    self.body(&data[range]);
                    if self.fault.is_some() {
                        break;
                    }
                }
                Ok(Step::End) => {
                    if at < data.len() {
                        self.decoder.forbid_reuse();
                    }
                    self.complete();
                    break;
                }
                Err(error) => {
                    self.fail_http(error);
                    break;
                }
            }
        }
        self.settle()
    }

    /// The peer closed its side; returns flags.
    pub fn eof(&mut self) -> u8 {
        if self.flags & (END | FAULT) == 0 {
            if self.decoder.eof() {
                self.complete();
            } else {
                self.cut_short();
            }
        }
        self.settle()
    }

    /// Nothing more will come, and what came was not all, whatever its framing says: the connection was reset or given up.
    /// Returns flags.
    pub fn lost(&mut self) -> u8 {
        if self.flags & (END | FAULT) == 0 {
            self.cut_short();
        }
        self.settle()
    }

    /// Bytes that are ready for the client.
    #[must_use]
    pub fn ready(&self) -> &[u8] {
        &self.out[self.taken..]
    }

    /// The first `count` of the ready bytes were copied elsewhere. Keeps the room for what comes unless it is large.
    pub fn consume(&mut self, count: usize) {
        self.taken = self.out.len().min(self.taken + count);
        if self.taken < self.out.len() {
            // Not before it is the larger part, or a long answer would be moved again and again.
            if self.taken > KEPT_ROOM && self.taken * 2 > self.out.len() {
                self.out.drain(..self.taken);
                self.taken = 0;
            }
            return;
        }
        self.flags &= !READY;
        self.taken = 0;
        if self.flags & END != 0 || self.out.capacity() > KEPT_ROOM {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
    }

    /// 0 until the head is known.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.decoder.status()
    }

    /// End-to-end headers, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.decoder.headers()
    }

    /// Whether the body is read as an event stream.
    #[must_use]
    pub fn is_event_stream(&self) -> bool {
        self.framer.is_some() || self.decoder.is_event_stream()
    }

    /// After the end: the connection may carry another request.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.decoder.is_reusable()
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// The upstream's own error object.
    #[must_use]
    pub fn error_event(&self) -> Option<&[u8]> {
        self.stream.error_event.as_deref()
    }

    /// Events with data so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.stream.events
    }

    /// Events that were no JSON and were left out.
    #[must_use]
    pub fn malformed_events(&self) -> u64 {
        self.stream.malformed
    }

    /// The stream is complete by its own account.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stream.done || self.stream.tap.all_finished()
    }

    /// Every choice has surely finished: nothing can be missing but the usage and the end of the stream.
    #[must_use]
    pub fn is_at_its_end(&self) -> bool {
        self.framer.is_some() && self.stream.is_at_its_end()
    }

    /// The stream has said that nothing will follow (`[DONE]` or the dialect's own last event).
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.stream.done
    }

    /// The connection ended before the stream did. If it is complete for all that, its upstream has not said so.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Tokens by kind; None if the upstream told nothing.
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens> {
        self.stream.tokens()
    }

    /// Decoded bytes of generated text.
    #[must_use]
    pub fn text_bytes(&self) -> u64 {
        self.stream.tap.text_bytes
    }

    /// An error event for the client; nothing may follow it. `status`: that it would have had in front of the stream; None:
    /// what the upstream's own error says.
    #[must_use]
    pub fn fault_event(&mut self, message: &str, code: &str, status: Option<u16>) -> Vec<u8> {
        let tap = &self.stream.tap;
        let (words, said) = named_by(self.stream.error_event.as_deref());
        let status = status.or(said).unwrap_or(502);
        match &mut self.stream.translation {
            // It repeats what has been said, which only its writer knows.
            Some(translation) if self.dialect == Dialect::Responses => {
                let [_, word] = &words;
                translation.fault(message, if word.is_empty() { code } else { word }, status)
            }
            _ if self.dialect == Dialect::Messages => messages_fault(message, code, &words, status),
            _ => self.dialect.fault_event(message, code, tap.sequence + 1, tap.response_id()),
        }
    }

    fn begin(&mut self) {
        self.flags |= HEAD;
        if self.decoder.status() == 200 && self.dialect != Dialect::Raw {
            let kind = self.decoder.headers().find(|(name, _)| *name == b"content-type").map(|(_, value)| value);
            self.framer = Framing::of(kind.unwrap_or_default(), self.is_translated());
        }
        self.passes = self.dialect == Dialect::Other
            && !self.decoder.is_event_stream()
            && (200..300).contains(&self.decoder.status())
            && !self.decoder.headers().any(|(name, value)| name == b"content-type" && is_json(value));
    }

    fn body(&mut self, piece: &[u8]) {
        let Some(framer) = &mut self.framer else {
            if !self.passes && self.out.len() + piece.len() > self.limits.max_body {
                let message = format!("the upstream's answer is larger than {} bytes", self.limits.max_body);
                self.fail("too_large", message);
            } else {
                self.out.extend_from_slice(piece);
            }
            return;
        };
        let (stream, out) = (&mut self.stream, &mut self.out);
        framer.take(piece, stream, out);
        if framer.held() > self.limits.max_event && self.stream.failed.is_none() {
            let message = format!("an event of the upstream is larger than {} bytes", self.limits.max_event);
            self.stream.failed = Some(("too_large", message));
        }
        self.take_failure();
    }

    /// The message ended as its framing says.
    fn complete(&mut self) {
        self.end(true);
    }

    /// Nothing more comes; `is_whole`: as the framing had promised.
    fn end(&mut self, is_whole: bool) {
        if self.fault.is_some() {
            return;
        }
        let Some(framer) = &mut self.framer else {
            if self.streams && !self.passes && self.decoder.status() == 200 {
                self.unfold();
            } else if !self.passes && (200..300).contains(&self.decoder.status()) {
                self.stream.body(&mut self.out);
            }
            self.take_failure();
            if self.fault.is_none() {
                self.flags |= END;
            }
            return;
        };
        let (stream, out) = (&mut self.stream, &mut self.out);
        framer.finish(stream, out);
        self.is_cut = !is_whole && !stream.done;
        stream.finish(out, is_whole);
        let ends_with_framing = self.dialect == Dialect::Other && is_whole && self.stream.events > 0;
        let is_complete = if is_whole { self.is_done() || ends_with_framing } else { self.is_ended() };
        if self.stream.failed.is_none() && !is_complete {
            let message = if self.stream.events == 0 {
                "the upstream's stream held no event"
            } else {
                "the upstream's stream ended before it was complete"
            };
            self.stream.failed = Some(("truncated", message.into()));
        }
        self.take_failure();
        if self.fault.is_none() {
            self.flags |= END;
        }
    }

    /// Tell a body that is whole as a stream.
    fn unfold(&mut self) {
        let body = std::mem::take(&mut self.out);
        let mut framer = Framing::Blocks(crate::sse::Framer::new());
        if self.is_translated() {
            self.stream.unfold(&body, &mut self.out);
        } else if let Some(events) = unfold::unfolded(self.dialect, &body) {
            framer.take(&events, &mut self.stream, &mut self.out);
        } else {
            let message = "the upstream's answer is neither a stream nor one of its dialect";
            self.stream.failed = Some(("protocol", message.to_owned()));
            return;
        }
        self.framer = Some(framer);
    }

    /// The connection ended before the message did.
    fn cut_short(&mut self) {
        if self.flags & HEAD == 0 {
            self.fail("truncated", "the upstream closed the connection without an answer".into());
            return;
        }
        if self.framer.is_some() {
            self.end(false);
        } else {
            self.fail("truncated", "the upstream closed the connection in the middle of its answer".into());
        }
    }

    fn settle(&mut self) -> u8 {
        let is_open_body = self.framer.is_none() && self.flags & END == 0 && !self.passes;
        let is_silent = self.framer.is_some() && self.stream.events == 0;
        if self.ready().is_empty() || is_open_body || is_silent {
            self.flags &= !READY;
        } else {
            self.flags |= READY;
        }
        self.flags
    }

    fn take_failure(&mut self) {
        if let Some((kind, message)) = self.stream.failed.take() {
            self.fail(kind, message);
        }
    }

    fn fail_http(&mut self, error: http1::Error) {
        match error {
            http1::Error::Malformed(what) => {
                self.fail("protocol", format!("the upstream's answer is malformed: {what}"));
            }
            http1::Error::TooLarge => self.fail("too_large", "the head of the upstream's answer is too large".into()),
            http1::Error::Encoded => {
                self.fail("encoding", "the upstream encoded its answer although identity was asked for".into());
            }
        }
    }

    fn fail(&mut self, kind: &'static str, message: String) {
        self.decoder.forbid_reuse();
        if self.framer.is_none() {
            // Nobody will want half an answer, and whoever holds the reader must not hold megabytes.
            self.out = Vec::new();
            self.taken = 0;
        }
        self.flags |= FAULT;
        self.fault.get_or_insert(Fault { kind, message });
    }
}

/// The error object's members that say what it is: type, code, and the HTTP status that it has or would have had.
fn named_by(error: Option<&[u8]>) -> ([String; 2], Option<u16>) {
    let error = error.and_then(|error| serde_json::from_slice::<serde_json::Value>(error).ok()).unwrap_or_default();
    let words = ["type", "code"].map(|name| error[name].as_str().unwrap_or_default().to_owned());
    let numbers = ["status", "code"].iter().filter_map(|name| error[*name].as_u64());
    let status = numbers.filter_map(|number| u16::try_from(number).ok()).find(|status| (400..600).contains(status));
    (words, status)
}

/// Anthropic's error event: of the type that the upstream or the gateway named if it is one of Anthropic's, else of the
/// one that stands for its words or status.
fn messages_fault(message: &str, code: &str, words: &[String; 2], status: u16) -> Vec<u8> {
    const KNOWN: [&str; 9] = [
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "rate_limit_error",
        "timeout_error",
        "not_found_error",
        "request_too_large",
        "overloaded_error",
    ];
    let words = [words[0].as_str(), words[1].as_str(), code];
    let is = |mark: &str| words.iter().any(|word| word.contains(mark));
    let kind = words.into_iter().find(|word| KNOWN.contains(word)).unwrap_or(match status {
        _ if is("rate_limit") || is("insufficient_quota") || is("budget_exceeded") => "rate_limit_error",
        _ if is("overloaded") => "overloaded_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    });
    let data = serde_json::json!({"type": "error", "error": {"type": kind, "message": message}});
    format!("event: error\ndata: {data}\n\n").into_bytes()
}

fn is_json(content_type: &[u8]) -> bool {
    let name = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    name == b"application/json" || name.ends_with(b"+json")
}

#[cfg(test)]
mod tests;

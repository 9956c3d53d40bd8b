//! One response of an upstream: decoded, framed and tapped in one pass over what each read brings.

use std::sync::Arc;

mod framing;
mod translation;

use framing::Framing;
use translation::Step as Told;
pub use translation::Translation;

use crate::cost::Price;
use crate::dialects::Malformed;
use crate::dialects::reply::ReplyError;
use crate::http1::response::Decoder;
use crate::http1::{self, Step};
use crate::sse::Framed;
use crate::tap::{Dialect, Tap, Verdict};
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

/// Hardly any token has more; text with more bytes than these for each token that was paid for is more than that.
const BYTES_PER_TOKEN: u64 = 16;

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
    stream: Stream,
}

/// What is known of an event stream (and, in the tap, of a body).
#[derive(Debug)]
struct Stream {
    tap: Tap,
    strip_usage: bool,
    /// Generated tokens that are paid for.
    max_output: u64,
    /// Events with generated text, each of which has a token at least.
    texts: u64,
    /// By which the cost is told with the usage.
    price: Option<Arc<Price>>,
    events: u64,
    malformed: u64,
    done: bool,
    /// The block before went out, so its late line feed must, too.
    passed: bool,
    failed: Option<(&'static str, String)>,
    error_event: Option<Vec<u8>>,
    translation: Option<Box<Translation>>,
}

impl Response {
    /// A response to a request that was sent just now.
    #[must_use]
    pub fn new(dialect: Dialect, strip_usage: bool, limits: Limits) -> Self {
        let stream = Stream {
            tap: Tap::new(dialect),
            strip_usage,
            max_output: u64::MAX,
            texts: 0,
            price: None,
            events: 0,
            malformed: 0,
            done: false,
            passed: false,
            failed: None,
            error_event: None,
            translation: None,
        };
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
            stream,
        }
    }

    /// Tell the answer in the dialect of the caller, `client`; an answer without success stays as it is.
    pub fn translate(&mut self, translation: Translation, client: Dialect) {
        self.dialect = client;
        self.stream.translation = Some(Box::new(translation));
    }

    /// The caller does not get what the upstream sends, but what that says.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        self.stream.translation.is_some()
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

    /// Bytes that are ready for the client.
    #[must_use]
    pub fn ready(&self) -> &[u8] {
        &self.out[self.taken..]
    }

    /// The first `count` of the ready bytes were copied elsewhere. Keeps the room for what comes unless it is large.
    pub fn consume(&mut self, count: usize) {
        self.taken = self.out.len().min(self.taken + count);
        if self.taken < self.out.len() {
            if self.taken > KEPT_ROOM {
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

    /// The stream has said that nothing will follow (`[DONE]` or the dialect's own last event).
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.stream.done
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

    /// An error event for the client; nothing may follow it.
    #[must_use]
    pub fn fault_event(&mut self, message: &str, code: &str) -> Vec<u8> {
        let tap = &self.stream.tap;
        match &mut self.stream.translation {
            // It repeats what has been said, which only its writer knows.
            Some(translation) if self.dialect == Dialect::Responses => translation.fault(message, code),
            _ if self.dialect == Dialect::Messages => messages_fault(message, self.stream.error_event.as_deref()),
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
            if !self.passes && (200..300).contains(&self.decoder.status()) {
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
        stream.finish(out);
        let ends_with_framing = self.dialect == Dialect::Other && is_whole && self.stream.events > 0;
        if self.stream.failed.is_none() && !self.is_done() && !ends_with_framing {
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

impl Stream {
    /// Judge a block and put it out. After a failure or the end nothing more goes out.
    fn block(&mut self, framed: &Framed<'_>, out: &mut Vec<u8>, is_last: bool) {
        let Framed::Block(block) = framed else {
            if self.passed {
                out.push(b'\n');
            }
            return;
        };
        self.passed = false;
        if self.failed.is_some() || self.done {
            return;
        }
        let Some(data) = block.data() else {
            if let Some((message, object)) = self.tap.stray_error(block.raw()) {
                self.error_event = Some(object);
                self.failed = Some(("stream_error", message));
                return;
            }
            // Clients that count `id:` lines take any blank line for an event, so only the comment goes on.
            for comment in block.comments() {
                out.extend_from_slice(comment);
            }
            return;
        };
        if self.translation.is_some() {
            self.translate(block.event(), &data, out);
            return;
        }
        let before = self.tap.text_bytes;
        match self.tap.event(&data, block.event()) {
            Verdict::UsageOnly if self.strip_usage => self.events += 1,
            Verdict::Pass if self.is_beyond(before) => {
                self.failed = Some(("spent", "what was reserved for this answer is used up".into()));
            }
            Verdict::UsageOnly => {
                let start = out.len();
                self.pass(block.raw(), out, is_last);
                self.add_cost(self.tap.usage.tokens(), start, out);
            }
            Verdict::Pass => self.pass(block.raw(), out, is_last),
            Verdict::Done => {
                self.done = true;
                self.pass(block.raw(), out, is_last);
            }
            Verdict::Failed(message, object) => {
                self.error_event = Some(object);
                self.failed = Some(("stream_error", message));
            }
            Verdict::Malformed => self.malformed += 1,
            Verdict::BrokenToolCall => {
                self.malformed += 1;
                self.failed =
                    Some(("malformed_event", "an event of the upstream is malformed inside a tool call".into()));
            }
        }
    }

    /// An event of a framing that only translated streams have.
    fn foreign(&mut self, name: Option<&[u8]>, data: &[u8], out: &mut Vec<u8>) {
        if self.failed.is_none() && !self.done {
            self.translate(name, data, out);
        }
    }

    /// Tell one event in the caller's dialect.
    fn translate(&mut self, name: Option<&[u8]>, data: &[u8], out: &mut Vec<u8>) {
        let Some(mut translation) = self.translation.take() else { return };
        match translation.read(name, data) {
            Ok(told) => {
                self.events += 1;
                self.tell(&told, &mut translation, out);
            }
            Err(Malformed { in_call }) => {
                self.malformed += 1;
                if in_call {
                    let message = "an event of the upstream is malformed inside a tool call";
                    self.failed = Some(("malformed_event", message.into()));
                }
            }
        }
        self.translation = Some(translation);
    }

    /// Keep the books of what was read, and write it.
    fn tell(&mut self, told: &Told, translation: &mut Translation, out: &mut Vec<u8>) {
        let before = self.tap.text_bytes;
        self.tap.note(told.text_bytes, told.seen, told.finished);
        if let Some(error) = &told.error {
            self.fail(error);
        } else if self.is_beyond(before) {
            self.failed = Some(("spent", "what was reserved for this answer is used up".into()));
        } else {
            let start = out.len();
            translation.write(out);
            if told.is_end {
                self.done = true;
                self.add_cost(translation.tokens(), start, out);
            }
        }
    }

    /// The framing has ended, and with it the answer, as far as its reader can tell.
    fn finish(&mut self, out: &mut Vec<u8>) {
        let Some(mut translation) = self.translation.take() else { return };
        if self.failed.is_none() && !self.done {
            let (told, is_complete) = translation.finish();
            if is_complete {
                self.tell(&told, &mut translation, out);
            } else if self.events > 0 {
                self.failed = Some(("truncated", "the upstream's stream ended before it was complete".into()));
            }
        }
        self.translation = Some(translation);
    }

    /// A whole answer with a status of success.
    fn body(&mut self, body: &mut Vec<u8>) {
        let Some(mut translation) = self.translation.take() else {
            self.tap.body(body);
            return;
        };
        let told = translation.read_body(body);
        self.tap.note(told.text_bytes, told.seen, told.finished);
        match &told.error {
            Some(error) => self.fail(error),
            None => *body = translation.body(),
        }
        self.translation = Some(translation);
    }

    fn fail(&mut self, error: &ReplyError) {
        self.error_event = Some(error.object());
        self.failed = Some(("stream_error", error.message.clone()));
    }

    fn tokens(&self) -> Option<Tokens> {
        self.translation.as_ref().map_or_else(|| self.tap.usage.tokens(), |translation| translation.tokens())
    }

    /// Whether the event behind which there is more than `before` bytes of text is surely one too many.
    fn is_beyond(&mut self, before: u64) -> bool {
        let bytes = self.tap.text_bytes;
        self.texts += u64::from(bytes > before);
        bytes > before && (self.texts > self.max_output || bytes / BYTES_PER_TOKEN > self.max_output)
    }

    /// The last member of the object that stands in `out` from `start` on.
    fn add_cost(&self, tokens: Option<Tokens>, start: usize, out: &mut Vec<u8>) {
        let (Some(price), Some(tokens)) = (&self.price, tokens) else { return };
        let Some(end) = memchr::memrchr(b'}', &out[start..]) else { return };
        let member = format!(",\"x_gateway_cost_usd\":\"{}\"", dollars(price.cost(&tokens)));
        out.splice(start + end..start + end, member.into_bytes());
    }

    fn pass(&mut self, raw: &[u8], out: &mut Vec<u8>, is_last: bool) {
        self.events += 1;
        self.passed = true;
        out.extend_from_slice(raw);
        if is_last && !ends_blank(raw) {
            // The stream ended without the blank line that makes this an event.
            out.extend_from_slice(if raw.ends_with(b"\n") || raw.ends_with(b"\r") { b"\n" } else { b"\n\n" });
        }
    }
}

/// Anthropic's error event, of the type that the upstream named if it is one of Anthropic's.
fn messages_fault(message: &str, error: Option<&[u8]>) -> Vec<u8> {
    const KNOWN: [&str; 6] = [
        "invalid_request_error",
        "rate_limit_error",
        "timeout_error",
        "not_found_error",
        "request_too_large",
        "overloaded_error",
    ];
    let named = error.and_then(|error| serde_json::from_slice::<serde_json::Value>(error).ok());
    let kind = named.as_ref().and_then(|error| error["type"].as_str()).filter(|kind| KNOWN.contains(kind));
    let data = serde_json::json!({
        "type": "error", "error": {"type": kind.unwrap_or("api_error"), "message": message},
    });
    format!("event: error\ndata: {data}\n\n").into_bytes()
}

/// Nano-USD as dollars, without an exponent and without needless zeros.
fn dollars(nano: u64) -> String {
    let (whole, part) = (nano / 1_000_000_000, format!("{:09}", nano % 1_000_000_000));
    format!("{whole}.{:0<2}", part.trim_end_matches('0'))
}

fn is_json(content_type: &[u8]) -> bool {
    let name = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    name == b"application/json" || name.ends_with(b"+json")
}

fn ends_blank(raw: &[u8]) -> bool {
    [&b"\n\n"[..], b"\r\r", b"\n\r", b"\r\n\r\n", b"\n\r\n", b"\r\n\n"].iter().any(|end| raw.ends_with(end))
}

#[cfg(test)]
mod tests;

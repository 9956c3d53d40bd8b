//! What is known of an event stream, and what becomes of each of its events.

use std::sync::Arc;

use super::translation::{Step as Told, Translation};
use crate::cost::Price;
use crate::dialects::Malformed;
use crate::dialects::reply::{ReplyError, TRUNCATED};
use crate::sse::Framed;
use crate::tap::{DONE, Dialect, Tap, Verdict};
use crate::usage::Tokens;

/// Hardly any token has more; text with more bytes than these for each token that was paid for is more than that.
const BYTES_PER_TOKEN: u64 = 16;
/// Bytes of comments that wait for the first event, as all that is told before it does.
const EARLY_COMMENTS: usize = 64 << 10;

/// What is known of an event stream (and, in the tap, of a body).
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) tap: Tap,
    pub(super) strip_usage: bool,
    /// Bytes of text that a translation may have to hold.
    max_text: u64,
    /// Generated tokens that are paid for.
    pub(super) max_output: u64,
    /// Choices that were asked for.
    pub(super) choices: u32,
    /// Events with generated text, each of which has a token at least.
    pub(super) texts: u64,
    /// By which the cost is told with the usage.
    pub(super) price: Option<Arc<Price>>,
    pub(super) events: u64,
    pub(super) malformed: u64,
    pub(super) done: bool,
    /// The block before went out, so its late line feed must, too.
    pub(super) passed: bool,
    pub(super) failed: Option<(&'static str, String)>,
    pub(super) error_event: Option<Vec<u8>>,
    pub(super) translation: Option<Box<Translation>>,
}

impl Stream {
    /// Nothing has come yet.
    pub(super) fn new(dialect: Dialect, strip_usage: bool, max_text: u64) -> Self {
        Self {
            tap: Tap::new(dialect),
            strip_usage,
            max_text,
            max_output: u64::MAX,
            choices: 1,
            texts: 0,
            price: None,
            events: 0,
            malformed: 0,
            done: false,
            passed: false,
            failed: None,
            error_event: None,
            translation: None,
        }
    }

    /// Judge a block and put it out. After a failure or the end nothing more goes out.
    pub(super) fn block(&mut self, framed: &Framed<'_>, out: &mut Vec<u8>, is_last: bool) {
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
            if self.events == 0 && out.len() > EARLY_COMMENTS {
                return;
            }
            // Clients that count `id:` lines take any blank line for an event, so only the comment goes on.
            // One that was cut off would swallow what is told behind it.
            for comment in block.comments().filter(|comment| comment.ends_with(b"\n") || comment.ends_with(b"\r")) {
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
    pub(super) fn foreign(&mut self, name: Option<&[u8]>, data: &[u8], out: &mut Vec<u8>) {
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
        } else if self.tap.text_bytes > self.max_text {
            // Some dialects repeat everything at the end, so all of it is held.
            let message = format!("the upstream's answer is larger than {} bytes", self.max_text);
            self.failed = Some(("too_large", message));
        } else {
            let start = out.len();
            translation.write(out);
            if told.is_end {
                self.done = true;
                self.add_cost(translation.tokens(), start, out);
            }
        }
    }

    /// Nothing more comes, so the answer has ended, as far as its reader can tell; `is_whole`: as the framing had promised.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, is_whole: bool) {
        let Some(mut translation) = self.translation.take() else {
            if self.failed.is_none() && !self.done && self.tap.lacks_only_done(self.choices, is_whole) {
                // Clients wait for the word, and some servers end without it, or are ended in front of it.
                self.done = true;
                out.extend_from_slice(DONE);
            }
            return;
        };
        if self.failed.is_none() && !self.done {
            let (told, is_complete) = translation.finish();
            if is_complete && (is_whole || !self.tap.is_doubtful()) {
                self.tell(&told, &mut translation, out);
            } else if self.events > 0 {
                self.failed = Some(("truncated", "the upstream's stream ended before it was complete".into()));
            }
        }
        self.translation = Some(translation);
    }

    /// Nothing can be missing but the usage and the end: what the upstream is waited for need not be long.
    pub(super) fn is_at_its_end(&self) -> bool {
        !self.done && self.tap.surely_finished(self.choices)
    }

    /// A whole answer with a status of success.
    pub(super) fn body(&mut self, body: &mut Vec<u8>) {
        let Some(mut translation) = self.translation.take() else {
            self.error_event = self.tap.body(body);
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

    /// A whole answer with a status of success, told in events.
    pub(super) fn unfold(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let Some(mut translation) = self.translation.take() else { return };
        let told = translation.read_body(body);
        self.events += 1;
        self.tell(&told, &mut translation, out);
        self.translation = Some(translation);
    }

    fn fail(&mut self, error: &ReplyError) {
        if error.code == TRUNCATED {
            self.failed = Some((TRUNCATED, error.message.clone()));
            return;
        }
        self.error_event = Some(error.object());
        self.failed = Some(("stream_error", error.message.clone()));
    }

    pub(super) fn tokens(&self) -> Option<Tokens> {
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

/// Nano-USD as dollars, without an exponent and without needless zeros.
pub(super) fn dollars(nano: u64) -> String {
    let (whole, part) = (nano / 1_000_000_000, format!("{:09}", nano % 1_000_000_000));
    format!("{whole}.{:0<2}", part.trim_end_matches('0'))
}

fn ends_blank(raw: &[u8]) -> bool {
    [&b"\n\n"[..], b"\r\r", b"\n\r", b"\r\n\r\n", b"\n\r\n", b"\r\n\n"].iter().any(|end| raw.ends_with(end))
}

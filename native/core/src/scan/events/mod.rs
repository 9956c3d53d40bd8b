//! Streamed answers: bytes of an event stream in, bytes of an event stream out, and nothing of a match among them.
//!
//! Every choice, content block, output item and channel is a text of its own, looked at as one whatever pieces it comes in.
//! What is held back goes out with the next event of its text, or before the event that ends it. Tool calls wait until they
//! are complete. Events that do not change pass byte for byte.

mod calls;
mod channel;
mod output;
mod parse;
mod texts;
mod wire;

use std::sync::Arc;

use self::calls::{Call, Held};
use self::channel::{Channel, Wire};
use self::parse::{Parsed, Shape};
use self::texts::Taken;
use self::wire::{WireRef, replaced};
use super::{Decision, Finding, Scanner, Vault};
use crate::json::Span;
use crate::request::SegmentKind;
use crate::sse::{Block, Framed, Framer};
use crate::tap::Dialect;

/// Bounds on what a stream may make us hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one event.
    pub max_event: usize,
    /// Bytes of tool calls that are not complete, events and arguments together.
    pub max_calls: usize,
    /// Texts at a time.
    pub max_texts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_event: 32 << 20, max_calls: 1 << 20, max_texts: 1024 }
    }
}

/// Why a stream goes no further. The caller closes the upstream; the client was told in its dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Something was found that must not pass.
    Blocked,
    /// More was to be held back than the limits allow.
    TooLarge,
    /// The scanner failed.
    Failed,
}

/// Something that was found in a stream; never the value itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventFinding {
    /// The choice, content block or output item.
    pub owner: u64,
    /// Text or arguments of a tool call.
    pub kind: SegmentKind,
    /// What was found, in places of the decoded text of that choice or call.
    pub finding: Finding,
}

/// Redacts one event stream.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one stream")]
pub struct EventRedactor {
    scanner: Scanner,
    vault: Option<Arc<Vault>>,
    dialect: Dialect,
    limits: Limits,
    framer: Framer,
    parsed: Parsed,
    /// The pieces of the present event; here to keep their room.
    taken: Vec<Taken>,
    /// What the last event looked like that looked like anything.
    shape: Shape,
    texts: Vec<Channel>,
    calls: Vec<Call>,
    held: Vec<Held>,
    serial: u64,
    findings: Vec<EventFinding>,
    /// Something went out that did not come in.
    is_changed: bool,
    stopped: Option<Stop>,
    /// The last `sequence_number` that went out.
    sequence: Option<u64>,
    /// Events were left out or added, so that those that follow need new numbers.
    renumbers: bool,
    /// The last block passed byte for byte, so its late line feed must, too.
    passed: bool,
    has_streamed: bool,
}

impl EventRedactor {
    /// A redactor for a stream. The dialect is what an error is told in if the stream itself does not show it.
    ///
    /// With the vault of the request its pseudonyms are restored, and the action "pseudonymise" only reports, see
    /// [`Scanner::for_answers`].
    #[must_use]
    pub fn new(scanner: &Scanner, dialect: Dialect, vault: Option<Arc<Vault>>) -> Self {
        Self::with_limits(scanner, dialect, vault, Limits::default())
    }

    /// [`EventRedactor::new`] with other bounds.
    #[must_use]
    pub fn with_limits(scanner: &Scanner, dialect: Dialect, vault: Option<Arc<Vault>>, limits: Limits) -> Self {
        Self {
            scanner: if vault.is_some() { scanner.for_answers() } else { scanner.clone() },
            vault,
            dialect,
            limits,
            framer: Framer::new(),
            parsed: Parsed::default(),
            taken: Vec::new(),
            shape: Shape::Other,
            texts: Vec::new(),
            calls: Vec::new(),
            held: Vec::new(),
            serial: 0,
            findings: Vec::new(),
            is_changed: false,
            stopped: None,
            sequence: None,
            renumbers: false,
            passed: false,
            has_streamed: false,
        }
    }

    /// Takes what was read and appends what can go out.
    ///
    /// # Errors
    /// The stream goes no further: `out` ends with an error event, and nothing is appended from then on.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Stop> {
        let mut framer = std::mem::take(&mut self.framer);
        framer.push(chunk);
        while self.stopped.is_none() && framer.next_block(&mut |framed| self.framed(&framed, false, out)) {}
        if framer.held() > self.limits.max_event && self.stopped.is_none() {
            self.stop(Stop::TooLarge, out);
        }
        self.framer = framer;
        self.stopped.map_or(Ok(()), Err)
    }

    /// The stream has ended: appends what was held back.
    ///
    /// # Errors
    /// As for [`EventRedactor::feed`].
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        let mut framer = std::mem::take(&mut self.framer);
        if self.stopped.is_none() {
            framer.finish(&mut |framed| self.framed(&framed, true, out));
        }
        if self.stopped.is_none()
            && let Err(stop) = self.end(out)
        {
            self.stop(stop, out);
        }
        self.stopped.map_or(Ok(()), Err)
    }

    /// The scanner failed, so that nothing more may pass: appends an error event unless the stream was stopped already.
    pub fn fail(&mut self, out: &mut Vec<u8>) {
        if self.stopped.is_none() {
            self.stop(Stop::Failed, out);
        }
    }

    /// What was found so far, in the order of the verdicts.
    #[must_use]
    pub fn findings(&self) -> &[EventFinding] {
        &self.findings
    }

    /// What became of the stream so far.
    #[must_use]
    pub fn decision(&self) -> Decision {
        if self.stopped.is_some() {
            return Decision::Blocked;
        }
        let found = self.findings.iter().map(|found| found.finding.action.into()).max().unwrap_or_default();
        let is_changed = self.is_changed || self.texts.iter().any(Channel::has_restored);
        if is_changed { Decision::Transformed.max(found) } else { found }
    }

    /// Bytes that are held back: texts, calls, and the beginning of an event.
    #[must_use]
    pub fn held(&self) -> usize {
        self.framer.held() + self.held_for_calls() + self.texts.iter().map(Channel::held).sum::<usize>()
    }

    fn framed(&mut self, framed: &Framed<'_>, is_last: bool, out: &mut Vec<u8>) {
        if self.stopped.is_some() {
            return;
        }
        let Framed::Block(block) = framed else {
            if self.passed {
                out.push(b'\n');
            }
            return;
        };
        self.passed = false;
        let mut parsed = std::mem::take(&mut self.parsed);
        if let Err(stop) = self.block(block, &mut parsed, is_last, out) {
            self.stop(stop, out);
        }
        self.parsed = parsed;
    }

    fn block(&mut self, block: &Block<'_>, parsed: &mut Parsed, is_last: bool, out: &mut Vec<u8>) -> Result<(), Stop> {
        let Some(data) = block.data() else {
            self.pass(block, is_last, out);
            return Ok(());
        };
        if data.trim_ascii() == b"[DONE]" {
            self.end(out)?;
            self.pass(block, is_last, out);
            return Ok(());
        }
        if parsed.read(&data).is_err() {
            return self.plain(block, &data, is_last, out);
        }
        if parsed.shape != Shape::Other {
            self.shape = parsed.shape;
        }
        self.event(&Arrival { block, data: &data, parsed, is_last }, out)
    }

    fn event(&mut self, arrival: &Arrival<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
        let Arrival { parsed, data, .. } = *arrival;
        let mut taken = std::mem::take(&mut self.taken);
        taken.clear();
        self.take_texts(arrival, &mut taken, out)?;
        let (slots, waits) = self.take_calls(arrival);
        let mut edits = if parsed.has_rest { self.rest(arrival)? } else { Vec::new() };
        self.finish_texts(|text| parsed.ends(text.owner), out)?;
        if waits.is_some() {
            // Its text would come behind what follows: it stays for the next event of that text.
            edits.extend(taken.iter().map(|taken| replaced(taken.start, taken.end, "")));
        } else {
            let places = slots.iter().filter(|slot| slot.end > 0);
            edits.extend(places.map(|slot| replaced(slot.start, slot.end, "")));
            self.give(arrival, &taken, &mut edits);
        }
        self.taken = taken;
        edits.sort_by_key(|edit| edit.start);
        edits.dedup_by_key(|edit| edit.start);
        self.flush_texts(|text| parsed.ends(text.owner), out);
        if let Some(waits) = waits {
            self.wait(arrival, waits, std::mem::take(&mut edits), slots)?;
        }
        self.complete_calls(|owner| parsed.ends(owner), out)?;
        if waits.is_some() {
            return Ok(());
        }
        if edits.is_empty() && !(self.renumbers && parsed.sequence.is_some()) {
            self.sequence = parsed.sequence.and_then(|span| number(data, span)).or(self.sequence);
            self.pass(arrival.block, arrival.is_last, out);
        } else if let Some(event) = WireRef::new(arrival.block, data, parsed.sequence) {
            self.write(event, &edits, out);
        } else {
            self.write(arrival.wire().as_ref(), &edits, out);
        }
        Ok(())
    }

    fn note(&mut self, owner: u64, kind: SegmentKind, found: impl Iterator<Item = Finding>) {
        self.findings.extend(found.map(|finding| EventFinding { owner, kind, finding }));
    }

    /// Every text and every call ends here.
    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        self.finish_texts(|_| true, out)?;
        self.flush_texts(|_| true, out);
        self.complete_calls(|_| true, out)
    }
}

/// An event that was read.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    block: &'a Block<'a>,
    data: &'a [u8],
    parsed: &'a Parsed,
    /// The stream ends with it.
    is_last: bool,
}

impl Arrival<'_> {
    fn wire(&self) -> Wire {
        Wire::new(self.block, self.data, self.parsed.sequence)
    }
}

fn number(data: &[u8], span: Span) -> Option<u64> {
    std::str::from_utf8(&data[span.start..span.end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;

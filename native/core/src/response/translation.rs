//! An answer told in another dialect than the upstream's, event by event, with the same books kept.

use crate::dialects::halves::{self, Halves};
use crate::dialects::order::Order;
use crate::dialects::reply::{Event, ReplyError};
use crate::dialects::{AnswerReader, AnswerWriter, Malformed};
use crate::usage::Tokens;

/// Between the dialect of an upstream and that of a caller.
#[derive(Debug)]
pub struct Translation {
    reader: Box<dyn AnswerReader>,
    writer: Box<dyn AnswerWriter>,
    /// Room for the events of one read.
    events: Vec<Event>,
    tokens: Option<Tokens>,
    halves: Halves,
    order: Option<Order>,
    started: bool,
}

/// What a translated event was, besides its text.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Bytes of generated text.
    pub(super) text_bytes: u64,
    /// Choices that have begun, and those that told why they ended.
    pub(super) seen: u128,
    pub(super) finished: u128,
    pub(super) is_end: bool,
    pub(super) error: Option<ReplyError>,
}

impl Translation {
    /// What `reader` reads is written by `writer`.
    #[must_use]
    pub fn new(reader: Box<dyn AnswerReader>, writer: Box<dyn AnswerWriter>) -> Self {
        let order = writer.has_blocks().then(Order::default);
        Self { reader, writer, events: Vec::new(), tokens: None, halves: Halves::default(), order, started: false }
    }

    pub(super) fn tokens(&self) -> Option<Tokens> {
        self.tokens
    }

    /// Read one event; what it says can then be written.
    pub(super) fn read(&mut self, name: Option<&[u8]>, data: &[u8]) -> Result<Step, Malformed> {
        self.events.clear();
        if let Err(malformed) = self.reader.event(name, data, &mut self.events) {
            let mended = halves::mended(data).ok_or(malformed)?;
            self.events.clear();
            self.reader.event(name, &mended, &mut self.events)?;
            self.halves.watch();
        }
        self.halves.join(&mut self.events);
        self.begin();
        Ok(self.step())
    }

    /// An answer begins once, and before it says anything, whatever its upstream has left out or said twice.
    fn begin(&mut self) {
        let mut started = self.started;
        let is_start = |event: &Event| matches!(event, Event::Start { .. });
        self.events.retain(|event| !(is_start(event) && std::mem::replace(&mut started, true)));
        if self.started {
            return;
        }
        let is_silent = |event: &Event| matches!(event, Event::Usage(_) | Event::Ping | Event::Error(_));
        let first = self.events.iter().position(|event| !is_silent(event));
        if let Some(first) = first.filter(|first| !is_start(&self.events[*first])) {
            self.events.retain(|event| !is_start(event));
            self.events.insert(first, Event::Start { id: String::new(), model: String::new() });
            started = true;
        }
        self.started = started;
    }

    /// The stream has ended. False if the answer is not complete.
    pub(super) fn finish(&mut self) -> (Step, bool) {
        self.events.clear();
        let is_complete = self.reader.finish(&mut self.events);
        self.begin();
        (self.step(), is_complete)
    }

    /// Write what was read last.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) {
        for event in self.events.drain(..) {
            match &mut self.order {
                Some(order) => order.push(event, &mut |event| self.writer.event(event, out)),
                None => self.writer.event(&event, out),
            }
        }
    }

    /// Read a whole answer; what it says can then be written.
    pub(super) fn read_body(&mut self, json: &[u8]) -> Step {
        self.events.clear();
        if let Some(mended) = halves::mended(json) {
            self.reader.body(&mended, &mut self.events);
            self.halves.watch();
            self.halves.join(&mut self.events);
        } else {
            self.reader.body(json, &mut self.events);
        }
        self.step()
    }

    /// The whole answer that was read.
    pub(super) fn body(&mut self) -> Vec<u8> {
        self.writer.body(&self.events)
    }

    /// The last event of an answer that has failed.
    pub(super) fn fault(&mut self, message: &str, code: &str, status: u16) -> Vec<u8> {
        let mut out = Vec::new();
        let error = ReplyError { status, code: code.to_owned(), message: message.to_owned() };
        self.writer.event(&Event::Error(error), &mut out);
        out
    }

    fn step(&mut self) -> Step {
        let mut step = Step { finished: self.reader.reasons(), ..Step::default() };
        let bit = |choice: &u32| 1_u128.checked_shl(*choice).unwrap_or(0);
        for event in &self.events {
            match event {
                Event::Text { choice, text } | Event::Thinking { choice, text } | Event::Refusal { choice, text } => {
                    step.seen |= bit(choice);
                    step.text_bytes += text.len() as u64;
                }
                Event::Call { choice, name, .. } => {
                    step.seen |= bit(choice);
                    step.text_bytes += name.len() as u64;
                }
                Event::Arguments { choice, json, .. } => {
                    step.seen |= bit(choice);
                    step.text_bytes += json.len() as u64;
                }
                Event::Image { choice, .. } => step.seen |= bit(choice),
                Event::Stop { choice, .. } => {
                    step.seen |= bit(choice);
                    step.finished |= bit(choice);
                }
                Event::Usage(tokens) => self.tokens = Some(*tokens),
                Event::End => step.is_end = true,
                Event::Error(error) => step.error = Some(error.clone()),
                _ => {}
            }
        }
        step
    }
}

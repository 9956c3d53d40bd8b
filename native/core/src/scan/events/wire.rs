//! Events as they go out: passed, spliced, or made for what is left of a text.

use super::channel::{Channel, Template, Wire};
use super::parse::{FUNCTION_CALL, Shape};
use crate::json::Span;
use crate::scan::body::escaped;
use crate::scan::mask::Hit;
use crate::sse::Block;

/// One event where it stands.
#[derive(Clone, Copy)]
pub(super) struct WireRef<'a> {
    head: &'a [u8],
    pub(super) data: &'a [u8],
    tail: &'a [u8],
    pub(super) sequence: Option<Span>,
}

impl<'a> WireRef<'a> {
    /// An event with its data, if those are one line.
    pub(super) fn new(block: &'a Block<'a>, data: &'a [u8], sequence: Option<Span>) -> Option<Self> {
        let place = block.data_place()?;
        let raw = block.raw();
        Some(Self { head: &raw[..place.start], data, tail: raw[place.end..].trim_ascii_end(), sequence })
    }

    /// Writes the event with edits, in order, and in place of its own number perhaps another.
    pub(super) fn write(self, edits: &[Hit], number: Option<u64>, out: &mut Vec<u8>) {
        let number = self.sequence.zip(number).map(|(span, number)| Hit {
            start: span.start,
            end: span.end,
            finding: None,
            text: Some(number.to_string()),
        });
        out.extend_from_slice(self.head);
        let mut from = 0;
        let before = number.as_ref().map_or(0, |number| edits.partition_point(|edit| edit.start < number.start));
        for edit in edits[..before].iter().chain(&number).chain(&edits[before..]) {
            if let Some(text) = edit.text.as_ref().filter(|_| edit.start >= from) {
                out.extend_from_slice(&self.data[from..edit.start]);
                out.extend_from_slice(text.as_bytes());
                from = edit.end;
            }
        }
        out.extend_from_slice(&self.data[from..]);
        out.extend_from_slice(self.tail);
        out.extend_from_slice(b"\n\n");
    }
}

impl Wire {
    /// An event with its data; data of several lines become one, as line ends in JSON are but space.
    pub(super) fn new(block: &Block<'_>, data: &[u8], sequence: Option<Span>) -> Self {
        let mut wire = Self::default();
        wire.set(block, data, sequence);
        wire
    }

    /// Makes this that event; the room for it is kept.
    pub(super) fn set(&mut self, block: &Block<'_>, data: &[u8], sequence: Option<Span>) {
        self.head.clear();
        self.data.clear();
        self.tail.clear();
        self.sequence = sequence;
        if let Some(event) = WireRef::new(block, data, sequence) {
            self.head.extend_from_slice(event.head);
            self.data.extend_from_slice(event.data);
            self.tail.extend_from_slice(event.tail);
            return;
        }
        if let Some(name) = block.event() {
            self.head.extend_from_slice(b"event: ");
            self.head.extend_from_slice(name);
            self.head.push(b'\n');
        }
        self.head.extend_from_slice(b"data: ");
        self.data.extend(data.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
    }

    pub(super) fn as_ref(&self) -> WireRef<'_> {
        WireRef { head: &self.head, data: &self.data, tail: &self.tail, sequence: self.sequence }
    }

    /// An event made of nothing but its data.
    fn made(name: &str, data: Vec<u8>) -> Self {
        let head = if name.is_empty() { "data: ".into() } else { format!("event: {name}\ndata: ") };
        Self { head: head.into_bytes(), data, tail: Vec::new(), sequence: None }
    }
}

impl Template {
    /// Puts a text into it.
    pub(super) fn fill(&mut self, text: &str) {
        self.edits.push(replaced(self.start, self.end, text));
        self.edits.sort_by_key(|edit| edit.start);
    }
}

/// An edit that puts text into a string.
pub(super) fn replaced(start: usize, end: usize, text: &str) -> Hit {
    Hit { start, end, finding: None, text: Some(escaped(text)) }
}

/// An event for the rest of a text, when none of its own is at hand.
pub(super) fn text_event(shape: Shape, channel: &Channel, text: &str) -> Wire {
    let key = String::from_utf8_lossy(&channel.key);
    let (owner, text) = (channel.owner, escaped(text));
    if shape == Shape::Messages {
        let kind = if key == "thinking" { "thinking_delta" } else { "text_delta" };
        return block_delta(owner, kind, &key, &text);
    }
    let inside = if key == "text" { format!(r#""text":"{text}""#) } else { format!(r#""delta":{{"{key}":"{text}"}}"#) };
    chunk(owner, &inside)
}

/// An event for the arguments of a call, when none of its own is at hand.
pub(super) fn call_event(shape: Shape, owner: u64, path: u64, arguments: &str) -> Wire {
    let text = escaped(arguments);
    if shape == Shape::Messages {
        return block_delta(owner, "input_json_delta", "partial_json", &text);
    }
    let inside = if path == FUNCTION_CALL {
        format!(r#""delta":{{"function_call":{{"arguments":"{text}"}}}}"#)
    } else {
        format!(r#""delta":{{"tool_calls":[{{"index":{path},"function":{{"arguments":"{text}"}}}}]}}"#)
    };
    chunk(owner, &inside)
}

fn block_delta(index: u64, kind: &str, key: &str, text: &str) -> Wire {
    let data =
        format!(r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}","{key}":"{text}"}}}}"#);
    Wire::made("content_block_delta", data.into_bytes())
}

fn chunk(index: u64, inside: &str) -> Wire {
    let data = format!(
        r#"{{"object":"chat.completion.chunk","choices":[{{"index":{index},{inside},"finish_reason":null}}]}}"#
    );
    Wire::made("", data.into_bytes())
}

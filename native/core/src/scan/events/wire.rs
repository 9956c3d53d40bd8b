//! Events as they go out: passed, spliced, or made for what is left of a text.

use super::channel::{Channel, Template, Wire};
use super::parse::{FUNCTION_CALL, Shape};
use crate::json::Span;
use crate::request::push_escaped;
use crate::scan::mask::Hit;
use crate::sse::Block;

impl Wire {
    /// An event with its data; data of several lines become one, as line ends in JSON are but space.
    pub(super) fn new(block: &Block<'_>, data: &[u8], sequence: Option<Span>) -> Self {
        let raw = block.raw();
        if let Some(place) = block.data_place() {
            let tail = raw[place.end..].trim_ascii_end();
            return Self { head: raw[..place.start].to_vec(), data: data.to_vec(), tail: tail.to_vec(), sequence };
        }
        let mut head = Vec::new();
        if let Some(name) = block.event() {
            head.extend_from_slice(b"event: ");
            head.extend_from_slice(name);
            head.push(b'\n');
        }
        head.extend_from_slice(b"data: ");
        let data = data.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
        Self { head, data, tail: Vec::new(), sequence }
    }

    /// An event made of nothing but its data.
    fn made(name: &str, data: Vec<u8>) -> Self {
        let head = if name.is_empty() { "data: ".into() } else { format!("event: {name}\ndata: ") };
        Self { head: head.into_bytes(), data, tail: Vec::new(), sequence: None }
    }

    /// Writes the event with edits, in order, and in place of its own number perhaps another.
    pub(super) fn write(&self, edits: &[Hit], number: Option<u64>, out: &mut Vec<u8>) {
        let number = self.sequence.zip(number).map(|(span, number)| Hit {
            start: span.start,
            end: span.end,
            finding: None,
            text: Some(number.to_string()),
        });
        out.extend_from_slice(&self.head);
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
        out.extend_from_slice(&self.tail);
        out.extend_from_slice(b"\n\n");
    }
}

impl Template {
    /// The edits that put a text into it.
    pub(super) fn with(&mut self, text: &str) -> &[Hit] {
        self.edits.retain(|edit| edit.start != self.start);
        self.edits.push(replaced(self.start, self.end, text));
        self.edits.sort_by_key(|edit| edit.start);
        &self.edits
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

fn escaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 8);
    push_escaped(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

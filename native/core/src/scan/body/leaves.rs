//! The strings, keys and numbers of a JSON text that stands inside a string.

use crate::json::{Event, Limits, Mode, Reader, Str};
use crate::request::{Form, Segment, SegmentKind, key_may_hide, number_may_hide};

const LIMITS: Limits = Limits { max_depth: 64, max_nodes: 1 << 20 };

/// What is in a text.
#[derive(Debug)]
pub(super) enum Leaves {
    /// All of it.
    Whole(Vec<Segment>),
    /// What there is before the text breaks off or breaks the grammar, and what follows as one string.
    Broken(Vec<Segment>),
}

/// The leaves of a text that begins like an object or array.
pub(super) fn read(text: &[u8]) -> Leaves {
    let mut reader = Reader::new(text, LIMITS, Mode::Lenient);
    let mut found = Vec::new();
    // The key of each open container, and of the value that comes next.
    let mut keys: Vec<Option<Str>> = Vec::new();
    let mut next = None;
    let mut push = |string, form, key| found.push(Segment::new(string, SegmentKind::ToolArguments, form, key));
    loop {
        let before = reader.position();
        match reader.next() {
            Ok(Event::Key(key)) => {
                if key_may_hide(reader.raw(key)) {
                    push(key, Form::Key, None);
                }
                next = Some(key);
            }
            Ok(Event::ObjectStart | Event::ArrayStart) => keys.push(next),
            Ok(Event::ObjectEnd | Event::ArrayEnd) => {
                keys.pop();
                next = keys.last().copied().flatten();
            }
            Ok(Event::String(string)) => push(string, Form::String, next),
            Ok(Event::Number(number)) => {
                if number_may_hide(&text[number.start..number.end]) {
                    let string = Str { start: number.start, end: number.end, escaped: false };
                    push(string, Form::Number, next);
                }
            }
            Ok(Event::Bool(_) | Event::Null) => {}
            Ok(Event::End) => return Leaves::Whole(found),
            Err(_) => {
                let quote = memchr::memchr(b'"', &text[before..]).map_or(0, |quote| quote + 1);
                let start = before + quote;
                let escaped = memchr::memchr(b'\\', &text[start..]).is_some();
                push(Str { start, end: text.len(), escaped }, Form::String, next);
                return Leaves::Broken(found);
            }
        }
    }
}

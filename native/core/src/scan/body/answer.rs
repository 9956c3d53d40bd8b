//! Where the text of an answer is, whatever its dialect.

use crate::json::{self, Error, Event, Limits, Mode, Reader, Span, Str};
use crate::request::{Form, FromTool, Segment, SegmentKind, is_from_tool, key_may_hide, kind_below, number_may_hide};

const LIMITS: Limits = Limits { max_depth: 256, max_nodes: usize::MAX };

/// A value that repeats the text around it, token by token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Where it stands.
    pub(crate) value: Span,
    /// The object whose text it repeats.
    pub(crate) inside: Span,
    /// What may stand there instead.
    pub(crate) empty: &'static str,
}

/// An open container.
#[derive(Clone, Copy)]
struct Level {
    kind: SegmentKind,
    key: Option<Str>,
    start: usize,
    repeated: Option<(Span, &'static str)>,
    /// Its first segment.
    first: usize,
    from_tool: bool,
}

/// The texts of an answer, and what repeats them.
pub(super) fn read(body: &[u8]) -> Result<(Vec<Segment>, Vec<Dropped>), Error> {
    let mut reader = Reader::new(body, LIMITS, Mode::Lenient);
    let mut segments = Vec::new();
    let mut dropped = Vec::new();
    let mut levels: Vec<Level> = Vec::new();
    let mut outputs = FromTool::default();
    let mut next = (SegmentKind::Text, None);
    loop {
        match reader.next()? {
            Event::Key(key) => {
                let level = levels.last().copied();
                let around = level.map_or(SegmentKind::Text, |level| level.kind);
                let name = json::unescape(reader.raw(key));
                if *name == *b"logprobs" && around == SegmentKind::Text {
                    let value = reader.skip_value()?;
                    let empty = if body[value.start] == b'[' { "[]" } else { "null" };
                    if let Some(level) = levels.last_mut() {
                        level.repeated = Some((value, empty));
                    }
                    continue;
                }
                if key_may_hide(&name) {
                    segments.push(Segment::new(key, around, Form::Key, None));
                }
                let parent = level.and_then(|level| level.key).map(|parent| json::unescape(reader.raw(parent)));
                next = (answer_kind(&name, parent.as_deref(), around), Some(key));
            }
            Event::ObjectStart | Event::ArrayStart => {
                if next.0 == SegmentKind::Media {
                    next.0 = SegmentKind::Text;
                }
                let (kind, key) = next;
                let (start, first) = (reader.event_start(), segments.len());
                levels.push(Level { kind, key, start, repeated: None, first, from_tool: false });
            }
            Event::ObjectEnd | Event::ArrayEnd => {
                let ended = levels.pop();
                if let Some(Level { start, repeated: Some((value, empty)), .. }) = ended {
                    dropped.push(Dropped { value, inside: Span { start, end: reader.position() }, empty });
                }
                if let Some(Level { first, from_tool: true, .. }) = ended {
                    outputs.note(first..segments.len());
                }
                next = levels.last().map_or((SegmentKind::Text, None), |level| (level.kind, level.key));
            }
            Event::String(string) => {
                let (kind, key) = next;
                if let (Some(level), Some(key)) = (levels.last_mut(), key) {
                    level.from_tool |= is_from_tool(&reader, key, string);
                }
                // What the upstream's machinery writes is no text of anybody.
                if kind != SegmentKind::Other {
                    segments.push(Segment::new(string, kind, Form::String, key));
                }
            }
            Event::Number(number) => {
                let (kind, key) = next;
                if kind == SegmentKind::ToolArguments && number_may_hide(&body[number.start..number.end]) {
                    let string = Str { start: number.start, end: number.end, escaped: false };
                    segments.push(Segment::new(string, kind, Form::Number, key));
                }
            }
            Event::Bool(_) | Event::Null => {}
            Event::End => {
                outputs.mark(&mut segments);
                return Ok((segments, dropped));
            }
        }
    }
}

/// What the strings of an answer are under a key, as [`kind_below`] tells it for requests.
pub(crate) fn answer_kind(key: &[u8], parent: Option<&[u8]>, around: SegmentKind) -> SegmentKind {
    match (around, key) {
        (
            SegmentKind::Text,
            b"object"
            | b"model"
            | b"system_fingerprint"
            | b"service_tier"
            | b"finish_reason"
            | b"stop_reason"
            | b"status"
            | b"item_id"
            | b"response_id"
            | b"previous_response_id"
            | b"obfuscation",
        ) => SegmentKind::Other,
        _ => kind_below(key, parent, around),
    }
}

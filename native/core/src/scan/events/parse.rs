//! One event: where its text is, which text that is a piece of, and what it ends.

use crate::json::{self, Error, Event, Limits, Mode, Reader, Span, Str};
use crate::request::SegmentKind;
use crate::scan::body::answer_kind;

const LIMITS: Limits = Limits { max_depth: 256, max_nodes: usize::MAX };
/// The path of a choice's only call in the old style. Other calls have their index, and other texts larger numbers.
pub(super) const FUNCTION_CALL: u64 = 1 << 16;
const NOWHERE: Str = Str { start: 0, end: 0, escaped: false };

/// Whose event it is, told by what it looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    Chat,
    Messages,
    Responses,
    #[default]
    Other,
}

/// A piece of a longer text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Choice, content block or output item.
    pub(super) owner: u64,
    /// Which text of it.
    pub(super) path: u64,
    /// Arguments of a tool call.
    pub(super) is_call: bool,
    /// The call's identifier, hashed; 0 without one.
    pub(super) id: u64,
    /// Where it stands; empty at 0 if a call has no arguments here.
    pub(super) string: Str,
    /// The key that it stands under.
    pub(super) key: Str,
}

/// What an event turned out to be.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one event")]
pub(super) struct Parsed {
    pub(super) shape: Shape,
    pub(super) pieces: Vec<Piece>,
    /// Owners whose texts end with this event.
    pub(super) finished: Vec<u64>,
    /// Every text ends.
    pub(super) finishes_all: bool,
    /// A tool call begins here, before any arguments.
    pub(super) opens_call: Option<u64>,
    /// Token probabilities by owner.
    pub(super) logprobs: Vec<(u64, Span)>,
    pub(super) sequence: Option<Span>,
    /// There are strings beside the pieces.
    pub(super) has_rest: bool,
    /// Its strings repeat what was streamed.
    pub(super) repeats: bool,
    /// It says something that must not get lost, even if its piece does.
    pub(super) is_kept: bool,
    /// It carries token counts.
    pub(super) has_usage: bool,
}

impl Parsed {
    /// Whether some text ends with this event.
    pub(super) fn ends(&self, owner: u64) -> bool {
        self.finishes_all || self.finished.contains(&owner)
    }

    /// Whether the event is one piece of one text and nothing else, so that more of that text can go out in its like.
    pub(super) fn is_pure(&self) -> bool {
        self.pieces.len() == 1 && !self.has_rest && !self.finishes_all && self.finished.is_empty()
    }

    /// Reads an event into `self`, which keeps its room.
    pub(super) fn read(&mut self, data: &[u8]) -> Result<(), Error> {
        let Self { mut pieces, mut finished, mut logprobs, .. } = std::mem::take(self);
        pieces.clear();
        finished.clear();
        logprobs.clear();
        *self = Self { pieces, finished, logprobs, ..Self::default() };
        let mut top = Top::default();
        let mut reader = Reader::new(data, LIMITS, Mode::Lenient);
        if reader.next()? != Event::ObjectStart {
            while reader.next()? != Event::End {}
            self.has_rest = true;
            return Ok(());
        }
        while let Event::Key(key) = reader.next()? {
            self.member(&mut reader, key, &mut top)?;
        }
        while reader.next()? != Event::End {}
        self.judge(data, &top);
        Ok(())
    }

    fn member(&mut self, reader: &mut Reader<'_>, key: Str, top: &mut Top) -> Result<(), Error> {
        match reader.raw(key) {
            b"choices" => {
                self.shape = Shape::Chat;
                self.choices(reader)?;
            }
            b"type" => {
                if let Event::String(name) = scalar(reader)? {
                    top.name = Some(name);
                }
            }
            b"index" | b"output_index" => top.owner = number(reader)?.unwrap_or(top.owner),
            b"content_index" | b"summary_index" => top.part = number(reader)?.unwrap_or(0),
            b"sequence_number" => {
                let value = reader.skip_value()?;
                self.sequence = reader.integer(value).map(|_| value);
            }
            b"delta" => {
                let before = self.pieces.len();
                let event = reader.next()?;
                self.value(reader, event, key, hash(0, b"delta"), true)?;
                top.delta =
                    self.pieces.get(before).map(|piece| piece.string).filter(|_| matches!(event, Event::String(_)));
            }
            b"content_block" | b"item" => self.opening(reader, key, top)?,
            b"logprobs" => {
                let value = reader.skip_value()?;
                self.logprobs.push((0, value));
            }
            b"usage" => {
                let value = reader.skip_value()?;
                self.has_usage = value.end - value.start > 4;
            }
            name => {
                let kind = answer_kind(name, None, SegmentKind::Text);
                let is_text = matches!(kind, SegmentKind::Text | SegmentKind::ToolArguments);
                match reader.next()? {
                    Event::String(_) => self.has_rest |= is_text,
                    Event::ObjectStart | Event::ArrayStart => {
                        self.has_rest = true;
                        leave(reader, reader.depth() - 1)?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// What a block or item is when it begins; its text so far is a piece.
    fn opening(&mut self, reader: &mut Reader<'_>, key: Str, top: &mut Top) -> Result<(), Error> {
        let outside = reader.depth();
        if reader.next()? != Event::ObjectStart {
            self.has_rest = true;
            return leave(reader, outside);
        }
        let is_block = reader.raw(key) == b"content_block";
        while let Event::Key(key) = reader.next()? {
            let event = reader.next()?;
            match (reader.raw(key), event) {
                (b"type", Event::String(name)) => top.opened = Some(name),
                (b"text" | b"thinking", Event::String(_)) if is_block => {
                    self.value(reader, event, key, hash(hash(0, b"delta"), reader.raw(key)), true)?;
                }
                (_, Event::ObjectStart | Event::ArrayStart) => {
                    self.has_rest = true;
                    leave(reader, reader.depth() - 1)?;
                }
                (b"id" | b"call_id" | b"status", _) => {}
                (_, Event::String(_)) => self.has_rest = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// What the event's own name makes of its parts.
    fn judge(&mut self, data: &[u8], top: &Top) {
        if self.shape == Shape::Chat {
            return;
        }
        let text = |string: Str| &data[string.start..string.end];
        let name = top.name.map(text).unwrap_or_default();
        let opened = top.opened.map(text).unwrap_or_default();
        for (owner, _) in &mut self.logprobs {
            *owner = top.owner;
        }
        for piece in &mut self.pieces {
            piece.owner = top.owner;
        }
        if name.starts_with(b"response.") {
            self.shape = Shape::Responses;
            self.responses(name, opened, top);
            return;
        }
        self.shape = match name {
            b"content_block_start"
            | b"content_block_delta"
            | b"content_block_stop"
            | b"message_start"
            | b"message_delta"
            | b"message_stop"
            | b"ping"
            | b"error" => Shape::Messages,
            _ => Shape::Other,
        };
        match name {
            b"content_block_start" if opened.ends_with(b"tool_use") => self.opens_call = Some(top.owner),
            b"content_block_stop" => self.finished.push(top.owner),
            b"message_delta" | b"message_stop" => self.finishes_all = true,
            b"content_block_start" | b"content_block_delta" => {}
            _ => {
                // Not a dialect that is known: every string by itself.
                self.has_rest |= self.shape == Shape::Other || !self.pieces.is_empty();
                self.pieces.clear();
            }
        }
    }

    fn responses(&mut self, name: &[u8], opened: &[u8], top: &Top) {
        if let Some(stem) = name.strip_suffix(b".delta").filter(|_| top.delta.is_some()) {
            let is_media = stem.ends_with(b"audio");
            let is_call = [&b"arguments"[..], b"input", b"code"].iter().any(|end| stem.ends_with(end));
            let path = hash(hash(top.part, stem), b"delta");
            self.pieces.retain(|_| !is_media);
            for piece in &mut self.pieces {
                (piece.path, piece.is_call) = (path, is_call);
            }
            return;
        }
        self.has_rest |= !self.pieces.is_empty();
        self.pieces.clear();
        if name == b"response.output_item.added" {
            if matches!(opened, b"function_call" | b"custom_tool_call") {
                self.opens_call = Some(top.owner);
            }
        } else if name.ends_with(b".done") {
            self.finished.push(top.owner);
            self.repeats = true;
        } else if matches!(name, b"response.completed" | b"response.incomplete" | b"response.failed") {
            self.finishes_all = true;
            self.repeats = true;
        }
    }

    fn choices(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let outside = reader.depth();
        if reader.next()? != Event::ArrayStart {
            self.has_rest = true;
            return leave(reader, outside);
        }
        while reader.depth() > outside {
            match reader.next()? {
                Event::ObjectStart => self.choice(reader)?,
                Event::String(_) => self.has_rest = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn choice(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let first = self.pieces.len();
        let mut owner = 0;
        let mut finished = false;
        let mut repeated = None;
        while let Event::Key(key) = reader.next()? {
            match reader.raw(key) {
                b"index" => owner = number(reader)?.unwrap_or(0),
                // Some servers write "" until there is a reason.
                b"finish_reason" => {
                    if let Event::String(reason) = scalar(reader)? {
                        finished = reason.end > reason.start;
                    }
                }
                b"logprobs" => repeated = Some(reader.skip_value()?),
                b"delta" | b"message" => self.delta(reader)?,
                b"text" => {
                    let event = reader.next()?;
                    self.value(reader, event, key, hash(0, b"text"), true)?;
                }
                _ => {
                    let event = reader.next()?;
                    self.value(reader, event, key, 0, false)?;
                }
            }
        }
        for piece in self.pieces.iter_mut().skip(first) {
            piece.owner = owner;
        }
        self.logprobs.extend(repeated.map(|value| (owner, value)));
        if finished {
            self.finished.push(owner);
            self.is_kept = true;
        }
        Ok(())
    }

    fn delta(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let outside = reader.depth();
        let event = reader.next()?;
        if event != Event::ObjectStart {
            return self.value(reader, event, NOWHERE, 0, false);
        }
        while reader.depth() > outside {
            let Event::Key(key) = reader.next()? else {
                continue;
            };
            let name = reader.raw(key);
            let event = reader.next()?;
            match (name, event) {
                (b"tool_calls", Event::ArrayStart) => self.calls(reader)?,
                (b"function_call", Event::ObjectStart) => self.call(reader, FUNCTION_CALL)?,
                _ => self.value(reader, event, key, hash(hash(0, b"delta"), name), true)?,
            }
        }
        Ok(())
    }

    fn calls(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let outside = reader.depth() - 1;
        let mut position = 0;
        while reader.depth() > outside {
            if reader.next()? == Event::ObjectStart {
                self.call(reader, position)?;
                position += 1;
            }
        }
        Ok(())
    }

    /// The call whose object was just opened.
    fn call(&mut self, reader: &mut Reader<'_>, position: u64) -> Result<(), Error> {
        let mut piece = Piece { owner: 0, path: position, is_call: true, id: 0, string: NOWHERE, key: NOWHERE };
        let outside = reader.depth() - 1;
        while reader.depth() > outside {
            let Event::Key(key) = reader.next()? else {
                continue;
            };
            let name = reader.raw(key);
            match (name, reader.next()?) {
                (b"index", Event::Number(value)) => {
                    piece.path = reader.integer(value).unwrap_or(position).min(FUNCTION_CALL);
                }
                (b"id", Event::String(id)) if id.end > id.start => piece.id = hash(1, reader.raw(id)),
                // The fields of the function stand in an object of their own.
                (b"function" | b"custom", Event::ObjectStart) | (b"id" | b"type", _) => {}
                (b"arguments" | b"input", Event::String(string)) => (piece.string, piece.key) = (string, key),
                (b"name", Event::String(string)) => {
                    let is_told = string.end > string.start;
                    self.has_rest |= is_told;
                    self.is_kept |= is_told;
                }
                (_, Event::String(string)) => self.has_rest |= string.end > string.start,
                (_, Event::ObjectStart | Event::ArrayStart) => {
                    self.has_rest = true;
                    self.is_kept = true;
                    leave(reader, reader.depth() - 1)?;
                }
                _ => {}
            }
        }
        self.pieces.push(piece);
        Ok(())
    }

    /// A value whose first event was read. Strings are pieces where APIs stream them, else they are told to be there.
    fn value(
        &mut self,
        reader: &mut Reader<'_>,
        event: Event,
        key: Str,
        path: u64,
        streams: bool,
    ) -> Result<(), Error> {
        let kind = answer_kind(reader.raw(key), None, SegmentKind::Text);
        match event {
            Event::String(_) if !matches!(kind, SegmentKind::Text | SegmentKind::ToolArguments) => {}
            Event::String(string) if streams => {
                let is_call = kind == SegmentKind::ToolArguments;
                let path = path.max(FUNCTION_CALL + 1);
                self.pieces.push(Piece { owner: 0, path, is_call, id: 0, string, key });
            }
            Event::String(string) => self.has_rest |= string.end > string.start,
            Event::ObjectStart => {
                while let Event::Key(key) = reader.next()? {
                    let name = reader.raw(key);
                    let event = reader.next()?;
                    let streams = matches!(
                        name,
                        b"text"
                            | b"thinking"
                            | b"content"
                            | b"summary"
                            | b"transcript"
                            | b"reasoning"
                            | b"partial_json"
                    );
                    self.value(reader, event, key, hash(path, name), streams)?;
                }
            }
            Event::ArrayStart => loop {
                match reader.next()? {
                    Event::ArrayEnd => break,
                    event => self.value(reader, event, key, path, false)?,
                }
            },
            _ => {}
        }
        Ok(())
    }
}

/// What stands at the top level of an event that has no choices.
#[derive(Debug, Default)]
struct Top {
    name: Option<Str>,
    /// The type of the block or item.
    opened: Option<Str>,
    owner: u64,
    part: u64,
    delta: Option<Str>,
}

/// The next value if it is a scalar; a container is passed over and reads as null.
fn scalar(reader: &mut Reader<'_>) -> Result<Event, Error> {
    let outside = reader.depth();
    let event = reader.next()?;
    leave(reader, outside)?;
    Ok(if matches!(event, Event::ObjectStart | Event::ArrayStart) { Event::Null } else { event })
}

fn number(reader: &mut Reader<'_>) -> Result<Option<u64>, Error> {
    Ok(match scalar(reader)? {
        Event::Number(value) => reader.integer(value),
        _ => None,
    })
}

fn leave(reader: &mut Reader<'_>, outside: usize) -> Result<(), Error> {
    while reader.depth() > outside {
        reader.next()?;
    }
    Ok(())
}

/// FNV-1a, one name after the other.
fn hash(before: u64, name: &[u8]) -> u64 {
    let start = before ^ 0xcbf2_9ce4_8422_2325;
    name.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Where a string body ends that must wait for its other half: it closes with the first half of a surrogate pair.
pub(super) fn whole_end(raw: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &raw[at..]) {
        at += found;
        if raw.get(at + 1) == Some(&b'u') {
            let is_high =
                matches!(raw.get(at + 2..at + 4), Some([b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B']));
            if is_high && at + 6 == raw.len() {
                return at;
            }
            at += 6;
        } else {
            at += 2;
        }
        if at >= raw.len() {
            break;
        }
    }
    raw.len()
}

/// The text of a string body; what is no text becomes U+FFFD.
pub(super) fn text(raw: &[u8]) -> String {
    match String::from_utf8(json::unescape(raw).into_owned()) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

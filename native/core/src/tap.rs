//! What an answer says while it passes: usage, errors, the end. One parse per event, nothing changed.

mod dialect;

use std::borrow::Cow;

use crate::json::write::quote;
use crate::json::{self, Error, Event, Limits, Mode, Reader, Span};
use crate::usage::Usage;

pub use dialect::Dialect;

/// The last event of a stream of `OpenAI`'s.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// What one event was.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on.
    Pass,
    /// A chunk that carries nothing but usage.
    UsageOnly,
    /// The stream says that it is complete.
    Done,
    /// An error of the upstream: its message, and the error object.
    Failed(String, Vec<u8>),
    /// No JSON.
    Malformed,
    /// No JSON, in the middle of a tool call: skipping it would change the call.
    BrokenToolCall,
}

/// What is known so far.
#[derive(Debug)]
pub struct Tap {
    dialect: Dialect,
    /// Token counts, of whichever provider's words.
    pub usage: Usage,
    /// Decoded bytes of generated text and arguments.
    pub text_bytes: u64,
    /// The last `sequence_number`.
    pub sequence: u64,
    /// Of the response that has begun, as it stood in the JSON.
    response: Vec<u8>,
    seen: u128,
    finished: u128,
    /// Of choices that were told of before they had finished.
    opened: u128,
    /// Of choices that went on after their finish, or told of it twice: those may not mean it.
    doubtful: u128,
}

const LIMITS: Limits = Limits { max_depth: 256, max_nodes: usize::MAX };
/// Larger bodies are not parsed whole for their usage: it is looked for from the end.
const PARSE_WHOLE: usize = 1 << 20;

/// What an event turned out to hold, before it is judged.
#[derive(Default)]
struct Findings {
    /// It is a whole body: a choice has a message, and no deltas.
    is_body: bool,
    has_choices: bool,
    has_usage: bool,
    kind: Option<Vec<u8>>,
    error: Option<Span>,
    text_bytes: u64,
    index: Option<u64>,
    sequence: Option<u64>,
}

impl Tap {
    /// A tap for a stream or body of this dialect.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            usage: Usage::default(),
            text_bytes: 0,
            sequence: 0,
            response: Vec::new(),
            seen: 0,
            finished: 0,
            opened: 0,
            doubtful: 0,
        }
    }

    /// Whether every choice that was begun has told why it ended.
    #[must_use]
    pub fn all_finished(&self) -> bool {
        self.seen != 0 && self.seen == self.finished
    }

    /// Whether a stream of `OpenAI`'s with so many choices lacks nothing but its `[DONE]`.
    ///
    /// `is_whole`: it ended as its framing had promised. If not, a choice must have told of its end once and said nothing
    /// since: some servers write a reason with every chunk.
    #[must_use]
    pub fn lacks_only_done(&self, choices: u32, is_whole: bool) -> bool {
        matches!(self.dialect, Dialect::Chat | Dialect::Completions)
            && self.all_finished()
            && self.finished.count_ones() >= choices
            && (is_whole || self.doubtful == 0)
    }

    /// Whether so many choices have each gone on for a while, told of their end once, and said nothing since. One that came
    /// with its reason in a single event may be of a server that writes a reason with every chunk.
    #[must_use]
    pub fn surely_finished(&self, choices: u32) -> bool {
        self.all_finished()
            && self.finished.count_ones() >= choices
            && self.finished & !self.opened == 0
            && self.doubtful == 0
    }

    /// The id of the response that has begun.
    #[must_use]
    pub fn response_id(&self) -> Option<&[u8]> {
        (!self.response.is_empty()).then_some(&self.response[..])
    }

    /// What others have found in an event: bytes of text, choices that said something and those that told of their end, a
    /// bit each.
    pub(crate) fn note(&mut self, text_bytes: u64, seen: u128, finished: u128) {
        self.text_bytes += text_bytes;
        if self.finished | finished == 0 {
            self.seen |= seen;
            self.opened |= seen;
            return;
        }
        self.seen |= seen | finished;
        self.doubtful |= self.finished & (seen | finished);
        self.opened |= seen & !finished;
        self.finished = (self.finished & !seen) | finished;
    }

    /// Whether a choice went on after its finish, or told of it twice, and may not mean it.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.doubtful != 0
    }

    /// Look at the data of one event.
    pub fn event(&mut self, data: &[u8], name: Option<&[u8]>) -> Verdict {
        if data.trim_ascii() == b"[DONE]" {
            return Verdict::Done;
        }
        let mut found = Findings::default();
        if self.read(data, &mut found).is_err() {
            let in_tool_call = [&b"tool_calls"[..], b"input_json_delta", b"function_call_arguments"]
                .iter()
                .any(|mark| memchr::memmem::find(data, mark).is_some());
            return if in_tool_call { Verdict::BrokenToolCall } else { Verdict::Malformed };
        }
        self.text_bytes += found.text_bytes;
        self.sequence = found.sequence.unwrap_or(self.sequence);
        self.judge(data, name, &found)
    }

    /// Look at a whole JSON body; the error object that it holds where an answer should stand.
    pub fn body(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        if self.dialect == Dialect::Raw {
            return None;
        }
        if body.len() <= PARSE_WHOLE {
            let mut found = Findings { is_body: true, ..Findings::default() };
            // A body that is no JSON says nothing; it passes as it is.
            let _ = self.read(body, &mut found);
            self.text_bytes += found.text_bytes;
            return found.error.map(|span| describe(&body[span.start..span.end]).1);
        }
        self.text_bytes += body.len() as u64;
        for key in [&b"\"usage\""[..], b"\"usageMetadata\""] {
            if let Some(place) = memchr::memmem::rfind(body, key) {
                let rest = body[place + key.len()..].trim_ascii_start();
                if let Some(value) = rest.strip_prefix(b":") {
                    // What follows the object is no error of the object's.
                    let _ = self.usage.read(&mut Reader::new(value, LIMITS, Mode::Lenient));
                    return None;
                }
            }
        }
        None
    }

    /// An error object in bytes that are no event: some servers write plain JSON after their stream.
    #[must_use]
    pub fn stray_error(&self, text: &[u8]) -> Option<(String, Vec<u8>)> {
        let text = text.trim_ascii();
        if !text.starts_with(b"{") {
            return None;
        }
        let mut found = Findings::default();
        let mut probe = Self::new(self.dialect);
        probe.read(text, &mut found).ok()?;
        found.error.map(|span| describe(&text[span.start..span.end]))
    }

    fn judge(&mut self, data: &[u8], name: Option<&[u8]>, found: &Findings) -> Verdict {
        let kind = found.kind.as_deref().or(name).unwrap_or_default();
        let failed = matches!(kind, b"error" | b"response.failed");
        if let Some(span) = found.error {
            return failure(&data[span.start..span.end]);
        }
        if failed && self.dialect != Dialect::Chat {
            return failure(data);
        }
        if matches!(kind, b"message_stop" | b"response.completed" | b"response.incomplete") {
            return Verdict::Done;
        }
        if found.has_usage && found.has_choices && found.index.is_none() {
            return Verdict::UsageOnly;
        }
        Verdict::Pass
    }

    fn read(&mut self, data: &[u8], found: &mut Findings) -> Result<(), Error> {
        let mut reader = Reader::new(data, LIMITS, Mode::Lenient);
        if reader.next()? != Event::ObjectStart {
            while reader.next()? != Event::End {}
            return Ok(());
        }
        while let Event::Key(key) = reader.next()? {
            match reader.raw(key) {
                b"choices" => {
                    found.has_choices = true;
                    self.choices(&mut reader, found)?;
                }
                b"usage" | b"usageMetadata" => found.has_usage |= self.usage.read(&mut reader)?,
                b"error" => {
                    let span = reader.skip_value()?;
                    found.error = is_truthy(&data[span.start..span.end]).then_some(span);
                }
                b"type" => {
                    if let Event::String(kind) = peek_scalar(&mut reader)? {
                        found.kind = Some(reader.raw(kind).to_vec());
                    }
                }
                b"sequence_number" => {
                    if let Event::Number(number) = peek_scalar(&mut reader)? {
                        found.sequence = reader.integer(number);
                    }
                }
                b"message" | b"response" => self.inner(data, &mut reader, found)?,
                b"delta" => text(&mut reader, found)?,
                name => {
                    if !self.usage.read_beside(name, &mut reader)? {
                        reader.skip_value()?;
                    }
                }
            }
        }
        reader.next().map(drop)
    }

    /// `message` of Anthropic's `message_start`, `response` of the Responses API: both carry usage, the latter an error.
    fn inner(&mut self, data: &[u8], reader: &mut Reader<'_>, found: &mut Findings) -> Result<(), Error> {
        let outside = reader.depth();
        if reader.next()? != Event::ObjectStart {
            while reader.depth() > outside {
                reader.next()?;
            }
            return Ok(());
        }
        while let Event::Key(key) = reader.next()? {
            match reader.raw(key) {
                b"usage" => found.has_usage |= self.usage.read(reader)?,
                b"error" => {
                    let span = reader.skip_value()?;
                    found.error = is_truthy(&data[span.start..span.end]).then_some(span);
                }
                b"id" if self.dialect == Dialect::Responses && self.response.is_empty() => {
                    if let Event::String(id) = peek_scalar(reader)? {
                        self.response = reader.raw(id).to_vec();
                    }
                }
                _ => {
                    reader.skip_value()?;
                }
            }
        }
        Ok(())
    }

    fn choices(&mut self, reader: &mut Reader<'_>, found: &mut Findings) -> Result<(), Error> {
        let outside = reader.depth();
        let first = reader.next()?;
        if first != Event::ArrayStart {
            while reader.depth() > outside {
                reader.next()?;
            }
            return Ok(());
        }
        while reader.depth() > outside {
            if reader.next()? == Event::ObjectStart {
                self.choice(reader, found)?;
            }
        }
        Ok(())
    }

    fn choice(&mut self, reader: &mut Reader<'_>, found: &mut Findings) -> Result<(), Error> {
        let mut index = 0;
        let mut finished = false;
        let before = found.text_bytes;
        while let Event::Key(key) = reader.next()? {
            match reader.raw(key) {
                b"index" => {
                    if let Event::Number(number) = peek_scalar(reader)? {
                        index = reader.integer(number).unwrap_or(0);
                    }
                }
                b"finish_reason" => {
                    // Some servers write "" until there is a reason.
                    if let Event::String(reason) = peek_scalar(reader)? {
                        finished = reason.end > reason.start;
                    }
                }
                b"delta" | b"text" => text(reader, found)?,
                b"message" if found.is_body => text(reader, found)?,
                _ => {
                    reader.skip_value()?;
                }
            }
        }
        found.index = Some(index);
        let bit = u32::try_from(index).ok().and_then(|n| 1_u128.checked_shl(n)).unwrap_or(0);
        self.seen |= bit;
        if finished {
            self.doubtful |= self.finished & bit;
            self.finished |= bit;
            return Ok(());
        }
        self.opened |= bit;
        if found.text_bytes > before {
            self.doubtful |= self.finished & bit;
            self.finished &= !bit;
        }
        Ok(())
    }
}

/// The next value if it is a scalar; a container is passed over and reads as null.
fn peek_scalar(reader: &mut Reader<'_>) -> Result<Event, Error> {
    let outside = reader.depth();
    let event = reader.next()?;
    if reader.depth() == outside {
        return Ok(event);
    }
    while reader.depth() > outside {
        reader.next()?;
    }
    Ok(Event::Null)
}

/// Count the generated text below the next value: contents, reasoning, arguments; not roles, types and ids.
fn text(reader: &mut Reader<'_>, found: &mut Findings) -> Result<(), Error> {
    let outside = reader.depth();
    let mut counts = true;
    loop {
        match reader.next()? {
            Event::Key(key) => {
                let name = reader.raw(key);
                counts = !matches!(name, b"role" | b"type" | b"id" | b"signature" | b"stop_reason" | b"stop_sequence");
            }
            Event::String(string) if counts => {
                let raw = reader.raw(string);
                let length = if string.escaped { json::decoded_len(raw) } else { raw.len() };
                found.text_bytes += length as u64;
            }
            _ => {}
        }
        if reader.depth() == outside {
            return Ok(());
        }
    }
}

fn is_truthy(value: &[u8]) -> bool {
    !matches!(value, b"null" | b"false" | b"0" | b"\"\"") && {
        let inside = value.strip_prefix(b"{").and_then(|v| v.strip_suffix(b"}"));
        inside.is_none_or(|inside| !inside.trim_ascii().is_empty())
    }
}

fn failure(error: &[u8]) -> Verdict {
    let (message, object) = describe(error);
    Verdict::Failed(message, object)
}

/// The message of an error value, and the value as an object.
fn describe(error: &[u8]) -> (String, Vec<u8>) {
    const UNNAMED: &str = "the upstream reported an error";
    let mut reader = Reader::new(error, LIMITS, Mode::Lenient);
    let read = |string: json::Str, reader: &Reader<'_>| {
        let decoded: Cow<'_, [u8]> = json::unescape(reader.raw(string));
        String::from_utf8_lossy(&decoded).into_owned()
    };
    match reader.next() {
        Ok(Event::String(text)) => {
            let message = read(text, &reader);
            let mut object = b"{\"message\":".to_vec();
            quote(&mut object, &message);
            object.push(b'}');
            (message, object)
        }
        Ok(Event::ObjectStart) => {
            let mut message = None;
            while let Ok(Event::Key(key)) = reader.next() {
                if reader.raw(key) == b"message" {
                    if let Ok(Event::String(text)) = peek_scalar(&mut reader) {
                        message = Some(read(text, &reader));
                    }
                } else if reader.skip_value().is_err() {
                    break;
                }
            }
            (message.unwrap_or_else(|| UNNAMED.into()), error.to_vec())
        }
        _ => (UNNAMED.into(), b"{}".to_vec()),
    }
}

#[cfg(test)]
mod tests;

//! The request view: what the gateway needs to know of a body, found in one pass, and edits that leave the rest alone.

use std::fmt;

use crate::json::{self, Event, Limits, Mode, Reader, Span, Str};

/// Which API a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/responses`
    Responses,
    /// Anthropic's `/v1/messages`
    Messages,
}

impl Kind {
    /// By the name that the rest of the gateway uses.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "chat" => Self::Chat,
            "completions" => Self::Completions,
            "embeddings" => Self::Embeddings,
            "responses" => Self::Responses,
            "messages" => Self::Messages,
            _ => return None,
        })
    }
}

/// What a string in a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Text that a model reads.
    Text,
    /// Arguments of a tool call.
    ToolArguments,
    /// Names, descriptions and schemas of tools.
    ToolDefinition,
    /// Encoded images, audio and files.
    Media,
    /// Roles, types, identifiers and everything else.
    Other,
}

impl SegmentKind {
    /// The name that the rest of the gateway uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::ToolArguments => "tool_arguments",
            Self::ToolDefinition => "tool_definition",
            Self::Media => "media",
            Self::Other => "other",
        }
    }
}

/// A string of the body: offsets without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it stands.
    pub string: Str,
    /// What it is.
    pub kind: SegmentKind,
}

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    message: String,
    param: Option<String>,
    code: &'static str,
}

impl RequestError {
    fn new(message: impl Into<String>, param: impl Into<String>, code: &'static str) -> Self {
        Self { message: message.into(), param: Some(param.into()), code }
    }

    fn wrong_type(param: impl Into<String>, wanted: &str) -> Self {
        let param = param.into();
        Self::new(format!("{param} must be {wanted}"), param, "invalid_type")
    }

    fn missing(param: &str) -> Self {
        Self::new(format!("{param} is required"), param, "missing_required_parameter")
    }

    /// For the caller; quotes nothing of the body.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The field at fault.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// A stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RequestError {}

impl From<json::Error> for RequestError {
    fn from(error: json::Error) -> Self {
        Self { message: error.to_string(), param: None, code: error.kind().code() }
    }
}

/// What was found. Offsets refer to the bytes that were parsed.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The model's name, decoded.
    pub model: Option<String>,
    /// `stream`
    pub stream: bool,
    /// `stream_options.include_usage`
    pub include_usage: bool,
    /// The smallest limit on generated tokens.
    pub max_tokens: Option<u64>,
    /// Choices.
    pub n: u32,
    /// Every string value, in order.
    pub segments: Vec<Segment>,
    model_value: Option<Span>,
    stream_options: Option<Options>,
    open: usize,
    is_empty: bool,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    /// The value of `stream_options`.
    value: Span,
    is_object: bool,
    is_empty: bool,
    include_usage: Option<Span>,
}

const MAX_CHOICES: u32 = 128;

impl View {
    /// Read a body.
    ///
    /// # Errors
    /// Anything that is no JSON object of this kind, or that two parsers could read differently.
    pub fn parse(body: &[u8], kind: Kind, limits: Limits) -> Result<Self, RequestError> {
        Reader::check_utf8(body)?;
        let mut parser = Parser { body, reader: Reader::new(body, limits, Mode::Strict), view: Self::default() };
        parser.view.n = 1;
        parser.object(kind)?;
        Ok(parser.view)
    }

    /// The body with another model and/or `stream_options.include_usage` set; None if that changes nothing.
    #[must_use]
    pub fn rewrite(&self, body: &[u8], model: Option<&str>, include_usage: bool) -> Option<Vec<u8>> {
        // Edits by place: what is replaced, and what stands there then. `open` is where a new first member goes.
        let mut edits: Vec<(Span, Vec<u8>)> = Vec::with_capacity(2);
        let mut members = Vec::new();
        if let Some(name) = model.filter(|name| self.model.as_deref() != Some(*name)) {
            match self.model_value {
                Some(span) => edits.push((span, quoted(name))),
                None => members.push([b"\"model\":".to_vec(), quoted(name)].concat()),
            }
        }
        if include_usage && !self.include_usage {
            match self.stream_options {
                None => members.push(br#""stream_options":{"include_usage":true}"#.to_vec()),
                Some(options) => edits.push(options.with_usage()),
            }
        }
        if !members.is_empty() {
            let mut inserted = members.join(&b',');
            if !self.is_empty {
                inserted.push(b',');
            }
            edits.push((Span { start: self.open, end: self.open }, inserted));
        }
        if edits.is_empty() {
            return None;
        }
        edits.sort_unstable_by_key(|(span, _)| span.start);
        let grown: usize = edits.iter().map(|(_, text)| text.len()).sum();
        let mut out = Vec::with_capacity(body.len() + grown);
        let mut from = 0;
        for (span, text) in edits {
            out.extend_from_slice(&body[from..span.start]);
            out.extend_from_slice(&text);
            from = span.end;
        }
        out.extend_from_slice(&body[from..]);
        Some(out)
    }
}

impl Options {
    fn with_usage(self) -> (Span, Vec<u8>) {
        if let Some(span) = self.include_usage {
            return (span, b"true".to_vec());
        }
        if !self.is_object {
            return (self.value, br#"{"include_usage":true}"#.to_vec());
        }
        let first = self.value.start + 1;
        let member: &[u8] = if self.is_empty { br#""include_usage":true"# } else { br#""include_usage":true,"# };
        (Span { start: first, end: first }, member.to_vec())
    }
}

/// A JSON string with its quotes.
fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    push_escaped(&mut out, text);
    out.push(b'"');
    out
}

/// Append `text` as the body of a JSON string.
pub(crate) fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}

struct Parser<'a> {
    body: &'a [u8],
    reader: Reader<'a>,
    view: View,
}

impl Parser<'_> {
    fn object(&mut self, kind: Kind) -> Result<(), RequestError> {
        if self.reader.next()? != Event::ObjectStart {
            // Malformed JSON is told as that; whatever else it is, it is no object.
            self.rest()?;
            let message = "the request body must be a JSON object";
            return Err(RequestError { message: message.into(), param: None, code: "invalid_type" });
        }
        self.view.open = self.reader.position();
        self.view.is_empty = true;
        let mut has_messages = false;
        let mut has_input = false;
        let mut wrong: Option<RequestError> = None;
        loop {
            match self.reader.next()? {
                Event::Key(key) => {
                    self.view.is_empty = false;
                    let name = json::unescape(self.reader.raw(key));
                    let outcome = match &*name {
                        b"messages" => {
                            has_messages = true;
                            self.messages(matches!(kind, Kind::Chat | Kind::Messages))
                        }
                        b"prompt" | b"input" => {
                            has_input = true;
                            self.input(kind, &String::from_utf8_lossy(&name))
                        }
                        other => self.member(other),
                    };
                    // Broken JSON further on is the more useful message, so a wrong type waits for the end.
                    if let Err(error) = outcome {
                        if error.param.is_none() {
                            return Err(error);
                        }
                        wrong.get_or_insert(error);
                        self.unwind(1)?;
                    }
                }
                Event::End => break,
                _ => {}
            }
        }
        if let Some(error) = wrong {
            return Err(error);
        }
        match kind {
            Kind::Chat | Kind::Messages if !has_messages => Err(RequestError::missing("messages")),
            Kind::Completions if !has_input => Err(RequestError::missing("prompt")),
            Kind::Embeddings if !has_input => Err(RequestError::missing("input")),
            _ => Ok(()),
        }
    }

    fn rest(&mut self) -> Result<(), RequestError> {
        while self.reader.next()? != Event::End {}
        Ok(())
    }

    /// Read on until only `depth` containers are open: a value was given up in the middle.
    fn unwind(&mut self, depth: usize) -> Result<(), RequestError> {
        while self.reader.depth() > depth {
            self.reader.next()?;
        }
        Ok(())
    }

    /// A member of the top level other than the conversation itself.
    fn member(&mut self, name: &[u8]) -> Result<(), RequestError> {
        let param = || String::from_utf8_lossy(name).into_owned();
        match name {
            b"model" => self.model(),
            b"stream" => {
                self.view.stream = self.flag("stream")?.unwrap_or(false);
                Ok(())
            }
            b"stream_options" => self.options(),
            b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens" => {
                if let Some(limit) = self.integer(&param(), 0, u64::MAX >> 1)? {
                    let least = self.view.max_tokens.map_or(limit, |known| known.min(limit));
                    self.view.max_tokens = Some(least);
                }
                Ok(())
            }
            b"n" => {
                if let Some(n) = self.integer("n", 1, u64::from(MAX_CHOICES))? {
                    self.view.n = u32::try_from(n).unwrap_or(MAX_CHOICES);
                }
                Ok(())
            }
            b"tools" | b"functions" => self.walk(SegmentKind::ToolDefinition),
            b"system" | b"instructions" | b"suffix" | b"stop" | b"prediction" => self.walk(SegmentKind::Text),
            b"response_format" | b"text" => self.walk(SegmentKind::ToolDefinition),
            _ => self.walk(SegmentKind::Other),
        }
    }

    fn model(&mut self) -> Result<(), RequestError> {
        match self.reader.next()? {
            Event::String(string) if string.end > string.start => {
                self.view.model_value = Some(Span { start: string.start - 1, end: string.end + 1 });
                let name = json::unescape(self.reader.raw(string));
                self.view.model = Some(String::from_utf8_lossy(&name).into_owned());
                Ok(())
            }
            Event::Null => {
                self.view.model_value = Some(self.last());
                Ok(())
            }
            _ => Err(RequestError::wrong_type("model", "a non-empty string")),
        }
    }

    /// The span of the scalar that was read last.
    fn last(&self) -> Span {
        Span { start: self.reader.event_start(), end: self.reader.position() }
    }

    fn flag(&mut self, param: &str) -> Result<Option<bool>, RequestError> {
        match self.reader.next()? {
            Event::Bool(value) => Ok(Some(value)),
            Event::Null => Ok(None),
            _ => Err(RequestError::wrong_type(param, "a boolean")),
        }
    }

    fn integer(&mut self, param: &str, least: u64, most: u64) -> Result<Option<u64>, RequestError> {
        match self.reader.next()? {
            Event::Null => Ok(None),
            Event::Number(span) => {
                self.reader.integer(span).filter(|value| (least..=most).contains(value)).map(Some).ok_or_else(|| {
                    let bounds = format!("{param} must be an integer from {least} to {most}");
                    RequestError::new(bounds, param, "invalid_value")
                })
            }
            _ => Err(RequestError::wrong_type(param, "an integer")),
        }
    }

    fn options(&mut self) -> Result<(), RequestError> {
        let first = self.reader.next()?;
        let start = self.reader.event_start();
        let mut options =
            Options { value: self.last(), is_object: first == Event::ObjectStart, is_empty: true, include_usage: None };
        match first {
            Event::Null => {}
            Event::ObjectStart => {
                while let Event::Key(key) = self.reader.next()? {
                    options.is_empty = false;
                    if json::key_is(self.reader.raw(key), key.escaped, b"include_usage") {
                        self.view.include_usage = self.flag("stream_options.include_usage")?.unwrap_or(false);
                        options.include_usage = Some(self.last());
                    } else {
                        self.reader.skip_value()?;
                    }
                }
                options.value = Span { start, end: self.reader.position() };
            }
            _ => return Err(RequestError::wrong_type("stream_options", "an object")),
        }
        self.view.stream_options = Some(options);
        Ok(())
    }

    fn messages(&mut self, checked: bool) -> Result<(), RequestError> {
        if !checked {
            return self.walk(SegmentKind::Text);
        }
        let wrong = || RequestError::wrong_type("messages", "a non-empty array of messages");
        if self.reader.next()? != Event::ArrayStart {
            return Err(wrong());
        }
        let mut index = 0_usize;
        loop {
            match self.reader.next()? {
                Event::ObjectStart => self.message(index)?,
                Event::ArrayEnd if index > 0 => return Ok(()),
                Event::ArrayEnd => return Err(wrong()),
                _ => {
                    return Err(RequestError::wrong_type(format!("messages[{index}]"), "an object"));
                }
            }
            index += 1;
        }
    }

    fn message(&mut self, index: usize) -> Result<(), RequestError> {
        let mut has_role = false;
        while let Event::Key(key) = self.reader.next()? {
            let name = json::unescape(self.reader.raw(key));
            match &*name {
                b"role" => {
                    let Event::String(role) = self.reader.next()? else {
                        return Err(RequestError::wrong_type(format!("messages[{index}].role"), "a string"));
                    };
                    self.push(role, SegmentKind::Other);
                    has_role = true;
                }
                b"content" => self.content(index)?,
                b"tool_calls" | b"function_call" => self.walk(SegmentKind::Other)?,
                b"tool_call_id" | b"id" | b"type" => self.walk(SegmentKind::Other)?,
                _ => self.walk(SegmentKind::Text)?,
            }
        }
        if has_role {
            return Ok(());
        }
        let param = format!("messages[{index}].role");
        Err(RequestError::new(format!("{param} is required"), param, "missing_required_parameter"))
    }

    fn content(&mut self, index: usize) -> Result<(), RequestError> {
        match self.reader.next()? {
            Event::String(text) => {
                self.push(text, SegmentKind::Text);
                Ok(())
            }
            Event::ArrayStart => self.walk_open(SegmentKind::Text),
            Event::Null => Ok(()),
            _ => Err(RequestError::wrong_type(
                format!("messages[{index}].content"),
                "a string, an array of parts or null",
            )),
        }
    }

    fn input(&mut self, kind: Kind, name: &str) -> Result<(), RequestError> {
        let wanted = match (kind, name) {
            (Kind::Completions, "prompt") => "a string or an array",
            (Kind::Embeddings, "input") => "a string or a non-empty array",
            _ => return self.walk(SegmentKind::Text),
        };
        match self.reader.next()? {
            Event::String(text) => self.push(text, SegmentKind::Text),
            Event::ArrayStart => {
                let before = self.reader.position();
                self.walk_open(SegmentKind::Text)?;
                let inside = &self.body[before..self.reader.position() - 1];
                if kind == Kind::Embeddings && inside.trim_ascii().is_empty() {
                    return Err(RequestError::wrong_type(name, wanted));
                }
            }
            _ => return Err(RequestError::wrong_type(name, wanted)),
        }
        Ok(())
    }

    fn push(&mut self, string: Str, kind: SegmentKind) {
        self.view.segments.push(Segment { string, kind });
    }

    /// Collect the strings of the next value.
    fn walk(&mut self, kind: SegmentKind) -> Result<(), RequestError> {
        match self.reader.next()? {
            Event::String(text) => {
                self.push(text, kind);
                Ok(())
            }
            Event::ObjectStart | Event::ArrayStart => self.walk_open(kind),
            _ => Ok(()),
        }
    }

    /// Collect the strings of the container that has just been opened, telling by their keys what they are.
    fn walk_open(&mut self, kind: SegmentKind) -> Result<(), RequestError> {
        let outside = self.reader.depth() - 1;
        // What the strings at each open level are; a key changes it for its value only.
        let mut kinds = vec![kind];
        let mut next = kind;
        while self.reader.depth() > outside {
            match self.reader.next()? {
                Event::Key(key) => {
                    let around = kinds.last().copied().unwrap_or(kind);
                    next = kind_below(&json::unescape(self.reader.raw(key)), around);
                }
                Event::ObjectStart | Event::ArrayStart => kinds.push(next),
                Event::ObjectEnd | Event::ArrayEnd => {
                    kinds.pop();
                    next = kinds.last().copied().unwrap_or(kind);
                }
                Event::String(text) => {
                    let media = next != SegmentKind::ToolDefinition && self.reader.raw(text).starts_with(b"data:");
                    self.push(text, if media { SegmentKind::Media } else { next });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What the strings under a key are, inside a container of `around`.
fn kind_below(key: &[u8], around: SegmentKind) -> SegmentKind {
    match (around, key) {
        (SegmentKind::ToolDefinition | SegmentKind::ToolArguments | SegmentKind::Media, _) => around,
        (_, b"arguments" | b"input") => SegmentKind::ToolArguments,
        (_, b"data" | b"file_data" | b"b64_json") => SegmentKind::Media,
        (SegmentKind::Text, b"type" | b"id" | b"tool_use_id" | b"tool_call_id" | b"signature" | b"media_type") => {
            SegmentKind::Other
        }
        _ => around,
    }
}

#[cfg(test)]
mod tests;

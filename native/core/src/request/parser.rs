//! One pass over a body.

use super::footprint::brings_more;
use super::tools::brings_tools;
use super::{Form, FromTool, Kind, MAX_CHOICES, Options, RequestError, Segment, SegmentKind, View, is_from_tool};
use crate::json::{self, Event, Reader, Span, Str};

/// Digits of the shortest number that is worth a look.
const LONG_NUMBER: usize = 6;
/// Bytes of the shortest key that is.
const LONG_KEY: usize = 6;

/// Whether something could hide in a key: those of the APIs are small letters and underscores.
pub(crate) fn key_may_hide(raw: &[u8]) -> bool {
    raw.len() >= LONG_KEY && !raw.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_')
}

/// Whether something could hide in a number.
pub(crate) fn number_may_hide(raw: &[u8]) -> bool {
    raw.len() >= LONG_NUMBER
        && raw.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count() >= LONG_NUMBER
}

/// A body being read into a view.
pub(super) struct Parser<'a> {
    pub(super) body: &'a [u8],
    pub(super) reader: Reader<'a>,
    pub(super) view: View,
    pub(super) from_tool: FromTool,
}

/// An open container: what its strings are, and under which key; a key changes it for its value only.
#[derive(Clone, Copy)]
struct Level {
    kind: SegmentKind,
    key: Option<Str>,
    /// Its first segment.
    first: usize,
    from_tool: bool,
}

impl Parser<'_> {
    pub(super) fn object(&mut self, kind: Kind) -> Result<(), RequestError> {
        if self.reader.next()? != Event::ObjectStart {
            // Malformed JSON is told as that; whatever else it is, it is no object.
            self.rest()?;
            let message = "the request body must be a JSON object";
            return Err(RequestError::no_object(message));
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
                        b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens" => self.limit(kind, &name),
                        other => self.member(other, key),
                    };
                    // Broken JSON further on is the more useful message, so a wrong type waits for the end.
                    if let Err(error) = outcome {
                        if error.param().is_none() {
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
        // Nobody streams numbers, whatever is asked.
        self.view.stream &= kind != Kind::Embeddings;
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
    fn member(&mut self, name: &[u8], key: Str) -> Result<(), RequestError> {
        match name {
            b"model" => {
                self.model()?;
                self.view.model_member = self.view.model_value.map(|value| Span { start: key.start - 1, ..value });
                Ok(())
            }
            b"stream" => {
                self.view.stream = self.flag("stream")?.unwrap_or(false);
                Ok(())
            }
            b"stream_options" => self.options(),
            b"n" => {
                if let Some(n) = self.integer("n", 1, u64::from(MAX_CHOICES))? {
                    self.view.n = u32::try_from(n).unwrap_or(MAX_CHOICES);
                }
                Ok(())
            }
            b"best_of" => {
                if let Some(n) = self.integer("best_of", 1, u64::from(MAX_CHOICES))? {
                    self.view.best_of = u32::try_from(n).unwrap_or(MAX_CHOICES);
                }
                Ok(())
            }
            b"tools" | b"functions" | b"response_format" | b"text" => {
                let start = self.reader.position();
                self.walk(SegmentKind::ToolDefinition, Some(key))?;
                let value = Span { start, end: self.reader.position() };
                self.view.footprint.tools.push(value);
                if matches!(name, b"tools" | b"functions") {
                    self.view.footprint.offered.push(value);
                }
                Ok(())
            }
            b"service_tier" => {
                let first = self.view.segments.len();
                self.walk(SegmentKind::Other, Some(key))?;
                if let [segment] = &self.view.segments[first..] {
                    let tier = json::unescape(self.reader.raw(segment.string));
                    self.view.service_tier = Some(String::from_utf8_lossy(&tier).into_owned());
                }
                Ok(())
            }
            b"system" | b"instructions" | b"suffix" | b"stop" | b"prediction" => {
                self.walk(SegmentKind::Text, Some(key))
            }
            _ => {
                let first = self.view.segments.len();
                self.key(key, SegmentKind::Other);
                let start = self.reader.position();
                self.walk(SegmentKind::Other, Some(key))?;
                let end = self.reader.position();
                let value = self.body[start..end].trim_ascii();
                if value != b"null" {
                    self.view.footprint.is_open |= brings_more(name);
                    self.view.footprint.brought.extend(brings_tools(name));
                    self.thinks(name, first);
                    if name == b"speed" && value == b"\"fast\"" {
                        self.view.speed = Some("fast");
                    }
                }
                self.belongs(name, first);
                if name == b"anthropic_version" {
                    self.view.version = Some(key);
                }
                if name == b"thinking" {
                    self.view.thinking =
                        Some(Span { start: end - self.body[start..end].trim_ascii_start().len(), end });
                }
                Ok(())
            }
        }
    }

    /// A limit on generated tokens, which bounds something where the endpoint reads it. Of several the largest counts: which
    /// one an upstream keeps to is its own matter.
    fn limit(&mut self, kind: Kind, name: &[u8]) -> Result<(), RequestError> {
        let is_read = kind.limits().contains(&name);
        // A prompt alone may be echoed; of an answer without a token some upstreams think that it has no limit.
        let least = u64::from(is_read && kind != Kind::Completions);
        let limit = self.integer(&String::from_utf8_lossy(name), least, u64::MAX >> 1)?;
        if is_read {
            self.view.limits.push((self.last(), limit));
            self.view.max_tokens = self.view.max_tokens.max(limit);
        }
        Ok(())
    }

    /// What a caller says of thoughts, among the segments from `first` on.
    fn thinks(&mut self, name: &[u8], first: usize) {
        let member = match name {
            b"reasoning_effort" => name,
            b"reasoning" => b"effort",
            b"thinking" => b"type",
            _ => return,
        };
        let says_no = |segment: &Segment| {
            segment.form == Form::String
                && segment.key.is_some_and(|key| json::key_is(self.reader.raw(key), key.escaped, member))
                && matches!(self.reader.raw(segment.string), b"none" | b"disabled")
        };
        let thinks = !self.view.segments[first..].iter().any(says_no);
        self.view.thinks = Some(thinks || self.view.thinks == Some(true));
    }

    /// What a caller says of the requests that this one belongs to, among the segments from `first` on.
    fn belongs(&mut self, name: &[u8], first: usize) {
        let (rank, member) = match name {
            b"prompt_cache_key" => (0, name),
            b"user" => (1, name),
            b"safety_identifier" => (2, name),
            b"metadata" => (3, &b"user_id"[..]),
            b"previous_response_id" => (4, name),
            _ => return,
        };
        let raw = |at: Str| self.reader.raw(at);
        let is_said = |segment: &&Segment| {
            segment.form == Form::String
                && segment.string.end > segment.string.start
                && segment.key.is_some_and(|key| json::key_is(raw(key), key.escaped, member))
        };
        let said = self.view.segments[first..].iter().find(is_said).map(|segment| json::unescape(raw(segment.string)));
        self.view.belongs[rank] = said.map(|said| String::from_utf8_lossy(&said).into_owned());
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
            return self.walk(SegmentKind::Text, None);
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
        let mut from_tool = false;
        self.view.footprint.messages += 1;
        let first = self.view.segments.len();
        while let Event::Key(key) = self.reader.next()? {
            let name = json::unescape(self.reader.raw(key));
            match &*name {
                b"role" => {
                    let Event::String(role) = self.reader.next()? else {
                        return Err(RequestError::wrong_type(format!("messages[{index}].role"), "a string"));
                    };
                    self.push(role, SegmentKind::Other, None);
                    from_tool = is_from_tool(&self.reader, key, role);
                    has_role = true;
                }
                b"content" => self.content(index)?,
                b"tool_calls" | b"function_call" | b"tool_call_id" | b"id" | b"type" => {
                    self.walk(SegmentKind::Other, Some(key))?;
                }
                other => {
                    self.view.footprint.names += u64::from(other == b"name");
                    self.key(key, SegmentKind::Text);
                    let start = self.reader.position();
                    self.walk(SegmentKind::Text, Some(key))?;
                    // Sound of an earlier answer is named by its id.
                    let value = self.body[start..self.reader.position()].trim_ascii();
                    self.view.footprint.is_open |= other == b"audio" && value != b"null";
                }
            }
        }
        if from_tool {
            self.from_tool.note(first..self.view.segments.len());
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
                self.push(text, SegmentKind::Text, None);
                Ok(())
            }
            Event::ArrayStart => self.walk_open(SegmentKind::Text, None),
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
            // A prompt of the Responses API is kept by the provider.
            (Kind::Responses, "prompt") => {
                let start = self.reader.position();
                self.walk(SegmentKind::Text, None)?;
                let value = self.body[start..self.reader.position()].trim_ascii();
                self.view.footprint.is_open |= value != b"null";
                return Ok(());
            }
            _ => return self.walk(SegmentKind::Text, None),
        };
        match self.reader.next()? {
            Event::String(text) => self.push(text, SegmentKind::Text, None),
            Event::ArrayStart => {
                let before = self.reader.position();
                let first = self.view.segments.len();
                self.walk_open(SegmentKind::Text, None)?;
                let inside = &self.body[before..self.reader.position() - 1];
                // Each string is a prompt; without any, each array of tokens is one.
                let texts = self.view.segments.len() - first;
                let arrays = || memchr::memchr_iter(b'[', inside).count();
                let prompts = if texts > 0 { texts } else { arrays() };
                self.view.prompts = u32::try_from(prompts.max(1)).unwrap_or(u32::MAX);
                if kind == Kind::Embeddings && inside.trim_ascii().is_empty() {
                    return Err(RequestError::wrong_type(name, wanted));
                }
            }
            _ => return Err(RequestError::wrong_type(name, wanted)),
        }
        Ok(())
    }

    fn push(&mut self, string: Str, kind: SegmentKind, key: Option<Str>) {
        self.view.segments.push(Segment::new(string, kind, Form::String, key));
    }

    fn key(&mut self, key: Str, kind: SegmentKind) {
        if key_may_hide(self.reader.raw(key)) {
            self.view.segments.push(Segment::new(key, kind, Form::Key, None));
        }
    }

    /// Collect the strings of the next value.
    fn walk(&mut self, kind: SegmentKind, key: Option<Str>) -> Result<(), RequestError> {
        match self.reader.next()? {
            Event::String(text) => {
                self.push(text, kind, key);
                Ok(())
            }
            Event::ObjectStart | Event::ArrayStart => self.walk_open(kind, key),
            _ => Ok(()),
        }
    }

    /// Collect the strings of the container that has just been opened, telling by their keys what they are.
    fn walk_open(&mut self, kind: SegmentKind, key: Option<Str>) -> Result<(), RequestError> {
        let outside = self.reader.depth() - 1;
        let outermost = key.map(|key| self.reader.raw(key)).unwrap_or_default();
        let open = |kind, key, first| Level { kind, key, first, from_tool: false };
        let mut levels = vec![open(kind, key, self.view.segments.len())];
        let mut next = (kind, key);
        while self.reader.depth() > outside {
            match self.reader.next()? {
                Event::Key(key) => {
                    let (around, parent) = levels.last().map_or((kind, None), |level| (level.kind, level.key));
                    self.key(key, around);
                    let parent = parent.map(|parent| json::unescape(self.reader.raw(parent)));
                    let name = json::unescape(self.reader.raw(key));
                    next = (kind_below(&name, parent.as_deref(), around), Some(key));
                }
                Event::ObjectStart | Event::ArrayStart => {
                    if next.0 == SegmentKind::Media {
                        // What is encoded is a string; beside it there may be text.
                        next.0 = levels.last().map_or(kind, |level| level.kind);
                    }
                    levels.push(open(next.0, next.1, self.view.segments.len()));
                }
                Event::ObjectEnd | Event::ArrayEnd => {
                    if let Some(Level { first, from_tool: true, .. }) = levels.pop() {
                        self.from_tool.note(first..self.view.segments.len());
                    }
                    next = levels.last().map_or((kind, key), |level| (level.kind, level.key));
                }
                Event::String(text) => {
                    self.push(text, next.0, next.1);
                    let is_tool = kind == SegmentKind::ToolDefinition && levels.len() == 2;
                    if let (Some(level), Some(key)) = (levels.last_mut(), next.1) {
                        level.from_tool |= is_from_tool(&self.reader, key, text);
                        self.view.footprint.note(&self.reader, key, level.key, text, next.0);
                        if is_tool && outermost == b"tools" && self.reader.raw(key) == b"type" {
                            self.view.footprint.tool(self.reader.raw(text));
                        }
                    }
                }
                Event::Number(_) if next.0 == SegmentKind::Text && next.1.is_none() => {
                    self.view.footprint.token_ids += 1;
                }
                Event::Number(number)
                    if next.0 == SegmentKind::ToolArguments
                        && number_may_hide(&self.body[number.start..number.end]) =>
                {
                    let string = Str { start: number.start, end: number.end, escaped: false };
                    let (kind, key) = next;
                    self.view.segments.push(Segment::new(string, kind, Form::Number, key));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What the strings under a key are, inside a container of `around` that stands under the key `parent`.
pub(crate) fn kind_below(key: &[u8], parent: Option<&[u8]>, around: SegmentKind) -> SegmentKind {
    match (around, key) {
        (SegmentKind::ToolDefinition | SegmentKind::ToolArguments, _) => around,
        (_, b"arguments" | b"input" | b"partial_json") => SegmentKind::ToolArguments,
        (_, b"url") if parent == Some(b"image_url") => SegmentKind::Media,
        (_, b"image_url" | b"data" | b"file_data" | b"b64_json" | b"partial_image_b64" | b"embedding") => {
            SegmentKind::Media
        }
        (_, b"result" | b"encrypted_content" | b"signature" | b"thought_signature") => SegmentKind::Media,
        (
            SegmentKind::Text,
            b"type" | b"id" | b"role" | b"call_id" | b"tool_use_id" | b"tool_call_id" | b"media_type" | b"format"
            | b"detail",
        ) => SegmentKind::Other,
        _ => around,
    }
}

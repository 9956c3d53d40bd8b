//! The request view: what the gateway needs to know of a body, found in one pass, and edits that leave the rest alone.

use crate::json::write::{number, quote};
use crate::json::{Limits, Mode, Reader, Span, Str};

mod error;
mod footprint;
mod origin;
mod parser;
mod quote;
pub(crate) mod thoughts;
mod tools;

pub use error::RequestError;
use footprint::Footprint;
pub(crate) use origin::{FromTool, is_from_tool};
use parser::Parser;
pub(crate) use parser::{key_may_hide, kind_below, number_may_hide};
pub use quote::{Model, Quote};

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
    /// No conversation: nothing but the model is looked for.
    Other,
}

impl Kind {
    /// The members that limit generated tokens. What another endpoint has such a member for bounds nothing here.
    fn limits(self) -> &'static [&'static [u8]] {
        match self {
            Self::Chat => &[b"max_tokens", b"max_completion_tokens"],
            Self::Completions | Self::Messages => &[b"max_tokens"],
            Self::Responses => &[b"max_output_tokens"],
            Self::Embeddings | Self::Other => &[],
        }
    }
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
            // A count is asked for with the very body that would be sent.
            "messages" | "count_tokens" => Self::Messages,
            "other" => Self::Other,
            _ => return None,
        })
    }

    /// That name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Other => "other",
        }
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
    /// Where encoded images, audio, files and sealed values stand (a signature, say).
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

/// How a segment stands in the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A string value.
    String,
    /// A key; only those that no API has given its name.
    Key,
    /// A number in the arguments of a tool call, long enough to mean something.
    Number,
}

/// A piece of text in the body: offsets without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it stands.
    pub string: Str,
    /// What it is.
    pub kind: SegmentKind,
    /// How it stands there.
    pub form: Form,
    /// The key that it stands under, directly or in arrays.
    pub key: Option<Str>,
    /// A tool wrote it, or a document says it: nobody who may give orders.
    pub from_tool: bool,
}

impl Segment {
    pub(crate) fn new(string: Str, kind: SegmentKind, form: Form, key: Option<Str>) -> Self {
        Self { string, kind, form, key, from_tool: false }
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
    /// The largest limit on generated tokens of those that the endpoint reads.
    pub max_tokens: Option<u64>,
    /// Choices.
    pub n: u32,
    /// How many prompts a completion is asked for at once.
    pub prompts: u32,
    /// Of how many the best are chosen, where that is said; all of them are paid for.
    pub best_of: u32,
    /// Every string value, and the keys and numbers where something could hide, in order.
    pub segments: Vec<Segment>,
    service_tier: Option<String>,
    /// What Anthropic's `speed` means in terms of tiers.
    speed: Option<&'static str>,
    /// Whether the model is to think, or is not to, where that is said: `reasoning_effort`, `reasoning`, `thinking`.
    pub thinks: Option<bool>,
    /// `prompt_cache_key`, `user`, `safety_identifier`, `metadata.user_id`, `previous_response_id`.
    belongs: [Option<String>; 5],
    footprint: Footprint,
    model_value: Option<Span>,
    /// From its key to its value.
    model_member: Option<Span>,
    /// The key `anthropic_version`.
    version: Option<Str>,
    /// Values of the limits on generated tokens.
    limits: Vec<(Span, Option<u64>)>,
    stream_options: Option<Options>,
    /// The value of `thinking`.
    thinking: Option<Span>,
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

/// What is to be different in a body that goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes<'a> {
    /// The model's name.
    pub model: Option<&'a str>,
    /// Set `stream_options.include_usage`.
    pub include_usage: bool,
    /// No more tokens are to be generated; and the member that says so, if there is none yet.
    pub max_tokens: Option<(u64, &'a str)>,
    /// Thoughts without their proof, which Anthropic refuses, are left out.
    pub proven: bool,
    /// There is no `model`.
    pub without_model: bool,
    /// `anthropic_version` is this where it is not said.
    pub version: Option<&'a str>,
}

const MAX_CHOICES: u32 = 128;
/// Bytes of room for a new member: most take less.
const ROOM: usize = 64;

impl View {
    /// Read a body.
    ///
    /// # Errors
    /// Anything that is no JSON object of this kind, or that two parsers could read differently.
    pub fn parse(body: &[u8], kind: Kind, limits: Limits) -> Result<Self, RequestError> {
        Reader::check_utf8(body)?;
        let reader = Reader::new(body, limits, Mode::Strict);
        let mut parser = Parser { body, reader, view: Self::default(), from_tool: FromTool::default() };
        parser.view.n = 1;
        parser.view.prompts = 1;
        parser.view.footprint.body = body.len();
        parser.object(kind)?;
        let Parser { mut view, from_tool, .. } = parser;
        from_tool.mark(&mut view.segments);
        Ok(view)
    }

    /// What the caller calls the requests that belong together, if it says so.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.belongs[..4].iter().flatten().next().map(String::as_str)
    }

    /// How it is to be processed, as prices call that: `service_tier`, or "fast" where Anthropic's `speed` says so.
    #[must_use]
    pub fn service_tier(&self) -> Option<&str> {
        self.speed.or(self.service_tier.as_deref())
    }

    /// `previous_response_id`
    #[must_use]
    pub fn previous_response_id(&self) -> Option<&str> {
        self.belongs[4].as_deref()
    }

    /// How many answers are generated.
    #[must_use]
    pub fn choices(&self) -> u32 {
        self.n.max(self.best_of).saturating_mul(self.prompts)
    }

    /// The body with these changes; None if they change nothing.
    #[must_use]
    pub fn rewrite(&self, body: &[u8], changes: Changes<'_>) -> Option<Vec<u8>> {
        self.edits(body, changes).map(|edits| edits.made(body))
    }

    /// What these changes come to in this body; None if they change nothing.
    #[must_use]
    pub fn edits(&self, body: &[u8], changes: Changes<'_>) -> Option<Edits> {
        let Changes { model, include_usage, max_tokens, proven, without_model, version } = changes;
        // Edits by place: what is replaced, and what stands there then. `open` is where a new first member goes.
        let mut edits: Vec<(Span, Vec<u8>)> = Vec::with_capacity(2);
        let mut members = Members::default();
        if without_model {
            edits.extend(self.model_member.map(|span| (without(body, span), Vec::new())));
        } else if let Some(name) = model.filter(|name| self.model.as_deref() != Some(*name)) {
            match self.model_value {
                Some(span) => edits.push((span, quoted(name))),
                None => quote(members.named("model"), name),
            }
        }
        if let Some(version) = version.filter(|_| self.version.is_none()) {
            quote(members.named("anthropic_version"), version);
        }
        if include_usage && !self.include_usage {
            match self.stream_options {
                None => members.named("stream_options").extend_from_slice(br#"{"include_usage":true}"#),
                Some(options) => edits.push(options.with_usage()),
            }
        }
        if let Some((most, member)) = max_tokens {
            for (span, _) in self.limits.iter().filter(|(_, limit)| limit.is_none_or(|limit| limit > most)) {
                let mut written = Vec::new();
                number(&mut written, most);
                edits.push((*span, written));
            }
            // Thoughts are part of the answer, and their budget has to be smaller than its bound.
            let thinking = self
                .thinking
                .and_then(|span| Some((span, thoughts::lowered(&body[span.start..span.end], self.max_tokens, most)?)));
            edits.extend(thinking);
            if self.limits.is_empty() {
                number(members.named(member), most);
            }
        }
        if proven {
            edits.extend(thoughts::proven(body));
        }
        if !members.0.is_empty() {
            if !self.is_empty {
                members.0.push(b',');
            }
            edits.push((Span { start: self.open, end: self.open }, members.0));
        }
        if edits.is_empty() {
            return None;
        }
        // What is inserted comes before what goes from the same place.
        edits.sort_unstable_by_key(|(span, _)| (span.start, span.end));
        Some(Edits(edits))
    }
}

/// Members that come first in a body.
#[derive(Default)]
struct Members(Vec<u8>);

impl Members {
    /// Begin one of this name (ASCII without anything to escape); its value is to be appended.
    fn named(&mut self, name: &str) -> &mut Vec<u8> {
        self.0.reserve(ROOM);
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        &mut self.0
    }
}

/// Changes of a body by place: what is replaced, and what stands there then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edits(Vec<(Span, Vec<u8>)>);

impl Edits {
    /// The body with them.
    fn made(&self, body: &[u8]) -> Vec<u8> {
        let grown: usize = self.0.iter().map(|(_, text)| text.len()).sum();
        let mut out = Vec::with_capacity(body.len() + grown);
        let mut from = 0;
        for (span, text) in &self.0 {
            out.extend_from_slice(&body[from..span.start]);
            out.extend_from_slice(text);
            from = span.end;
        }
        out.extend_from_slice(&body[from..]);
        out
    }

    /// Bytes of the body with them.
    #[must_use]
    pub fn length(&self, body: &[u8]) -> usize {
        self.pieces(body).map(<[u8]>::len).sum()
    }

    /// The body with them, in order.
    pub fn pieces<'a>(&'a self, body: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let starts = std::iter::once(0).chain(self.0.iter().map(|(span, _)| span.end));
        let ends = self.0.iter().map(|(span, _)| span.start).chain([body.len()]);
        let texts = self.0.iter().map(|(_, text)| text.as_slice()).chain([&[][..]]);
        starts.zip(ends).zip(texts).flat_map(|((from, to), text)| [body.get(from..to).unwrap_or_default(), text])
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

/// A member of the body together with the comma that goes with it.
fn without(body: &[u8], member: Span) -> Span {
    let blank = |byte: &u8| byte.is_ascii_whitespace();
    let after = member.end + body[member.end..].iter().take_while(|byte| blank(byte)).count();
    if body.get(after) == Some(&b',') {
        return Span { start: member.start, end: after + 1 };
    }
    let before = member.start - body[..member.start].iter().rev().take_while(|byte| blank(byte)).count();
    let comma = before.checked_sub(1).filter(|place| body[*place] == b',');
    Span { start: comma.unwrap_or(member.start), end: member.end }
}

/// A JSON string with its quotes.
fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    quote(&mut out, text);
    out
}

#[cfg(test)]
mod tests;

//! How many tokens a request can be: counted, and as a bound that costs nothing.

use super::{Form, Segment, SegmentKind, View};
use crate::json::{self, Reader, Span, Str};
use crate::tokens::Encoding;

/// What a provider puts around a conversation by itself: markers, and the default instructions of open models.
const AROUND: u64 = 256;
/// What it puts around tools; Anthropic's pages name 264 to 804 tokens.
const AROUND_TOOLS: u64 = 1024;
/// Bytes of encoded sound that are a token at least: Gemini hears 32 tokens a second, so 1.5 kilobit a second or more.
const BYTES_PER_HEARD: u64 = 8;
/// `OpenAI`'s overhead of a message: its markers, and its role.
const PER_MESSAGE: u64 = 4;
/// The markers that the answer begins with.
const ANSWER: u64 = 3;

/// What a body holds that is more or less than its bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Footprint {
    /// Bytes of the body.
    pub(super) body: usize,
    /// Bytes of encoded images and sounds, which are no text.
    media: usize,
    images: u64,
    /// Definitions of tools and of formats, as they stand in the body.
    pub(super) tools: Vec<Span>,
    /// Of those, the lists of tools.
    pub(super) offered: Vec<Span>,
    /// Members that bring tools in without defining them.
    pub(super) brought: Vec<&'static str>,
    pub(super) messages: u64,
    pub(super) names: u64,
    /// Prompts may be numbers of tokens.
    pub(super) token_ids: u64,
    /// The model will read something that does not stand in the body.
    pub(super) is_open: bool,
}

impl Footprint {
    /// A string stands under `key`, in an object that stands under `parent`.
    pub(super) fn note(&mut self, reader: &Reader<'_>, key: Str, parent: Option<Str>, value: Str, kind: SegmentKind) {
        if matches!(kind, SegmentKind::ToolDefinition | SegmentKind::ToolArguments) {
            return;
        }
        // Nobody who means well spells keys or types with escapes.
        match reader.raw(key) {
            b"type" if value.escaped => self.is_open = true,
            b"type" => self.part(reader.raw(value)),
            b"role" => self.messages += 1,
            b"url" | b"image_url" if kind == SegmentKind::Media => self.media += value.end - value.start,
            b"file_data" | b"b64_json" | b"partial_image_b64" => self.media += value.end - value.start,
            b"data" if parent.is_some_and(|parent| matches!(reader.raw(parent), b"input_audio" | b"source")) => {
                self.media += value.end - value.start;
            }
            _ if key.escaped => self.is_open = true,
            _ => {}
        }
    }

    /// A part of this type.
    fn part(&mut self, name: &[u8]) {
        match name {
            b"image" | b"image_url" | b"input_image" | b"computer_screenshot" => self.images += 1,
            // Files of any length, and what the provider keeps.
            b"document"
            | b"file"
            | b"input_file"
            | b"video"
            | b"video_url"
            | b"input_video"
            | b"item_reference"
            | b"container_upload"
            | b"reasoning"
            | b"image_generation_call" => self.is_open = true,
            _ => {}
        }
    }

    /// The type of a tool: what runs at the provider gives the model more to read.
    pub(super) fn tool(&mut self, name: &[u8]) {
        self.is_open |= !matches!(name, b"function" | b"custom");
    }
}

/// Members of a request that bring in what does not stand in it.
pub(super) fn brings_more(member: &[u8]) -> bool {
    matches!(
        member,
        b"previous_response_id" | b"conversation" | b"mcp_servers" | b"container" | b"web_search_options" | b"plugins"
    )
}

impl View {
    /// More tokens than any tokenizer that starts from bytes can make of the prompt, for images of at most so many
    /// tokens each; None if what the model will read does not all stand in the body (files, what the provider keeps, tools
    /// that run there).
    ///
    /// A token is at least a byte of the text, and JSON writes no text in fewer bytes than it has. What templates put
    /// around messages is shorter than what JSON does; tools count twice, because some templates print them anew.
    #[must_use]
    pub fn prompt_bound(&self, tokens_per_image: u64) -> Option<u64> {
        let print = &self.footprint;
        if print.is_open {
            return None;
        }
        let tools: usize = print.tools.iter().map(|span| span.end - span.start).sum();
        let text = (print.body - print.media + tools) as u64;
        let around = if tools > 0 { AROUND + AROUND_TOOLS } else { AROUND };
        Some(text + around + (print.media as u64).div_ceil(BYTES_PER_HEARD) + print.images * tokens_per_image)
    }

    /// Tokens of everything that the model reads as text, and `OpenAI`'s overhead for messages. Images and sound are not
    /// in it; tools are counted as the JSON that they are, which is more than what `OpenAI` makes of them.
    #[must_use]
    pub fn prompt_tokens(&self, body: &[u8], encoding: Encoding) -> u64 {
        let print = &self.footprint;
        let mut counter = encoding.counter();
        let mut count = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => counter.count(text),
            Err(_) => bytes.len() as u64,
        };
        let read = self.segments.iter().filter(|segment| is_read(segment, body));
        let mut sum: u64 = read.map(|segment| count(&text(segment.string, body))).sum();
        sum += print.tools.iter().map(|span| count(&body[span.start..span.end])).sum::<u64>();
        let markers = if print.messages > 0 { ANSWER + PER_MESSAGE * print.messages + print.names } else { 0 };
        sum + print.token_ids + markers
    }
}

/// Whether a model reads it. Tools are counted whole.
fn is_read(segment: &Segment, body: &[u8]) -> bool {
    match segment.kind {
        SegmentKind::Text | SegmentKind::ToolArguments => true,
        SegmentKind::Other => {
            segment.form == Form::String && segment.key.is_some_and(|key| &body[key.start..key.end] == b"name")
        }
        SegmentKind::ToolDefinition | SegmentKind::Media => false,
    }
}

fn text(string: Str, body: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let raw = &body[string.start..string.end];
    if string.escaped { json::unescape(raw) } else { raw.into() }
}

#[cfg(test)]
mod tests;

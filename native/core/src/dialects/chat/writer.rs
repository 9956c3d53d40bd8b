//! An answer for a caller that speaks chat, written.

use serde_json::{Map, Value, json};

use crate::cost::Kind;
use crate::dialects::conversation::Media;
use crate::dialects::fields::url_of_media;
use crate::dialects::reply::{Event, StopReason};
use crate::dialects::{AnswerWriter, Setting};
use crate::json::write::{number, quote};
use crate::tap::DONE;
use crate::usage::Tokens;

/// Writes chunks and whole completions.
#[derive(Debug)]
pub struct Writer {
    setting: Setting,
    /// Of the choices begun so far.
    choices: Vec<Choice>,
    tokens: Option<Tokens>,
    /// What all chunks begin with, up to the number of their choice.
    head: Vec<u8>,
}

#[derive(Debug, Default)]
struct Choice {
    index: u32,
    message: Message,
    /// Calls by whether they have arguments yet.
    calls: Vec<bool>,
    thought: Thought,
}

/// A thought until it is complete, which is when its proof can be told with it.
#[derive(Debug, Default)]
struct Thought {
    text: String,
    signature: String,
}

/// Of a whole answer.
#[derive(Debug, Default)]
struct Message {
    text: String,
    reasoning: String,
    refusal: String,
    blocks: Vec<Value>,
    images: Vec<Value>,
    calls: Vec<WholeCall>,
    finish: Option<&'static str>,
}

#[derive(Debug)]
struct WholeCall {
    id: String,
    name: String,
    arguments: String,
    signature: Option<String>,
}

impl Writer {
    /// For one answer.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        Self { setting: setting.clone(), choices: Vec::new(), tokens: None, head: Vec::new() }
    }

    fn identity<'a>(&'a self, id: &'a str, model: &'a str) -> (String, &'a str) {
        let id = if id.is_empty() { format!("chatcmpl-{}", self.setting.request_id) } else { id.to_owned() };
        (id, if model.is_empty() { &self.setting.model } else { model })
    }

    fn start(&mut self, id: &str, model: &str) {
        let (id, model) = self.identity(id, model);
        let mut head = b"data: {\"id\":".to_vec();
        quote(&mut head, &id);
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        number(&mut head, self.setting.created);
        head.extend_from_slice(b",\"model\":");
        quote(&mut head, model);
        if self.setting.include_usage {
            head.extend_from_slice(b",\"usage\":null");
        }
        head.extend_from_slice(b",\"choices\":[{\"index\":");
        self.head = head;
    }

    /// The place of a choice; its first chunk has the role.
    fn place(&mut self, index: u32, out: &mut Vec<u8>) -> usize {
        if let Some(place) = self.choices.iter().position(|known| known.index == index) {
            return place;
        }
        self.choices.push(Choice { index, ..Choice::default() });
        self.delta(index, out, |out| {
            out.extend_from_slice(b"\"role\":\"assistant\",\"content\":\"\",\"refusal\":null");
        });
        self.choices.len() - 1
    }

    /// A chunk whose delta has the members that `members` writes.
    fn delta(&self, index: u32, out: &mut Vec<u8>, members: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(&self.head);
        number(out, index);
        out.extend_from_slice(b",\"delta\":{");
        members(out);
        out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    }

    fn text(&mut self, index: u32, member: &[u8], text: &str, out: &mut Vec<u8>) {
        self.delta(index, out, |out| {
            out.extend_from_slice(member);
            quote(out, text);
        });
    }

    /// Tell a proven thought as a block that the caller can hand back.
    fn close_thought(&mut self, place: usize, out: &mut Vec<u8>) {
        let choice = &mut self.choices[place];
        let index = choice.index;
        if let Some(block) = choice.thought.take() {
            self.blocks(index, &block, out);
        }
    }

    fn blocks(&self, index: u32, block: &Value, out: &mut Vec<u8>) {
        self.delta(index, out, |out| out.extend_from_slice(format!("\"thinking_blocks\":[{block}]").as_bytes()));
    }

    fn arguments(&self, index: u32, call: u32, json: &str, out: &mut Vec<u8>) {
        self.delta(index, out, |out| {
            out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
            number(out, call);
            out.extend_from_slice(b",\"function\":{\"arguments\":");
            quote(out, json);
            out.extend_from_slice(b"}}]");
        });
    }

    /// Tools that take nothing are called with an empty object, not with an empty text.
    fn close_calls(&mut self, place: usize, out: &mut Vec<u8>) {
        let choice = &mut self.choices[place];
        let index = choice.index;
        let bare: Vec<usize> = (0..choice.calls.len()).filter(|call| !choice.calls[*call]).collect();
        choice.calls.iter_mut().for_each(|has| *has = true);
        for call in bare {
            self.arguments(index, u32::try_from(call).unwrap_or(u32::MAX), "{}", out);
        }
    }

    fn stop(&mut self, index: u32, reason: StopReason, out: &mut Vec<u8>) {
        let place = self.place(index, out);
        self.close_thought(place, out);
        self.close_calls(place, out);
        out.extend_from_slice(&self.head);
        number(out, index);
        out.extend_from_slice(b",\"delta\":{},\"logprobs\":null,\"finish_reason\":\"");
        out.extend_from_slice(finish(reason).as_bytes());
        out.extend_from_slice(b"\"}]}\n\n");
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if let (true, Some(tokens)) = (self.setting.include_usage, self.tokens) {
            let mark = b",\"usage\":null,\"choices\":[{\"index\":";
            out.extend_from_slice(&self.head[..self.head.len() - mark.len()]);
            out.extend_from_slice(format!(",\"choices\":[],\"usage\":{}}}\n\n", usage(&tokens)).as_bytes());
        }
        out.extend_from_slice(DONE);
    }
}

impl Thought {
    fn take(&mut self) -> Option<Value> {
        let Self { text, signature } = std::mem::take(self);
        let proven = !signature.is_empty();
        proven.then(|| json!({"type": "thinking", "thinking": text, "signature": signature}))
    }
}

fn sealed(data: &str) -> Value {
    json!({"type": "redacted_thinking", "data": data})
}

/// `OpenAI`'s word. An answer that its provider has paused is not complete, and no other word says so.
pub(crate) fn finish(reason: StopReason) -> &'static str {
    match reason {
        StopReason::End | StopReason::Sequence => "stop",
        StopReason::Length | StopReason::Paused => "length",
        StopReason::Calls => "tool_calls",
        StopReason::Refused => "content_filter",
    }
}

/// `OpenAI`'s report; what was written to the cache stands where `OpenRouter` has it.
pub(crate) fn usage(tokens: &Tokens) -> Value {
    let written = tokens.get(Kind::CacheWrite) + tokens.get(Kind::CacheWriteHour);
    let mut read = json!({
        "cached_tokens": tokens.cached(),
        "audio_tokens": tokens.get(Kind::AudioInput) + tokens.get(Kind::CachedAudio),
    });
    if written > 0 {
        read["cache_write_tokens"] = json!(written);
    }
    json!({
        "prompt_tokens": tokens.prompt(),
        "completion_tokens": tokens.completion(),
        "total_tokens": tokens.prompt() + tokens.completion(),
        "prompt_tokens_details": read,
        "completion_tokens_details": {
            "reasoning_tokens": tokens.get(Kind::Reasoning),
            "audio_tokens": tokens.get(Kind::AudioOutput),
        },
    })
}

impl AnswerWriter for Writer {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model } => {
                self.start(id, model);
                self.place(0, out);
            }
            Event::Text { choice, text } => {
                let place = self.place(*choice, out);
                self.close_thought(place, out);
                self.text(*choice, b"\"content\":", text, out);
            }
            Event::Image { choice, media } => {
                let place = self.place(*choice, out);
                self.close_thought(place, out);
                let image = drawn(media, self.choices[place].message.images.len());
                self.delta(*choice, out, |out| out.extend_from_slice(format!("\"images\":[{image}]").as_bytes()));
                // Only their number is asked for again.
                self.choices[place].message.images.push(Value::Null);
            }
            Event::Refusal { choice, text } => {
                self.place(*choice, out);
                self.text(*choice, b"\"refusal\":", text, out);
            }
            Event::Thinking { choice, text } => {
                let place = self.place(*choice, out);
                if !self.choices[place].thought.signature.is_empty() {
                    self.close_thought(place, out);
                }
                self.choices[place].thought.text.push_str(text);
                self.text(*choice, b"\"reasoning_content\":", text, out);
            }
            Event::Signature { choice, signature } => {
                let place = self.place(*choice, out);
                self.choices[place].thought.signature.push_str(signature);
            }
            Event::RedactedThinking { choice, data } => {
                let place = self.place(*choice, out);
                self.close_thought(place, out);
                self.blocks(*choice, &sealed(data), out);
            }
            Event::Call { choice, call, id, name, signature } => {
                let place = self.place(*choice, out);
                self.close_thought(place, out);
                self.choices[place].calls.push(false);
                self.delta(*choice, out, |out| {
                    out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
                    number(out, *call);
                    out.extend_from_slice(b",\"id\":");
                    quote(out, id);
                    out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
                    quote(out, name);
                    out.extend_from_slice(b",\"arguments\":\"\"}");
                    if let Some(signature) = signature {
                        out.extend_from_slice(b",\"extra_content\":");
                        out.extend_from_slice(extra(signature).to_string().as_bytes());
                    }
                    out.extend_from_slice(b"}]");
                });
            }
            Event::Arguments { choice, call, json } => {
                let place = self.place(*choice, out);
                if let Some(has) = self.choices[place].calls.get_mut(*call as usize) {
                    *has = true;
                }
                self.arguments(*choice, *call, json, out);
            }
            Event::Stop { choice, reason, .. } => self.stop(*choice, *reason, out),
            Event::Usage(tokens) => self.tokens = Some(*tokens),
            Event::End => self.end(out),
            Event::Citation { .. } | Event::Ping | Event::Error(_) => {}
        }
    }

    fn body(&mut self, events: &[Event]) -> Vec<u8> {
        let mut identity = (String::new(), String::new());
        for event in events {
            match event {
                Event::Start { id, model } => identity = (id.clone(), model.clone()),
                Event::Usage(tokens) => self.tokens = Some(*tokens),
                _ => self.collect(event),
            }
        }
        let (id, model) = self.identity(&identity.0, &identity.1);
        let mut body = json!({
            "id": id,
            "object": "chat.completion",
            "created": self.setting.created,
            "model": model,
            "choices": self.choices.iter().map(Choice::whole).collect::<Vec<_>>(),
        });
        if let Some(tokens) = &self.tokens {
            body["usage"] = usage(tokens);
        }
        body.to_string().into_bytes()
    }
}

/// An image as `OpenRouter` tells it; `OpenAI`'s own API has no place for one.
fn drawn(media: &Media, index: usize) -> Value {
    json!({"type": "image_url", "index": index, "image_url": {"url": url_of_media(media)}})
}

fn extra(signature: &str) -> Value {
    json!({"google": {"thought_signature": signature}})
}

impl Writer {
    /// Add one event to the whole answer.
    fn collect(&mut self, event: &Event) {
        let (Event::Text { choice, .. }
        | Event::Refusal { choice, .. }
        | Event::Image { choice, .. }
        | Event::Thinking { choice, .. }
        | Event::Signature { choice, .. }
        | Event::RedactedThinking { choice, .. }
        | Event::Call { choice, .. }
        | Event::Arguments { choice, .. }
        | Event::Stop { choice, .. }) = event
        else {
            return;
        };
        let place = self.choices.iter().position(|known| known.index == *choice).unwrap_or_else(|| {
            self.choices.push(Choice { index: *choice, ..Choice::default() });
            self.choices.len() - 1
        });
        let Choice { message, thought, .. } = &mut self.choices[place];
        let goes_on = match event {
            Event::Thinking { .. } => thought.signature.is_empty(),
            Event::Signature { .. } => true,
            _ => false,
        };
        if !goes_on {
            message.blocks.extend(thought.take());
        }
        match event {
            Event::Text { text, .. } => message.text.push_str(text),
            Event::Refusal { text, .. } => message.refusal.push_str(text),
            Event::Image { media, .. } => message.images.push(drawn(media, message.images.len())),
            Event::Thinking { text, .. } => {
                thought.text.push_str(text);
                message.reasoning.push_str(text);
            }
            Event::Signature { signature, .. } => thought.signature.push_str(signature),
            Event::RedactedThinking { data, .. } => message.blocks.push(sealed(data)),
            Event::Call { id, name, signature, .. } => message.calls.push(WholeCall {
                id: id.clone(),
                name: name.clone(),
                arguments: String::new(),
                signature: signature.clone(),
            }),
            Event::Arguments { call, json, .. } => {
                if let Some(call) = message.calls.get_mut(*call as usize) {
                    call.arguments.push_str(json);
                }
            }
            Event::Stop { reason, .. } => message.finish = Some(finish(*reason)),
            _ => {}
        }
    }
}

impl Choice {
    fn whole(&self) -> Value {
        let Message { text, reasoning, refusal, blocks, images, calls, finish } = &self.message;
        let said = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
        let mut message = Map::new();
        message.insert("role".to_owned(), json!("assistant"));
        let silent = !calls.is_empty() || !refusal.is_empty();
        message.insert("content".to_owned(), if silent { said(text) } else { json!(text) });
        message.insert("refusal".to_owned(), said(refusal));
        if !reasoning.is_empty() {
            message.insert("reasoning_content".to_owned(), json!(reasoning));
        }
        if !blocks.is_empty() {
            message.insert("thinking_blocks".to_owned(), json!(blocks));
        }
        if !images.is_empty() {
            message.insert("images".to_owned(), json!(images));
        }
        if !calls.is_empty() {
            let call = |call: &WholeCall| {
                let arguments = if call.arguments.is_empty() { "{}" } else { &call.arguments };
                let mut written = json!({
                    "id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments},
                });
                if let Some(signature) = &call.signature {
                    written["extra_content"] = extra(signature);
                }
                written
            };
            message.insert("tool_calls".to_owned(), calls.iter().map(call).collect());
        }
        json!({"index": self.index, "message": message, "logprobs": null, "finish_reason": finish})
    }
}

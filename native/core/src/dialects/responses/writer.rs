//! Answers as the Responses API gives them, whole or in events.

use serde_json::{Value, json};

use super::echo::{custom_tools, echo};
use super::events::{Events, Place, array, member, object, text_member};
use super::open::{Call, Message, Open, Part, Reasoning};
use super::seal;
use crate::cost::Kind;
use crate::dialects::conversation::Media;
use crate::dialects::reply::{Event, ReplyError, StopReason};
use crate::dialects::{AnswerWriter, Setting};
use crate::usage::Tokens;

/// Codes that clients know, and a provider may have used.
const CODES: [&str; 5] =
    ["context_length_exceeded", "insufficient_quota", "rate_limit_exceeded", "invalid_prompt", "server_is_overloaded"];

/// Writes one response.
#[derive(Debug)]
pub struct Writer {
    setting: Setting,
    id: String,
    model: String,
    /// What is repeated of the request, written.
    echo: Vec<u8>,
    custom: Vec<String>,
    events: Events,
    has_begun: bool,
    open: Option<Open>,
    /// Items that are done, written.
    items: Vec<Vec<u8>>,
    reason: Option<StopReason>,
    tokens: Option<Tokens>,
    /// The response as its last event had it.
    last: Vec<u8>,
}

impl Writer {
    /// A response to the request of that setting.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        Self {
            id: String::new(),
            model: setting.model.clone(),
            echo: echo(&setting.request),
            custom: custom_tools(&setting.request),
            setting: setting.clone(),
            events: Events::default(),
            has_begun: false,
            open: None,
            items: Vec::new(),
            reason: None,
            tokens: None,
            last: Vec::new(),
        }
    }

    fn begin(&mut self, id: &str, model: &str, out: &mut Vec<u8>) {
        if self.has_begun {
            return;
        }
        self.has_begun = true;
        self.id = if id.is_empty() { self.setting.request_id.clone() } else { id.to_owned() };
        if !model.is_empty() {
            model.clone_into(&mut self.model);
        }
        let snapshot = member("response", &self.response("in_progress", b"null", b"null"));
        self.events.write("response.created", None, &[&snapshot], out);
        self.events.write("response.in_progress", None, &[&snapshot], out);
    }

    /// The whole object.
    fn response(&self, status: &str, error: &[u8], incomplete: &[u8]) -> Vec<u8> {
        let is_over = status != "in_progress";
        let created = self.setting.created.to_string();
        let usage = self.tokens.filter(|_| is_over).map_or_else(|| b"null".to_vec(), |tokens| usage(&tokens));
        object(&[
            &text_member("id", &format!("resp_{}", self.id)),
            br#""object":"response""#,
            &member("created_at", created.as_bytes()),
            &text_member("status", status),
            &member("completed_at", if status == "completed" { created.as_bytes() } else { b"null" }),
            &member("error", error),
            &member("incomplete_details", incomplete),
            &text_member("model", &self.model),
            &member("output", &array(&self.items)),
            &self.echo,
            &member("usage", &usage),
        ])
    }

    /// An id for the item that comes next.
    fn item_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}_{}", self.id, self.items.len())
    }

    fn add_item(&mut self, item: &[u8], out: &mut Vec<u8>) {
        let index = member("output_index", self.items.len().to_string().as_bytes());
        self.events.write("response.output_item.added", None, &[&index, &member("item", item)], out);
    }

    fn end_item(&mut self, item: Vec<u8>, out: &mut Vec<u8>) {
        let index = member("output_index", self.items.len().to_string().as_bytes());
        self.events.write("response.output_item.done", None, &[&index, &member("item", &item)], out);
        self.items.push(item);
    }

    /// Text or refusal: a part of the message that is open, or of a new one.
    fn say(&mut self, text: &str, is_refusal: bool, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(Open::Message(_))) {
            self.close("completed", out);
            let message = Message { id: self.item_id("msg"), ..Message::default() };
            self.add_item(&message.written("in_progress"), out);
            self.open = Some(Open::Message(message));
        }
        let output = self.items.len();
        let Some(Open::Message(message)) = &mut self.open else { return };
        if message.part.as_ref().is_some_and(|part| part.is_refusal != is_refusal) {
            end_part(message, output, &mut self.events, out);
        }
        let place = Place { item: &message.id, output, part: Some(("content_index", message.parts.len())) };
        let part = match &mut message.part {
            Some(part) => part,
            none => {
                let part = Part { is_refusal, text: String::new(), annotations: Vec::new() };
                let begun = member("part", &part.written(""));
                self.events.write("response.content_part.added", Some(place), &[&begun], out);
                none.insert(part)
            }
        };
        part.text.push_str(text);
        if is_refusal {
            self.events.delta("response.refusal.delta", place, text, b"", out);
        } else {
            self.events.delta("response.output_text.delta", place, text, b",\"logprobs\":[]", out);
        }
    }

    fn cite(&mut self, value: &Value, out: &mut Vec<u8>) {
        let output = self.items.len();
        let Some(Open::Message(message)) = &mut self.open else { return };
        let Some(part) = &mut message.part else { return };
        let Some(annotation) = annotation(value, &part.text) else { return };
        let written = annotation.to_string().into_bytes();
        let place = Place { item: &message.id, output, part: Some(("content_index", message.parts.len())) };
        let index = member("annotation_index", part.annotations.len().to_string().as_bytes());
        let members = [&index[..], &member("annotation", &written)];
        self.events.write("response.output_text.annotation.added", Some(place), &members, out);
        part.annotations.push(written);
    }

    /// The thought that is open, or a new one.
    fn reasoning(&mut self, out: &mut Vec<u8>) -> Option<&mut Reasoning> {
        if !matches!(self.open, Some(Open::Reasoning(_))) {
            self.close("completed", out);
            let thought = Reasoning { id: self.item_id("rs"), ..Reasoning::default() };
            self.add_item(&thought.written(), out);
            self.open = Some(Open::Reasoning(thought));
        }
        match &mut self.open {
            Some(Open::Reasoning(thought)) => Some(thought),
            _ => None,
        }
    }

    fn think(&mut self, text: &str, out: &mut Vec<u8>) {
        // A thought goes on after its signature only if it is another one.
        if matches!(&self.open, Some(Open::Reasoning(thought)) if !thought.signature.is_empty()) {
            self.close("completed", out);
        }
        self.reasoning(out);
        let output = self.items.len();
        let Some(Open::Reasoning(thought)) = &mut self.open else { return };
        let place = Place { item: &thought.id, output, part: Some(("summary_index", 0)) };
        if thought.text.is_empty() {
            let begun = member("part", &Reasoning::summary_part(""));
            self.events.write("response.reasoning_summary_part.added", Some(place), &[&begun], out);
        }
        thought.text.push_str(text);
        self.events.delta("response.reasoning_summary_text.delta", place, text, b"", out);
    }

    /// A thought of which nothing is to be read.
    fn seal(&mut self, sealed: String, out: &mut Vec<u8>) {
        self.close("completed", out);
        if let Some(thought) = self.reasoning(out) {
            thought.sealed = Some(sealed);
        }
        self.close("completed", out);
    }

    /// A picture is an item by itself, with nothing but its Base64 (or where it is).
    fn draw(&mut self, media: &Media, out: &mut Vec<u8>) {
        self.close("completed", out);
        let result = match media {
            Media::Inline { data, .. } | Media::Url(data) | Media::File(data) => data,
        };
        let id = text_member("id", &self.item_id("ig"));
        let kind = br#""type":"image_generation_call""#;
        self.add_item(&object(&[&id, kind, br#""status":"in_progress""#, br#""result":null"#]), out);
        self.end_item(object(&[&id, kind, br#""status":"completed""#, &text_member("result", result)]), out);
    }

    fn call(&mut self, id: &str, name: &str, signature: Option<&str>, out: &mut Vec<u8>) {
        self.close("completed", out);
        if let Some(signature) = signature {
            self.seal(seal::call(signature), out);
        }
        let is_custom = self.custom.iter().any(|custom| custom == name);
        let call = Call {
            id: self.item_id(if is_custom { "ctc" } else { "fc" }),
            answers_to: id.to_owned(),
            name: name.to_owned(),
            arguments: String::new(),
            is_custom,
        };
        self.add_item(&call.written("in_progress", ""), out);
        self.open = Some(Open::Call(call));
    }

    fn arguments(&mut self, json: &str, out: &mut Vec<u8>) {
        let output = self.items.len();
        let Some(Open::Call(call)) = &mut self.open else { return };
        call.arguments.push_str(json);
        // The text of a custom tool is known only once its JSON is complete.
        if !call.is_custom {
            let place = Place { item: &call.id, output, part: None };
            self.events.delta("response.function_call_arguments.delta", place, json, b"", out);
        }
    }

    /// End the item that is open.
    fn close(&mut self, status: &str, out: &mut Vec<u8>) {
        let output = self.items.len();
        let written = match self.open.take() {
            None => return,
            Some(Open::Message(mut message)) => {
                end_part(&mut message, output, &mut self.events, out);
                message.written(status)
            }
            Some(Open::Reasoning(thought)) => {
                if !thought.text.is_empty() {
                    let place = Place { item: &thought.id, output, part: Some(("summary_index", 0)) };
                    let text = text_member("text", &thought.text);
                    self.events.write("response.reasoning_summary_text.done", Some(place), &[&text], out);
                    let part = member("part", &Reasoning::summary_part(&thought.text));
                    self.events.write("response.reasoning_summary_part.done", Some(place), &[&part], out);
                }
                thought.written()
            }
            Some(Open::Call(call)) => self.end_call(call, output, status, out),
        };
        self.end_item(written, out);
    }

    fn end_call(&mut self, mut call: Call, output: usize, status: &str, out: &mut Vec<u8>) -> Vec<u8> {
        let place = |call: &Call| (call.id.clone(), output);
        let (item, output) = place(&call);
        let place = Place { item: &item, output, part: None };
        if call.arguments.is_empty() && status == "completed" {
            call.arguments.push_str("{}");
            if !call.is_custom {
                self.events.delta("response.function_call_arguments.delta", place, "{}", b"", out);
            }
        }
        let said = call.said();
        if call.is_custom {
            if !said.is_empty() {
                self.events.delta("response.custom_tool_call_input.delta", place, &said, b"", out);
            }
            let input = text_member("input", &said);
            self.events.write("response.custom_tool_call_input.done", Some(place), &[&input], out);
        } else {
            let (name, arguments) = (text_member("name", &call.name), text_member("arguments", &said));
            self.events.write("response.function_call_arguments.done", Some(place), &[&name, &arguments], out);
        }
        call.written(status, &said)
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let (kind, status, details): (_, _, &[u8]) = match self.reason {
            Some(StopReason::Length | StopReason::Paused) => {
                ("response.incomplete", "incomplete", br#"{"reason":"max_output_tokens"}"#)
            }
            Some(StopReason::Refused) => ("response.incomplete", "incomplete", br#"{"reason":"content_filter"}"#),
            _ => ("response.completed", "completed", b"null"),
        };
        self.close(status, out);
        self.last = self.response(status, b"null", details);
        let last = member("response", &self.last);
        self.events.write(kind, None, &[&last], out);
    }

    fn fail(&mut self, error: &ReplyError, out: &mut Vec<u8>) {
        self.open = None;
        let fault = object(&[&text_member("code", code_of(error)), &text_member("message", &error.message)]);
        self.last = self.response("failed", &fault, b"null");
        let last = member("response", &self.last);
        self.events.write("response.failed", None, &[&last], out);
    }
}

impl AnswerWriter for Writer {
    fn has_blocks(&self) -> bool {
        true
    }

    fn body(&mut self, events: &[Event]) -> Vec<u8> {
        let mut streamed = Vec::new();
        for event in events {
            self.event(event, &mut streamed);
        }
        std::mem::take(&mut self.last)
    }

    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model } => self.begin(id, model, out),
            Event::Usage(tokens) => self.tokens = Some(*tokens),
            Event::Ping => {}
            _ => {
                // A provider that fails at once has not even begun.
                self.begin("", "", out);
                self.step(event, out);
            }
        }
    }
}

impl Writer {
    /// An event of an answer that has begun. There is one choice only: nobody can have asked for more.
    fn step(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Text { choice: 0, text } => self.say(text, false, out),
            Event::Refusal { choice: 0, text } => self.say(text, true, out),
            Event::Citation { choice: 0, value } => self.cite(value, out),
            Event::Thinking { choice: 0, text } => self.think(text, out),
            Event::Signature { choice: 0, signature } => {
                if let Some(thought) = self.reasoning(out) {
                    thought.signature.push_str(signature);
                }
            }
            Event::RedactedThinking { choice: 0, data } => self.seal(seal::redacted(data), out),
            Event::Image { choice: 0, media } => self.draw(media, out),
            Event::Call { choice: 0, id, name, signature, .. } => self.call(id, name, signature.as_deref(), out),
            Event::Arguments { choice: 0, json, .. } => self.arguments(json, out),
            Event::Stop { choice: 0, reason, .. } => self.reason = Some(*reason),
            Event::End => self.finish(out),
            Event::Error(error) => self.fail(error, out),
            _ => {}
        }
    }
}

fn end_part(message: &mut Message, output: usize, events: &mut Events, out: &mut Vec<u8>) {
    let Some(part) = message.part.take() else { return };
    let place = Place { item: &message.id, output, part: Some(("content_index", message.parts.len())) };
    let written = part.written(&part.text);
    if part.is_refusal {
        events.write("response.refusal.done", Some(place), &[&text_member("refusal", &part.text)], out);
    } else {
        let text = text_member("text", &part.text);
        events.write("response.output_text.done", Some(place), &[&text, br#""logprobs":[]"#], out);
    }
    events.write("response.content_part.done", Some(place), &[&member("part", &written)], out);
    message.parts.push(written);
}

/// A source in the only form that clients of this dialect know; None for one without an address.
fn annotation(value: &Value, text: &str) -> Option<Value> {
    let source = value.get("url_citation").unwrap_or(value);
    let url = source.get("url").or_else(|| source.get("uri"))?.as_str()?;
    let end = text.chars().count();
    let index = |name: &str, default: usize| source.get(name).cloned().unwrap_or_else(|| json!(default));
    Some(json!({
        "type": "url_citation",
        "start_index": index("start_index", 0),
        "end_index": index("end_index", end),
        "url": url,
        "title": source.get("title").and_then(Value::as_str).unwrap_or_default(),
    }))
}

fn usage(tokens: &Tokens) -> Vec<u8> {
    let (read, written) = (tokens.prompt(), tokens.completion());
    format!(
        "{{\"input_tokens\":{read},\"input_tokens_details\":{{\"cached_tokens\":{}}},\"output_tokens\":{written},\
         \"output_tokens_details\":{{\"reasoning_tokens\":{}}},\"total_tokens\":{}}}",
        tokens.cached(),
        tokens.get(Kind::Reasoning),
        read + written,
    )
    .into_bytes()
}

/// What clients decide by: whether to try again, whether to shorten the input.
fn code_of(error: &ReplyError) -> &str {
    if CODES.contains(&error.code.as_str()) {
        return &error.code;
    }
    if error.code == "budget_exceeded" {
        return "insufficient_quota";
    }
    match error.status {
        429 => "rate_limit_exceeded",
        503 | 529 => "server_is_overloaded",
        400..=499 => "invalid_prompt",
        _ => "server_error",
    }
}

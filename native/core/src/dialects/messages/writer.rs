//! An answer for a caller that speaks messages, written.

use serde_json::{Value, json};

use super::turns;
use crate::cost::Kind;
use crate::dialects::conversation::Media;
use crate::dialects::reply::{Event, StopReason};
use crate::dialects::{AnswerWriter, Setting};
use crate::json::write::{number, quote};
use crate::usage::Tokens;

/// Writes events and whole messages. The API has one choice: what others there are is left out.
#[derive(Debug)]
pub struct Writer {
    setting: Setting,
    /// Who answers, until the first block tells it: the usage may be known by then.
    identity: Option<(String, String)>,
    tokens: Option<Tokens>,
    /// Blocks so far.
    blocks: u64,
    open: Open,
    stop: Option<(StopReason, Option<String>)>,
}

/// What the open block is.
#[derive(Debug)]
enum Open {
    Nothing,
    Text,
    Thinking { proven: bool },
    Call { call: u32 },
}

impl Writer {
    /// For one answer.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        Self { setting: setting.clone(), identity: None, tokens: None, blocks: 0, open: Open::Nothing, stop: None }
    }

    fn head(&self, id: &str, model: &str) -> Value {
        let id = if id.is_empty() { format!("msg_{}", self.setting.request_id) } else { id.to_owned() };
        let model = if model.is_empty() { &self.setting.model } else { model };
        json!({"id": id, "type": "message", "role": "assistant", "model": model})
    }

    /// Tell who answers, if that is still to be told.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let Some((id, model)) = self.identity.take() else { return };
        let mut message = self.head(&id, &model);
        message["content"] = json!([]);
        message["stop_reason"] = Value::Null;
        message["stop_sequence"] = Value::Null;
        message["usage"] = usage(&self.tokens.unwrap_or_default());
        event(out, "message_start", &json!({"type": "message_start", "message": message}));
    }

    fn open(&mut self, open: Open, block: &Value, out: &mut Vec<u8>) {
        self.close(out);
        let start = json!({"type": "content_block_start", "index": self.blocks, "content_block": block});
        event(out, "content_block_start", &start);
        self.open = open;
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if matches!(self.open, Open::Nothing) {
            return;
        }
        self.open = Open::Nothing;
        out.extend_from_slice(b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":");
        number(out, self.blocks);
        out.extend_from_slice(b"}\n\n");
        self.blocks += 1;
    }

    fn open_text(&mut self, out: &mut Vec<u8>) {
        self.open(Open::Text, &json!({"type": "text", "text": ""}), out);
    }

    fn open_call(&mut self, call: u32, id: &str, name: &str, out: &mut Vec<u8>) {
        let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        self.open(Open::Call { call }, &block, out);
    }

    fn delta(&self, kind: &str, member: &str, text: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
        number(out, self.blocks);
        out.extend_from_slice(b",\"delta\":{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"");
        out.extend_from_slice(member.as_bytes());
        out.extend_from_slice(b"\":");
        quote(out, text);
        out.extend_from_slice(b"}}\n\n");
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        if !matches!(self.open, Open::Text) {
            self.open_text(out);
        }
        self.delta("text_delta", "text", text, out);
    }

    fn thinking(&mut self, kind: &str, member: &str, text: &str, out: &mut Vec<u8>) {
        let proves = kind == "signature_delta";
        if !matches!(self.open, Open::Thinking { proven } if proves || !proven) {
            let block = json!({"type": "thinking", "thinking": "", "signature": ""});
            self.open(Open::Thinking { proven: false }, &block, out);
        }
        self.open = Open::Thinking { proven: proves };
        self.delta(kind, member, text, out);
    }

    fn arguments(&mut self, of: u32, json: &str, out: &mut Vec<u8>) {
        if matches!(self.open, Open::Call { call } if call == of) {
            self.delta("input_json_delta", "partial_json", json, out);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        let (reason, sequence) = self.stop.take().unwrap_or((StopReason::End, None));
        let delta = json!({
            "type": "message_delta",
            "delta": {"stop_reason": word(reason), "stop_sequence": sequence},
            "usage": usage(&self.tokens.unwrap_or_default()),
        });
        event(out, "message_delta", &delta);
        out.extend_from_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }
}

fn event(out: &mut Vec<u8>, name: &str, data: &Value) {
    out.extend_from_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
}

fn word(reason: StopReason) -> &'static str {
    match reason {
        StopReason::End => "end_turn",
        StopReason::Sequence => "stop_sequence",
        StopReason::Length => "max_tokens",
        StopReason::Calls => "tool_use",
        StopReason::Refused => "refusal",
        StopReason::Paused => "pause_turn",
    }
}

/// Anthropic's report: what the cache had and took stands beside what was read anew.
fn usage(tokens: &Tokens) -> Value {
    let (short, long) = (tokens.get(Kind::CacheWrite), tokens.get(Kind::CacheWriteHour));
    json!({
        "input_tokens": tokens.prompt() - tokens.cached() - short - long,
        "cache_creation_input_tokens": short + long,
        "cache_read_input_tokens": tokens.cached(),
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": tokens.completion(),
        "output_tokens_details": {"thinking_tokens": tokens.get(Kind::Reasoning)},
    })
}

impl AnswerWriter for Writer {
    fn has_blocks(&self) -> bool {
        true
    }

    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model } => {
                self.identity = Some((id.clone(), model.clone()));
                return;
            }
            Event::Usage(tokens) => {
                self.tokens = Some(*tokens);
                return;
            }
            // What is alive before it speaks needs no witness.
            Event::Ping if self.identity.is_some() => return,
            Event::Error(_) => return,
            _ => self.begin(out),
        }
        match event {
            Event::Text { choice: 0, text } | Event::Refusal { choice: 0, text } => self.text(text, out),
            Event::Thinking { choice: 0, text } => self.thinking("thinking_delta", "thinking", text, out),
            Event::Signature { choice: 0, signature } => self.thinking("signature_delta", "signature", signature, out),
            Event::RedactedThinking { choice: 0, data } => {
                self.open(Open::Text, &json!({"type": "redacted_thinking", "data": data}), out);
                self.close(out);
            }
            // In the form in which the API takes them; of its own it draws none.
            Event::Image { choice: 0, media } => {
                self.open(Open::Text, &image(media), out);
                self.close(out);
            }
            Event::Call { choice: 0, call, id, name, .. } => self.open_call(*call, id, name, out),
            Event::Arguments { choice: 0, call, json } => self.arguments(*call, json, out),
            Event::Stop { choice: 0, reason, sequence } => {
                self.close(out);
                self.stop = Some((*reason, sequence.clone()));
            }
            Event::Ping => out.extend_from_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n"),
            Event::End => self.end(out),
            _ => {}
        }
    }

    fn body(&mut self, events: &[Event]) -> Vec<u8> {
        let mut message = self.head("", "");
        let mut content: Vec<Value> = Vec::new();
        // Where the calls stand, and their arguments.
        let mut calls: Vec<(usize, String)> = Vec::new();
        for event in events {
            match event {
                Event::Start { id, model } => message = self.head(id, model),
                Event::Text { choice: 0, text } | Event::Refusal { choice: 0, text } => {
                    append(&mut content, "text", "text", text);
                }
                Event::Thinking { choice: 0, text } => {
                    if content.last().is_some_and(|block| block["signature"] != "") {
                        content.push(json!({"type": "thinking", "thinking": "", "signature": ""}));
                    }
                    append(&mut content, "thinking", "thinking", text);
                }
                Event::Signature { choice: 0, signature } => append(&mut content, "thinking", "signature", signature),
                Event::RedactedThinking { choice: 0, data } => {
                    content.push(json!({"type": "redacted_thinking", "data": data}));
                }
                Event::Image { choice: 0, media } => content.push(image(media)),
                Event::Call { choice: 0, id, name, .. } => {
                    calls.push((content.len(), String::new()));
                    content.push(json!({"type": "tool_use", "id": id, "name": name, "input": {}}));
                }
                Event::Arguments { choice: 0, call, json } => {
                    if let Some((_, arguments)) = calls.get_mut(*call as usize) {
                        arguments.push_str(json);
                    }
                }
                Event::Stop { choice: 0, reason, sequence } => self.stop = Some((*reason, sequence.clone())),
                Event::Usage(tokens) => self.tokens = Some(*tokens),
                _ => {}
            }
        }
        for (place, arguments) in calls {
            if let Ok(input @ Value::Object(_)) = serde_json::from_str(&arguments) {
                content[place]["input"] = input;
            }
        }
        let (reason, sequence) = self.stop.take().unwrap_or((StopReason::End, None));
        message["content"] = Value::Array(content);
        message["stop_reason"] = json!(word(reason));
        message["stop_sequence"] = json!(sequence);
        message["usage"] = usage(&self.tokens.unwrap_or_default());
        message.to_string().into_bytes()
    }
}

fn image(media: &Media) -> Value {
    json!({"type": "image", "source": turns::told_source(media)})
}

/// Append to the last block if it is of this kind, else begin one.
fn append(content: &mut Vec<Value>, kind: &str, member: &str, text: &str) {
    if content.last().is_none_or(|block| block["type"] != kind) {
        content.push(match kind {
            "thinking" => json!({"type": "thinking", "thinking": "", "signature": ""}),
            _ => json!({"type": "text", "text": ""}),
        });
    }
    if let Some(Value::String(known)) = content.last_mut().and_then(|block| block.get_mut(member)) {
        known.push_str(text);
    }
}

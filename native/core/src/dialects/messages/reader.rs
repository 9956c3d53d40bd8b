//! Anthropic's answer, read.

use serde_json::{Map, Value};

use crate::dialects::reply::{Event, ReplyError, StopReason};
use crate::dialects::{AnswerReader, Malformed, Setting};
use crate::json::{self, Limits, Mode, Reader as JsonReader};
use crate::usage::Usage;

const LIMITS: Limits = Limits { max_depth: 256, max_nodes: usize::MAX };

/// Reads events and whole messages.
#[derive(Debug)]
pub struct Reader {
    usage: Usage,
    /// Calls so far.
    calls: u32,
    /// The block that is open is a call: its arguments, should no others come.
    call: Option<String>,
    stopped: bool,
    ended: bool,
}

impl Reader {
    /// For one answer.
    #[must_use]
    pub fn new(_: &Setting) -> Self {
        Self { usage: Usage::default(), calls: 0, call: None, stopped: false, ended: false }
    }

    /// The report below `path`, read from the bytes by the reader that all dialects share.
    fn read_usage(&mut self, data: &[u8], path: &[&[u8]], events: &mut Vec<Event>) {
        let mut reader = JsonReader::new(data, LIMITS, Mode::Lenient);
        // It was JSON a moment ago.
        let found = find(&mut reader, path).and_then(|found| {
            if found {
                self.usage.read(&mut reader)?;
            }
            Ok(())
        });
        if found.is_ok()
            && let Some(tokens) = self.usage.tokens()
        {
            events.push(Event::Usage(tokens));
        }
    }

    fn start(message: &Map<String, Value>, events: &mut Vec<Event>) {
        let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        events.push(Event::Start { id: text("id"), model: text("model") });
    }

    /// A block as it begins in a stream, or all of it in a whole answer.
    fn block(&mut self, block: &mut Map<String, Value>, events: &mut Vec<Event>) {
        self.call = None;
        let choice = 0;
        let kind = block.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut text = |name: &str| match block.shift_remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        match kind.as_str() {
            "text" => {
                let words = text("text");
                if !words.is_empty() {
                    events.push(Event::Text { choice, text: words });
                }
                if let Some(Value::Array(citations)) = block.shift_remove("citations") {
                    events.extend(citations.into_iter().map(|value| Event::Citation { choice, value }));
                }
            }
            "thinking" => {
                let (words, signature) = (text("thinking"), text("signature"));
                if !words.is_empty() {
                    events.push(Event::Thinking { choice, text: words });
                }
                if !signature.is_empty() {
                    events.push(Event::Signature { choice, signature });
                }
            }
            "redacted_thinking" => events.push(Event::RedactedThinking { choice, data: text("data") }),
            "tool_use" => {
                let (id, name) = (text("id"), text("name"));
                events.push(Event::Call { choice, call: self.calls, id, name, signature: None });
                self.calls += 1;
                let input =
                    block.shift_remove("input").filter(|input| input.as_object().is_some_and(|i| !i.is_empty()));
                self.call = Some(input.map_or_else(|| "{}".to_owned(), |input| input.to_string()));
            }
            // Tools that ran at the provider; the caller's dialect has no words for them.
            _ => {}
        }
    }

    /// Arguments that were told with the beginning of the block and not piece by piece, or not at all.
    fn close(&mut self, events: &mut Vec<Event>) {
        if let Some(json) = self.call.take().filter(|json| !json.is_empty()) {
            events.push(Event::Arguments { choice: 0, call: self.calls - 1, json });
        }
    }

    fn delta(&mut self, delta: Option<Value>, events: &mut Vec<Event>) {
        let Some(Value::Object(mut delta)) = delta else { return };
        let choice = 0;
        let kind = delta.get("type").and_then(Value::as_str).unwrap_or_default();
        let member = match kind {
            "text_delta" => "text",
            "thinking_delta" => "thinking",
            "signature_delta" => "signature",
            "input_json_delta" => "partial_json",
            "citations_delta" => {
                if let Some(value) = delta.shift_remove("citation") {
                    events.push(Event::Citation { choice, value });
                }
                return;
            }
            _ => return,
        };
        let Some(Value::String(text)) = delta.shift_remove(member) else { return };
        if text.is_empty() {
            return;
        }
        events.push(match member {
            "text" => Event::Text { choice, text },
            "thinking" => Event::Thinking { choice, text },
            "signature" => Event::Signature { choice, signature: text },
            _ => match &mut self.call {
                Some(early) => {
                    early.clear();
                    Event::Arguments { choice, call: self.calls - 1, json: text }
                }
                // Of a tool that runs at the provider.
                None => return,
            },
        });
    }

    fn stop(&mut self, delta: &Map<String, Value>, events: &mut Vec<Event>) {
        let Some(reason) = delta.get("stop_reason").and_then(Value::as_str) else { return };
        let reason = match reason {
            "end_turn" => StopReason::End,
            "stop_sequence" => StopReason::Sequence,
            "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
            "tool_use" => StopReason::Calls,
            "pause_turn" => StopReason::Paused,
            "refusal" => StopReason::Refused,
            _ => {
                self.ended = true;
                events.push(Event::Error(ReplyError {
                    status: 502,
                    code: "unknown_stop_reason".to_owned(),
                    message: "the upstream ended its answer for a reason that it does not explain".to_owned(),
                }));
                return;
            }
        };
        self.stopped = true;
        let sequence = delta.get("stop_sequence").and_then(Value::as_str).map(str::to_owned);
        events.push(Event::Stop { choice: 0, reason, sequence });
    }

    fn fail(&mut self, error: Option<&Value>, events: &mut Vec<Event>) {
        self.ended = true;
        let text = |name: &str| error.and_then(|error| error[name].as_str()).map(str::to_owned);
        let code = text("type").unwrap_or_default();
        events.push(Event::Error(ReplyError {
            status: status_of(&code),
            code,
            message: text("message").unwrap_or_else(|| "the upstream reported an error".to_owned()),
        }));
    }
}

fn status_of(code: &str) -> u16 {
    match code {
        "invalid_request_error" => 400,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 503,
        _ => 502,
    }
}

/// Read up to the value at `path`; false if there is none.
fn find(reader: &mut JsonReader<'_>, path: &[&[u8]]) -> Result<bool, json::Error> {
    for name in path {
        if reader.next()? != json::Event::ObjectStart {
            return Ok(false);
        }
        loop {
            let json::Event::Key(key) = reader.next()? else { return Ok(false) };
            if reader.raw(key) == *name {
                break;
            }
            reader.skip_value()?;
        }
    }
    Ok(true)
}

impl AnswerReader for Reader {
    fn body(&mut self, json: &[u8], events: &mut Vec<Event>) {
        let Ok(Value::Object(mut message)) = serde_json::from_slice(json) else {
            events.push(Event::Error(ReplyError::unreadable()));
            return;
        };
        if message.get("type").and_then(Value::as_str) == Some("error") {
            self.fail(message.get("error"), events);
            return;
        }
        Self::start(&message, events);
        if let Some(Value::Array(blocks)) = message.remove("content") {
            for block in blocks {
                if let Value::Object(mut block) = block {
                    self.block(&mut block, events);
                    self.close(events);
                }
            }
        }
        self.read_usage(json, &[b"usage"], events);
        self.stop(&message, events);
        if self.stopped {
            self.ended = true;
            events.push(Event::End);
        } else if !self.ended {
            events.push(Event::Error(ReplyError::unreadable()));
        }
    }

    fn event(&mut self, name: Option<&[u8]>, data: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed> {
        let in_call = |data: &[u8]| memchr::memmem::find(data, b"input_json_delta").is_some();
        let Ok(Value::Object(mut event)) = serde_json::from_slice(data) else {
            return Err(Malformed { in_call: in_call(data) });
        };
        let kind = match event.get_mut("type") {
            Some(Value::String(kind)) => std::mem::take(kind),
            _ => name.map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default(),
        };
        match kind.as_str() {
            "message_start" => {
                if let Some(message) = event.get("message").and_then(Value::as_object) {
                    Self::start(message, events);
                    self.read_usage(data, &[b"message", b"usage"], events);
                }
            }
            "content_block_start" => {
                if let Some(block) = event.get_mut("content_block").and_then(Value::as_object_mut) {
                    self.block(block, events);
                }
            }
            "content_block_delta" => self.delta(event.shift_remove("delta"), events),
            "content_block_stop" => self.close(events),
            "message_delta" => {
                self.read_usage(data, &[b"usage"], events);
                if let Some(delta) = event.get("delta").and_then(Value::as_object) {
                    self.stop(delta, events);
                }
            }
            "message_stop" if self.stopped && !self.ended => {
                self.ended = true;
                events.push(Event::End);
            }
            "ping" => events.push(Event::Ping),
            "error" => self.fail(event.get("error"), events),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, events: &mut Vec<Event>) -> bool {
        if self.stopped && !self.ended {
            self.ended = true;
            events.push(Event::End);
        }
        self.ended
    }
}

//! What `/api/chat` answers: one object, or one per line.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cost::Kind;
use crate::dialects::reply::{Event, ReplyError, StopReason};
use crate::dialects::{AnswerReader, Malformed, history};
use crate::usage::{MOST_TOKENS, Tokens};

#[derive(Deserialize)]
struct Line<'a> {
    model: Option<String>,
    created_at: Option<String>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    done: Option<bool>,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Message<'a> {
    content: Option<String>,
    thinking: Option<String>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    id: Option<String>,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    name: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Reads answers of Ollama.
#[derive(Debug, Default)]
pub struct Reader {
    started: bool,
    ended: bool,
    seed: String,
    /// Of the calls so far.
    ids: Vec<String>,
}

impl AnswerReader for Reader {
    fn body(&mut self, json: &[u8], events: &mut Vec<Event>) {
        match serde_json::from_slice::<Line<'_>>(json) {
            Ok(line) => {
                self.line(line, events);
                self.stop(None, events);
            }
            Err(_) => self.fail(502, "the upstream's answer is not one of Ollama's", events),
        }
    }

    fn event(&mut self, _name: Option<&[u8]>, data: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed> {
        let line = serde_json::from_slice::<Line<'_>>(data)
            .map_err(|_| Malformed { in_call: memchr::memmem::find(data, b"\"tool_calls\"").is_some() })?;
        self.line(line, events);
        Ok(())
    }

    fn finish(&mut self, _events: &mut Vec<Event>) -> bool {
        self.ended
    }
}

impl Reader {
    fn fail(&mut self, status: u16, message: &str, events: &mut Vec<Event>) {
        self.ended = true;
        events.push(Event::Error(ReplyError { status, code: String::new(), message: message.into() }));
    }

    fn line(&mut self, line: Line<'_>, events: &mut Vec<Event>) {
        if self.ended {
            return;
        }
        if let Some(error) = line.error.filter(|error| !error.is_null()) {
            let words = error.as_str().or_else(|| error.get("message").and_then(Value::as_str));
            self.fail(500, words.unwrap_or("the upstream reported an error"), events);
            return;
        }
        if !self.started {
            self.started = true;
            self.seed = line.created_at.unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
            events.push(Event::Start { id: String::new(), model: line.model.unwrap_or_default() });
        }
        if let Some(message) = line.message {
            if let Some(text) = message.thinking.filter(|text| !text.is_empty()) {
                events.push(Event::Thinking { choice: 0, text });
            }
            if let Some(text) = message.content.filter(|text| !text.is_empty()) {
                events.push(Event::Text { choice: 0, text });
            }
            for call in message.tool_calls.into_iter().flatten() {
                self.call(call, events);
            }
        }
        if let Some(tokens) = tokens(line.prompt_eval_count, line.eval_count) {
            events.push(Event::Usage(tokens));
        }
        if line.done == Some(true) {
            self.stop(line.done_reason.as_deref(), events);
        }
    }

    fn call(&mut self, call: ToolCall<'_>, events: &mut Vec<Event>) {
        let number = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        let own = call.id.filter(|id| !id.is_empty() && !self.ids.contains(id));
        let id = own.unwrap_or_else(|| history::made_up_id(&self.seed, number));
        self.ids.push(id.clone());
        events.push(Event::Call {
            choice: 0,
            call: number,
            id,
            name: call.function.name.unwrap_or_default(),
            signature: None,
        });
        let json = match call.function.arguments.map(RawValue::get) {
            None | Some("null") => "{}".to_owned(),
            // What is a string already is one in other dialects as well.
            Some(text) if text.starts_with('"') => serde_json::from_str(text).unwrap_or_default(),
            Some(object) => object.to_owned(),
        };
        let json = if json.is_empty() { "{}".to_owned() } else { json };
        events.push(Event::Arguments { choice: 0, call: number, json });
    }

    fn stop(&mut self, word: Option<&str>, events: &mut Vec<Event>) {
        if self.ended {
            return;
        }
        let reason = match word.unwrap_or_default() {
            "" | "stop" | "load" | "unload" | "tool_calls" if self.ids.is_empty() => StopReason::End,
            "" | "stop" | "tool_calls" => StopReason::Calls,
            "length" => StopReason::Length,
            other => {
                let message = format!("the model's answer ended for an unknown reason: {}", shown(other));
                self.fail(502, &message, events);
                return;
            }
        };
        self.ended = true;
        events.push(Event::Stop { choice: 0, reason, sequence: None });
        events.push(Event::End);
    }
}

fn shown(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}

fn tokens(read: Option<u64>, written: Option<u64>) -> Option<Tokens> {
    if read.is_none() && written.is_none() {
        return None;
    }
    let (read, written) = (read.unwrap_or(0), written.unwrap_or(0));
    let is_count = read <= MOST_TOKENS && written <= MOST_TOKENS;
    is_count.then(|| Tokens::default().with(Kind::Input, read).with(Kind::Output, written))
}

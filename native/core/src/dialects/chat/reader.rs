//! The answer of an upstream that speaks chat, read.

use serde_json::{Map, Value};

use crate::dialects::conversation::Media;
use crate::dialects::fields::media_of_url;
use crate::dialects::reply::{Event, ReplyError, StopReason};
use crate::dialects::{AnswerReader, Malformed, Setting};
use crate::json::{Limits, Mode, Reader as JsonReader};
use crate::usage::Usage;

const LIMITS: Limits = Limits { max_depth: 256, max_nodes: usize::MAX };

/// Bytes of arguments that wait for the name of their call.
const MOST_EARLY: usize = 1 << 20;
/// Calls of a choice, and choices.
const MOST: usize = 1024;

/// Reads chunks and whole completions.
#[derive(Debug)]
pub struct Reader {
    setting: Setting,
    started: bool,
    ended: bool,
    usage: Usage,
    choices: Vec<Choice>,
    /// Choices that the last event had a reason for, a bit each.
    reasons: u128,
}

#[derive(Debug, Default)]
struct Choice {
    index: u32,
    calls: Vec<Call>,
    /// The call whose name may go on in the next piece.
    unsaid: Option<usize>,
    /// Calls that were told.
    told: u32,
    /// Why it ended, and the text that ended it: told at the end, as some servers write a reason with every chunk.
    stop: Option<(StopReason, Option<String>)>,
}

/// A call of the model's, which is told once its name is known.
#[derive(Debug, Default)]
struct Call {
    /// What the server numbers it.
    index: Option<u64>,
    id: String,
    name: String,
    signature: Option<String>,
    /// Arguments that came before the name.
    early: String,
    /// Which of the calls that were told it is.
    number: Option<u32>,
}

/// What a delta or a message may say.
#[derive(Default)]
struct Delta {
    reasoning_content: Option<Value>,
    reasoning: Option<Value>,
    content: Option<Value>,
    refusal: Option<Value>,
    images: Option<Value>,
    tool_calls: Option<Value>,
    function_call: Option<Value>,
}

impl Delta {
    /// One pass: to look each up would hash seven names for every chunk.
    fn of(members: Map<String, Value>) -> Self {
        let mut found = Self::default();
        for (name, value) in members {
            let place = match name.as_str() {
                "reasoning_content" => &mut found.reasoning_content,
                "reasoning" => &mut found.reasoning,
                "content" => &mut found.content,
                "refusal" => &mut found.refusal,
                "images" => &mut found.images,
                "tool_calls" => &mut found.tool_calls,
                "function_call" => &mut found.function_call,
                _ => continue,
            };
            *place = Some(value);
        }
        found
    }
}

impl Reader {
    /// For one answer.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        Self {
            setting: setting.clone(),
            started: false,
            ended: false,
            usage: Usage::default(),
            choices: Vec::new(),
            reasons: 0,
        }
    }

    fn read(&mut self, value: Value, data: &[u8], events: &mut Vec<Event>) {
        let Value::Object(mut answer) = value else { return };
        if let Some(error) = answer.get("error").filter(|error| is_said(error)) {
            events.push(Event::Error(failure(error)));
            self.ended = true;
            return;
        }
        if !self.started {
            self.started = true;
            let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            events.push(Event::Start { id: text("id"), model: text("model") });
        }
        let has_usage = answer.get("usage").is_some_and(Value::is_object);
        if has_usage {
            self.read_usage(data);
        }
        if let Some(Value::Array(choices)) = answer.remove("choices") {
            for choice in choices {
                if let Value::Object(choice) = choice {
                    self.choice(choice, events);
                }
            }
        }
        if has_usage && let Some(tokens) = self.usage.tokens() {
            events.push(Event::Usage(tokens));
        }
    }

    /// The report is read from the bytes, by the reader that all dialects share.
    fn read_usage(&mut self, data: &[u8]) {
        let mut reader = JsonReader::new(data, LIMITS, Mode::Lenient);
        let mut read = || -> Result<(), crate::json::Error> {
            reader.next()?;
            while let crate::json::Event::Key(key) = reader.next()? {
                if reader.raw(key) == b"usage" {
                    self.usage.read(&mut reader)?;
                } else {
                    reader.skip_value()?;
                }
            }
            Ok(())
        };
        // It was JSON a moment ago.
        let _ = read();
    }

    fn choice(&mut self, mut choice: Map<String, Value>, events: &mut Vec<Event>) {
        let index =
            choice.get("index").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
        let place = self.choices.iter().position(|known| known.index == index).unwrap_or_else(|| {
            self.choices.push(Choice { index, ..Choice::default() });
            self.choices.len() - 1
        });
        let known = &mut self.choices[place];
        let said = choice.remove("delta").filter(Value::is_object).or_else(|| choice.remove("message").map(numbered));
        if let Some(Value::Object(delta)) = said {
            known.delta(delta, &self.setting, events);
        }
        if self.choices.len() > MOST || known_is_beyond(&self.choices[place]) {
            self.ended = true;
            events.push(Event::Error(ReplyError {
                status: 502,
                code: "too_large".to_owned(),
                message: "the upstream's answer has more calls than can be followed".to_owned(),
            }));
            return;
        }
        let known = &mut self.choices[place];
        let reason = match choice.get("finish_reason").and_then(Value::as_str).unwrap_or_default() {
            "" => return,
            "stop" | "tool_calls" | "function_call" => StopReason::End,
            "length" => StopReason::Length,
            "content_filter" => StopReason::Refused,
            _ => {
                self.ended = true;
                events.push(Event::Error(ReplyError {
                    status: 502,
                    code: "unknown_finish_reason".to_owned(),
                    message: "the upstream ended its answer for a reason that it does not explain".to_owned(),
                }));
                return;
            }
        };
        // vLLM says which text ended the answer.
        known.stop = Some((reason, choice.get("stop_reason").and_then(Value::as_str).map(str::to_owned)));
        self.reasons |= 1_u128.checked_shl(index).unwrap_or(0);
    }

    fn end(&mut self, events: &mut Vec<Event>) -> bool {
        if self.ended {
            return true;
        }
        self.ended = !self.choices.is_empty() && self.choices.iter().all(|choice| choice.stop.is_some());
        if self.ended {
            for choice in &mut self.choices {
                choice.end(&self.setting, events);
            }
            events.push(Event::End);
        }
        self.ended
    }
}

impl Choice {
    fn end(&mut self, setting: &Setting, events: &mut Vec<Event>) {
        self.tell_unsaid(setting, events);
        let Some((reason, sequence)) = self.stop.take() else { return };
        let reason = match reason {
            StopReason::End if self.told > 0 => StopReason::Calls,
            StopReason::End if sequence.is_some() => StopReason::Sequence,
            // Some say that there are calls although there is none.
            reason => reason,
        };
        events.push(Event::Stop { choice: self.index, reason, sequence });
    }

    fn delta(&mut self, delta: Map<String, Value>, setting: &Setting, events: &mut Vec<Event>) {
        let choice = self.index;
        let before = events.len();
        let said = Delta::of(delta);
        for thought in [said.reasoning_content, said.reasoning] {
            if let Some(Value::String(text)) = thought
                && !text.is_empty()
            {
                events.push(Event::Thinking { choice, text });
                break;
            }
        }
        match said.content {
            Some(Value::String(text)) if !text.is_empty() => events.push(Event::Text { choice, text }),
            Some(Value::Array(parts)) => parts.into_iter().for_each(|part| self.part(part, events)),
            _ => {}
        }
        if let Some(Value::String(text)) = said.refusal
            && !text.is_empty()
        {
            events.push(Event::Refusal { choice, text });
        }
        if let Some(Value::Array(images)) = said.images {
            events.extend(images.iter().filter_map(image).map(|media| Event::Image { choice, media }));
        }
        if events.len() > before && self.unsaid.is_some() {
            let texts = events.split_off(before);
            self.tell_unsaid(setting, events);
            events.extend(texts);
        }
        if let Some(Value::Array(calls)) = said.tool_calls {
            for call in calls {
                if let Value::Object(call) = call {
                    self.call(call, setting, events);
                }
            }
        }
        if let Some(function) = said.function_call.filter(Value::is_object) {
            let mut call = Map::new();
            call.insert("index".to_owned(), 0.into());
            call.insert("function".to_owned(), function);
            self.call(call, setting, events);
        }
    }

    /// Mistral's reasoning models answer in parts: `{"type": "thinking", "thinking": [{"text"}]}`.
    fn part(&self, part: Value, events: &mut Vec<Event>) {
        let choice = self.index;
        let Value::Object(mut part) = part else { return };
        match part.remove("thinking") {
            Some(Value::String(text)) if !text.is_empty() => events.push(Event::Thinking { choice, text }),
            Some(Value::Array(pieces)) => {
                for piece in pieces {
                    if let Some(text) = piece.get("text").and_then(Value::as_str).filter(|text| !text.is_empty()) {
                        events.push(Event::Thinking { choice, text: text.to_owned() });
                    }
                }
            }
            _ => {
                if let Some(Value::String(text)) = part.remove("text")
                    && !text.is_empty()
                {
                    events.push(Event::Text { choice, text });
                }
            }
        }
    }

    fn call(&mut self, mut call: Map<String, Value>, setting: &Setting, events: &mut Vec<Event>) {
        let index = call.get("index").and_then(Value::as_u64);
        let id = call.get("id").and_then(Value::as_str).unwrap_or_default();
        let place = self.place(index, id);
        if self.unsaid.is_some_and(|unsaid| unsaid != place) {
            self.tell_unsaid(setting, events);
        }
        let taken = !id.is_empty() && self.calls.iter().enumerate().any(|(n, known)| n != place && known.id == id);
        let known = &mut self.calls[place];
        if known.id.is_empty() && !id.is_empty() && !taken {
            id.clone_into(&mut known.id);
        }
        if let Some(signature) =
            call.get("extra_content").and_then(|extra| extra["google"]["thought_signature"].as_str())
        {
            known.signature = Some(signature.to_owned());
        }
        let mut function = match call.remove("function") {
            Some(Value::Object(function)) => function,
            _ => Map::new(),
        };
        let name = function.remove("name");
        let name = name.as_ref().and_then(Value::as_str).unwrap_or_default();
        // Whole in one piece nearly everywhere; in several by some, and said again with every piece by others.
        if known.number.is_none() && name != known.name {
            known.name.push_str(name);
        }
        match function.remove("arguments") {
            Some(Value::String(text)) => known.early.push_str(&text),
            Some(value @ (Value::Object(_) | Value::Array(_))) => known.early.push_str(&value.to_string()),
            _ => {}
        }
        if known.name.is_empty() {
            return;
        }
        if known.number.is_none() && known.early.is_empty() && !name.is_empty() {
            self.unsaid = Some(place);
            return;
        }
        self.tell(place, setting, events);
    }

    fn tell_unsaid(&mut self, setting: &Setting, events: &mut Vec<Event>) {
        if let Some(place) = self.unsaid {
            self.tell(place, setting, events);
        }
    }

    /// The call, if that has not been told, and what has come of its arguments.
    fn tell(&mut self, place: usize, setting: &Setting, events: &mut Vec<Event>) {
        self.unsaid = self.unsaid.filter(|unsaid| *unsaid != place);
        let known = &mut self.calls[place];
        let told = known.number.is_some();
        let number = *known.number.get_or_insert(self.told);
        if !told {
            self.told += 1;
            if known.id.is_empty() {
                known.id = format!("call_{}_{}_{number}", setting.request_id, self.index);
            }
            let (id, name, signature) = (known.id.clone(), known.name.clone(), known.signature.take());
            events.push(Event::Call { choice: self.index, call: number, id, name, signature });
        }
        if !known.early.is_empty() {
            let json = std::mem::take(&mut known.early);
            events.push(Event::Arguments { choice: self.index, call: number, json });
        }
    }

    /// Which call a piece belongs to: by its number; without one, an unknown id begins another.
    fn place(&mut self, index: Option<u64>, id: &str) -> usize {
        let found = match index {
            // Some servers number every call 0 and tell them apart by their ids.
            Some(_) => self
                .calls
                .iter()
                .rposition(|known| known.index == index && (id.is_empty() || known.id.is_empty() || known.id == id)),
            None if id.is_empty() => self.calls.len().checked_sub(1),
            None => self.calls.iter().position(|known| known.id == id),
        };
        found.unwrap_or_else(|| {
            self.calls.push(Call { index, ..Call::default() });
            self.calls.len() - 1
        })
    }
}

/// A whole message with its calls numbered in their order: each is one of its own, whatever it has for an id.
fn numbered(mut message: Value) -> Value {
    if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
        for (index, call) in calls.iter_mut().enumerate().filter(|(_, call)| call.is_object()) {
            call["index"] = index.into();
        }
    }
    message
}

/// An image of an answer, as `OpenRouter` and those that follow it tell them.
fn image(image: &Value) -> Option<Media> {
    let url = &image["image_url"];
    let url = url.as_str().or_else(|| url["url"].as_str()).filter(|url| !url.is_empty())?;
    Some(media_of_url(url))
}

/// Whether more is held of a choice than any model says.
fn known_is_beyond(choice: &Choice) -> bool {
    choice.calls.len() > MOST || choice.calls.iter().any(|call| call.early.len() > MOST_EARLY)
}

/// Whether an `error` member is one: some servers write null, false or an empty object where there is none.
fn is_said(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    }
}

/// An error object of `OpenAI`'s shape or near it; `code` may be a status.
fn failure(error: &Value) -> ReplyError {
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    let code = text("code").or_else(|| text("type")).unwrap_or_default();
    let number = ["status", "code"].iter().find_map(|name| error.get(name).and_then(Value::as_u64));
    let status = number.and_then(|number| u16::try_from(number).ok()).filter(|status| (400..600).contains(status));
    let message = text("message").or_else(|| error.as_str().map(str::to_owned));
    ReplyError {
        status: status.unwrap_or_else(|| status_of(&code)),
        code,
        message: message.unwrap_or_else(|| "the upstream reported an error".to_owned()),
    }
}

fn status_of(code: &str) -> u16 {
    if code.contains("rate_limit") || code.contains("insufficient_quota") {
        429
    } else if code.contains("overloaded") {
        503
    } else if code.contains("invalid_request") {
        400
    } else {
        502
    }
}

impl AnswerReader for Reader {
    fn body(&mut self, json: &[u8], events: &mut Vec<Event>) {
        let Ok(value @ Value::Object(_)) = serde_json::from_slice(json) else {
            events.push(Event::Error(ReplyError::unreadable()));
            return;
        };
        self.read(value, json, events);
        if !self.end(events) {
            events.push(Event::Error(ReplyError::unreadable()));
        }
    }

    fn event(&mut self, _: Option<&[u8]>, data: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed> {
        self.reasons = 0;
        if data.trim_ascii() == b"[DONE]" {
            if !self.end(events) {
                // Nobody has said why the answer ends here, and half a call must not pass for a whole one.
                self.ended = true;
                events.push(Event::Error(ReplyError::truncated()));
            }
            return Ok(());
        }
        let value = serde_json::from_slice(data)
            .map_err(|_| Malformed { in_call: memchr::memmem::find(data, b"tool_calls").is_some() })?;
        self.read(value, data, events);
        Ok(())
    }

    fn reasons(&self) -> u128 {
        self.reasons
    }

    fn finish(&mut self, events: &mut Vec<Event>) -> bool {
        self.end(events)
    }
}

//! An answer for a caller of completions, written. Only texts have a place in it.

use serde_json::{Value, json};

use crate::dialects::chat::{finish, usage};
use crate::dialects::reply::Event;
use crate::dialects::{AnswerWriter, Setting};
use crate::json::write::{number, quote};
use crate::tap::DONE;
use crate::usage::Tokens;

/// Writes chunks and whole completions.
#[derive(Debug)]
pub struct Writer {
    setting: Setting,
    id: String,
    model: String,
    /// What all chunks begin with, up to their choices.
    head: Vec<u8>,
    tokens: Option<Tokens>,
}

impl Writer {
    /// For one answer.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        let (id, model) = (String::new(), setting.model.clone());
        Self { setting: setting.clone(), id, model, head: Vec::new(), tokens: None }
    }

    fn start(&mut self, id: &str, model: &str) {
        self.id = if id.is_empty() { format!("cmpl-{}", self.setting.request_id) } else { id.to_owned() };
        if !model.is_empty() {
            model.clone_into(&mut self.model);
        }
        let mut head = b"data: {\"id\":".to_vec();
        quote(&mut head, &self.id);
        head.extend_from_slice(b",\"object\":\"text_completion\",\"created\":");
        number(&mut head, self.setting.created);
        head.extend_from_slice(b",\"model\":");
        quote(&mut head, &self.model);
        self.head = head;
    }

    fn chunk(&self, choice: u32, text: &str, reason: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        if self.setting.include_usage {
            out.extend_from_slice(b",\"usage\":null");
        }
        out.extend_from_slice(b",\"choices\":[{\"index\":");
        number(out, choice);
        out.extend_from_slice(b",\"text\":");
        quote(out, text);
        out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":");
        match reason {
            Some(reason) => quote(out, reason),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b"}]}\n\n");
    }

    fn end(&self, out: &mut Vec<u8>) {
        if let (true, Some(tokens)) = (self.setting.include_usage, self.tokens) {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(format!(",\"choices\":[],\"usage\":{}}}\n\n", usage(&tokens)).as_bytes());
        }
        out.extend_from_slice(DONE);
    }
}

impl AnswerWriter for Writer {
    fn body(&mut self, events: &[Event]) -> Vec<u8> {
        let mut choices: Vec<(u32, String, &str)> = Vec::new();
        for event in events {
            match event {
                Event::Start { id, model } => self.start(id, model),
                Event::Text { choice, text } | Event::Refusal { choice, text } => {
                    match choices.iter_mut().find(|known| known.0 == *choice) {
                        Some(known) => known.1.push_str(text),
                        None => choices.push((*choice, text.clone(), "stop")),
                    }
                }
                Event::Stop { choice, reason, .. } => match choices.iter_mut().find(|known| known.0 == *choice) {
                    Some(known) => known.2 = finish(*reason),
                    None => choices.push((*choice, String::new(), finish(*reason))),
                },
                Event::Usage(tokens) => self.tokens = Some(*tokens),
                _ => {}
            }
        }
        let choices: Vec<Value> = choices
            .iter()
            .map(|(index, text, reason)| {
                json!({"index": index, "text": text, "logprobs": null, "finish_reason": reason})
            })
            .collect();
        let mut answer = json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.setting.created,
            "model": self.model,
            "choices": choices,
        });
        if let Some(tokens) = &self.tokens {
            answer["usage"] = usage(tokens);
        }
        answer.to_string().into_bytes()
    }

    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model } => self.start(id, model),
            Event::Text { choice, text } | Event::Refusal { choice, text } => self.chunk(*choice, text, None, out),
            Event::Stop { choice, reason, .. } => self.chunk(*choice, "", Some(finish(*reason)), out),
            Event::Usage(tokens) => self.tokens = Some(*tokens),
            Event::End => self.end(out),
            _ => {}
        }
    }
}

//! What `generateContent` answers, whole or in a stream: both are made of the same objects.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::conversation::Media;
use crate::dialects::reply::{Event, ReplyError, StopReason};
use crate::dialects::{AnswerReader, Malformed, history};
use crate::usage::Usage;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    candidates: Option<Vec<Candidate<'a>>>,
    prompt_feedback: Option<Feedback>,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
    model_version: Option<String>,
    response_id: Option<String>,
    error: Option<Fault>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    content: Option<Said<'a>>,
    finish_reason: Option<String>,
    finish_message: Option<String>,
    citation_metadata: Option<Value>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    text: Option<String>,
    thought: Option<bool>,
    #[serde(borrow)]
    function_call: Option<FunctionCall<'a>>,
    thought_signature: Option<String>,
    inline_data: Option<Inline>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inline {
    mime_type: Option<String>,
    data: Option<String>,
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(Deserialize)]
struct Fault {
    code: Option<u16>,
    message: Option<String>,
    status: Option<String>,
}

/// Reads answers of Gemini.
#[derive(Debug, Default)]
pub struct Reader {
    started: bool,
    failed: bool,
    seed: String,
    usage: Usage,
    choices: Vec<Choice>,
}

#[derive(Debug)]
struct Choice {
    index: u32,
    calls: u32,
    /// Told at the end: chunks with text may follow the one with the reason.
    stop: Option<StopReason>,
}

impl AnswerReader for Reader {
    fn body(&mut self, json: &[u8], events: &mut Vec<Event>) {
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(json) else {
            self.fail(502, "malformed_answer", "the upstream's answer is not one of Gemini's", events);
            return;
        };
        self.chunk(chunk, events);
        if self.choices.is_empty() {
            self.fail(502, "no_candidates", "the upstream's answer holds no candidates", events);
            return;
        }
        for choice in &mut self.choices {
            choice.stop.get_or_insert(StopReason::End);
        }
        self.finish(events);
    }

    fn event(&mut self, _name: Option<&[u8]>, data: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed> {
        let chunk = serde_json::from_slice::<Chunk<'_>>(data)
            .map_err(|_| Malformed { in_call: memchr::memmem::find(data, b"\"functionCall\"").is_some() })?;
        self.chunk(chunk, events);
        Ok(())
    }

    fn finish(&mut self, events: &mut Vec<Event>) -> bool {
        if self.failed {
            return true;
        }
        if self.choices.is_empty() || self.choices.iter().any(|choice| choice.stop.is_none()) {
            return false;
        }
        for choice in &self.choices {
            let reason = match choice.stop {
                Some(StopReason::End) if choice.calls > 0 => StopReason::Calls,
                Some(reason) => reason,
                None => StopReason::End,
            };
            events.push(Event::Stop { choice: choice.index, reason, sequence: None });
        }
        events.push(Event::End);
        true
    }
}

impl Reader {
    fn fail(&mut self, status: u16, code: &str, message: &str, events: &mut Vec<Event>) {
        if !self.failed {
            self.failed = true;
            events.push(Event::Error(ReplyError { status, code: code.into(), message: message.into() }));
        }
    }

    fn chunk(&mut self, chunk: Chunk<'_>, events: &mut Vec<Event>) {
        if self.failed {
            return;
        }
        if let Some(fault) = chunk.error {
            let message = fault.message.unwrap_or_else(|| "the upstream reported an error".into());
            self.fail(fault.code.unwrap_or(502), &fault.status.unwrap_or_default(), &message, events);
            return;
        }
        if !self.started {
            self.started = true;
            self.seed = chunk.response_id.clone().unwrap_or_default();
            let model = chunk.model_version.unwrap_or_default();
            events.push(Event::Start { id: chunk.response_id.unwrap_or_default(), model });
        }
        if let Some(report) = chunk.usage_metadata {
            let mut reader = crate::json::Reader::new(report.get().as_bytes(), LIMITS, crate::json::Mode::Lenient);
            if self.usage.read(&mut reader).is_ok()
                && let Some(tokens) = self.usage.tokens()
            {
                events.push(Event::Usage(tokens));
            }
        }
        if chunk.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some()) {
            self.choice(0).stop = Some(StopReason::Refused);
        }
        for candidate in chunk.candidates.into_iter().flatten() {
            self.candidate(candidate, events);
        }
    }

    fn choice(&mut self, index: u32) -> &mut Choice {
        let at = self.choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            self.choices.push(Choice { index, calls: 0, stop: None });
            self.choices.len() - 1
        });
        &mut self.choices[at]
    }

    fn candidate(&mut self, candidate: Candidate<'_>, events: &mut Vec<Event>) {
        let index = candidate.index.unwrap_or(0);
        self.choice(index);
        for part in candidate.content.and_then(|content| content.parts).into_iter().flatten() {
            if let Some(call) = part.function_call {
                self.call(index, call, part.thought_signature, events);
            } else if let Some(Inline { mime_type, data: Some(data) }) = part.inline_data {
                // Drafts are thoughts: what the model shows is drawn again.
                if part.thought != Some(true) {
                    let media = Media::Inline { media_type: mime_type.unwrap_or_else(|| "image/png".into()), data };
                    events.push(Event::Image { choice: index, media });
                }
            } else if let Some(text) = part.text.filter(|text| !text.is_empty()) {
                events.push(match part.thought {
                    Some(true) => Event::Thinking { choice: index, text },
                    _ => Event::Text { choice: index, text },
                });
            }
        }
        if let Some(value) = candidate.citation_metadata {
            events.push(Event::Citation { choice: index, value });
        }
        let Some(word) = candidate.finish_reason.filter(|word| !word.is_empty() && word != "FINISH_REASON_UNSPECIFIED")
        else {
            return;
        };
        if let Some(reason) = reason(&word) {
            self.choice(index).stop = Some(reason);
        } else {
            let message =
                candidate.finish_message.unwrap_or_else(|| "the model's answer was given up by the provider".into());
            self.fail(502, &word, &message, events);
        }
    }

    fn call(&mut self, choice: u32, call: FunctionCall<'_>, signature: Option<String>, events: &mut Vec<Event>) {
        let total: u32 = self.choices.iter().map(|choice| choice.calls).sum();
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| history::made_up_id(&self.seed, total));
        let own = self.choice(choice);
        let number = own.calls;
        own.calls += 1;
        events.push(Event::Call { choice, call: number, id, name: call.name.unwrap_or_default(), signature });
        let json = call.args.map(RawValue::get).filter(|json| *json != "null").unwrap_or("{}").to_owned();
        events.push(Event::Arguments { choice, call: number, json });
    }
}

const LIMITS: crate::json::Limits = crate::json::Limits { max_depth: 64, max_nodes: usize::MAX };

/// None: the answer is not to be used.
fn reason(word: &str) -> Option<StopReason> {
    Some(match word {
        "STOP" => StopReason::End,
        "MAX_TOKENS" => StopReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => StopReason::Refused,
        _ => return None,
    })
}

//! What Converse answers, and the events of `ConverseStream`.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::reply::{Event, ReplyError, StopReason};
use crate::dialects::{AnswerReader, Malformed};
use crate::json::{Limits, Mode};
use crate::usage::Usage;

/// With what the names of exceptions begin, so that no event can be taken for one.
pub const EXCEPTION: &[u8] = b"exception:";

const LIMITS: Limits = Limits { max_depth: 64, max_nodes: usize::MAX };

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    output: Output<'a>,
    stop_reason: String,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Vec<Block<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    text: Option<String>,
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
    reasoning_content: Option<Reasoning>,
    citations_content: Option<Cited>,
}

#[derive(Deserialize)]
struct ToolUse<'a> {
    #[serde(rename = "toolUseId")]
    id: String,
    name: String,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reasoning {
    reasoning_text: Option<ReasoningText>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
struct ReasoningText {
    text: Option<String>,
    signature: Option<String>,
}

#[derive(Deserialize)]
struct Cited {
    content: Option<Vec<Text>>,
    citations: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Text {
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart<'a> {
    content_block_index: u32,
    #[serde(borrow)]
    start: Option<Start<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta {
    content_block_index: u32,
    delta: Delta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta {
    text: Option<String>,
    tool_use: Option<Input>,
    reasoning_content: Option<ReasoningDelta>,
    citation: Option<Value>,
}

#[derive(Deserialize)]
struct Input {
    input: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningDelta {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStop {
    content_block_index: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop {
    stop_reason: String,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(alias = "Message")]
    message: Option<String>,
    #[serde(rename = "originalMessage")]
    original: Option<String>,
}

/// Reads answers of Converse.
#[derive(Debug, Default)]
pub struct Reader {
    started: bool,
    stopped: bool,
    ended: bool,
    calls: u32,
    /// The call that is under way: its block, its number, and whether it has arguments yet.
    open: Option<(u32, u32, bool)>,
    usage: Usage,
}

impl AnswerReader for Reader {
    fn body(&mut self, json: &[u8], events: &mut Vec<Event>) {
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(json) else {
            self.fail(502, "malformed_answer", "the upstream's answer is not one of Converse's", events);
            return;
        };
        self.start(events);
        for block in answer.output.message.and_then(|message| message.content).into_iter().flatten() {
            self.block(block, events);
        }
        self.report(answer.usage, events);
        self.stop(&answer.stop_reason, events);
        self.end(events);
    }

    fn event(&mut self, name: Option<&[u8]>, data: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed> {
        if self.ended {
            return Ok(());
        }
        let name = name.unwrap_or_default();
        if let Some(exception) = name.strip_prefix(EXCEPTION) {
            self.exception(exception, data, events);
            return Ok(());
        }
        let in_call = self.open.is_some() || memchr::memmem::find(data, b"toolUse").is_some();
        self.known(name, data, events).map_err(|_| Malformed { in_call })
    }

    fn finish(&mut self, events: &mut Vec<Event>) -> bool {
        if self.stopped {
            self.end(events);
        }
        self.ended
    }
}

impl Reader {
    fn known(&mut self, name: &[u8], data: &[u8], events: &mut Vec<Event>) -> Result<(), serde_json::Error> {
        match name {
            // Told with what follows: an answer that fails before it says anything can still be asked for elsewhere.
            b"messageStart" => drop(serde_json::from_slice::<&RawValue>(data)?),
            b"contentBlockStart" => {
                let block: BlockStart<'_> = serde_json::from_slice(data)?;
                if let Some(call) = block.start.and_then(|start| start.tool_use) {
                    self.call(block.content_block_index, call, events);
                }
            }
            b"contentBlockDelta" => self.delta(serde_json::from_slice(data)?, events),
            b"contentBlockStop" => {
                let block: BlockStop = serde_json::from_slice(data)?;
                if self.open.is_some_and(|(index, ..)| index == block.content_block_index) {
                    self.close(events);
                }
            }
            b"messageStop" => {
                let stop: MessageStop = serde_json::from_slice(data)?;
                self.stop(&stop.stop_reason, events);
            }
            b"metadata" => {
                let metadata: Metadata<'_> = serde_json::from_slice(data)?;
                self.report(metadata.usage, events);
                if self.stopped {
                    self.end(events);
                }
            }
            // What later versions add.
            _ => drop(serde_json::from_slice::<&RawValue>(data)?),
        }
        Ok(())
    }

    fn start(&mut self, events: &mut Vec<Event>) {
        if !self.started {
            self.started = true;
            events.push(Event::Start { id: String::new(), model: String::new() });
        }
    }

    fn fail(&mut self, status: u16, code: &str, message: &str, events: &mut Vec<Event>) {
        self.ended = true;
        events.push(Event::Error(ReplyError { status, code: code.into(), message: message.into() }));
    }

    fn exception(&mut self, name: &[u8], data: &[u8], events: &mut Vec<Event>) {
        let name = String::from_utf8_lossy(name);
        let words = match serde_json::from_slice::<Fault>(data) {
            Ok(fault) => fault.message.or(fault.original),
            Err(_) => std::str::from_utf8(data).ok().filter(|text| !text.is_empty()).map(Into::into),
        };
        self.fail(status(&name), &name, &words.unwrap_or_else(|| "the upstream reported an error".into()), events);
    }

    fn report(&mut self, usage: Option<&RawValue>, events: &mut Vec<Event>) {
        let Some(report) = usage else { return };
        let mut reader = crate::json::Reader::new(report.get().as_bytes(), LIMITS, Mode::Lenient);
        if self.usage.read(&mut reader).is_ok()
            && let Some(tokens) = self.usage.tokens()
        {
            events.push(Event::Usage(tokens));
        }
    }

    fn block(&mut self, block: Block<'_>, events: &mut Vec<Event>) {
        say(block.text, events);
        if let Some(call) = block.tool_use {
            self.call(0, call, events);
            self.close(events);
        }
        if let Some(thought) = block.reasoning_content {
            let (text, signature) = thought.reasoning_text.map_or((None, None), |text| (text.text, text.signature));
            think(text, signature, thought.redacted_content, events);
        }
        if let Some(cited) = block.citations_content {
            for text in cited.content.into_iter().flatten() {
                say(text.text, events);
            }
            let sources = cited.citations.into_iter().flatten();
            events.extend(sources.map(|value| Event::Citation { choice: 0, value }));
        }
    }

    fn call(&mut self, block: u32, call: ToolUse<'_>, events: &mut Vec<Event>) {
        if call.kind.is_some() {
            return; // the provider's own tools: nobody is to run those
        }
        self.start(events);
        self.close(events);
        let number = self.calls;
        self.calls += 1;
        let arguments = call.input.map(RawValue::get).filter(|json| *json != "null");
        self.open = Some((block, number, arguments.is_some()));
        events.push(Event::Call { choice: 0, call: number, id: call.id, name: call.name, signature: None });
        events.extend(arguments.map(|json| Event::Arguments { choice: 0, call: number, json: json.into() }));
    }

    /// A call without arguments has empty ones.
    fn close(&mut self, events: &mut Vec<Event>) {
        if let Some((_, call, false)) = self.open.take() {
            events.push(Event::Arguments { choice: 0, call, json: "{}".into() });
        }
    }

    fn delta(&mut self, block: BlockDelta, events: &mut Vec<Event>) {
        self.start(events);
        let delta = block.delta;
        if let Some(json) = delta.tool_use.and_then(|call| call.input).filter(|json| !json.is_empty())
            && let Some((index, call, has_arguments)) = &mut self.open
            && *index == block.content_block_index
        {
            *has_arguments = true;
            events.push(Event::Arguments { choice: 0, call: *call, json });
        }
        say(delta.text, events);
        if let Some(thought) = delta.reasoning_content {
            think(thought.text, thought.signature, thought.redacted_content, events);
        }
        events.extend(delta.citation.map(|value| Event::Citation { choice: 0, value }));
    }

    fn stop(&mut self, word: &str, events: &mut Vec<Event>) {
        self.close(events);
        let reason = match word {
            "end_turn" => StopReason::End,
            "tool_use" => StopReason::Calls,
            "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
            "stop_sequence" => StopReason::Sequence,
            "guardrail_intervened" | "content_filtered" => StopReason::Refused,
            other => {
                self.fail(502, other, "the model's answer was given up by the provider", events);
                return;
            }
        };
        self.start(events);
        self.stopped = true;
        events.push(Event::Stop { choice: 0, reason, sequence: None });
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        if !self.ended {
            self.ended = true;
            events.push(Event::End);
        }
    }
}

fn say(text: Option<String>, events: &mut Vec<Event>) {
    events.extend(text.filter(|text| !text.is_empty()).map(|text| Event::Text { choice: 0, text }));
}

fn think(text: Option<String>, signature: Option<String>, sealed: Option<String>, events: &mut Vec<Event>) {
    events.extend(text.filter(|text| !text.is_empty()).map(|text| Event::Thinking { choice: 0, text }));
    let signature = signature.filter(|signature| !signature.is_empty());
    events.extend(signature.map(|signature| Event::Signature { choice: 0, signature }));
    events.extend(sealed.map(|data| Event::RedactedThinking { choice: 0, data }));
}

/// The HTTP status that the API's model gives an exception, whose first letter is small in streams.
fn status(exception: &str) -> u16 {
    let mut name = exception.to_ascii_lowercase();
    name.truncate(name.strip_suffix("exception").map_or(name.len(), str::len));
    match name.as_str() {
        "throttling" | "modelnotready" => 429,
        "modeltimeout" => 408,
        "modelerror" | "modelstreamerror" => 424,
        "validation" | "servicequotaexceeded" => 400,
        "resourcenotfound" => 404,
        "internalserver" | "internalfailure" => 500,
        "serviceunavailable" => 503,
        _ => 502,
    }
}

//! A conversation as the body of `/api/chat`.

use serde_json::{Map, Value, json};

use crate::dialects::Warnings;
use crate::dialects::conversation::{Content, Conversation, Format, Media, Part, Reasoning, Role, Tool, ToolChoice};
use crate::dialects::history;
use crate::request::RequestError;

const OLLAMA: &str = "Ollama";
/// Members of other bodies that are options here.
const OPTIONS: [&str; 9] = [
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "num_ctx",
    "repeat_penalty",
    "repeat_last_n",
    "min_p",
    "num_gpu",
    "num_keep",
];
/// Members of Ollama's own body that a caller may add to his.
const OWN: [&str; 3] = ["keep_alive", "truncate", "shift"];

/// The body of `/api/chat`.
///
/// # Errors
/// Several choices, a call without a result, arguments that are no object, or content that Ollama cannot read (addresses
/// of images, files, sound).
pub fn write_request(conversation: &Conversation, warnings: &mut Warnings) -> Result<Vec<u8>, RequestError> {
    history::one_choice(conversation, OLLAMA)?;
    let mut body = Map::new();
    body.insert("model".into(), conversation.model.clone().into());
    body.insert("messages".into(), messages(conversation, warnings)?.into());
    body.insert("stream".into(), conversation.stream.into());
    tools(conversation, warnings, &mut body);
    match &conversation.format {
        None => {}
        Some(Format::Json) => drop(body.insert("format".into(), "json".into())),
        Some(Format::Schema { schema, .. }) => drop(body.insert("format".into(), schema.clone())),
    }
    let think = conversation.rest.get("think").filter(|value| !value.is_null()).cloned();
    let reasoning = conversation.reasoning.as_ref().map(|how| thinking(&conversation.model, how, warnings));
    if let Some(think) = think.or(reasoning) {
        body.insert("think".into(), think);
    }
    let mut taken = vec!["think", "options"];
    history::carry(conversation, OWN.map(|name| (name, name)), &mut body, &mut taken);
    let options = options(conversation);
    if !options.is_empty() {
        body.insert("options".into(), options.into());
    }
    taken.extend(OPTIONS);
    history::unmarked(conversation, warnings);
    history::unsaid(conversation, &taken, warnings);
    Ok(Value::Object(body).to_string().into_bytes())
}

fn messages(conversation: &Conversation, warnings: &mut Warnings) -> Result<Vec<Value>, RequestError> {
    let names = history::names(&conversation.turns);
    let mut all = Vec::new();
    let system = history::text(&conversation.system);
    if !system.is_empty() {
        all.push(json!({"role": "system", "content": system}));
    }
    for (role, parts) in history::joined(&conversation.turns)? {
        let mut said = Said::default();
        for part in parts {
            if let Content::CallResult { id, parts, is_error } = &part.content {
                let name = names.get(id.as_str()).copied().unwrap_or_default();
                let text = history::text(parts);
                let text = if *is_error { format!("Error: {text}") } else { text };
                all.push(json!({"role": "tool", "content": text, "tool_name": name, "tool_call_id": id}));
                for part in parts.iter().filter(|part| !matches!(part.content, Content::Text(_))) {
                    said.part(part, warnings)?;
                }
            } else {
                said.part(part, warnings)?;
            }
        }
        all.extend(said.message(if role == Role::User { "user" } else { "assistant" }));
    }
    Ok(all)
}

/// A message under way.
#[derive(Default)]
struct Said {
    text: String,
    thinking: String,
    images: Vec<Value>,
    calls: Vec<Value>,
}

impl Said {
    fn part(&mut self, part: &Part, warnings: &mut Warnings) -> Result<(), RequestError> {
        match &part.content {
            Content::Text(text) | Content::Refusal(text) => {
                if !self.text.is_empty() {
                    self.text.push('\n');
                }
                self.text.push_str(text);
            }
            Content::Thinking { text, .. } => self.thinking.push_str(text),
            Content::Image(Media::Inline { data, .. }) => self.images.push(data.clone().into()),
            Content::Image(_) => return Err(history::refused("an image by its address", OLLAMA)),
            Content::Document { .. } => return Err(history::refused("a document", OLLAMA)),
            Content::Audio(_) => return Err(history::refused("audio", OLLAMA)),
            Content::Call { id, name, arguments, .. } => {
                let arguments = history::arguments(id, arguments)?;
                self.calls.push(json!({"id": id, "function": {"name": name, "arguments": arguments}}));
            }
            Content::Foreign(kind) => warnings.lost(&format!("messages.{kind}")),
            Content::RedactedThinking(_) | Content::CallResult { .. } => {}
        }
        Ok(())
    }

    fn message(self, role: &str) -> Option<Value> {
        if self.text.is_empty() && self.images.is_empty() && self.calls.is_empty() {
            return None;
        }
        let mut message = json!({"role": role, "content": self.text});
        if !self.thinking.is_empty() {
            message["thinking"] = self.thinking.into();
        }
        if !self.images.is_empty() {
            message["images"] = self.images.into();
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.into();
        }
        Some(message)
    }
}

/// Whether a tool must be called cannot be said; that none may be is said by telling of none.
fn tools(conversation: &Conversation, warnings: &mut Warnings, body: &mut Map<String, Value>) {
    match conversation.tool_choice {
        Some(ToolChoice::None) => return,
        Some(ToolChoice::Required | ToolChoice::Named(_)) => warnings.lost("tool_choice"),
        Some(ToolChoice::Auto) | None => {}
    }
    if conversation.parallel_calls == Some(false) {
        warnings.lost("parallel_tool_calls");
    }
    let tools: Vec<Value> = conversation.tools.iter().map(|tool| declaration(tool, warnings)).collect();
    if !tools.is_empty() {
        body.insert("tools".into(), tools.into());
    }
}

fn declaration(tool: &Tool, warnings: &mut Warnings) -> Value {
    if tool.strict == Some(true) {
        warnings.lost("tools.strict");
    }
    let parameters = tool.parameters.clone().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    let description = tool.description.as_deref().unwrap_or_default();
    json!({
        "type": "function",
        "function": {"name": tool.name, "description": description, "parameters": parameters},
    })
}

/// gpt-oss knows three efforts, all others only whether to think.
fn thinking(model: &str, how: &Reasoning, warnings: &mut Warnings) -> Value {
    let has_efforts = model.rsplit('/').next().is_some_and(|name| name.starts_with("gpt-oss"));
    match how {
        Reasoning::Off => false.into(),
        Reasoning::Effort(word) if has_efforts => match word.as_str() {
            "minimal" => "low".into(),
            "xhigh" | "max" => "high".into(),
            word => word.into(),
        },
        Reasoning::Budget(_) => {
            warnings.lost("reasoning_effort");
            true.into()
        }
        Reasoning::Effort(_) | Reasoning::Adaptive => true.into(),
    }
}

/// Those that the caller gives as such come first, and are overruled by what every dialect has a word for.
fn options(conversation: &Conversation) -> Map<String, Value> {
    let mut out = conversation.rest.get("options").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            out.insert(name.into(), value);
        }
    };
    for name in OPTIONS {
        set(name, conversation.rest.get(name).cloned());
    }
    let number = |number: &Option<serde_json::Number>| number.clone().map(Value::Number);
    set("num_predict", conversation.max_tokens.map(Into::into));
    set("temperature", number(&conversation.temperature));
    set("top_p", number(&conversation.top_p));
    set("top_k", number(&conversation.top_k));
    set("stop", (!conversation.stop.is_empty()).then(|| conversation.stop.clone().into()));
    out
}

//! A chat request for an upstream, written.

use serde_json::{Map, Value, json};

use crate::dialects::Warnings;
use crate::dialects::conversation::{
    Content, Conversation, Format, Media, Part, Reasoning, Role, Tool, ToolChoice, Turn,
};
use crate::dialects::fields::{named, url_of_media};
use crate::request::RequestError;

/// Members that mean the same wherever they are said.
const KEPT: [&str; 12] = [
    "seed",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "presence_penalty",
    "frequency_penalty",
    "store",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "verbosity",
    "service_tier",
];

/// Which servers the request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flavour {
    /// Servers that take what `OpenAI` has retired and pass over what they do not know.
    Compatible,
    /// `OpenAI` and Azure.
    OpenAi,
}

/// For a server that speaks like `OpenAI`.
///
/// # Errors
/// What no chat request can say and would be missed: a server's own blocks, documents by URL, sealed files.
pub fn write_request(conversation: &Conversation, warnings: &mut Warnings) -> Result<Vec<u8>, RequestError> {
    write(conversation, warnings, Flavour::Compatible)
}

/// For `OpenAI` itself.
///
/// # Errors
/// As [`write_request`].
pub fn write_openai_request(conversation: &Conversation, warnings: &mut Warnings) -> Result<Vec<u8>, RequestError> {
    write(conversation, warnings, Flavour::OpenAi)
}

fn write(conversation: &Conversation, warnings: &mut Warnings, flavour: Flavour) -> Result<Vec<u8>, RequestError> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| {
        body.insert(name.to_owned(), value);
    };
    put("model", json!(conversation.model));
    put("messages", Value::Array(messages(conversation, warnings, flavour)?));
    if !conversation.tools.is_empty() {
        put("tools", conversation.tools.iter().map(|tool| write_tool(tool, warnings)).collect());
        if let Some(choice) = &conversation.tool_choice {
            put("tool_choice", write_choice(choice));
        }
        if let Some(parallel) = conversation.parallel_calls {
            put("parallel_tool_calls", json!(parallel));
        }
    }
    if let Some(limit) = conversation.max_tokens {
        put(if flavour == Flavour::OpenAi { "max_completion_tokens" } else { "max_tokens" }, json!(limit));
    }
    for (name, value) in [("temperature", &conversation.temperature), ("top_p", &conversation.top_p)] {
        if let Some(number) = value {
            put(name, Value::Number(number.clone()));
        }
    }
    match (&conversation.top_k, flavour) {
        (Some(number), Flavour::Compatible) => put("top_k", Value::Number(number.clone())),
        (Some(_), Flavour::OpenAi) => warnings.lost("top_k"),
        (None, _) => {}
    }
    if !conversation.stop.is_empty() {
        put("stop", json!(conversation.stop));
    }
    if let Some(count) = conversation.choices {
        put("n", json!(count));
    }
    if let Some(effort) = conversation.reasoning.as_ref().and_then(effort) {
        if flavour == Flavour::Compatible || takes_effort(&conversation.model, effort) {
            put("reasoning_effort", json!(effort));
        } else if effort != "none" {
            warnings.lost("reasoning_effort");
        }
    }
    if let Some(format) = &conversation.format {
        put("response_format", write_format(format));
    }
    match &conversation.user {
        // OpenAI refuses longer ones; Claude Code's are.
        Some(user) if flavour == Flavour::OpenAi && user.chars().count() > 64 => warnings.lost("user"),
        Some(user) => put("user", json!(user)),
        None => {}
    }
    for (name, value) in &conversation.rest {
        if name == "service_tier" && value == "standard_only" {
            put(name, json!("default"));
        } else if KEPT.contains(&name.as_str()) {
            put(name, value.clone());
        } else {
            warnings.lost(name);
        }
    }
    if conversation.stream {
        put("stream", json!(true));
        put("stream_options", json!({"include_usage": true}));
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

/// `OpenAI`'s word for how much to think; None leaves it to the model.
fn effort(reasoning: &Reasoning) -> Option<&str> {
    match reasoning {
        Reasoning::Off => Some("none"),
        Reasoning::Effort(word) if word == "max" => Some("xhigh"),
        Reasoning::Effort(word) => Some(word),
        Reasoning::Budget(..=2048) => Some("low"),
        Reasoning::Budget(..=8192) => Some("medium"),
        Reasoning::Budget(_) => Some("high"),
        Reasoning::Adaptive => None,
    }
}

/// Whether the model knows that word: those that do not think refuse any, and not all that think can be told not to.
fn takes_effort(model: &str, word: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or_default();
    let thinks = !["gpt-3", "gpt-4", "chatgpt"].iter().any(|family| name.starts_with(family));
    let can_rest = !["o1", "o3", "o4", "gpt-5-"].iter().any(|family| name.starts_with(family)) && name != "gpt-5";
    thinks && (word != "none" || can_rest)
}

fn write_format(format: &Format) -> Value {
    match format {
        Format::Json => json!({"type": "json_object"}),
        Format::Schema { name, schema, strict } => {
            let mut inner = json!({"name": name, "schema": schema});
            if let Some(strict) = strict {
                inner["strict"] = json!(strict);
            }
            json!({"type": "json_schema", "json_schema": inner})
        }
    }
}

fn write_tool(tool: &Tool, warnings: &mut Warnings) -> Value {
    let mut function = json!({"name": tool.name});
    if let Some(description) = &tool.description {
        function["description"] = json!(description);
    }
    let schema = tool.parameters.clone().filter(|schema| schema.get("type").is_some());
    function["parameters"] = schema.unwrap_or_else(|| {
        let mut schema = json!({"type": "object", "properties": {}});
        for (name, value) in tool.parameters.iter().filter_map(Value::as_object).flatten() {
            schema[name] = value.clone();
        }
        schema
    });
    if let Some(strict) = tool.strict {
        function["strict"] = json!(strict);
    }
    if tool.cache.is_some() {
        warnings.lost("cache_control");
    }
    json!({"type": "function", "function": function})
}

fn write_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::None => json!("none"),
        ToolChoice::Auto => json!("auto"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn messages(
    conversation: &Conversation,
    warnings: &mut Warnings,
    flavour: Flavour,
) -> Result<Vec<Value>, RequestError> {
    let mut messages = Vec::with_capacity(conversation.turns.len() + 1);
    let mut instructions = Vec::new();
    for part in &conversation.system {
        note_cache(part, warnings);
        match &part.content {
            Content::Text(text) => instructions.push(text.as_str()),
            other => return Err(refused("system", other)),
        }
    }
    if !instructions.is_empty() {
        messages.push(json!({"role": "system", "content": instructions.join("\n\n")}));
    }
    let mut at = 0;
    while let Some(turn) = conversation.turns.get(at) {
        if turn.role == Role::Assistant {
            messages.push(assistant(at, turn, warnings, flavour)?);
            at += 1;
            continue;
        }
        let rest = &conversation.turns[at..];
        let end = at + rest.iter().position(|turn| turn.role != Role::User).unwrap_or(rest.len());
        users(at, &conversation.turns[at..end], warnings, &mut messages)?;
        at = end;
    }
    Ok(messages)
}

fn note_cache(part: &Part, warnings: &mut Warnings) {
    if part.cache.is_some() {
        warnings.lost("cache_control");
    }
}

/// What the user says in one go. Results come first, each a message of its own; images that tools gave stand in front of
/// the user's own message behind them.
fn users(index: usize, turns: &[Turn], warnings: &mut Warnings, messages: &mut Vec<Value>) -> Result<(), RequestError> {
    let mut said = vec![Vec::new(); turns.len()];
    for (turn, said) in turns.iter().zip(&mut said) {
        for part in &turn.parts {
            note_cache(part, warnings);
            if let Content::CallResult { id, parts, is_error } = &part.content {
                if *is_error {
                    warnings.lost("is_error");
                }
                messages.push(result(index, id, parts, warnings, said)?);
            }
        }
    }
    for (turn, mut said) in turns.iter().zip(said) {
        for part in turn.parts.iter().filter(|part| !matches!(part.content, Content::CallResult { .. })) {
            said.push(piece(index, part)?);
        }
        if let [only] = &said[..]
            && let Some(text) = only.get("text")
        {
            messages.push(json!({"role": "user", "content": text}));
        } else if !said.is_empty() {
            messages.push(json!({"role": "user", "content": said}));
        }
    }
    Ok(())
}

/// A result; what is no text in it goes to what is said behind it.
fn result(
    index: usize,
    id: &str,
    parts: &[Part],
    warnings: &mut Warnings,
    said: &mut Vec<Value>,
) -> Result<Value, RequestError> {
    let mut texts = Vec::new();
    let before = said.len();
    for inner in parts {
        note_cache(inner, warnings);
        match &inner.content {
            Content::Text(text) => texts.push(text.as_str()),
            _ => said.push(piece(index, inner)?),
        }
    }
    if texts.is_empty() && said.len() > before {
        texts.push("(see what follows)");
    }
    Ok(json!({"role": "tool", "tool_call_id": id, "content": texts.join("\n")}))
}

fn piece(index: usize, part: &Part) -> Result<Value, RequestError> {
    let place = || format!("messages[{index}]");
    Ok(match &part.content {
        Content::Text(text) => json!({"type": "text", "text": text}),
        Content::Image(media) => match url_of_media(media) {
            Some(url) => json!({"type": "image_url", "image_url": {"url": url}}),
            None => return Err(refused(&place(), &part.content)),
        },
        Content::Audio(Media::Inline { media_type, data }) => {
            let format = media_type.rsplit('/').next().unwrap_or("wav");
            json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
        }
        Content::Document { media: media @ Media::Inline { .. }, name } => {
            let name = name.as_deref().unwrap_or("document.pdf");
            json!({"type": "file", "file": {"filename": name, "file_data": url_of_media(media)}})
        }
        other => return Err(refused(&place(), other)),
    })
}

fn assistant(index: usize, turn: &Turn, warnings: &mut Warnings, flavour: Flavour) -> Result<Value, RequestError> {
    let (mut text, mut thought, mut refusal) = (String::new(), String::new(), None);
    let mut calls = Vec::new();
    for part in &turn.parts {
        note_cache(part, warnings);
        match &part.content {
            Content::Text(piece) => text.push_str(piece),
            Content::Thinking { text, .. } => thought.push_str(text),
            // A provider's sealed thought is of no use to another.
            Content::RedactedThinking(_) => {}
            Content::Refusal(words) => refusal = Some(words),
            Content::Call { id, name, arguments, .. } => {
                calls.push(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}));
            }
            other => return Err(refused(&format!("messages[{index}]"), other)),
        }
    }
    let content = if text.is_empty() && (!calls.is_empty() || refusal.is_some()) { Value::Null } else { json!(text) };
    let mut message = json!({"role": "assistant", "content": content});
    if let Some(refusal) = refusal {
        message["refusal"] = json!(refusal);
    }
    if !thought.is_empty() && flavour == Flavour::Compatible {
        message["reasoning_content"] = json!(thought);
    }
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    Ok(message)
}

fn refused(place: &str, content: &Content) -> RequestError {
    let what = match content {
        Content::Image(_) => "an image that another provider keeps",
        Content::Document { media: Media::Url(_), .. } => "a document by its URL",
        Content::Document { .. } => "a document that another provider keeps",
        Content::Audio(_) => "sound by its URL",
        Content::Foreign(kind) => {
            let message = format!("{place} holds {}, which this model's provider does not know", named(kind));
            return RequestError::new(message, place, "unsupported_value");
        }
        Content::CallResult { .. } | Content::Call { .. } => "a call or its result in the wrong place",
        _ => "what has no place there",
    };
    RequestError::new(
        format!("{place} holds {what}, which this model's provider does not take"),
        place,
        "unsupported_value",
    )
}

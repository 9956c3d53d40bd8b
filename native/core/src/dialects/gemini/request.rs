//! A conversation as the body of `generateContent`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::schema::cleaned;
use crate::dialects::Warnings;
use crate::dialects::conversation::{Content, Conversation, Format, Media, Part, Reasoning, Role, Tool, ToolChoice};
use crate::dialects::history;
use crate::request::RequestError;

const GEMINI: &str = "Gemini";
/// What Gemini 3 takes for the signature of a call that another model made; without any it refuses the request.
/// <https://ai.google.dev/gemini-api/docs/thought-signatures>
const FOREIGN_CALL: &str = "skip_thought_signature_validator";

/// Members of other dialects' bodies with a name of their own in `generationConfig`.
const SETTINGS: [(&str, &str); 3] =
    [("seed", "seed"), ("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty")];
/// Members of Gemini's own body that a caller may add to his.
const OWN: [(&str, &str); 6] = [
    ("safety_settings", "safetySettings"),
    ("safetySettings", "safetySettings"),
    ("cached_content", "cachedContent"),
    ("cachedContent", "cachedContent"),
    ("labels", "labels"),
    ("model_armor_config", "modelArmorConfig"),
];

/// The body of `generateContent` and `streamGenerateContent`; the model and whether it streams stand in the URL.
///
/// # Errors
/// A call without a result, arguments that are no object, a schema without end, or content that Gemini cannot read.
pub fn write_request(conversation: &Conversation, warnings: &mut Warnings) -> Result<Vec<u8>, RequestError> {
    let mut body = Map::new();
    body.insert("contents".into(), contents(conversation, warnings)?.into());
    let system: Vec<Value> = conversation.system.iter().filter_map(text).collect();
    if !system.is_empty() {
        body.insert("systemInstruction".into(), json!({"parts": system}));
    }
    if !conversation.tools.is_empty() {
        let declared: Result<Vec<Value>, _> =
            conversation.tools.iter().map(|tool| declaration(tool, warnings)).collect();
        body.insert("tools".into(), json!([{"functionDeclarations": declared?}]));
        if let Some(config) = tool_config(conversation.tool_choice.as_ref()) {
            body.insert("toolConfig".into(), json!({"functionCallingConfig": config}));
        }
    }
    let settings = settings(conversation, warnings)?;
    if !settings.is_empty() {
        body.insert("generationConfig".into(), settings.into());
    }
    let mut taken: Vec<&str> = SETTINGS.iter().map(|(name, _)| *name).collect();
    taken.push("modalities");
    history::carry(conversation, OWN, &mut body, &mut taken);
    if conversation.parallel_calls == Some(false) {
        warnings.lost("parallel_tool_calls");
    }
    history::unmarked(conversation, warnings);
    history::unsaid(conversation, &taken, warnings);
    Ok(Value::Object(body).to_string().into_bytes())
}

fn contents(conversation: &Conversation, warnings: &mut Warnings) -> Result<Vec<Value>, RequestError> {
    let names = history::names(&conversation.turns);
    let signs = conversation.model.rsplit('/').next().is_some_and(|model| model.starts_with("gemini-3"));
    let mut all = Vec::new();
    for (role, parts) in history::joined(&conversation.turns)? {
        let mut out = Vec::with_capacity(parts.len());
        let mut behind = Vec::new();
        let mut is_signed = !signs;
        for part in parts {
            match &part.content {
                Content::Call { id, name, arguments, signature } => {
                    let mut call = json!({"functionCall": {"name": name, "args": history::arguments(id, arguments)?}});
                    // Of parallel calls only the first carries one.
                    let signature = signature.as_deref().or((!is_signed).then_some(FOREIGN_CALL));
                    is_signed = true;
                    if let Some(signature) = signature {
                        call["thoughtSignature"] = signature.into();
                    }
                    out.push(call);
                }
                Content::CallResult { id, parts, is_error } => {
                    let name = names.get(id.as_str()).copied().unwrap_or_default();
                    out.push(json!({"functionResponse": {"name": name, "response": response(parts, *is_error)}}));
                    for part in parts.iter().filter(|part| !matches!(part.content, Content::Text(_))) {
                        behind.extend(content(part, warnings)?);
                    }
                }
                _ => out.extend(content(part, warnings)?),
            }
        }
        out.append(&mut behind);
        if !out.is_empty() {
            let role = if role == Role::User { "user" } else { "model" };
            all.push(json!({"role": role, "parts": out}));
        }
    }
    Ok(all)
}

fn text(part: &Part) -> Option<Value> {
    match &part.content {
        Content::Text(text) => Some(json!({"text": text})),
        _ => None,
    }
}

/// What a tool said, as the object that Gemini wants.
fn response(parts: &[Part], is_error: bool) -> Value {
    let text = history::text(parts);
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(object)) if !is_error => object.into(),
        _ => json!({if is_error { "error" } else { "result" }: text}),
    }
}

/// A part that is neither call nor result. None: it is nothing that is said again.
fn content(part: &Part, warnings: &mut Warnings) -> Result<Option<Value>, RequestError> {
    Ok(match &part.content {
        Content::Text(text) | Content::Refusal(text) => Some(json!({"text": text})),
        Content::Image(media) => Some(media_part(media, "an image")?),
        Content::Document { media, .. } => Some(media_part(media, "a document")?),
        Content::Audio(media) => Some(media_part(media, "audio")?),
        // Gemini takes its own thoughts only, and keeps those by the signatures of calls.
        Content::Thinking { .. } | Content::RedactedThinking(_) => None,
        Content::Foreign(kind) => {
            warnings.lost(&format!("messages.{kind}"));
            None
        }
        Content::Call { .. } | Content::CallResult { .. } => None,
    })
}

fn media_part(media: &Media, what: &str) -> Result<Value, RequestError> {
    match media {
        Media::Inline { media_type, data } => Ok(json!({"inlineData": {"mimeType": media_type, "data": data}})),
        Media::Url(uri) => Ok(file(uri)),
        Media::File(uri) if ["https://", "gs://", "files/"].iter().any(|start| uri.starts_with(start)) => Ok(file(uri)),
        Media::File(_) => Err(history::refused(&format!("{what} that another provider keeps"), GEMINI)),
    }
}

fn file(uri: &str) -> Value {
    let path = uri.split(['?', '#']).next().unwrap_or(uri);
    let ending = path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let kind = match ending.as_deref() {
        Some("png") => Some("image/png"),
        Some("jpg" | "jpeg") => Some("image/jpeg"),
        Some("webp") => Some("image/webp"),
        Some("gif") => Some("image/gif"),
        Some("heic") => Some("image/heic"),
        Some("pdf") => Some("application/pdf"),
        Some("txt") => Some("text/plain"),
        Some("mp3") => Some("audio/mpeg"),
        Some("wav") => Some("audio/wav"),
        Some("mp4") => Some("video/mp4"),
        _ => None,
    };
    match kind {
        Some(kind) => json!({"fileData": {"mimeType": kind, "fileUri": uri}}),
        None => json!({"fileData": {"fileUri": uri}}),
    }
}

fn declaration(tool: &Tool, warnings: &mut Warnings) -> Result<Value, RequestError> {
    let mut declared = Map::new();
    declared.insert("name".into(), tool.name.clone().into());
    if let Some(text) = &tool.description {
        declared.insert("description".into(), text.clone().into());
    }
    if let Some(schema) = &tool.parameters {
        let schema = cleaned(schema, "tools.parameters", warnings)?;
        // An object without properties is refused; no parameters mean the same.
        if schema.get("properties").and_then(Value::as_object).is_some_and(|properties| !properties.is_empty()) {
            declared.insert("parameters".into(), schema);
        }
    }
    if tool.strict == Some(true) {
        warnings.lost("tools.strict");
    }
    Ok(declared.into())
}

fn tool_config(choice: Option<&ToolChoice>) -> Option<Value> {
    match choice? {
        ToolChoice::None => Some(json!({"mode": "NONE"})),
        ToolChoice::Auto => None,
        ToolChoice::Required => Some(json!({"mode": "ANY"})),
        ToolChoice::Named(name) => Some(json!({"mode": "ANY", "allowedFunctionNames": [name]})),
    }
}

fn settings(conversation: &Conversation, warnings: &mut Warnings) -> Result<Map<String, Value>, RequestError> {
    let mut out = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(name.into(), value);
        }
    };
    let number = |number: &Option<serde_json::Number>| number.clone().map(Value::Number);
    set("maxOutputTokens", conversation.max_tokens.map(Into::into));
    set("temperature", number(&conversation.temperature));
    set("topP", number(&conversation.top_p));
    set("topK", number(&conversation.top_k));
    set("stopSequences", (!conversation.stop.is_empty()).then(|| conversation.stop.clone().into()));
    set("candidateCount", conversation.choices.filter(|count| *count > 1).map(Into::into));
    for (name, own) in SETTINGS {
        set(own, conversation.rest.get(name).filter(|value| !value.is_null()).cloned());
    }
    let modalities = conversation.rest.get("modalities").and_then(Value::as_array);
    let modalities = modalities.filter(|all| all.iter().any(|kind| kind != "text"));
    let upper = |kind: &Value| kind.as_str().unwrap_or_default().to_ascii_uppercase();
    set("responseModalities", modalities.map(|all| all.iter().map(upper).collect()));
    match &conversation.format {
        None => {}
        Some(Format::Json) => set("responseMimeType", Some("application/json".into())),
        Some(Format::Schema { schema, .. }) => {
            set("responseMimeType", Some("application/json".into()));
            set("responseSchema", Some(cleaned(schema, "response_format", warnings)?));
        }
    }
    set("thinkingConfig", conversation.reasoning.as_ref().and_then(|how| thinking(&conversation.model, how, warnings)));
    Ok(out)
}

/// Efforts as Google's own `OpenAI` dialect maps them; Gemini 3 has levels, older ones budgets.
fn thinking(model: &str, how: &Reasoning, warnings: &mut Warnings) -> Option<Value> {
    let model = model.rsplit('/').next().unwrap_or(model);
    if ["gemini-1", "gemini-2.0", "gemma"].iter().any(|start| model.starts_with(start)) {
        if *how != Reasoning::Off {
            warnings.lost("reasoning_effort");
        }
        return None;
    }
    let is_newer = model.starts_with("gemini-") && !model.starts_with("gemini-2");
    let is_pro = model.contains("-pro");
    let budgets =
        HashMap::from([("minimal", 1024), ("low", 1024), ("medium", 8192), ("high", 24576), ("xhigh", 24576)]);
    Some(match how {
        Reasoning::Off if is_newer => {
            warnings.lost("reasoning_effort");
            json!({"thinkingLevel": if is_pro { "low" } else { "minimal" }})
        }
        Reasoning::Off if is_pro => {
            warnings.lost("reasoning_effort");
            json!({"thinkingBudget": 128})
        }
        Reasoning::Off => json!({"thinkingBudget": 0}),
        Reasoning::Effort(word) if is_newer => {
            let level = match word.as_str() {
                "minimal" if is_pro => "low",
                "xhigh" | "max" => "high",
                word => word,
            };
            json!({"thinkingLevel": level, "includeThoughts": true})
        }
        Reasoning::Effort(word) => match budgets.get(word.as_str()) {
            Some(budget) => json!({"thinkingBudget": budget, "includeThoughts": true}),
            None => json!({"thinkingBudget": -1, "includeThoughts": true}),
        },
        Reasoning::Budget(tokens) => json!({"thinkingBudget": tokens, "includeThoughts": true}),
        Reasoning::Adaptive if is_newer => json!({"includeThoughts": true}),
        Reasoning::Adaptive => json!({"thinkingBudget": -1, "includeThoughts": true}),
    })
}

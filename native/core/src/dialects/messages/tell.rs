//! A messages request for an upstream, written.

use serde_json::{Map, Number, Value, json};

use super::{thinking, turns};
use crate::dialects::Warnings;
use crate::dialects::conversation::{Conversation, Format, Tool, ToolChoice};
use crate::request::RequestError;

/// Of an answer whose caller sets no limit, where the model's own is not known. The API demands one.
const MOST: u64 = 4096;

/// Of the API, as Vertex AI has it in the body.
const VERTEX_VERSION: &str = "vertex-2023-10-16";

/// For Anthropic.
///
/// # Errors
/// What no messages request can say and would be missed: several choices, sound, calls without results.
pub fn write_request(conversation: &Conversation, warnings: &mut Warnings) -> Result<Vec<u8>, RequestError> {
    let mut body = write(conversation, warnings)?;
    body.shift_insert(0, "model".to_owned(), json!(conversation.model));
    Ok(Value::Object(body).to_string().into_bytes())
}

/// For Vertex AI, where the path names the model.
///
/// # Errors
/// As for Anthropic.
pub fn write_vertex_request(conversation: &Conversation, warnings: &mut Warnings) -> Result<Vec<u8>, RequestError> {
    let mut body = write(conversation, warnings)?;
    body.shift_insert(0, "anthropic_version".to_owned(), json!(VERTEX_VERSION));
    Ok(Value::Object(body).to_string().into_bytes())
}

/// All but the model.
fn write(conversation: &Conversation, warnings: &mut Warnings) -> Result<Map<String, Value>, RequestError> {
    if conversation.choices.is_some_and(|count| count > 1) {
        let message = "n is more than 1, but this model's provider gives one answer at a time";
        return Err(RequestError::new(message, "n", "unsupported_value"));
    }
    let max_tokens = conversation.max_tokens.unwrap_or(MOST);
    let mut body = Map::new();
    body.insert("max_tokens".to_owned(), json!(max_tokens));
    let system = turns::system(conversation)?;
    if !system.is_empty() {
        body.insert("system".to_owned(), Value::Array(system));
    }
    body.insert("messages".to_owned(), Value::Array(turns::write(conversation)?));
    write_tools(conversation, &mut body);
    let mut output = Map::new();
    let thinks = thinking::write(conversation, max_tokens, &mut body, &mut output, warnings);
    match &conversation.format {
        Some(Format::Schema { schema, .. }) => {
            output.insert("format".to_owned(), json!({"type": "json_schema", "schema": schema}));
        }
        Some(Format::Json) => warnings.lost("response_format"),
        None => {}
    }
    if !output.is_empty() {
        body.insert("output_config".to_owned(), Value::Object(output));
    }
    write_sampling(conversation, thinks, &mut body, warnings);
    if let Some(user) = &conversation.user {
        body.insert("metadata".to_owned(), json!({"user_id": user}));
    }
    for (name, value) in &conversation.rest {
        match (name.as_str(), value.as_str()) {
            ("service_tier", Some("auto")) => drop(body.insert(name.clone(), value.clone())),
            ("service_tier", Some("default")) => drop(body.insert(name.clone(), json!("standard_only"))),
            _ => warnings.lost(name),
        }
    }
    if conversation.stream {
        body.insert("stream".to_owned(), json!(true));
    }
    Ok(body)
}

fn write_tools(conversation: &Conversation, body: &mut Map<String, Value>) {
    if conversation.tools.is_empty() {
        return;
    }
    body.insert("tools".to_owned(), conversation.tools.iter().map(write_tool).collect());
    let one_at_a_time = conversation.parallel_calls == Some(false);
    let mut choice = match &conversation.tool_choice {
        Some(ToolChoice::None) => {
            body.insert("tool_choice".to_owned(), json!({"type": "none"}));
            return;
        }
        Some(ToolChoice::Required) => json!({"type": "any"}),
        Some(ToolChoice::Named(name)) => json!({"type": "tool", "name": name}),
        Some(ToolChoice::Auto) => json!({"type": "auto"}),
        None if one_at_a_time => json!({"type": "auto"}),
        None => return,
    };
    if one_at_a_time {
        choice["disable_parallel_tool_use"] = json!(true);
    }
    body.insert("tool_choice".to_owned(), choice);
}

fn write_tool(tool: &Tool) -> Value {
    let mut written = json!({"name": tool.name});
    if let Some(description) = tool.description.as_ref().filter(|text| !text.is_empty()) {
        written["description"] = json!(description);
    }
    let mut schema = tool.parameters.clone().filter(Value::is_object).unwrap_or_else(|| json!({}));
    if schema.get("type").is_none() {
        schema["type"] = json!("object");
    }
    written["input_schema"] = schema;
    if tool.strict == Some(true) {
        written["strict"] = json!(true);
    }
    if let Some(cache) = &tool.cache {
        written["cache_control"] = turns::mark(cache);
    }
    written
}

/// A thinking model samples as it likes, newer ones always do; temperatures end at 1.
fn write_sampling(conversation: &Conversation, thinks: bool, body: &mut Map<String, Value>, warnings: &mut Warnings) {
    let Conversation { temperature, top_p, top_k, stop, .. } = conversation;
    let thinks = thinks || !thinking::is_tunable(&conversation.model);
    if let Some(number) = temperature {
        let is_one = number.as_f64() == Some(1.0);
        if thinks && !is_one {
            warnings.lost("temperature");
        } else if number.as_f64().is_some_and(|number| number > 1.0) {
            warnings.lost("temperature");
            body.insert("temperature".to_owned(), json!(1));
        } else {
            body.insert("temperature".to_owned(), Value::Number(number.clone()));
        }
    }
    let is_alone = thinking::takes_both(&conversation.model) || !body.contains_key("temperature");
    let kept = |number: &Option<Number>, is_kept: bool| number.clone().filter(|_| is_kept && !thinks);
    for (name, number, is_kept) in [("top_p", top_p, is_alone), ("top_k", top_k, true)] {
        match (kept(number, is_kept), number) {
            (Some(number), _) => drop(body.insert(name.to_owned(), Value::Number(number))),
            (None, Some(_)) => warnings.lost(name),
            (None, None) => {}
        }
    }
    let (blank, told): (Vec<&String>, Vec<&String>) = stop.iter().partition(|text| text.trim().is_empty());
    if !blank.is_empty() {
        warnings.lost("stop");
    }
    if !told.is_empty() {
        body.insert("stop_sequences".to_owned(), json!(told));
    }
}

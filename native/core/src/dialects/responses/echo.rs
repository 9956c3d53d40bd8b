//! What a response repeats of its request.

use serde_json::{Map, Value};

/// Members that a response repeats, each with what stands there if the request did not say it.
const REPEATED: [(&str, &str); 18] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("service_tier", r#""default""#),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1.0"),
    ("truncation", r#""disabled""#),
    ("user", "null"),
];

/// The members that a response to this body repeats, as they stand inside of its object: `"instructions":null,...`
///
/// A body that is none, or an empty one, is as good as one that says nothing.
#[must_use]
pub fn echo(body: &[u8]) -> Vec<u8> {
    let said: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    // Nothing is stored, whatever was asked for.
    let mut out = br#""background":false,"store":false"#.to_vec();
    for (name, default) in REPEATED {
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        match said.get(name).filter(|value| !value.is_null()) {
            Some(value) => out.extend_from_slice(value.to_string().as_bytes()),
            None => out.extend_from_slice(default.as_bytes()),
        }
    }
    out
}

/// Names of the tools of a body that take any text.
pub(super) fn custom_tools(body: &[u8]) -> Vec<String> {
    let said: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let tools = said.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let custom = tools.iter().filter(|tool| tool.get("type").and_then(Value::as_str) == Some("custom"));
    custom.filter_map(|tool| tool.get("name").and_then(Value::as_str).map(str::to_owned)).collect()
}

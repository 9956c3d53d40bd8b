//! A whole answer as the stream that would have said the same, for callers whose upstream did not heed `stream`.
//!
//! Caller and upstream speak the same dialect here, so whatever the answer holds goes along, known or not.

mod messages;
mod responses;

use serde_json::{Map, Value, json};

use crate::tap::{DONE, Dialect};

/// The events; None: that is no answer of this dialect. An answer that is an error is one event.
pub(super) fn unfolded(dialect: Dialect, body: &[u8]) -> Option<Vec<u8>> {
    let Ok(Value::Object(answer)) = serde_json::from_slice(body) else { return None };
    if answer.get("error").is_some_and(|error| !error.is_null()) {
        return Some(data(&Value::Object(answer)));
    }
    match dialect {
        Dialect::Chat | Dialect::Completions => chunks(answer),
        Dialect::Messages => messages::events(answer),
        Dialect::Responses => responses::events(&answer),
        Dialect::Other | Dialect::Raw => None,
    }
}

/// A chunk with everything, one with the usage, and the end.
fn chunks(mut answer: Map<String, Value>) -> Option<Vec<u8>> {
    let usage = answer.shift_remove("usage").filter(Value::is_object);
    let Some(Value::Array(mut choices)) = answer.shift_remove("choices") else { return None };
    if answer.get("object").is_some_and(|object| object == "chat.completion") {
        answer["object"] = json!("chat.completion.chunk");
    }
    for choice in choices.iter_mut().filter_map(Value::as_object_mut) {
        if let Some(mut message) = choice.shift_remove("message") {
            number(&mut message);
            choice.insert("delta".to_owned(), message);
        }
    }
    let mut out = Vec::new();
    let mut chunk = |choices: Value, usage: Option<Value>| {
        let mut members = answer.clone();
        members.insert("choices".to_owned(), choices);
        members.extend(usage.map(|usage| ("usage".to_owned(), usage)));
        out.extend_from_slice(&data(&Value::Object(members)));
    };
    chunk(Value::Array(choices), None);
    if usage.is_some() {
        chunk(json!([]), usage);
    }
    out.extend_from_slice(DONE);
    Some(out)
}

/// In a stream calls have numbers.
fn number(message: &mut Value) {
    if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
        for (index, call) in calls.iter_mut().enumerate().filter(|(_, call)| call.get("index").is_none()) {
            if let Value::Object(call) = call {
                call.insert("index".to_owned(), json!(index));
            }
        }
    }
}

fn data(value: &Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

/// An event that has its name in its data as well.
fn named(out: &mut Vec<u8>, value: &Value) {
    let name = value["type"].as_str().unwrap_or_default();
    out.extend_from_slice(format!("event: {name}\ndata: {value}\n\n").as_bytes());
}

/// A member that is a text, taken out; an empty one is left in its place.
fn taken(members: &mut Map<String, Value>, name: &str) -> String {
    match members.get_mut(name) {
        Some(Value::String(text)) => std::mem::take(text),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;

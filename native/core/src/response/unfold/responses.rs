//! A whole response of `OpenAI`'s as its events.

use serde_json::{Map, Value, json};

use super::{named, taken};

pub(super) fn events(response: &Map<String, Value>) -> Option<Vec<u8>> {
    let Some(Value::Array(items)) = response.get("output").cloned() else { return None };
    let status = response.get("status").and_then(Value::as_str).unwrap_or("completed").to_owned();
    let mut begun = response.clone();
    for (name, value) in [("status", json!("in_progress")), ("output", json!([])), ("usage", Value::Null)] {
        begun.insert(name.to_owned(), value);
    }
    let mut told = Told { out: Vec::new(), sequence: 0 };
    told.event("created", json!({"response": begun}));
    told.event("in_progress", json!({"response": begun}));
    for (index, item) in items.into_iter().enumerate() {
        let Value::Object(item) = item else { return None };
        told.item(index, &item);
    }
    told.event(&status, json!({"response": response}));
    Some(told.out)
}

/// Events, numbered.
struct Told {
    out: Vec<u8>,
    sequence: u64,
}

impl Told {
    fn event(&mut self, kind: &str, members: Value) {
        let mut event = json!({"type": format!("response.{kind}"), "sequence_number": self.sequence});
        if let (Value::Object(event), Value::Object(members)) = (&mut event, members) {
            event.extend(members);
        }
        self.sequence += 1;
        named(&mut self.out, &event);
    }

    /// What has deltas begins empty; items of other types are told as a whole, twice.
    fn item(&mut self, index: usize, item: &Map<String, Value>) {
        let id = item.get("id").cloned().unwrap_or(Value::Null);
        let at = |members: Value| {
            let mut all = json!({"item_id": id, "output_index": index});
            if let (Value::Object(all), Value::Object(members)) = (&mut all, members) {
                all.extend(members);
            }
            all
        };
        let mut begun = item.clone();
        let kind = item.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let lists: &[(&str, &str)] = match kind.as_str() {
            "message" => &[("content", "content_index")],
            "reasoning" => &[("summary", "summary_index"), ("content", "content_index")],
            _ => &[],
        };
        let text = match kind.as_str() {
            "function_call" => Some(("arguments", "function_call_arguments")),
            "custom_tool_call" => Some(("input", "custom_tool_call_input")),
            _ => None,
        };
        let lists: Vec<_> = lists
            .iter()
            .filter_map(|(name, number)| match begun.get_mut(*name) {
                Some(Value::Array(parts)) => Some((*number, std::mem::take(parts))),
                _ => None,
            })
            .collect();
        let said = text.map(|(name, kind)| (name, kind, taken(&mut begun, name)));
        if (said.is_some() || !lists.is_empty()) && begun.contains_key("status") {
            begun["status"] = json!("in_progress");
        }
        self.event("output_item.added", json!({"output_index": index, "item": begun}));
        if let Some((name, kind, text)) = said {
            self.event(&format!("{kind}.delta"), at(json!({"delta": text})));
            self.event(&format!("{kind}.done"), at(json!({name: text, "name": item.get("name")})));
        }
        for (number, parts) in lists {
            for (place, part) in parts.into_iter().enumerate() {
                self.part(&part, |members| {
                    let mut all = at(members);
                    all[number] = json!(place);
                    all
                });
            }
        }
        self.event("output_item.done", json!({"output_index": index, "item": item}));
    }

    fn part(&mut self, part: &Value, at: impl Fn(Value) -> Value) {
        let (stem, member, frame) = match part["type"].as_str().unwrap_or_default() {
            "output_text" => ("output_text", "text", "content_part"),
            "refusal" => ("refusal", "refusal", "content_part"),
            "summary_text" => ("reasoning_summary_text", "text", "reasoning_summary_part"),
            "reasoning_text" => ("reasoning_text", "text", ""),
            _ => ("", "", "content_part"),
        };
        let mut begun = part.clone();
        let text = begun.as_object_mut().map(|begun| taken(begun, member)).unwrap_or_default();
        let notes = begun.get_mut("annotations").and_then(Value::as_array_mut).map(std::mem::take);
        if !frame.is_empty() {
            self.event(&format!("{frame}.added"), at(json!({"part": begun})));
        }
        let logprobs = |mut members: Value| {
            if stem == "output_text" {
                members["logprobs"] = part.get("logprobs").cloned().unwrap_or_else(|| json!([]));
            }
            members
        };
        if !stem.is_empty() {
            self.event(&format!("{stem}.delta"), at(logprobs(json!({"delta": text}))));
            for (index, note) in notes.into_iter().flatten().enumerate() {
                self.event("output_text.annotation.added", at(json!({"annotation_index": index, "annotation": note})));
            }
            self.event(&format!("{stem}.done"), at(logprobs(json!({member: text}))));
        }
        if !frame.is_empty() {
            self.event(&format!("{frame}.done"), at(json!({"part": part})));
        }
    }
}

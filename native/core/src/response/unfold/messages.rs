//! A whole message of Anthropic's as its events.

use serde_json::{Map, Value, json};

use super::{named, taken};

pub(super) fn events(mut message: Map<String, Value>) -> Option<Vec<u8>> {
    let Some(Value::Array(blocks)) = message.get_mut("content").map(Value::take) else { return None };
    let mut delta = Map::new();
    for name in ["stop_reason", "stop_sequence"] {
        delta.insert(name.to_owned(), message.insert(name.to_owned(), Value::Null).unwrap_or(Value::Null));
    }
    delta["stop_reason"].as_str()?;
    message["content"] = json!([]);
    let usage = message.get("usage").cloned().unwrap_or_else(|| json!({"input_tokens": 0, "output_tokens": 0}));
    message.insert("usage".to_owned(), usage.clone());
    let mut out = Vec::new();
    named(&mut out, &json!({"type": "message_start", "message": message}));
    for (index, block) in blocks.into_iter().enumerate() {
        let Value::Object(block) = block else { return None };
        tell(index, block, &mut out);
    }
    named(&mut out, &json!({"type": "message_delta", "delta": delta, "usage": usage}));
    named(&mut out, &json!({"type": "message_stop"}));
    Some(out)
}

/// What has deltas begins empty; every other block is told as a whole when it begins.
fn tell(index: usize, mut block: Map<String, Value>, out: &mut Vec<u8>) {
    let mut deltas: Vec<Value> = Vec::new();
    let mut delta = |kind: &str, member: &str, value: Value| {
        if value != "" {
            deltas.push(json!({"type": kind, member: value}));
        }
    };
    match block.get("type").and_then(Value::as_str).unwrap_or_default() {
        "text" => {
            delta("text_delta", "text", json!(taken(&mut block, "text")));
            if let Some(Value::Array(citations)) = block.get_mut("citations") {
                for citation in std::mem::take(citations) {
                    delta("citations_delta", "citation", citation);
                }
            }
        }
        "thinking" => {
            delta("thinking_delta", "thinking", json!(taken(&mut block, "thinking")));
            delta("signature_delta", "signature", json!(taken(&mut block, "signature")));
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            let input = block.insert("input".to_owned(), json!({})).unwrap_or_else(|| json!({}));
            delta("input_json_delta", "partial_json", json!(input.to_string()));
        }
        _ => {}
    }
    named(out, &json!({"type": "content_block_start", "index": index, "content_block": block}));
    for delta in deltas {
        named(out, &json!({"type": "content_block_delta", "index": index, "delta": delta}));
    }
    named(out, &json!({"type": "content_block_stop", "index": index}));
}

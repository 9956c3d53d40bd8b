//! Upstreams that leave out events, say them twice or in another order: whatever comes of it is well-formed.

use super::{STREAM, events, response};
use crate::response::FAULT;

const CHAT: [&str; 6] = [
    r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":"{"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}}]}"#,
    r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":9}}}"#,
    "[DONE]",
];
const MESSAGES: [&str; 8] = [
    r#"{"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":1,"output_tokens":1}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#,
    r#"{"type":"message_stop"}"#,
];
const GEMINI: [&str; 4] = [
    r#"{"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1}}"#,
    r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}]}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"a","thought":true}]},"finishReason":"STOP"}]}"#,
    r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#,
];

#[test]
fn whatever_is_missing_or_out_of_order_the_answer_is_well_formed() {
    for (upstream, all) in [("chat", &CHAT[..]), ("messages", &MESSAGES[..]), ("gemini", &GEMINI[..])] {
        for client in ["chat", "messages", "completions", "responses"] {
            for chosen in 1_u32..1 << all.len() {
                for is_reversed in [false, true] {
                    let mut picked: Vec<&str> =
                        (0..all.len()).filter(|n| chosen & 1 << n != 0).map(|n| all[n]).collect();
                    if is_reversed {
                        picked.reverse();
                    }
                    check(upstream, client, &picked);
                }
            }
        }
    }
}

fn check(upstream: &str, client: &str, picked: &[&str]) {
    let mut response = response(upstream, client);
    response.feed(STREAM);
    for data in picked.iter().chain(picked.first()) {
        response.feed(format!("data: {data}\n\n").as_bytes());
    }
    let flags = response.eof();
    let mut out = response.ready().to_vec();
    if flags & FAULT != 0 {
        out.extend_from_slice(&response.fault_event("no", "no", None));
    }
    let text = String::from_utf8_lossy(&out);
    assert!(
        text.split_terminator("\n\n").all(|block| block.starts_with("data: ") || block.starts_with("event: ")),
        "{upstream} {client} {picked:?}: {text}"
    );
    let told = events(&out);
    assert!(told.iter().all(|event| event.is_object() || event == "[DONE]"), "{upstream} {client} {picked:?}: {text}");
    if client == "messages" && flags & FAULT == 0 {
        assert_eq!(told[0]["type"], "message_start", "{upstream} {picked:?}: {text}");
        assert_eq!(told.iter().filter(|event| event["type"] == "message_start").count(), 1);
    }
}

use serde_json::{Value, json};

use super::unfolded;
use crate::tap::Dialect;

fn events(dialect: Dialect, body: &Value) -> Vec<Value> {
    let bytes = unfolded(dialect, body.to_string().as_bytes()).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let data = text.split_terminator("\n\n").map(|block| block.lines().last().unwrap().strip_prefix("data: ").unwrap());
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data))).collect()
}

#[test]
fn a_completion_is_a_chunk_its_usage_and_the_end() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let message = json!({"role": "assistant", "content": "hi", "x": [1], "tool_calls": [call]});
    let told = events(
        Dialect::Chat,
        &json!({
            "id": "c", "object": "chat.completion", "y": 1.50,
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": {"content": []}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        }),
    );
    assert_eq!(told.len(), 3);
    assert_eq!(told[0]["object"], "chat.completion.chunk");
    assert_eq!(told[0]["y"].to_string(), "1.5");
    let choice = &told[0]["choices"][0];
    assert_eq!(choice["delta"]["x"], json!([1]));
    assert_eq!(choice["delta"]["tool_calls"][0]["index"], 0);
    assert_eq!((&choice["finish_reason"], &choice["logprobs"]), (&json!("tool_calls"), &json!({"content": []})));
    assert_eq!((&told[1]["choices"], &told[1]["usage"]["completion_tokens"]), (&json!([]), &json!(2)));
    assert_eq!(told[2], "[DONE]");
}

#[test]
fn a_message_is_its_blocks_one_after_the_other() {
    let blocks = json!([
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "text", "text": "hi", "citations": [{"type": "char_location"}]},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        {"type": "web_search_tool_result", "tool_use_id": "w", "content": []},
    ]);
    let told = events(
        Dialect::Messages,
        &json!({
            "id": "m", "type": "message", "role": "assistant", "model": "c", "content": blocks,
            "stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 4},
        }),
    );
    let kinds: Vec<_> = told.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "content_block_start").count(), 4);
    assert_eq!(
        (kinds[0], kinds[kinds.len() - 2], kinds[kinds.len() - 1]),
        ("message_start", "message_delta", "message_stop")
    );
    assert_eq!((&told[0]["message"]["content"], &told[0]["message"]["stop_reason"]), (&json!([]), &Value::Null));
    let deltas: Vec<_> = told.iter().filter_map(|event| event["delta"]["type"].as_str()).collect();
    assert_eq!(deltas, ["thinking_delta", "signature_delta", "text_delta", "citations_delta", "input_json_delta"]);
    assert_eq!(told[kinds.len() - 2]["delta"]["stop_reason"], "tool_use");
    assert_eq!(told[kinds.len() - 2]["usage"]["output_tokens"], 4);
}

#[test]
fn a_response_is_its_items_one_after_the_other() {
    let output = json!([
        {"id": "rs", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {"id": "msg", "type": "message", "status": "completed", "role": "assistant",
         "content": [{"type": "output_text", "text": "hi", "annotations": [{"type": "url_citation"}]}]},
        {"id": "fc", "type": "function_call", "status": "completed", "call_id": "a", "name": "f", "arguments": "{}"},
        {"id": "ws", "type": "web_search_call", "status": "completed"},
    ]);
    let body = json!({"id": "resp_1", "object": "response", "status": "completed", "error": null, "output": output});
    let told = events(Dialect::Responses, &body);
    let kinds: Vec<_> =
        told.iter().map(|event| event["type"].as_str().unwrap().strip_prefix("response.").unwrap()).collect();
    for (number, event) in told.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    assert_eq!(kinds.iter().filter(|kind| **kind == "output_item.done").count(), 4);
    for kind in [
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "content_part.added",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "function_call_arguments.delta",
        "function_call_arguments.done",
    ] {
        assert_eq!(kinds.iter().filter(|known| **known == kind).count(), 1, "{kind}");
    }
    assert_eq!(told[0]["response"]["output"], json!([]));
    assert_eq!(told[told.len() - 1]["response"], body);
    assert_eq!(kinds[kinds.len() - 1], "completed");
}

#[test]
fn an_error_is_one_event_and_what_is_no_answer_is_none() {
    let error = json!({"error": {"message": "no"}});
    assert_eq!(events(Dialect::Chat, &error), [error]);
    for dialect in [Dialect::Chat, Dialect::Completions, Dialect::Messages, Dialect::Responses, Dialect::Other] {
        for body in ["{}", "[]", "no", r#"{"choices":1,"content":"x","output":{}}"#] {
            assert_eq!(unfolded(dialect, body.as_bytes()), None, "{dialect:?} {body}");
        }
    }
}

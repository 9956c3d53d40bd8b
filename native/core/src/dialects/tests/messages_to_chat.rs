//! An upstream that speaks messages, a caller that speaks chat.

use serde_json::{Value, json};

use super::{events, streamed, whole};
use crate::cost::Kind;

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())
}

fn start() -> String {
    let usage = json!({
        "input_tokens": 10, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 7, "output_tokens": 1,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
    });
    event(&json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": usage}}))
}

fn block(index: u64, block: &Value, deltas: &[Value]) -> String {
    let mut text = event(&json!({"type": "content_block_start", "index": index, "content_block": block}));
    for delta in deltas {
        text += &event(&json!({"type": "content_block_delta", "index": index, "delta": delta}));
    }
    text + &event(&json!({"type": "content_block_stop", "index": index}))
}

fn end(reason: &str) -> String {
    event(&json!({
        "type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 9},
    })) + &event(&json!({"type": "message_stop"}))
}

fn text(words: &str) -> String {
    block(0, &json!({"type": "text", "text": ""}), &[json!({"type": "text_delta", "text": words})])
}

/// Deltas and finish reasons of a stream.
fn deltas(events: &[Value]) -> Vec<Value> {
    let choices = events.iter().filter_map(|event| event["choices"].get(0));
    choices.map(|choice| choice["delta"].clone()).collect()
}

#[test]
fn thinking_text_and_calls_with_their_proofs() {
    let thinking = json!({"type": "thinking", "thinking": "", "signature": ""});
    let stream = [
        start(),
        event(&json!({"type": "ping"})),
        block(
            0,
            &thinking,
            &[
                json!({"type": "thinking_delta", "thinking": "Hm"}),
                json!({"type": "signature_delta", "signature": "Ab+/"}),
                json!({"type": "signature_delta", "signature": "=="}),
            ],
        ),
        block(1, &json!({"type": "redacted_thinking", "data": "sealed"}), &[]),
        block(2, &json!({"type": "text", "text": ""}), &[json!({"type": "text_delta", "text": "Hi"})]),
        block(
            3,
            &json!({"type": "tool_use", "id": "t1", "name": "f", "input": {}}),
            &[json!({"type": "input_json_delta", "partial_json": "{\"x\":1}"})],
        ),
        block(4, &json!({"type": "tool_use", "id": "t2", "name": "g", "input": {}}), &[]),
        end("tool_use"),
    ]
    .concat();
    let (bytes, response) = streamed("messages", "chat", &stream);
    let events = events(&bytes);
    let call = |index: u64, id: &str, name: &str| {
        json!({"tool_calls": [{
            "index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""},
        }]})
    };
    let arguments = |index: u64, json: &str| json!({"tool_calls": [{"index": index, "function": {"arguments": json}}]});
    assert_eq!(
        deltas(&events),
        [
            json!({"role": "assistant", "content": "", "refusal": null}),
            json!({"reasoning_content": "Hm"}),
            json!({"thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "Ab+/=="}]}),
            json!({"thinking_blocks": [{"type": "redacted_thinking", "data": "sealed"}]}),
            json!({"content": "Hi"}),
            call(0, "t1", "f"),
            arguments(0, "{\"x\":1}"),
            call(1, "t2", "g"),
            arguments(1, "{}"),
            json!({}),
        ]
    );
    assert_eq!(events[events.len() - 3]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(
        events[events.len() - 2],
        json!({
            "id": "msg_1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "claude", "choices": [],
            "usage": {
                "prompt_tokens": 37, "completion_tokens": 9, "total_tokens": 46,
                "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 0, "cache_write_tokens": 7},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
        })
    );
    assert_eq!(events[events.len() - 1], json!("[DONE]"));
    assert!(response.is_ended());
    let tokens = response.tokens().unwrap();
    let kinds = [Kind::Input, Kind::Cached, Kind::CacheWrite, Kind::CacheWriteHour, Kind::Output];
    assert_eq!(kinds.map(|kind| tokens.get(kind)), [10, 20, 3, 4, 9]);
}

#[test]
fn arguments_only_in_the_first_event_are_told_once() {
    let call = json!({"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}});
    let stream = [start(), block(0, &call, &[]), end("tool_use")].concat();
    let deltas = deltas(&events(&streamed("messages", "chat", &stream).0));
    assert_eq!(deltas[2]["tool_calls"][0]["function"]["arguments"], "{\"x\":1}");
    assert_eq!(deltas.len(), 4);
}

#[test]
fn stop_reasons_are_told_in_openais_words() {
    for (reason, word) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
    ] {
        let events = events(&streamed("messages", "chat", &[start(), text("x"), end(reason)].concat()).0);
        assert_eq!(events[events.len() - 3]["choices"][0]["finish_reason"], word);
    }
}

#[test]
fn an_unknown_stop_reason_is_an_error_and_never_stop() {
    let (bytes, response) = streamed("messages", "chat", &[start(), text("x"), end("whatever")].concat());
    assert_eq!(response.fault().unwrap().kind, "stream_error");
    assert!(!events(&bytes).iter().any(|event| event["choices"][0]["finish_reason"].is_string()));
}

#[test]
fn an_overloaded_error_in_the_stream_is_surfaced() {
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let (_, response) = streamed("messages", "chat", &[start(), text("x"), event(&error)].concat());
    assert_eq!(response.fault().unwrap().message, "Overloaded");
    let object: Value = serde_json::from_slice(response.error_event().unwrap()).unwrap();
    assert_eq!((&object["status"], &object["code"]), (&json!(503), &json!("overloaded_error")));
}

#[test]
fn a_stream_that_ends_before_message_delta_is_truncated() {
    let (bytes, response) = streamed("messages", "chat", &[start(), text("x")].concat());
    assert_eq!(response.fault().unwrap().kind, "truncated");
    assert!(!events(&bytes).contains(&json!("[DONE]")));
}

#[test]
fn an_emoji_in_pieces_comes_out_whole() {
    let events = events(&streamed("messages", "chat", &[start(), text("a😀b"), end("end_turn")].concat()).0);
    assert_eq!(deltas(&events)[1], json!({"content": "a😀b"}));
}

#[test]
fn a_whole_answer_is_a_completion() {
    let answer = whole(
        "messages",
        "chat",
        &json!({
            "id": "msg_1", "type": "message", "model": "claude", "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "s=="},
                {"type": "redacted_thinking", "data": "sealed"},
                {"type": "text", "text": "Hi"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 1, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 3, "output_tokens": 4},
        }),
    );
    assert_eq!(
        answer["choices"],
        json!([{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "Hi", "refusal": null, "reasoning_content": "Hm",
            "thinking_blocks": [
                {"type": "thinking", "thinking": "Hm", "signature": "s=="},
                {"type": "redacted_thinking", "data": "sealed"},
            ],
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        }}])
    );
    assert_eq!(answer["usage"]["prompt_tokens"], 6);
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
}

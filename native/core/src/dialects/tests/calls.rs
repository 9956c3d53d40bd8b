//! Calls of chat servers in the pieces that these really send, for callers whose answers are made of blocks.

use serde_json::{Value, json};

use super::{events, streamed, whole};

fn delta(delta: &Value) -> String {
    format!("data: {}\n\n", json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]}))
}

fn finish(reason: &str) -> String {
    let choice = json!({"index": 0, "delta": {}, "finish_reason": reason});
    format!("data: {}\n\ndata: [DONE]\n\n", json!({"choices": [choice]}))
}

/// A piece of a call: its number, id, name and arguments.
fn piece(index: u64, id: Option<&str>, name: Option<&str>, arguments: &str) -> String {
    let mut call = json!({"index": index, "function": {"arguments": arguments}});
    if let Some(id) = id {
        call["id"] = json!(id);
    }
    if let Some(name) = name {
        call["function"]["name"] = json!(name);
    }
    delta(&json!({"tool_calls": [call]}))
}

/// What a caller of messages makes of it: (id, name, arguments) and other blocks by their text, in order.
fn messages(stream: &str) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    for event in events(&streamed("chat", "messages", stream).0) {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                let block = &event["content_block"];
                blocks.push(match block["type"].as_str().unwrap() {
                    "tool_use" => json!([block["id"], block["name"], ""]),
                    kind => json!([kind, ""]),
                });
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                let text = ["text", "thinking", "partial_json"].iter().find_map(|name| delta[*name].as_str()).unwrap();
                let last = blocks.last_mut().unwrap().as_array_mut().unwrap().last_mut().unwrap();
                *last = json!(format!("{}{text}", last.as_str().unwrap()));
            }
            _ => {}
        }
    }
    blocks
}

/// The same for a caller of the Responses API.
fn responses(stream: &str) -> Vec<Value> {
    let events = events(&streamed("chat", "responses", stream).0);
    let output = events.last().unwrap()["response"]["output"].as_array().unwrap().clone();
    let item = |item: &Value| match item["type"].as_str().unwrap() {
        "function_call" => json!([item["call_id"], item["name"], item["arguments"]]),
        "message" => json!(["text", item["content"][0]["text"]]),
        _ => json!(["thinking", item["summary"][0]["text"]]),
    };
    output.iter().map(item).collect()
}

fn both(stream: &str, expected: &Value) {
    assert_eq!(&json!(messages(stream)), expected);
    assert_eq!(&json!(responses(stream)), expected);
}

#[test]
fn pieces_of_parallel_calls_that_come_mixed_stay_with_their_calls() {
    let stream = [
        piece(0, Some("a"), Some("f"), ""),
        piece(1, Some("b"), Some("g"), "{\"y\":"),
        piece(0, None, None, "{\"x\":"),
        piece(1, None, None, "2}"),
        piece(2, Some("c"), Some("h"), "{\"z\":3}"),
        piece(0, None, None, "1}"),
        finish("tool_calls"),
    ];
    let calls = json!([["a", "f", "{\"x\":1}"], ["b", "g", "{\"y\":2}"], ["c", "h", "{\"z\":3}"]]);
    both(&stream.concat(), &calls);
}

#[test]
fn thinking_in_the_middle_of_a_calls_arguments_takes_nothing_from_it() {
    let stream = [
        piece(0, Some("a"), Some("f"), "{\"x\":"),
        delta(&json!({"reasoning_content": "so "})),
        piece(0, None, None, "1"),
        delta(&json!({"reasoning_content": "it is"})),
        piece(0, None, None, "}"),
        delta(&json!({"content": "done"})),
        finish("tool_calls"),
    ];
    both(&stream.concat(), &json!([["a", "f", "{\"x\":1}"], ["thinking", "so it is"], ["text", "done"]]));
}

#[test]
fn an_id_that_is_missing_later_or_said_again_is_the_same_call() {
    for later in [None, Some(""), Some("a")] {
        let stream = [
            piece(0, Some("a"), Some("f"), ""),
            piece(0, later, None, "{\"x\""),
            piece(0, later, Some(""), ":1}"),
            finish("tool_calls"),
        ];
        both(&stream.concat(), &json!([["a", "f", "{\"x\":1}"]]));
    }
}

#[test]
fn a_name_in_pieces_is_one_name_and_one_said_again_is_not_doubled() {
    for [first, second] in [["open_", "gate"], ["open_gate", "open_gate"]] {
        let stream = [
            piece(0, Some("a"), Some(first), ""),
            piece(0, None, Some(second), ""),
            piece(0, None, None, "{}"),
            finish("tool_calls"),
        ];
        both(&stream.concat(), &json!([["a", "open_gate", "{}"]]));
    }
}

#[test]
fn a_call_whose_arguments_do_not_come_is_told_in_its_place() {
    let stream = [
        delta(&json!({"content": "first"})),
        piece(0, Some("a"), Some("f"), ""),
        piece(1, Some("b"), Some("g"), "{}"),
        finish("tool_calls"),
    ];
    let told = messages(&stream.concat());
    assert_eq!(json!(told), json!([["text", "first"], ["a", "f", ""], ["b", "g", "{}"]]));
    assert_eq!(json!(responses(&stream.concat())), json!([["text", "first"], ["a", "f", "{}"], ["b", "g", "{}"]]));
}

#[test]
fn done_without_a_reason_to_end_is_truncation_and_never_an_end() {
    for half in [delta(&json!({"content": "a"})), piece(0, Some("a"), Some("f"), "{\"x\":"), String::new()] {
        for client in ["messages", "responses", "completions"] {
            let (bytes, response) = streamed("chat", client, &format!("{half}data: [DONE]\n\n"));
            assert_eq!(response.fault().map(|fault| fault.kind), Some("truncated"), "{client} {half}");
            let told = String::from_utf8(bytes).unwrap();
            for end in ["message_stop", "response.completed", "[DONE]", "end_turn"] {
                assert!(!told.contains(end), "{client}: {told}");
            }
        }
    }
}

#[test]
fn an_answer_with_calls_and_no_content_has_no_empty_text() {
    for content in [json!(""), Value::Null, json!([])] {
        let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"n\":1.10}"}});
        let message = json!({"role": "assistant", "content": content, "tool_calls": [call]});
        let body = json!({"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
        let told = whole("chat", "messages", &body);
        assert_eq!(told["content"].as_array().unwrap().len(), 1, "{told}");
        assert_eq!(told["content"][0]["input"].to_string(), "{\"n\":1.10}");
        assert_eq!(told["stop_reason"], "tool_use");
        let output = whole("chat", "responses", &body)["output"].clone();
        assert_eq!(output.as_array().unwrap().len(), 1, "{output}");
    }
}

#[test]
fn a_tool_without_arguments_is_an_empty_object_both_ways() {
    let block = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
    let stream = [
        json!({"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "so"}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ];
    let stream = stream.map(|event| format!("data: {event}\n\n")).concat();
    let told = events(&streamed("messages", "chat", &stream).0);
    let pieces: Vec<&str> = told
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str())
        .collect();
    assert_eq!(pieces.concat(), "{}");
    let last = events(&streamed("messages", "responses", &stream).0).pop().unwrap();
    assert_eq!(last["response"]["output"][0]["arguments"], "{}");
    assert_eq!(last["response"]["output"][1]["content"][0]["text"], "so");
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    assert_eq!(whole("chat", "messages", &body)["content"][0]["input"], json!({}));
}

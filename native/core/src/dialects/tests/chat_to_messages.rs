//! An upstream that speaks chat, a caller that speaks messages.

use serde_json::{Value, json};

use super::{events, streamed, whole};

#[expect(clippy::needless_pass_by_value, reason = "json! makes values")]
fn chunk(delta: Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    format!("data: {}\n\n", json!({"id": "c1", "model": "gpt", "choices": [choice], "usage": null}))
}

const USAGE: &str = "data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\
    \"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":2}}}\n\n";

fn stream(chunks: &[String]) -> Vec<Value> {
    let text = format!("{}{USAGE}data: [DONE]\n\n", chunks.concat());
    events(&streamed("chat", "messages", &text).0)
}

/// The events without their frame: blocks as `start`, deltas, `stop`.
fn blocks(events: &[Value]) -> Vec<Value> {
    assert_eq!(events.iter().filter(|event| event["type"] == "message_start").count(), 1);
    assert_eq!(events[0]["type"], "message_start");
    assert_eq!(events[events.len() - 1]["type"], "message_stop");
    let mut open = None;
    let mut next = 0;
    for event in events {
        let index = event["index"].as_u64();
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!((open, index), (None, Some(next)));
                open = index;
            }
            "content_block_delta" => assert_eq!(open, index),
            "content_block_stop" => {
                assert_eq!(open, index);
                open = None;
                next += 1;
            }
            _ => assert_eq!(open, None),
        }
    }
    events[1..events.len() - 2].to_vec()
}

fn start(index: u64, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

#[test]
fn thinking_text_and_tool_are_blocks_0_1_and_2() {
    let events = stream(&[
        chunk(json!({"role": "assistant", "content": ""}), None),
        chunk(json!({"reasoning_content": "Hm"}), None),
        chunk(json!({"content": "Hel"}), None),
        chunk(json!({"content": "lo"}), None),
        chunk(json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]}), None),
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"x\":"}}]}), None),
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}), None),
        chunk(json!({}), Some("tool_calls")),
    ]);
    let expected = [
        start(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "Hm"})),
        stop(0),
        start(1, &json!({"type": "text", "text": ""})),
        delta(1, &json!({"type": "text_delta", "text": "Hel"})),
        delta(1, &json!({"type": "text_delta", "text": "lo"})),
        stop(1),
        start(2, &json!({"type": "tool_use", "id": "a", "name": "f", "input": {}})),
        delta(2, &json!({"type": "input_json_delta", "partial_json": "{\"x\":"})),
        delta(2, &json!({"type": "input_json_delta", "partial_json": "1}"})),
        stop(2),
    ];
    assert_eq!(blocks(&events), expected);
    let end = &events[events.len() - 2];
    assert_eq!(end["delta"], json!({"stop_reason": "tool_use", "stop_sequence": null}));
    assert_eq!(end["usage"]["input_tokens"], 6);
    assert_eq!(end["usage"]["cache_read_input_tokens"], 4);
    assert_eq!(end["usage"]["output_tokens"], 5);
    assert_eq!(end["usage"]["output_tokens_details"]["thinking_tokens"], 2);
}

#[test]
fn two_parallel_tools_are_two_blocks_even_if_their_pieces_are_mixed() {
    let call = |index: u64, id: &str, arguments: &str| {
        let mut call = json!({"index": index, "function": {"arguments": arguments}});
        if !id.is_empty() {
            call["id"] = json!(id);
            call["function"]["name"] = json!("f");
        }
        chunk(json!({"tool_calls": [call]}), None)
    };
    let chunks = [
        call(0, "a", ""),
        call(1, "b", ""),
        call(1, "", "{\"y\":"),
        call(0, "", "{\"x\":1}"),
        call(1, "", "2}"),
        chunk(json!({}), Some("tool_calls")),
    ];
    let expected = [
        start(0, &json!({"type": "tool_use", "id": "a", "name": "f", "input": {}})),
        delta(0, &json!({"type": "input_json_delta", "partial_json": "{\"x\":1}"})),
        stop(0),
        start(1, &json!({"type": "tool_use", "id": "b", "name": "f", "input": {}})),
        delta(1, &json!({"type": "input_json_delta", "partial_json": "{\"y\":"})),
        delta(1, &json!({"type": "input_json_delta", "partial_json": "2}"})),
        stop(1),
    ];
    assert_eq!(blocks(&stream(&chunks)), expected);
}

#[test]
fn tool_calls_in_one_chunk_and_the_end_in_the_next_is_a_tool_use() {
    let calls = json!([
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
        {"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}},
    ]);
    let events = stream(&[chunk(json!({"tool_calls": calls}), None), chunk(json!({}), Some("stop"))]);
    let expected = [
        start(0, &json!({"type": "tool_use", "id": "a", "name": "f", "input": {}})),
        delta(0, &json!({"type": "input_json_delta", "partial_json": "{\"x\":1}"})),
        stop(0),
        start(1, &json!({"type": "tool_use", "id": "b", "name": "g", "input": {}})),
        delta(1, &json!({"type": "input_json_delta", "partial_json": "{}"})),
        stop(1),
    ];
    assert_eq!(blocks(&events), expected);
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
}

#[test]
fn calls_without_ids_get_some_that_differ() {
    let calls = json!([
        {"index": 0, "function": {"name": "f", "arguments": "{}"}},
        {"index": 1, "id": "", "function": {"name": "f", "arguments": "{}"}},
    ]);
    let events = stream(&[chunk(json!({"tool_calls": calls}), Some("tool_calls"))]);
    let ids: Vec<_> = events.iter().filter_map(|event| event["content_block"]["id"].as_str()).collect();
    assert_eq!(ids, ["call_r1_0_0", "call_r1_0_1"]);
}

#[test]
fn stop_reasons_are_told_in_anthropics_words() {
    for (reason, word) in [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal")] {
        let events = stream(&[chunk(json!({"content": "x"}), Some(reason))]);
        assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], word);
    }
}

#[test]
fn an_unknown_finish_reason_is_an_error_and_never_an_end() {
    let text = chunk(json!({"content": "x"}), Some("whatever")) + "data: [DONE]\n\n";
    let (bytes, response) = streamed("chat", "messages", &text);
    assert_eq!(response.fault().unwrap().kind, "stream_error");
    assert!(!events(&bytes).iter().any(|event| event["type"] == "message_stop"));
}

#[test]
fn an_empty_finish_reason_is_none() {
    let events = stream(&[chunk(json!({"content": "x"}), Some("")), chunk(json!({"content": "y"}), Some("stop"))]);
    assert_eq!(blocks(&events).len(), 4);
}

#[test]
fn a_stream_that_ends_early_is_truncated() {
    let (bytes, response) = streamed("chat", "messages", &chunk(json!({"content": "x"}), None));
    assert_eq!(response.fault().unwrap().kind, "truncated");
    assert!(!events(&bytes).iter().any(|event| event["type"] == "message_delta"));
}

#[test]
fn a_stream_without_done_is_complete_once_its_choices_are() {
    let (bytes, response) = streamed("chat", "messages", &chunk(json!({"content": "x"}), Some("stop")));
    assert_eq!(response.fault(), None);
    assert_eq!(events(&bytes).last().unwrap()["type"], "message_stop");
}

#[test]
fn an_error_in_the_stream_is_a_fault_with_its_words() {
    let text = chunk(json!({"content": "x"}), None) + "data: {\"error\":{\"message\":\"no\",\"code\":503}}\n\n";
    let (_, response) = streamed("chat", "messages", &text);
    assert_eq!(response.fault().unwrap().message, "no");
    let object: Value = serde_json::from_slice(response.error_event().unwrap()).unwrap();
    assert_eq!(object["status"], 503);
}

#[test]
fn a_malformed_event_is_left_out_but_not_inside_a_call() {
    let text = format!("data: {{oops\n\n{}", chunk(json!({"content": "x"}), Some("stop")));
    let (_, response) = streamed("chat", "messages", &text);
    assert_eq!((response.malformed_events(), response.fault()), (1, None));
    let (_, response) = streamed("chat", "messages", "data: {\"tool_calls\":oops\n\n");
    assert_eq!(response.fault().unwrap().kind, "malformed_event");
}

#[test]
fn a_whole_answer_has_the_same_blocks() {
    let message = json!({
        "role": "assistant", "content": "Hello", "reasoning_content": "Hm", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
        ],
    });
    let answer = whole(
        "chat",
        "messages",
        &json!({
            "id": "c1", "model": "gpt", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
        }),
    );
    assert_eq!(
        answer,
        json!({
            "id": "c1", "type": "message", "role": "assistant", "model": "gpt",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": ""},
                {"type": "text", "text": "Hello"},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {
                "input_tokens": 6, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}, "output_tokens": 5,
                "output_tokens_details": {"thinking_tokens": 0},
            },
        })
    );
}

#[test]
fn halves_of_a_character_in_two_deltas_are_joined() {
    let piece = |escape: &str| {
        let delta = format!("{{\"content\":\"{escape}\"}}");
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n")
    };
    let events = stream(&[piece("a\\ud83d"), piece("\\ude00b"), chunk(json!({}), Some("stop"))]);
    let text: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(text, "a😀b");
}

#[test]
fn json_behind_the_stream_is_its_cause() {
    let text = chunk(json!({"content": "x"}), None) + "{\"error\":{\"message\":\"out of memory\"}}\n\n";
    let (_, response) = streamed("chat", "messages", &text);
    assert_eq!(response.fault().unwrap().message, "out of memory");
}

#[test]
fn a_usage_on_every_chunk_is_never_summed() {
    let with_usage = |count: u64, finish: Option<&str>| {
        let choice = json!({"index": 0, "delta": {"content": "x"}, "finish_reason": finish});
        let usage = json!({"prompt_tokens": 10, "completion_tokens": count});
        format!("data: {}\n\n", json!({"choices": [choice], "usage": usage}))
    };
    let text = format!("{}{}data: [DONE]\n\n", with_usage(1, None), with_usage(2, Some("stop")));
    let events = events(&streamed("chat", "messages", &text).0);
    assert_eq!(events[events.len() - 2]["usage"]["output_tokens"], 2);
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 0);
}

/// The calls of a whole answer, and why it ended.
fn whole_calls(client: &str, calls: &Value) -> Value {
    let choice = json!({"index": 0, "message": {"tool_calls": calls}, "finish_reason": "tool_calls"});
    let mut answer = whole("chat", client, &json!({"id": "c", "model": "m", "choices": [choice]}));
    if client == "chat" { answer["choices"][0]["message"]["tool_calls"].take() } else { answer["content"].take() }
}

#[test]
fn every_call_of_a_whole_answer_is_its_own_whatever_its_id() {
    let function = |n: u32| json!({"name": "f", "arguments": format!("{{\"n\":{n}}}")});
    for ids in [[None, None], [Some("same"), Some("same")]] {
        let call = |n: u32| json!({"type": "function", "id": ids[n as usize], "function": function(n)});
        let content = whole_calls("messages", &json!([call(0), call(1)]));
        assert_eq!(content.as_array().unwrap().len(), 2, "{content}");
        assert_ne!(content[0]["id"], content[1]["id"]);
        assert_eq!((&content[0]["input"], &content[1]["input"]), (&json!({"n": 0}), &json!({"n": 1})));
    }
}

#[test]
fn a_call_that_is_never_named_takes_nothing_from_the_others() {
    let unnamed = json!({"index": 0, "function": {"arguments": "{"}});
    let named = json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{\"a\":1}"}});
    let chunks = [chunk(json!({"tool_calls": [unnamed, named]}), None), chunk(json!({}), Some("tool_calls"))];
    let told = blocks(&stream(&chunks));
    let block = json!({"type": "tool_use", "id": "b", "name": "g", "input": {}});
    let json = json!({"type": "input_json_delta", "partial_json": "{\"a\":1}"});
    assert_eq!(told, [start(0, &block), delta(0, &json), stop(0)]);
    let text = format!("{}{USAGE}data: [DONE]\n\n", chunks.concat());
    let told = events(&streamed("chat", "chat", &text).0);
    let pieces: Vec<&Value> = told.iter().map(|event| &event["choices"][0]["delta"]["tool_calls"][0]).collect();
    let arguments: String = pieces.iter().filter_map(|piece| piece["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, "{\"a\":1}");
    assert!(pieces.iter().all(|piece| piece.is_null() || piece["index"] == 0));
    // Alone, it is no call.
    let alone = [chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}), Some("tool_calls"))];
    let told = stream(&alone);
    assert_eq!(told[told.len() - 2]["delta"]["stop_reason"], "end_turn");
}

#[test]
fn a_call_that_waits_for_its_name_is_bounded() {
    let piece = chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "x".repeat(200_000)}}]}), None);
    let mut response = super::response("chat", "messages");
    response.feed(super::STREAM);
    let fed = (0..20).take_while(|_| response.feed(piece.as_bytes()) & crate::response::FAULT == 0).count();
    assert!((5..10).contains(&fed), "{fed}");
    let mut response = super::response("chat", "messages");
    response.feed(super::STREAM);
    let fed = (0..5000).take_while(|n| {
        let piece = chunk(json!({"tool_calls": [{"index": n, "id": n.to_string(), "function": {"name": "f"}}]}), None);
        response.feed(piece.as_bytes()) & crate::response::FAULT == 0
    });
    assert!(fed.count() < 2000);
}

#[test]
fn numbers_of_arguments_are_told_as_they_were_written() {
    let arguments = r#"{"id":12345678901234567890123,"x":1.50,"y":1e+400,"z":0.1000000000000000055}"#;
    let call = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}]);
    assert_eq!(whole_calls("messages", &call)[0]["input"].to_string(), arguments);
    let message = json!({
        "id": "m", "type": "message", "role": "assistant", "model": "c", "stop_reason": "tool_use",
        "content": [{"type": "tool_use", "id": "a", "name": "f", "input": null}],
    });
    let message = message.to_string().replace("null", arguments);
    let answer = whole("messages", "chat", &serde_json::from_str(&message).unwrap());
    assert_eq!(answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], arguments);
    for upstream in ["messages", "gemini", "converse", "ollama"] {
        let body = json!({"model": "m", "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": call},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        ]});
        let (written, _) = super::asked("chat", upstream, &body);
        assert!(written.to_string().contains(arguments), "{upstream}: {written}");
    }
}

#[test]
fn text_in_the_middle_of_a_call_takes_nothing_from_it() {
    let piece = |arguments: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]});
    let chunks = [
        chunk(json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"n\""}}]}), None),
        chunk(json!({"content": "so "}), None),
        chunk(piece(":1}"), None),
        chunk(json!({"content": "far"}), None),
        chunk(json!({}), Some("tool_calls")),
    ];
    let json = |text: &str| json!({"type": "input_json_delta", "partial_json": text});
    let text = |text: &str| json!({"type": "text_delta", "text": text});
    let expected = [
        start(0, &json!({"type": "tool_use", "id": "a", "name": "f", "input": {}})),
        delta(0, &json("{\"n\"")),
        delta(0, &json(":1}")),
        stop(0),
        start(1, &json!({"type": "text", "text": ""})),
        delta(1, &text("so ")),
        delta(1, &text("far")),
        stop(1),
    ];
    assert_eq!(blocks(&stream(&chunks)), expected);
    // A call that is never complete is told as far as it came, and the text behind it.
    let told = blocks(&stream(&[&chunks[..2], &chunks[4..]].concat()));
    assert_eq!(told[2..], [stop(0), expected[4].clone(), delta(1, &text("so ")), stop(1)]);
}

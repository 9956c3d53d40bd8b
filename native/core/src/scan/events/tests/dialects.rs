//! Every dialect has its own events.

use super::*;
use crate::scan::body::tests::from_tool::DOUBTFUL;

#[test]
fn anthropic_blocks_are_texts_and_calls() {
    let named = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let start = |index: usize, block: Value| {
        named(json!({"type": "content_block_start", "index": index, "content_block": block}))
    };
    let delta =
        |index: usize, delta: Value| named(json!({"type": "content_block_delta", "index": index, "delta": delta}));
    let stop = |index: usize| named(json!({"type": "content_block_stop", "index": index}));
    let wire = [
        named(json!({"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 1}}})),
        start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "of jane.doe@"})),
        delta(0, json!({"type": "thinking_delta", "thinking": "example.com"})),
        delta(0, json!({"type": "signature_delta", "signature": "c2ln"})),
        stop(0),
        start(1, json!({"type": "text", "text": "to "})),
        named(json!({"type": "ping"})),
        delta(1, json!({"type": "text_delta", "text": "x@y.example or ghp_"})),
        stop(1),
        start(2, json!({"type": "tool_use", "id": "t", "name": "send", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"to\": \"x@y."})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "example\"}"})),
        stop(2),
        start(3, json!({"type": "tool_use", "id": "u", "name": "none", "input": {}})),
        stop(3),
        named(json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}})),
        named(json!({"type": "message_stop"})),
    ]
    .concat();
    let redactor = || EventRedactor::new(&scanner(Action::Redact), Dialect::Raw, None);
    let run = every_cut(redactor, &wire);
    let texts = assembled(&run.out);
    assert_eq!(texts["0 thinking"], "of <EMAIL_ADDRESS>");
    assert_eq!(texts["0 signature"], "c2ln");
    assert_eq!(texts["1 text"], "to <EMAIL_ADDRESS> or ghp_");
    assert_eq!(texts["2 partial_json"], "{\"to\": \"<EMAIL_ADDRESS>\"}");
    let order: Vec<_> = events(&run.out).iter().map(|e| (e["type"].to_string(), e["index"].as_u64())).collect();
    for index in 0..4 {
        let of = |kind: &str| order.iter().rposition(|(name, at)| name.contains(kind) && *at == Some(index));
        assert!(
            of("start") < of("stop") && of("delta").is_none_or(|at| of("start") < Some(at) && Some(at) < of("stop"))
        );
    }
    assert_eq!(run.findings.len(), 3);
    let text = String::from_utf8(run.out).unwrap();
    assert_eq!(text.matches("event: ").count(), events(text.as_bytes()).len());
}

#[test]
fn responses_repeat_their_texts_redacted_alike() {
    let mut sequence = 0;
    let mut named = |mut data: Value| {
        data["sequence_number"] = json!(sequence);
        sequence += 1;
        format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())
    };
    let text = |kind: &str, value: &str| {
        let key = if kind.ends_with("delta") { "delta" } else { "text" };
        json!({"type": format!("response.output_text.{kind}"), "item_id": "i", "output_index": 0, "content_index": 0, key: value, "logprobs": []})
    };
    let arguments = |kind: &str, key: &str, value: &str| json!({"type": format!("response.function_call_arguments.{kind}"), "item_id": "j", "output_index": 1, key: value});
    let message = json!({"type": "message", "id": "i", "content": [{"type": "output_text", "text": "to jane.doe@example.com or ghp_", "annotations": []}]});
    let called = json!({"type": "function_call", "id": "j", "call_id": "k", "name": "f", "arguments": "{\"to\":\"x@y.example\"}"});
    let wire = [
        named(json!({"type": "response.created", "response": {"id": "r", "output": []}})),
        named(json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "id": "i", "content": []}})),
        named(text("delta", "to jane.doe@")),
        named(text("delta", "example.com or ")),
        named(text("delta", "ghp_")),
        named(text("done", "to jane.doe@example.com or ghp_")),
        named(json!({"type": "response.output_item.done", "output_index": 0, "item": message.clone()})),
        named(json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "function_call", "id": "j", "call_id": "k", "name": "f", "arguments": ""}})),
        named(arguments("delta", "delta", "{\"to\":\"x@")),
        named(arguments("delta", "delta", "y.example\"}")),
        named(arguments("done", "arguments", "{\"to\":\"x@y.example\"}")),
        named(json!({"type": "response.output_item.done", "output_index": 1, "item": called.clone()})),
        named(json!({"type": "response.completed", "response": {"id": "r", "output": [message, called]}})),
    ]
    .concat();
    let redactor = || EventRedactor::new(&scanner(Action::Redact), Dialect::Responses, None);
    let run = every_cut(redactor, &wire);
    let told = events(&run.out);
    let texts = assembled(&run.out);
    assert_eq!(texts["0 response.output_text.delta"], "to <EMAIL_ADDRESS> or ghp_");
    assert_eq!(texts["1 response.function_call_arguments.delta"], "{\"to\":\"<EMAIL_ADDRESS>\"}");
    let find = |kind: &str| told.iter().find(|event| event["type"] == kind).unwrap();
    assert_eq!(find("response.output_text.done")["text"], "to <EMAIL_ADDRESS> or ghp_");
    assert_eq!(find("response.function_call_arguments.done")["arguments"], "{\"to\":\"<EMAIL_ADDRESS>\"}");
    let output = &find("response.completed")["response"]["output"];
    assert_eq!(output[0]["content"][0]["text"], "to <EMAIL_ADDRESS> or ghp_");
    assert_eq!(output[1]["arguments"], "{\"to\":\"<EMAIL_ADDRESS>\"}");
    let numbers: Vec<_> = told.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..u64::try_from(told.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(run.findings.len(), 2, "repetitions are not counted");
}

#[test]
fn events_of_no_known_dialect_are_looked_at_one_by_one() {
    let wire = "data: {\"token\":\"jane.doe@example.com\"}\n\nevent: note\ndata: plain x@y.example\ndata: text\n\n";
    let out = String::from_utf8(redact(wire).out).unwrap();
    assert_eq!(
        out,
        "data: {\"token\":\"<EMAIL_ADDRESS>\"}\n\nevent: note\ndata: plain <EMAIL_ADDRESS>\ndata: text\n\n"
    );
}

#[test]
fn what_a_tool_of_the_server_wrote_is_held_to_the_stricter_measure() {
    let redactor = || EventRedactor::new(&scanner(Action::Redact), Dialect::Messages, None);
    let block = |block: Value| event(&json!({"type": "content_block_start", "index": 0, "content_block": block}));
    let text = json!({"type": "text", "text": DOUBTFUL});
    assert_eq!(every_cut(redactor, &block(text.clone())).stopped, None);
    let result = json!({"type": "mcp_tool_result", "tool_use_id": "t", "content": [text]});
    assert_eq!(every_cut(redactor, &block(result)).stopped, Some(Stop::Blocked));
    let item = |item: Value| event(&json!({"type": "response.output_item.done", "output_index": 0, "item": item}));
    let said = json!({"type": "message", "content": [{"type": "output_text", "text": DOUBTFUL}]});
    assert_eq!(every_cut(redactor, &item(said)).stopped, None);
    let called = json!({"type": "mcp_call", "name": "f", "arguments": "{}", "output": DOUBTFUL});
    assert_eq!(every_cut(redactor, &item(called)).stopped, Some(Stop::Blocked));
}

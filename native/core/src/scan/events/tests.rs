use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::scan::body::tests::scanner as rules;
use crate::scan::{Action, Policy};

const MAIL: &str = "jane.doe@example.com";

fn scanner(pii: Action) -> Scanner {
    rules(&Policy { pii, ..Policy::default() })
}

/// What came of a stream.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    out: Vec<u8>,
    decision: Decision,
    stopped: Option<Stop>,
    /// In the order of texts and places.
    findings: Vec<(u64, u16, usize, usize)>,
}

fn run<'a>(redactor: EventRedactor, chunks: impl IntoIterator<Item = &'a [u8]>) -> Run {
    let mut redactor = redactor;
    let mut out = Vec::new();
    let mut stopped = None;
    for chunk in chunks {
        if let Err(stop) = redactor.feed(chunk, &mut out) {
            stopped.get_or_insert(stop);
        }
    }
    if let Err(stop) = redactor.finish(&mut out) {
        stopped.get_or_insert(stop);
    }
    let place = |found: &EventFinding| {
        let Finding { rule, start, end, .. } = found.finding;
        (found.owner, rule, start, end)
    };
    let mut findings: Vec<_> = redactor.findings().iter().map(place).collect();
    findings.sort_unstable();
    Run { out, decision: redactor.decision(), stopped, findings }
}

fn redact(wire: &str) -> Run {
    run(EventRedactor::new(&scanner(Action::Redact), Dialect::Chat, None), [wire.as_bytes()])
}

fn events(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).unwrap();
    let data = text.split("\n\n").flat_map(str::lines).filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// Every text as a client puts it together.
fn assembled(out: &[u8]) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut add =
        |name: String, text: &Value| texts.entry(name).or_default().push_str(text.as_str().unwrap_or_default());
    for event in events(out) {
        for choice in event["choices"].as_array().into_iter().flatten() {
            let index = &choice["index"];
            for (key, value) in choice["delta"].as_object().into_iter().flatten() {
                for call in value.as_array().into_iter().flatten() {
                    add(format!("{index} call {}", call["index"]), &call["function"]["arguments"]);
                    add(format!("{index} name {}", call["index"]), &call["function"]["name"]);
                }
                if !value.is_array() {
                    add(format!("{index} {key}"), value);
                }
            }
            add(format!("{index} text"), &choice["text"]);
            add(format!("{index} finish"), &choice["finish_reason"]);
        }
        let kind = event["type"].as_str().unwrap_or_default();
        if kind == "content_block_delta" {
            for (key, value) in event["delta"].as_object().unwrap() {
                if key != "type" {
                    add(format!("{} {key}", event["index"]), value);
                }
            }
        }
        if kind == "content_block_start" {
            add(format!("{} text", event["index"]), &event["content_block"]["text"]);
        }
        if event["delta"].is_string() {
            add(format!("{} {kind}", event["output_index"]), &event["delta"]);
        }
        add("error".into(), &event["error"]["message"]);
    }
    texts.retain(|_, text| !text.is_empty());
    texts
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn delta(index: usize, delta: &Value) -> String {
    event(&json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
        "choices": [{"index": index, "delta": delta, "logprobs": null, "finish_reason": null}]}))
}

fn content(text: &str) -> String {
    delta(0, &json!({"content": text}))
}

fn finish(index: usize) -> String {
    event(&json!({"id": "c", "choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}))
}

fn call(index: usize, id: Option<&str>, arguments: &str) -> String {
    let mut call = json!({"index": index, "function": {"arguments": arguments}});
    if let Some(id) = id {
        call["id"] = id.into();
        call["function"]["name"] = "send".into();
    }
    delta(0, &json!({"tool_calls": [call]}))
}

/// Every way to cut a stream's bytes gives the same bytes.
fn every_cut(redactor: impl Fn() -> EventRedactor, wire: &str) -> Run {
    let wire = wire.as_bytes();
    let whole = run(redactor(), [wire]);
    assert_eq!(run(redactor(), wire.chunks(1)), whole, "one byte at a time");
    assert_eq!(run(redactor(), wire.chunks(7)), whole, "seven bytes at a time");
    // Long streams repeat themselves.
    for cut in (0..=wire.len()).step_by(1 + wire.len() / 1024) {
        assert_eq!(run(redactor(), [&wire[..cut], &wire[cut..]]), whole, "cut at {cut}");
    }
    whole
}

#[test]
fn a_stream_without_findings_passes_byte_for_byte() {
    let wire = [
        ": hello\n\n",
        "retry: 100\n\n",
        "data:{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\u00e9 \\ud83d\\ude00 \"}}]}\r\r",
        "id: 7\ndata: {\"choices\": [ {\"delta\":{\"content\":\"b. \"},\"index\":0} ],\ndata: \"usage\":null}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: [DONE]\n\n",
    ]
    .concat();
    let redactor = || EventRedactor::new(&scanner(Action::Redact), Dialect::Chat, None);
    let whole = every_cut(redactor, &wire);
    assert_eq!(String::from_utf8(whole.out).unwrap(), wire);
    assert_eq!((whole.decision, whole.stopped), (Decision::Allowed, None));
}

#[test]
fn bytes_may_be_cut_anywhere() {
    let wire = [
        content("caf\u{e9} \u{1f600} to jane.doe"),
        content("@example.com, "),
        delta(1, &json!({"reasoning_content": "x@y.example"})),
        call(0, Some("id1"), "{\"to\":\"a@"),
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"\\ud83d\"}}]}\r\n\r\n".into(),
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"\\ude00 z\"}}]}\r\r".into(),
        call(0, None, "b.example\"}"),
        ": ping\n\n".into(),
        finish(0),
        finish(1),
        "data: [DONE]\n\n".into(),
    ]
    .concat();
    let redactor = || EventRedactor::new(&scanner(Action::Redact), Dialect::Chat, None);
    let whole = every_cut(redactor, &wire);
    let texts = assembled(&whole.out);
    assert_eq!(texts["0 content"], "caf\u{e9} \u{1f600} to <EMAIL_ADDRESS>, ");
    assert_eq!(texts["1 reasoning_content"], "<EMAIL_ADDRESS>");
    assert_eq!(texts["1 content"], "\u{1f600} z");
    assert_eq!(texts["0 call 0"], "{\"to\":\"<EMAIL_ADDRESS>\"}");
    assert_eq!(whole.decision, Decision::Transformed);
    assert_eq!(whole.findings.len(), 3);
}

/// All ways to cut a text into so many deltas, or a sample of them.
fn cuts(text: &str, pieces: usize) -> Vec<Vec<&str>> {
    let places: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
    if pieces == 1 {
        return vec![vec![text]];
    }
    let step = if pieces > 3 { 5 } else { 1 };
    let mut all = Vec::new();
    for at in places.into_iter().step_by(step) {
        for rest in cuts(&text[at..], pieces - 1) {
            all.push([vec![&text[..at]], rest].concat());
        }
    }
    all
}

#[test]
fn a_value_split_at_every_place_over_two_to_five_deltas_never_leaks() {
    let text = "to a.doe@ex.org \u{e9}!";
    let redactor = || EventRedactor::new(&scanner(Action::Redact), Dialect::Chat, None);
    for pieces in 1..=5 {
        for cut in cuts(text, pieces) {
            let wire: String = cut.iter().map(|piece| content(piece)).chain([finish(0)]).collect();
            let run = run(redactor(), [wire.as_bytes()]);
            assert_eq!(assembled(&run.out)["0 content"], "to <EMAIL_ADDRESS> \u{e9}!", "{cut:?}");
            assert_eq!(run.findings.iter().map(|f| (f.2, f.3)).collect::<Vec<_>>(), [(3, 15)], "{cut:?}");
            assert!(!String::from_utf8_lossy(&run.out).contains("a.doe"), "{cut:?}");
        }
    }
}

#[test]
fn arguments_split_at_every_place_are_looked_at_as_a_whole() {
    let arguments = r#"{"to":"a.doe\u0040ex.org","n":4111111111111111,"i":"{\"k\":\"b@ex.org\"}"}"#;
    let wanted = r#"{"to":"<EMAIL_ADDRESS>","n":"<TEST_CARD>","i":"{\"k\":\"<EMAIL_ADDRESS>\"}"}"#;
    for cut in cuts(arguments, 2).into_iter().chain(cuts(arguments, 4).into_iter().step_by(7)) {
        let mut wire = call(0, Some("id"), cut[0]);
        wire.extend(cut[1..].iter().map(|piece| call(0, None, piece)));
        let run = redact(&(wire + &finish(0)));
        let texts = assembled(&run.out);
        assert_eq!(texts["0 call 0"], wanted, "{cut:?}");
        assert_eq!(texts["0 name 0"], "send");
        assert_eq!((run.findings.len(), run.decision), (3, Decision::Transformed));
        assert_eq!(events(&run.out).len(), 2, "one event for the call, one for its end");
    }
}

#[test]
fn a_call_waits_for_its_end_and_a_cut_one_is_looked_at_too() {
    let mut redactor = EventRedactor::new(&scanner(Action::Redact), Dialect::Chat, None);
    let mut out = Vec::new();
    redactor.feed(call(0, Some("a"), "{\"to\":\"").as_bytes(), &mut out).unwrap();
    redactor.feed(call(0, None, MAIL).as_bytes(), &mut out).unwrap();
    assert!(out.is_empty() && redactor.held() > 0);
    redactor.finish(&mut out).unwrap();
    assert_eq!(assembled(&out)["0 call 0"], "{\"to\":\"<EMAIL_ADDRESS>");
}

#[test]
fn calls_in_every_shape_that_servers_send_keep_their_parts() {
    let whole = |extra: Value| {
        let call = |index: usize| json!({"index": index, "id": format!("i{index}"), "function": {"name": "f", "arguments": "{\"a\":\"x@y.example\"}"}});
        let mut choice =
            json!({"index": 0, "delta": {"content": "hi", "tool_calls": [call(0), call(1)]}, "finish_reason": null});
        choice.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        event(&json!({"id": "c", "choices": [choice]}))
    };
    let one_event = whole(json!({"finish_reason": "tool_calls"}));
    let two_events = whole(json!({})) + &finish(0);
    let head_first = delta(0, &json!({"content": "hi"}))
        + &delta(0, &json!({"tool_calls": [{"index": 0, "id": "i0", "function": {"name": "f"}}]}))
        + &call(0, None, "{\"a\":\"x@y.ex")
        + &call(0, None, "ample\"}")
        + &delta(0, &json!({"tool_calls": [{"index": 1, "id": "i1", "function": {"name": "f"}}]}))
        + &call(1, None, "{\"a\":\"x@y.example\"}")
        + &finish(0);
    for wire in [one_event, two_events, head_first] {
        let texts = assembled(&redact(&wire).out);
        for index in 0..2 {
            assert_eq!(texts[&format!("0 call {index}")], "{\"a\":\"<EMAIL_ADDRESS>\"}", "{wire}");
            assert_eq!(texts[&format!("0 name {index}")], "f");
        }
        assert_eq!(texts["0 content"], "hi");
    }
}

#[test]
fn an_index_that_comes_twice_with_another_identifier_is_another_call() {
    let wire = call(0, Some("a"), "{\"x\":1}") + &call(0, Some("b"), "{\"y\":2}") + &finish(0);
    let told: Vec<_> = events(&redact(&wire).out);
    let arguments = |n: usize| &told[n]["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"];
    assert_eq!((arguments(0), arguments(1)), (&json!("{\"x\":1}"), &json!("{\"y\":2}")));
}

#[test]
fn token_counts_on_every_event_of_a_call_are_told_once() {
    let with_usage = |text: &str, n: usize| {
        let mut value: Value = serde_json::from_str(text.trim().strip_prefix("data: ").unwrap()).unwrap();
        value["usage"] = json!({"completion_tokens": n});
        event(&value)
    };
    let mut wire = with_usage(&call(0, Some("a"), "{"), 1);
    for n in 2..100 {
        wire += &with_usage(&call(0, None, " "), n);
    }
    wire += &with_usage(&call(0, None, "}"), 100);
    let run = redact(&(wire + &finish(0)));
    let told = events(&run.out);
    assert_eq!(told.len(), 3);
    assert_eq!(told[1]["usage"]["completion_tokens"], 100);
    assert_eq!(assembled(&run.out)["0 call 0"], format!("{{{}}}", " ".repeat(98)));
}

#[test]
fn choices_are_texts_of_their_own() {
    let mut wire = String::new();
    for piece in ["a jane.", "doe@exa", "mple.com b"] {
        for index in 0..3 {
            wire += &delta(index, &json!({"content": piece, "reasoning_content": piece}));
        }
    }
    wire += &event(&json!({"choices": [
        {"index": 1, "delta": {"content": " x"}, "finish_reason": "stop"},
        {"index": 0, "delta": {"content": " y"}, "finish_reason": null}]}));
    wire += &(finish(0) + &finish(2) + "data: [DONE]\n\n");
    let run = redact(&wire);
    let texts = assembled(&run.out);
    for (index, end) in [(0, " y"), (1, " x"), (2, "")] {
        assert_eq!(texts[&format!("{index} content")], format!("a <EMAIL_ADDRESS> b{end}"));
        assert_eq!(texts[&format!("{index} reasoning_content")], "a <EMAIL_ADDRESS> b");
    }
    assert_eq!(run.findings.len(), 6);
}

#[test]
fn a_benign_tail_comes_out_once_before_the_end() {
    for (wire, wanted) in [
        (content("see jane.doe@") + &finish(0), "see jane.doe@"),
        (content("see ghp_") + &content("abc") + "data: [DONE]\n\n", "see ghp_abc"),
        (content("see jane.doe@"), "see jane.doe@"),
        (content("see jane") + &content(".doe@") + &content(" and on") + &finish(0), "see jane.doe@ and on"),
        (
            content("ghp_")
                + &event(&json!({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]})),
            "ghp_a",
        ),
    ] {
        let run = redact(&wire);
        assert_eq!(assembled(&run.out)["0 content"], wanted);
        let told = events(&run.out);
        let ends = told.iter().position(|event| event["choices"][0]["finish_reason"] == "stop");
        assert!(ends.is_none_or(|end| end + 1 == told.len()), "{told:?}");
        assert!(told.iter().all(|event| event["choices"][0]["index"] == 0));
    }
    let made = redact(&(content("ghp_") + &finish(0)));
    let told = events(&made.out);
    assert_eq!(
        told[1],
        json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
        "choices": [{"index": 0, "delta": {"content": "ghp_"}, "logprobs": null, "finish_reason": null}]})
    );
}

#[test]
fn token_probabilities_go_with_the_text_that_they_repeat() {
    let with = |text: &str| {
        event(
            &json!({"choices": [{"index": 0, "delta": {"content": text}, "logprobs": {"content": [{"token": text}]}}]}),
        )
    };
    let run = redact(&(with("excellent. ") + &with(MAIL) + &with(" ") + &finish(0)));
    let told = events(&run.out);
    assert_eq!(told[0]["choices"][0]["logprobs"]["content"][0]["token"], "excellent. ");
    assert!(!String::from_utf8_lossy(&run.out).contains("jane"));
    assert_eq!(told[1]["choices"][0]["logprobs"], Value::Null);
}

#[test]
fn halves_of_a_character_are_put_together() {
    let half = |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    for (pieces, wanted) in [
        (&[r"a\ud83d", r"\ude00b"][..], "a\u{1f600}b"),
        (&[r"a\uD83D", "", r"\uDE00b"], "a\u{1f600}b"),
        (&[r"a\ud83d", "b"], "a\u{fffd}b"),
        (&[r"a\ud83d"], "a\u{fffd}"),
        (&[r"a\\ud83d", "b"], "a\\ud83db"),
        (&[r"a\ud83d\ud83d", r"\ude00"], "a\u{fffd}\u{1f600}"),
    ] {
        let wire: String = pieces.iter().map(|piece| half(piece)).chain([finish(0)]).collect();
        assert_eq!(assembled(&redact(&wire).out)["0 content"], wanted, "{pieces:?}");
    }
    let wire = call(0, Some("a"), "{").replace("\"{\"", r#""\"\ud83d""#)
        + &call(0, None, "}").replace("\"}\"", r#""\ude00\"""#);
    assert_eq!(assembled(&redact(&(wire + &finish(0))).out)["0 call 0"], "\"\u{1f600}\"");
}

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
fn a_block_ends_the_stream_with_an_error_and_nothing_of_the_match() {
    let redactor = || EventRedactor::new(&scanner(Action::Block), Dialect::Chat, None);
    let wire =
        content("write ") + &content("to jane.doe@ex") + &content("ample.com now") + &finish(0) + "data: [DONE]\n\n";
    let run = every_cut(redactor, &wire);
    assert_eq!((run.stopped, run.decision), (Some(Stop::Blocked), Decision::Blocked));
    let out = String::from_utf8(run.out.clone()).unwrap();
    assert!(
        !out.contains("jane") && !out.contains("now") && !out.contains("[DONE]") && !out.contains("\"stop\""),
        "{out}"
    );
    assert_eq!(assembled(&run.out)["0 content"], "write to ");
    let last = events(&run.out).pop().unwrap();
    assert_eq!(last["error"]["code"], "content_policy_violation");
    let wire = call(0, Some("a"), "{\"to\":\"jane.doe@") + &call(0, None, "example.com\"}") + &finish(0);
    let out = every_cut(redactor, &wire).out;
    assert_eq!(events(&out).len(), 1);
    for wire in [
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"a@b.example \"}}\n\n",
        "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\",\"output_index\":0,\"text\":\"a@b.example\",\"sequence_number\":4}\n\n",
        "data: no JSON a@b.example\n\n",
        "data: {\"unknown\":{\"x\":[\"a@b.example\"]}}\n\n",
    ] {
        let run = every_cut(redactor, wire);
        assert_eq!(run.stopped, Some(Stop::Blocked));
        assert!(!String::from_utf8(run.out).unwrap().contains("b.example"));
    }
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
fn what_has_to_be_held_is_bounded() {
    let limits = Limits { max_calls: 4096, max_event: 8192, max_texts: 8 };
    let redactor = || EventRedactor::with_limits(&scanner(Action::Redact), Dialect::Chat, None, limits);
    let calls: String = (0..100).map(|_| call(0, None, &" ".repeat(100))).collect();
    let texts: String = (0..9).map(|index| delta(index, &json!({"content": "a"}))).collect();
    for wire in [calls, texts, format!("data: {}", "x".repeat(9000))] {
        let run = run(redactor(), wire.as_bytes().chunks(512));
        assert_eq!(run.stopped, Some(Stop::TooLarge));
        assert_eq!(events(&run.out).last().unwrap()["error"]["code"], "content_policy_violation");
    }
}

#[test]
fn pseudonyms_are_restored_over_events_and_inside_arguments() {
    let mut vault = Vault::new(b"k");
    let mail = vault.pseudonym("EMAIL_ADDRESS", MAIL);
    let quote = vault.pseudonym("QUOTE", "say \"no\"\n");
    let vault = Arc::new(vault);
    let redactor = || EventRedactor::new(&scanner(Action::Pseudonymise), Dialect::Chat, Some(Arc::clone(&vault)));
    let text = format!("a {mail}, {quote}, <EMAIL_ADDRESS_00000000> {} <", &mail[..9]);
    let wanted = format!("a {MAIL}, say \"no\"\n, <EMAIL_ADDRESS_00000000> {} <", &mail[..9]);
    let arguments = json!({"q": *quote, "n": json!({"q": *quote}).to_string()}).to_string();
    for size in 1..20 {
        let pieces = |text: &str| -> Vec<String> {
            text.chars().collect::<Vec<_>>().chunks(size).map(|piece| piece.iter().collect()).collect()
        };
        let mut wire: String = pieces(&text).iter().map(|piece| content(piece)).collect();
        wire.extend(pieces(&arguments).iter().map(|piece| call(0, Some("a"), piece)));
        let run = run(redactor(), [(wire + &finish(0)).as_bytes()]);
        let texts = assembled(&run.out);
        assert_eq!(texts["0 content"], wanted);
        let told: Value = serde_json::from_str(&texts["0 call 0"]).unwrap();
        assert_eq!(told["q"], "say \"no\"\n");
        assert_eq!(serde_json::from_str::<Value>(told["n"].as_str().unwrap()).unwrap()["q"], "say \"no\"\n");
        assert_eq!((run.decision, run.findings.len()), (Decision::Transformed, 0));
    }
}

#[test]
fn invalid_bytes_pass_where_nothing_changes() {
    let wire = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a \xff b. \"}}]}\n\n";
    let redactor = EventRedactor::new(&scanner(Action::Redact), Dialect::Chat, None);
    assert_eq!(run(redactor, [&wire[..]]).out, wire);
}

fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z]{1,6}@[a-z]{1,6}\\.(com|org)",
        "[a-z @.<>\u{e9}\u{1f600}\"\\\\\n]{0,8}",
        Just("4111111111111111".to_owned()),
        Just("ghp_".to_owned()),
        "<[A-Z]{1,3}_[0-9a-f]{8}>",
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// However texts are cut into deltas and deltas into reads, what a client puts together is what one delta gives.
    #[test]
    fn any_split_gives_what_the_whole_gives(
        texts in prop::collection::vec(texts(), 1..4),
        sizes in prop::collection::vec(1..12_usize, 1..6),
        reads in prop::collection::vec(1..90_usize, 1..6),
        blocks in any::<bool>(),
    ) {
        let action = if blocks { Action::Block } else { Action::Redact };
        let redactor = || EventRedactor::new(&scanner(action), Dialect::Chat, None);
        let ends: String = (0..texts.len()).map(finish).collect();
        let whole: String = texts.iter().enumerate().map(|(n, text)| delta(n, &json!({"content": text}))).collect();
        let whole = run(redactor(), [(whole + &ends).as_bytes()]);
        let mut wire = String::new();
        let mut rests: Vec<Vec<char>> = texts.iter().map(|text| text.chars().collect()).collect();
        let mut turn = 0;
        while rests.iter().any(|rest| !rest.is_empty()) {
            // Blocked streams show what came before, so that their texts have to come one after the other.
            let n = if blocks { rests.iter().position(|rest| !rest.is_empty()).unwrap() } else { turn % rests.len() };
            let size = sizes[turn % sizes.len()].min(rests[n].len());
            let piece: String = rests[n].drain(..size).collect();
            wire += &delta(n, &json!({"content": piece}));
            turn += 1;
        }
        wire += &ends;
        let mut chunks = Vec::new();
        let mut rest = wire.as_bytes();
        for size in reads.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at(rest.len().min(*size));
            chunks.push(chunk);
            rest = after;
        }
        let split = run(redactor(), chunks);
        if whole.stopped.is_none() {
            prop_assert_eq!(assembled(&split.out), assembled(&whole.out));
            prop_assert_eq!(&split.findings, &whole.findings);
        }
        prop_assert_eq!((split.decision, split.stopped), (whole.decision, whole.stopped));
    }
}

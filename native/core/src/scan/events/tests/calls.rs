//! Tool calls wait until they are complete.

use super::*;

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

use super::*;
use crate::cost::Kind;

fn chat(data: &str) -> (Tap, Verdict) {
    let mut tap = Tap::new(Dialect::Chat);
    let verdict = tap.event(data.as_bytes(), None);
    (tap, verdict)
}

fn totals(tap: &Tap) -> Option<(u64, u64, u64, u64)> {
    let tokens = tap.usage.tokens()?;
    Some((tokens.prompt(), tokens.completion(), tokens.cached(), tokens.get(Kind::Reasoning)))
}

#[test]
fn usage_is_the_last_that_was_told() {
    let mut tap = Tap::new(Dialect::Chat);
    for (data, verdict) in [
        (r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}"#, Verdict::Pass),
        (r#"{"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#, Verdict::Pass),
        (
            r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9,"total_tokens":14,
             "prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":2}}}"#,
            Verdict::UsageOnly,
        ),
        ("[DONE]", Verdict::Done),
    ] {
        assert_eq!(tap.event(data.as_bytes(), None), verdict, "{data}");
    }
    assert_eq!(totals(&tap), Some((5, 9, 3, 2)));
    assert_eq!(tap.text_bytes, 1);
}

#[test]
fn the_text_of_a_whole_body_is_counted() {
    let mut tap = Tap::new(Dialect::Chat);
    tap.body(
        br#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"four"},"finish_reason":"stop"},
        {"index":1,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function",
        "function":{"name":"f","arguments":"{}"}}]}}]}"#,
    );
    assert_eq!(tap.text_bytes, 4 + 1 + 2);
    assert_eq!(totals(&tap), None);
    let mut tap = Tap::new(Dialect::Completions);
    tap.body(br#"{"choices":[{"index":0,"text":"three"}]}"#);
    assert_eq!(tap.text_bytes, 5);
    let mut tap = Tap::new(Dialect::Completions);
    tap.body(br#"{"object":"list","data":[{"object":"embedding","embedding":[0.5,0.25]}]}"#);
    assert_eq!(tap.text_bytes, 0);
}

#[test]
fn anthropic_counts_cache_tokens_apart() {
    let mut tap = Tap::new(Dialect::Messages);
    let start = r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":10,
        "cache_read_input_tokens":4,"cache_creation_input_tokens":2,"output_tokens":1}}}"#;
    assert_eq!(tap.event(start.as_bytes(), None), Verdict::Pass);
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#;
    assert_eq!(tap.event(delta.as_bytes(), None), Verdict::Pass);
    assert_eq!(tap.event(br#"{"type":"message_stop"}"#, None), Verdict::Done);
    assert_eq!(totals(&tap), Some((16, 7, 4, 0)));
}

#[test]
fn a_chunk_without_choices_is_usage_only_if_it_has_usage() {
    assert_eq!(chat(r#"{"choices":[],"prompt_filter_results":[]}"#).1, Verdict::Pass);
    assert_eq!(chat(r#"{"choices":[],"usage":null}"#).1, Verdict::Pass);
    assert_eq!(chat(r#"{"choices":[],"usage":{"prompt_tokens":1}}"#).1, Verdict::UsageOnly);
}

#[test]
fn finished_means_every_choice() {
    let mut tap = Tap::new(Dialect::Chat);
    let event = |index: u32, reason: &str| format!(r#"{{"choices":[{{"index":{index},"finish_reason":{reason}}}]}}"#);
    for (index, reason, all) in
        [(0, "null", false), (1, "\"\"", false), (0, "\"stop\"", false), (1, "\"length\"", true)]
    {
        tap.event(event(index, reason).as_bytes(), None);
        assert_eq!(tap.all_finished(), all, "{index} {reason}");
    }
}

#[test]
fn surely_finished_are_those_that_went_on_ended_once_and_said_nothing_since() {
    let (open, more) = (r#"{"index":0,"delta":{}}"#, r#"{"index":0,"delta":{"content":"a"}}"#);
    let (end, all) = (
        r#"{"index":0,"delta":{},"finish_reason":"stop"}"#,
        r#"{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}"#,
    );
    let other = r#"{"index":1,"delta":{"content":"a"}}"#;
    for (events, choices, is_sure) in [
        (&[open, end][..], 1, true),
        (&[more, all], 1, true),
        (&[more, end, open], 1, true),
        (&[more, end], 2, false),
        (&[more, end, other], 1, false),
        (&[all], 1, false),
        (&[all, all], 1, false),
        (&[more, end, more], 1, false),
        (&[more, end, more, end], 1, false),
        (&[more], 1, false),
        (&[], 0, false),
    ] {
        let mut tap = Tap::new(Dialect::Chat);
        for event in events {
            tap.event(format!(r#"{{"choices":[{event}]}}"#).as_bytes(), None);
        }
        assert_eq!(tap.surely_finished(choices), is_sure, "{events:?} {choices}");
    }
}

#[test]
fn any_truthy_error_is_one() {
    for (data, message) in [
        (r#"{"error":{"message":"no\nway","code":429}}"#, "no\nway"),
        (r#"{"error":"plain"}"#, "plain"),
        (r#"{"error":{"code":1}}"#, "the upstream reported an error"),
        (r#"{"choices":[],"error":{"message":"m"}}"#, "m"),
    ] {
        assert!(matches!(chat(data).1, Verdict::Failed(told, _) if told == message), "{data}");
    }
    for data in [r#"{"error":null}"#, r#"{"error":{}}"#, r#"{"error":""}"#, r#"{"error":false}"#] {
        assert_eq!(chat(data).1, Verdict::Pass, "{data}");
    }
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let verdict = Tap::new(Dialect::Messages).event(overloaded.as_bytes(), Some(b"error"));
    assert!(matches!(verdict, Verdict::Failed(told, _) if told == "Overloaded"));
    let flat = r#"{"type":"error","code":"x","message":"flat","sequence_number":3}"#;
    let verdict = Tap::new(Dialect::Responses).event(flat.as_bytes(), None);
    assert!(matches!(verdict, Verdict::Failed(told, _) if told == "flat"));
}

#[test]
fn broken_json_is_worse_inside_a_tool_call() {
    assert_eq!(chat(r#"{"choices":[{"#).1, Verdict::Malformed);
    assert_eq!(chat(r#"{"choices":[{"delta":{"tool_calls":[{"#).1, Verdict::BrokenToolCall);
    assert_eq!(chat("{\"choices\":[{\"delta\":{\"content\":\"\u{fffd}\"}}]}").1, Verdict::Pass);
    assert_eq!(Tap::new(Dialect::Chat).event(b"{\"a\":\"\xff\"}", None), Verdict::Pass);
}

#[test]
fn an_error_in_the_place_of_an_answer_is_told() {
    let error = |body: &str| Tap::new(Dialect::Chat).body(body.as_bytes());
    assert_eq!(error(r#"{"error":{"message":"no"}}"#), Some(br#"{"message":"no"}"#.to_vec()));
    assert_eq!(error(r#"{"error":"no"}"#), Some(br#"{"message":"no"}"#.to_vec()));
    assert_eq!(error(r#"{"choices":[],"error":null}"#), None);
}

#[test]
fn bodies_of_any_size_give_their_usage() {
    for padding in [10, PARSE_WHOLE + 10] {
        let body = format!(r#"{{"data":"{}","usage":{{"prompt_tokens":3,"total_tokens":3}}}}"#, "x".repeat(padding));
        let mut tap = Tap::new(Dialect::Completions);
        tap.body(body.as_bytes());
        assert_eq!(totals(&tap), Some((3, 0, 0, 0)));
    }
}

#[test]
fn fault_events_are_well_formed_in_every_dialect() {
    for dialect in [Dialect::Chat, Dialect::Completions, Dialect::Messages, Dialect::Responses] {
        let event = dialect.fault_event("say \"no\"\n\u{1}", "a_code", 4, None);
        let text = String::from_utf8(event).unwrap();
        assert!(text.ends_with("\n\n"));
        let data = text.trim_end().rsplit("data: ").next().unwrap();
        assert!(data.contains(r#"say \"no\"\n\u0001"#), "{data}");
        let verdict = Tap::new(dialect).event(data.as_bytes(), None);
        assert!(matches!(verdict, Verdict::Failed(message, _) if message == "say \"no\"\n\u{1}"));
    }
}

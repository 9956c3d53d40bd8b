//! The numbered edge cases of event streams where the answer is translated as it passes; each at every cut of its bytes.

use serde_json::{Value, json};

use super::{STREAM, events, response, streamed};
use crate::response::{FAULT, READY};

const TEXT: &str = "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
const FINISH: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const CLIENTS: [&str; 3] = ["messages", "responses", "completions"];

/// What each caller gets; it must be that of `plain` too.
fn same(stream: &str, plain: &str) {
    for client in CLIENTS {
        let (bytes, response) = streamed("chat", client, stream);
        assert_eq!(response.fault(), None, "{client}");
        let (expected, _) = streamed("chat", client, plain);
        assert_eq!(String::from_utf8(bytes).unwrap(), String::from_utf8(expected).unwrap(), "{client}");
    }
}

/// Why it fails, which is the same for all, and nothing that says it ended well.
fn fails(stream: &str, kind: &str) {
    for client in CLIENTS {
        let (bytes, mut response) = streamed("chat", client, stream);
        assert_eq!(response.fault().map(|fault| fault.kind), Some(kind), "{client}");
        let mut told = bytes;
        told.extend_from_slice(&response.fault_event("m", "c", None));
        let told = String::from_utf8(told).unwrap();
        for end in ["message_stop", "response.completed", "[DONE]"] {
            assert!(!told.contains(end), "{client}: {told}");
        }
        let last = told.trim_end().rsplit("\n\n").next().unwrap();
        assert!(
            last.contains(match client {
                "messages" => "event: error\n",
                "responses" => "event: response.failed\n",
                _ => "data: {\"error\":",
            }),
            "{client}: {last}"
        );
    }
}

fn plain() -> String {
    [TEXT, FINISH, DONE].concat()
}

#[test]
fn case_02_every_line_end() {
    for end in ["\r\n", "\r"] {
        same(&plain().replace('\n', end), &plain());
    }
    same(&[&TEXT.replace('\n', "\r"), &FINISH.replace("\n\n", "\r\n\n"), DONE].map(|s| s as &str).concat(), &plain());
}

#[test]
fn case_03_data_without_a_space() {
    same(&plain().replace("data: ", "data:"), &plain());
}

#[test]
fn case_04_two_data_lines_and_a_byte_order_mark() {
    same(&format!("\u{feff}{}", plain().replacen(",\"delta\"", ",\ndata: \"delta\"", 1)), &plain());
}

#[test]
fn case_05_comments_and_ids_are_no_events() {
    let noisy = [": hi\n\nretry: 10\n\nid: 7\n\n", TEXT, "id: 8\n\n", FINISH, DONE].concat();
    for client in CLIENTS {
        let told = |stream: &str| events(&streamed("chat", client, stream).0);
        assert_eq!(told(&noisy), told(&plain()));
    }
}

#[test]
fn case_06_a_character_in_pieces_is_whole_in_text_and_arguments() {
    let halves = |name: &str, value: &dyn Fn(&str) -> String| {
        let chunk = |half: &str| {
            format!(
                "data: {{\"id\":\"c\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"{name}\":{}}}}}]}}\n\n",
                value(half)
            )
        };
        [chunk("\\uD83D"), chunk("\\uDE00")].concat()
    };
    let text = halves("content", &|half| format!("\"{half}\""));
    let call = halves("tool_calls", &|half| {
        let begin = if half == "\\uD83D" { "{\\\"x\\\":\\\"" } else { "" };
        let end = if begin.is_empty() { "\\\"}" } else { "" };
        format!("[{{\"index\":0,\"id\":\"a\",\"function\":{{\"name\":\"f\",\"arguments\":\"{begin}{half}{end}\"}}}}]")
    });
    for client in ["messages", "responses"] {
        let told =
            String::from_utf8(streamed("chat", client, &[&text, &call, FINISH, DONE].map(|s| s as &str).concat()).0)
                .unwrap();
        assert!(!told.contains('\u{fffd}'), "{client}: {told}");
        assert!(told.matches('😀').count() >= 2, "{client}: {told}");
    }
}

#[test]
fn case_07_a_last_event_without_a_blank_line() {
    same(plain().trim_end(), &plain());
}

#[test]
fn case_08_an_end_before_the_finish() {
    fails(TEXT, "truncated");
    fails(&[TEXT, DONE].concat(), "truncated");
}

#[test]
fn case_09_an_overloaded_error_in_the_middle() {
    let error = json!({"error": {"message": "busy", "type": "overloaded_error"}});
    fails(&format!("{TEXT}data: {error}\n\n"), "stream_error");
    let (_, mut response) = streamed("chat", "messages", &format!("{TEXT}data: {error}\n\n"));
    let told = events(&response.fault_event("busy", "upstream_stream_error", None));
    assert_eq!(told[0]["error"], json!({"type": "overloaded_error", "message": "busy"}));
}

#[test]
fn case_10_plain_json_behind_the_last_event_is_the_cause() {
    let stream = format!("{TEXT}{{\"error\": {{\"message\": \"out of memory\"}}}}");
    fails(&stream, "stream_error");
    assert_eq!(streamed("chat", "responses", &stream).1.fault().unwrap().message, "out of memory");
}

#[test]
fn case_11_an_error_in_a_chunk_is_no_empty_success() {
    fails("data: {\"choices\":[],\"error\":{\"message\":\"no\"}}\n\ndata: [DONE]\n\n", "stream_error");
}

#[test]
fn case_12_nothing_is_ready_before_the_first_event() {
    for nothing in ["", ": only\n\n", "data: {\"error\":{\"message\":\"first\"}}\n\n"] {
        for (client, cut) in CLIENTS.into_iter().flat_map(|client| (0..=nothing.len()).map(move |cut| (client, cut))) {
            let mut response = response("chat", client);
            response.feed(STREAM);
            for piece in [&nothing[..cut], &nothing[cut..]] {
                assert_eq!(response.feed(piece.as_bytes()) & READY, 0, "{client} {nothing}");
            }
            assert_eq!(response.eof() & (READY | FAULT), FAULT, "{client} {nothing}");
        }
    }
}

#[test]
fn case_13_a_malformed_event_is_left_out_but_fails_a_call() {
    same(&[TEXT, "data: {broken\n\n", FINISH, DONE].concat(), &plain());
    fails(&[TEXT, "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\n\n", FINISH, DONE].concat(), "malformed_event");
}

#[test]
fn case_16_usage_is_told_where_the_dialect_has_it() {
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6}}\n\n";
    let stream = [TEXT, FINISH, usage, DONE].concat();
    let told = |client: &str| events(&streamed("chat", client, &stream).0);
    let end = told("messages");
    assert_eq!(end[end.len() - 2]["usage"]["output_tokens"], 6);
    assert_eq!(told("responses").last().unwrap()["response"]["usage"]["total_tokens"], 11);
    let chunks = told("completions");
    assert_eq!(chunks[chunks.len() - 2]["usage"]["prompt_tokens"], 5);
    assert_eq!(chunks[chunks.len() - 1], "[DONE]");
}

#[test]
fn case_17_cumulative_usage_is_the_last_and_no_sum() {
    let chunk = |n: u64| {
        let choice = json!({"index": 0, "delta": {"content": "x"}});
        let usage = json!({"prompt_tokens": 5, "completion_tokens": n});
        format!("data: {}\n\n", json!({"choices": [choice], "usage": usage}))
    };
    let stream = [chunk(1), chunk(2), chunk(3), FINISH.to_owned(), DONE.to_owned()].concat();
    for client in CLIENTS {
        let tokens = streamed("chat", client, &stream).1.tokens().unwrap();
        assert_eq!((tokens.prompt(), tokens.completion()), (5, 3));
    }
}

#[test]
fn case_18_absent_usage_is_absent_and_the_text_is_measured() {
    for client in CLIENTS {
        let response = streamed("chat", client, &plain()).1;
        assert_eq!((response.tokens(), response.text_bytes()), (None, 1));
    }
}

#[test]
fn case_19_a_reason_to_end_may_come_with_content() {
    let last = "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n";
    same(&[last, DONE].concat(), &plain());
}

#[test]
fn case_19_a_reason_with_every_chunk_ends_nothing() {
    let with_reason = |stream: String| stream.replace("}}]}", "},\"finish_reason\":\"stop\"}]}");
    let call = |id: Value, name: Value, arguments: &str| {
        let function = json!({"name": name, "arguments": arguments});
        let call = json!({"index": 0, "id": id, "type": "function", "function": function});
        let delta = json!({"tool_calls": [call]});
        format!("data: {}\n\n", json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]}))
    };
    for parts in [
        vec![TEXT.to_owned(), TEXT.to_owned(), TEXT.to_owned()],
        vec![TEXT.to_owned(), call(json!("a"), json!("f"), "{\"x\""), call(Value::Null, Value::Null, ":1}")],
    ] {
        let sent = with_reason(parts.concat());
        same(&[&sent, DONE].concat(), &[&parts.concat(), FINISH, DONE].concat());
        for client in CLIENTS {
            let mut response = response("chat", client);
            response.feed(STREAM);
            response.feed(sent.as_bytes());
            response.lost();
            assert_eq!(response.fault().map(|fault| fault.kind), Some("truncated"), "{client}");
        }
    }
}

#[test]
fn case_20_choices_end_independently() {
    let other = TEXT.replace("\"index\":0", "\"index\":1");
    let end = FINISH.replace("\"index\":0", "\"index\":1");
    fails(&[TEXT, &other, FINISH].concat(), "truncated");
    let (bytes, response) = streamed("chat", "completions", &[TEXT, &other, &end, TEXT, FINISH, DONE].concat());
    assert_eq!(response.fault(), None);
    let of = |index: u64| -> String {
        let told = events(&bytes);
        told.iter()
            .filter(|e| e["choices"][0]["index"] == index)
            .filter_map(|e| e["choices"][0]["text"].as_str())
            .collect()
    };
    assert_eq!((of(0), of(1)), ("aa".to_owned(), "a".to_owned()));
}

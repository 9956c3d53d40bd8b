use serde_json::{Value, json};

use super::{Reader, write_request};
use crate::dialects::conversation::{Content, Conversation, Format, Media, Reasoning, ToolChoice};
use crate::dialects::reply::{Event, StopReason};
use crate::dialects::sample::{
    ask, assistant, cached, call, calls, image, part, refusal, result, streamed, text, tool, user, whole, written,
};
use crate::dialects::{AnswerReader, Malformed};
use crate::ndjson::Framer;

fn body(conversation: &Conversation) -> (Value, Vec<String>) {
    written(write_request, conversation)
}

#[test]
fn max_tokens_is_num_predict_and_settings_are_options() {
    let mut asked = ask("llama3.2", vec![user(vec![text("hi")])]);
    asked.system = vec![text("be kind")];
    asked.max_tokens = Some(7);
    asked.temperature = Some(1.into());
    asked.stop = vec!["END".into()];
    asked.stream = true;
    asked.format = Some(Format::Schema { name: "n".into(), schema: json!({"type": "object"}), strict: None });
    let own = r#"{"seed":5,"keep_alive":"10m","options":{"num_ctx":8192,"num_predict":1},"logit_bias":{},"min_p":0.1}"#;
    asked.rest = serde_json::from_str(own).unwrap();
    let (written, lost) = body(&asked);
    assert_eq!(
        written,
        json!({
            "model": "llama3.2",
            "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
            "stream": true,
            "format": {"type": "object"},
            "keep_alive": "10m",
            "options": {"num_ctx": 8192, "num_predict": 7, "seed": 5, "min_p": 0.1, "temperature": 1, "stop": ["END"]},
        })
    );
    assert_eq!(lost, ["logit_bias"]);
}

#[test]
fn images_calls_and_results_have_their_places() {
    let turns = vec![
        user(vec![text("what"), text("is this"), image()]),
        assistant(vec![
            part(Content::Thinking { text: "hm".into(), signature: None }),
            call("a", "look", r#"{"at":1}"#),
            call("b", "look", ""),
        ]),
        user(vec![result("b", vec![text("2"), image()]), result("a", vec![text("1")])]),
    ];
    assert_eq!(
        body(&ask("gemma3", turns)).0["messages"],
        json!([
            {"role": "user", "content": "what\nis this", "images": ["aGk="]},
            {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [
                {"id": "a", "function": {"name": "look", "arguments": {"at": 1}}},
                {"id": "b", "function": {"name": "look", "arguments": {}}},
            ]},
            {"role": "tool", "content": "1", "tool_name": "look", "tool_call_id": "a"},
            {"role": "tool", "content": "2", "tool_name": "look", "tool_call_id": "b"},
            {"role": "user", "content": "", "images": ["aGk="]},
        ])
    );
}

#[test]
fn tools_are_left_out_where_none_may_be_called() {
    let mut asked = ask("m", vec![user(vec![text("hi")])]);
    asked.tools = vec![tool("f", json!({"type": "object"}))];
    let (written, lost) = body(&asked);
    let function = json!({"name": "f", "description": "what f does", "parameters": {"type": "object"}});
    assert_eq!(written["tools"], json!([{"type": "function", "function": function}]));
    assert!(lost.is_empty());
    asked.tool_choice = Some(ToolChoice::None);
    assert_eq!(body(&asked).0.get("tools"), None);
    asked.tool_choice = Some(ToolChoice::Named("f".into()));
    assert_eq!(body(&asked).1, ["tool_choice"]);
}

#[test]
fn thinking_is_asked_for_in_the_words_of_the_model() {
    let cases = [
        ("qwen3", Reasoning::Off, json!(false)),
        ("qwen3", Reasoning::Effort("low".into()), json!(true)),
        ("gpt-oss:20b", Reasoning::Effort("minimal".into()), json!("low")),
        ("library/gpt-oss:20b", Reasoning::Effort("medium".into()), json!("medium")),
        ("qwen3", Reasoning::Adaptive, json!(true)),
    ];
    for (model, reasoning, expected) in cases {
        let mut asked = ask(model, vec![]);
        asked.reasoning = Some(reasoning);
        assert_eq!(body(&asked).0["think"], expected, "{model}");
    }
    let mut asked = ask("qwen3", vec![]);
    asked.rest = serde_json::from_str(r#"{"think":false}"#).unwrap();
    asked.format = Some(Format::Json);
    let (written, lost) = body(&asked);
    assert_eq!((&written["think"], &written["format"]), (&json!(false), &json!("json")));
    assert!(lost.is_empty());
}

#[test]
fn what_cannot_be_told_is_named_or_refused() {
    let mut asked = ask("m", vec![user(vec![cached(text("hi"), None)])]);
    asked.user = Some("me".into());
    asked.reasoning = Some(Reasoning::Budget(9));
    assert_eq!(body(&asked).1, ["reasoning_effort", "cache_control", "user"]);
    asked.choices = Some(2);
    assert!(refusal(write_request, &asked).contains("n must be 1"));
    let media = || Media::Url("https://example.com/a.png".into());
    for content in [Content::Image(media()), Content::Audio(media()), Content::Document { media: media(), name: None }]
    {
        let asked = ask("m", vec![user(vec![part(content)])]);
        assert!(refusal(write_request, &asked).contains("cannot be sent to Ollama"));
    }
    let unanswered = ask("m", vec![assistant(vec![call("call_7", "f", "{}")])]);
    assert!(refusal(write_request, &unanswered).contains("call_7"));
}

const CALLS: &str = r#"{"model":"qwen3","created_at":"2026-11-21T20:33:28.123648Z","message":{"role":"assistant","content":"","tool_calls":[
{"function":{"name":"f","arguments":{"a":"\ud83d\ude00","n":1.50}}},{"id":"x","function":{"name":"f","arguments":{}}},
{"id":"x","function":{"name":"g"}}]},"done":false}"#;
const DONE: &str = r#"{"model":"qwen3","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,
"total_duration":1,"prompt_eval_count":26,"eval_count":298}"#;

#[test]
fn calls_in_one_chunk_and_done_in_the_next_is_tool_calls() {
    let (events, is_complete) = streamed(Reader::default(), &[("", CALLS), ("", DONE)]);
    assert!(is_complete);
    assert_eq!(events[0], Event::Start { id: String::new(), model: "qwen3".into() });
    // Objects become JSON as it was written, and ids are unique.
    let expected = [
        ("call_20261121203328123648_0", "f", r#"{"a":"\ud83d\ude00","n":1.50}"#),
        ("x", "f", "{}"),
        ("call_20261121203328123648_2", "g", "{}"),
    ];
    assert_eq!(calls(&events), expected.map(|(id, name, json)| (id.into(), name.into(), json.into(), None)));
    let [.., Event::Usage(tokens), stop, end] = &events[..] else { panic!("{events:?}") };
    assert_eq!((tokens.prompt(), tokens.completion()), (26, 298));
    assert_eq!(*stop, Event::Stop { choice: 0, reason: StopReason::Calls, sequence: None });
    assert_eq!(*end, Event::End);
}

#[test]
fn a_stream_split_anywhere_says_the_same() {
    let text = r#"{"model":"m","created_at":"2026","message":{"role":"assistant","thinking":"hm"},"done":false}"#;
    let lines = [text.to_owned(), CALLS.replace('\n', ""), DONE.replace('\n', "")].join("\n") + "\n";
    let read = |pieces: &[&[u8]]| {
        let (mut framer, mut reader, mut events) = (Framer::new(), Reader::default(), Vec::new());
        for piece in pieces {
            framer.push(piece);
            while let Some(line) = framer.next_line() {
                reader.event(None, line, &mut events).unwrap();
            }
        }
        assert!(reader.finish(&mut events));
        events
    };
    let bytes = lines.as_bytes();
    let all = read(&[bytes]);
    assert!(all.contains(&Event::Thinking { choice: 0, text: "hm".into() }));
    for at in 0..=bytes.len() {
        assert_eq!(read(&[&bytes[..at], &bytes[at..]]), all, "cut at {at}");
    }
}

#[test]
fn an_empty_reason_to_end_is_none() {
    let open = r#"{"message":{"content":"a"},"done":false,"done_reason":""}"#;
    let (events, is_complete) = streamed(Reader::default(), &[("", open)]);
    assert!(!is_complete);
    assert!(!events.iter().any(|event| matches!(event, Event::Stop { .. })));
    let (events, _) = streamed(Reader::default(), &[("", open), ("", r#"{"done":true,"done_reason":""}"#)]);
    assert!(events.contains(&Event::Stop { choice: 0, reason: StopReason::End, sequence: None }));
}

#[test]
fn every_reason_to_end_has_its_meaning() {
    for (word, reason) in [("stop", StopReason::End), ("length", StopReason::Length), ("load", StopReason::End)] {
        let line = format!(r#"{{"message":{{"content":""}},"done":true,"done_reason":"{word}"}}"#);
        let stop = Event::Stop { choice: 0, reason, sequence: None };
        assert!(whole(Reader::default(), &line).contains(&stop), "{word}");
    }
    let events = whole(Reader::default(), r#"{"done":true,"done_reason":"out_of_tea"}"#);
    assert!(matches!(events.last(), Some(Event::Error(error)) if error.message.contains("out_of_tea")));
}

#[test]
fn an_error_in_the_middle_of_a_stream_is_told() {
    let lines = [("", r#"{"message":{"content":"a"},"done":false}"#), ("", r#"{"error":"out of memory"}"#), ("", DONE)];
    let (events, _) = streamed(Reader::default(), &lines);
    let Some(Event::Error(error)) = events.last() else { panic!("{events:?}") };
    assert_eq!((error.status, error.message.as_str()), (500, "out of memory"));
}

#[test]
fn a_whole_answer_says_the_same_as_a_stream_of_one_line() {
    let line = r#"{"model":"m","message":{"role":"assistant","content":"hi"},"done":true,"prompt_eval_count":1,"eval_count":2}"#;
    assert_eq!(whole(Reader::default(), line), streamed(Reader::default(), &[("", line)]).0);
    assert!(matches!(whole(Reader::default(), "[]").last(), Some(Event::Error(_))));
}

#[test]
fn arguments_that_are_a_string_stay_json() {
    let line = r#"{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1}"}}]},"done":true}"#;
    assert_eq!(calls(&whole(Reader::default(), line))[0].2, r#"{"a":1}"#);
}

#[test]
fn a_malformed_line_is_told_from_one_within_a_call() {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    assert_eq!(reader.event(None, b"{\"mess", &mut events), Err(Malformed { in_call: false }));
    assert_eq!(reader.event(None, b"{\"message\":{\"tool_calls\":[", &mut events), Err(Malformed { in_call: true }));
}

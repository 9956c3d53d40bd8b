use serde_json::{Value, json};

use super::{Writer, read_request};
use crate::dialects::conversation::{Content, Role};
use crate::dialects::reply::{Event, StopReason};
use crate::dialects::{AnswerWriter, Setting};

fn refused(body: &Value) -> String {
    read_request(body.to_string().as_bytes()).unwrap_err().param().unwrap_or_default().to_owned()
}

fn writer(include_usage: bool) -> Writer {
    let (request_id, model) = ("req".to_owned(), "m".to_owned());
    Writer::new(&Setting { request_id, model, created: 7, include_usage, ..Setting::default() })
}

fn answer() -> Vec<Event> {
    let usage = crate::usage::Usage::find(br#"{"prompt_tokens":3,"completion_tokens":2}"#).tokens().unwrap();
    vec![
        Event::Start { id: String::new(), model: String::new() },
        Event::Thinking { choice: 0, text: "Hm".into() },
        Event::Text { choice: 0, text: "Hel\"".into() },
        Event::Text { choice: 0, text: "lo".into() },
        Event::Stop { choice: 0, reason: StopReason::Length, sequence: None },
        Event::Usage(usage),
        Event::End,
    ]
}

#[test]
fn one_prompt_is_what_a_user_says() {
    for prompt in [json!("Once"), json!(["Once"])] {
        let body = json!({"model": "m", "prompt": prompt, "max_tokens": 5, "stop": "x", "seed": 1, "n": 2});
        let asked = read_request(body.to_string().as_bytes()).unwrap();
        assert_eq!(asked.turns.len(), 1);
        assert_eq!(
            (asked.turns[0].role, &asked.turns[0].parts[0].content),
            (Role::User, &Content::Text("Once".into()))
        );
        assert_eq!((asked.max_tokens, asked.choices, asked.stop), (Some(5), Some(2), vec!["x".to_owned()]));
        assert_eq!(asked.rest.keys().collect::<Vec<_>>(), ["seed"]);
    }
}

#[test]
fn what_makes_no_sense_in_a_conversation_is_refused_by_name() {
    for (name, value) in [
        ("prompt", json!(["a", "b"])),
        ("prompt", json!([1, 2])),
        ("prompt", json!("")),
        ("suffix", json!("end")),
        ("echo", json!(true)),
        ("logprobs", json!(2)),
        ("best_of", json!(3)),
        ("stop", json!([1])),
    ] {
        let mut body = json!({"model": "m", "prompt": "x"});
        body[name] = value;
        assert_eq!(refused(&body), name);
    }
    assert_eq!(refused(&json!({"model": "m"})), "prompt");
}

#[test]
fn a_whole_answer_has_its_text_and_usage() {
    let whole: Value = serde_json::from_slice(&writer(false).body(&answer())).unwrap();
    assert_eq!((&whole["id"], &whole["object"]), (&json!("cmpl-req"), &json!("text_completion")));
    assert_eq!(whole["choices"], json!([{"index": 0, "text": "Hel\"lo", "logprobs": null, "finish_reason": "length"}]));
    assert_eq!(whole["usage"]["total_tokens"], 5);
}

#[test]
fn a_stream_has_texts_a_reason_and_usage_if_asked_for() {
    for include_usage in [false, true] {
        let (mut writer, mut out) = (writer(include_usage), Vec::new());
        for event in answer() {
            writer.event(&event, &mut out);
        }
        let text = String::from_utf8(out).unwrap();
        let events: Vec<&str> =
            text.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").unwrap()).collect();
        assert_eq!(events.last(), Some(&"[DONE]"));
        let chunks: Vec<Value> =
            events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let texts: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
        assert_eq!(texts, "Hel\"lo");
        assert_eq!(chunks[2]["choices"][0]["finish_reason"], "length");
        assert_eq!(chunks.len(), if include_usage { 4 } else { 3 });
        if include_usage {
            assert_eq!((&chunks[3]["choices"], &chunks[3]["usage"]["prompt_tokens"]), (&json!([]), &json!(3)));
        }
    }
}

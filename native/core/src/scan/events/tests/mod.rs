//! Streams in, streams out: what the tests of every subject share.

mod calls;
mod dialects;
mod splits;
mod stops;
mod texts;

use std::collections::BTreeMap;

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

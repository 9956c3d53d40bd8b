//! A streamed answer gives a client the same texts however they were cut into deltas, and the same bytes however those were
//! cut into reads; and nothing that the bytes hold makes it panic.
//!
//! The first byte chooses the action, the second how many of the next bytes are lengths of deltas; the rest is the text of two
//! choices and a call, or the stream itself.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tollhouse_core::scan::events::{EventRedactor, Stop};
use tollhouse_core::scan::{Action, Decision, Policy, Rules, Scanner, Vault};
use tollhouse_core::tap::Dialect;

static RULES: LazyLock<Arc<Rules>> = LazyLock::new(Rules::builtin);
static VAULT: LazyLock<Arc<Vault>> = LazyLock::new(|| {
    let mut vault = Vault::new(b"key");
    vault.pseudonym("T", "a \"value\"");
    Arc::new(vault)
});

fn redactor(which: u8) -> EventRedactor {
    let pii = [Action::Redact, Action::Flag, Action::Block, Action::Pseudonymise][usize::from(which % 4)];
    let scanner = Scanner::new(RULES.clone(), &Policy { pii, ..Policy::default() });
    EventRedactor::new(&scanner, Dialect::Chat, (which & 4 != 0).then(|| Arc::clone(&VAULT)))
}

fn run<'a>(which: u8, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Decision, Option<Stop>, usize) {
    let mut redactor = redactor(which);
    let mut out = Vec::new();
    let mut stop = None;
    for chunk in chunks {
        stop = stop.or(redactor.feed(chunk, &mut out).err());
    }
    stop = stop.or(redactor.finish(&mut out).err());
    (out, redactor.decision(), stop, redactor.findings().len())
}

fn delta(index: usize, delta: &Value) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": index, "delta": delta}]}))
}

fn streamed(text: &str, lengths: &[u8]) -> String {
    let mut wire = String::new();
    let mut rest = text;
    let mut lengths = lengths.iter().cycle();
    while !rest.is_empty() {
        let length = lengths.next().map_or(rest.len(), |length| usize::from(*length).max(4)).min(rest.len());
        let (piece, after) = rest.split_at(rest.floor_char_boundary(length));
        wire += &delta(0, &json!({"content": piece}));
        wire += &delta(1, &json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}));
        rest = after;
    }
    for index in 0..2 {
        wire += &format!("data: {}\n\n", json!({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}));
    }
    wire
}

fn assembled(out: &[u8]) -> BTreeMap<&'static str, String> {
    let mut texts: BTreeMap<_, String> = BTreeMap::new();
    for line in std::str::from_utf8(out).unwrap_or_default().lines() {
        let Some(event) = line.strip_prefix("data: ").map(|data| serde_json::from_str::<Value>(data).expect("valid JSON"))
        else {
            continue;
        };
        let delta = &event["choices"][0]["delta"];
        texts.entry("content").or_default().push_str(delta["content"].as_str().unwrap_or_default());
        let arguments = delta["tool_calls"][0]["function"]["arguments"].as_str().unwrap_or_default();
        texts.entry("arguments").or_default().push_str(arguments);
    }
    texts
}

fuzz_target!(|data: &[u8]| {
    let [which, count, rest @ ..] = data else {
        return;
    };
    let Some((lengths, rest)) = rest.split_at_checked(usize::from(count % 16)) else {
        return;
    };
    // The bytes as they are.
    let whole = run(*which, [rest]);
    let reads = lengths.first().map_or(1, |length| usize::from(*length).max(1));
    assert_eq!(run(*which, rest.chunks(reads)), whole);
    // The bytes as text.
    let text = String::from_utf8_lossy(rest);
    let whole = run(*which, [streamed(&text, &[]).as_bytes()]);
    let split = run(*which, streamed(&text, lengths).as_bytes().chunks(reads));
    assert_eq!((split.1, split.2), (whole.1, whole.2));
    if whole.2.is_none() {
        assert_eq!(split.3, whole.3);
        assert_eq!(assembled(&split.0), assembled(&whole.0));
    }
});

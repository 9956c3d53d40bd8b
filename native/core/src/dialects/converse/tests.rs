use serde_json::{Value, json};

use super::{Reader, write_request};
use crate::aws_events::tests::event as frame;
use crate::aws_events::{Framer, Message};
use crate::cost::Kind;
use crate::dialects::conversation::{Content, Conversation, Format, Media, Reasoning, ToolChoice};
use crate::dialects::reply::{Event, StopReason};
use crate::dialects::sample::{
    ask, assistant, cached, call, calls, image, part, refusal, result, streamed, text, tool, user, whole, written,
};
use crate::dialects::{AnswerReader, Malformed};

const CLAUDE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const NOVA: &str = "amazon.nova-pro-v1:0";
const LLAMA: &str = "meta.llama3-70b-instruct-v1:0";

fn body(conversation: &Conversation) -> (Value, Vec<String>) {
    written(write_request, conversation)
}

fn hi(model: &str) -> Conversation {
    ask(model, vec![user(vec![text("hi")])])
}

#[test]
fn all_settings_have_their_names() {
    let mut asked = hi(CLAUDE);
    asked.system = vec![text("be kind")];
    asked.max_tokens = Some(7);
    asked.temperature = serde_json::Number::from_f64(0.5);
    asked.top_p = serde_json::Number::from_f64(0.9);
    asked.top_k = Some(3.into());
    asked.stop = vec!["END".into()];
    let own = r#"{"seed":5,"guardrailConfig":{"guardrailIdentifier":"g"},"service_tier":"flex",
        "additionalModelRequestFields":{"anthropic_beta":["x"]}}"#;
    asked.rest = serde_json::from_str(own).unwrap();
    let (written, lost) = body(&asked);
    assert_eq!(
        written,
        json!({
            "messages": [{"role": "user", "content": [{"text": "hi"}]}],
            "system": [{"text": "be kind"}],
            "inferenceConfig": {"maxTokens": 7, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
            "additionalModelRequestFields": {"anthropic_beta": ["x"], "top_k": 3},
            "guardrailConfig": {"guardrailIdentifier": "g"},
            "serviceTier": {"type": "flex"},
        })
    );
    assert_eq!(lost, ["seed"]);
}

#[test]
fn tool_history_without_tools_gets_some() {
    let turns = vec![
        user(vec![text("hi")]),
        assistant(vec![call("a", "look", r#"{"x":1}"#), call("b", "look", "")]),
        user(vec![text("well?"), result("b", vec![]), result("a", vec![text("1"), image()])]),
    ];
    let (written, lost) = body(&ask(CLAUDE, turns));
    let schema = json!({"json": {"type": "object", "properties": {}}});
    assert_eq!(written["toolConfig"], json!({"tools": [{"toolSpec": {"name": "look", "inputSchema": schema}}]}));
    assert_eq!(
        written["messages"][1]["content"],
        json!([
            {"toolUse": {"toolUseId": "a", "name": "look", "input": {"x": 1}}},
            {"toolUse": {"toolUseId": "b", "name": "look", "input": {}}},
        ])
    );
    // Results come first, in the order of their calls.
    assert_eq!(
        written["messages"][2]["content"],
        json!([
            {"toolResult": {"toolUseId": "a", "status": "success", "content": [
                {"text": "1"}, {"image": {"format": "png", "source": {"bytes": "aGk="}}},
            ]}},
            {"toolResult": {"toolUseId": "b", "status": "success", "content": []}},
            {"text": "well?"},
        ])
    );
    assert!(lost.is_empty());
}

#[test]
fn tool_choice_none_omits_the_tools() {
    let mut asked = hi(CLAUDE);
    asked.tools = vec![tool("f", json!({"type": "object"}))];
    asked.tool_choice = Some(ToolChoice::None);
    let (written, lost) = body(&asked);
    assert_eq!(written.get("toolConfig"), None);
    assert!(lost.is_empty());
    // Converse wants tools where calls were made.
    asked.turns.push(assistant(vec![call("a", "f", "{}")]));
    asked.turns.push(user(vec![result("a", vec![])]));
    let (written, lost) = body(&asked);
    assert!(written["toolConfig"].get("toolChoice").is_none() && written["toolConfig"]["tools"].is_array());
    assert_eq!(lost, ["tool_choice"]);
}

#[test]
fn the_choice_of_tools_has_its_words() {
    for (choice, expected) in [
        (ToolChoice::Auto, Value::Null),
        (ToolChoice::Required, json!({"any": {}})),
        (ToolChoice::Named("f".into()), json!({"tool": {"name": "f"}})),
    ] {
        let mut asked = hi(CLAUDE);
        asked.tools = vec![tool("f", json!({"properties": {}}))];
        asked.tools[0].description = Some(String::new());
        asked.tool_choice = Some(choice);
        let (written, _) = body(&asked);
        assert_eq!(written["toolConfig"].get("toolChoice").unwrap_or(&Value::Null), &expected);
        let schema = json!({"json": {"properties": {}, "type": "object"}});
        assert_eq!(written["toolConfig"]["tools"], json!([{"toolSpec": {"name": "f", "inputSchema": schema}}]));
    }
}

#[test]
fn cache_control_is_a_cache_point() {
    let conversation = |model: &str| {
        let mut asked = ask(
            model,
            vec![
                user(vec![cached(text("long"), None)]),
                assistant(vec![call("a", "f", "{}")]),
                user(vec![result("a", vec![cached(text("1"), None)])]),
            ],
        );
        asked.system = vec![cached(text("be kind"), Some("1h"))];
        asked.tools = vec![tool("f", json!({"type": "object"}))];
        asked.tools[0].cache.clone_from(&cached(text(""), Some("5m")).cache);
        asked
    };
    let (written, lost) = body(&conversation(CLAUDE));
    let point = json!({"cachePoint": {"type": "default"}});
    assert_eq!(written["messages"][0]["content"], json!([{"text": "long"}, point]));
    assert_eq!(written["messages"][2]["content"][1], point);
    assert_eq!(written["system"][1], json!({"cachePoint": {"type": "default", "ttl": "1h"}}));
    assert_eq!(written["toolConfig"]["tools"][1], json!({"cachePoint": {"type": "default", "ttl": "5m"}}));
    assert!(lost.is_empty());
    let (written, lost) = body(&conversation(LLAMA));
    assert!(!written.to_string().contains("cachePoint"));
    assert_eq!(lost, ["cache_control"]);
}

#[test]
fn thinking_is_replayed_byte_for_byte_to_models_that_sign() {
    let turns = || {
        vec![assistant(vec![
            part(Content::Thinking { text: "hm".into(), signature: Some("Eq+/==".into()) }),
            part(Content::RedactedThinking("c2VhbA==".into())),
            part(Content::Thinking { text: "unsigned".into(), signature: None }),
            text("hi"),
        ])]
    };
    assert_eq!(
        body(&ask(CLAUDE, turns())).0["messages"][0]["content"],
        json!([
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "Eq+/=="}}},
            {"reasoningContent": {"redactedContent": "c2VhbA=="}},
            {"text": "hi"},
        ])
    );
    assert_eq!(body(&ask(LLAMA, turns())).0["messages"][0]["content"], json!([{"text": "hi"}]));
}

#[test]
fn thinking_is_asked_for_in_the_words_of_the_model() {
    let reasoned = |model: &str, reasoning: Reasoning, most: Option<u64>| {
        let mut asked = hi(model);
        asked.reasoning = Some(reasoning);
        asked.max_tokens = most;
        asked.temperature = serde_json::Number::from_f64(0.3);
        body(&asked)
    };
    let (written, lost) = reasoned(CLAUDE, Reasoning::Budget(2000), Some(4000));
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 2000}});
    assert_eq!(written["additionalModelRequestFields"], thinking);
    assert_eq!(written["inferenceConfig"], json!({"maxTokens": 4000}));
    assert_eq!(lost, ["temperature"]);
    let (written, _) = reasoned(CLAUDE, Reasoning::Off, None);
    assert_eq!(written["additionalModelRequestFields"], json!({"thinking": {"type": "disabled"}}));
    // Too little for both a thought and an answer.
    let (written, lost) = reasoned(CLAUDE, Reasoning::Effort("high".into()), Some(512));
    assert_eq!(written.get("additionalModelRequestFields"), None);
    assert_eq!(lost, ["reasoning_effort"]);
    let (written, _) = reasoned("openai.gpt-oss-120b-1:0", Reasoning::Effort("minimal".into()), None);
    assert_eq!(written["additionalModelRequestFields"], json!({"reasoning_effort": "low"}));
    let (written, _) = reasoned("amazon.nova-2-lite-v1:0", Reasoning::Effort("high".into()), None);
    let config = json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}});
    assert_eq!(written["additionalModelRequestFields"], config);
    assert_eq!(reasoned(LLAMA, Reasoning::Effort("low".into()), None).1, ["reasoning_effort"]);
}

#[test]
fn a_loop_of_calls_without_signed_thoughts_goes_on_without_thinking() {
    let mut asked = ask(CLAUDE, vec![assistant(vec![call("a", "f", "{}")]), user(vec![result("a", vec![])])]);
    asked.reasoning = Some(Reasoning::Budget(2000));
    let (written, lost) = body(&asked);
    assert_eq!(written.get("additionalModelRequestFields"), None);
    assert_eq!(lost, ["reasoning_effort"]);
}

#[test]
fn documents_have_formats_and_names_of_their_own() {
    let pdf = |name: &str| {
        let media = Media::Inline { media_type: "application/pdf".into(), data: "aGk=".into() };
        part(Content::Document { media, name: Some(name.into()) })
    };
    let (written, _) = body(&ask(CLAUDE, vec![user(vec![pdf("a_b.pdf"), pdf("a_b.pdf"), text("read")])]));
    let content = &written["messages"][0]["content"];
    assert_eq!(content[0], json!({"document": {"format": "pdf", "name": "a b pdf 1", "source": {"bytes": "aGk="}}}));
    assert_eq!(content[1]["document"]["name"], "a b pdf 2");
    let bucket = part(Content::Image(Media::Url("s3://bucket/a.jpg".into())));
    let (written, _) = body(&ask(NOVA, vec![user(vec![bucket])]));
    assert_eq!(
        written["messages"][0]["content"][0],
        json!({"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/a.jpg"}}}})
    );
}

#[test]
fn what_cannot_be_told_is_named_or_refused() {
    let mut asked = hi(LLAMA);
    asked.top_k = Some(3.into());
    asked.user = Some("me".into());
    asked.parallel_calls = Some(false);
    asked.format = Some(Format::Json);
    assert_eq!(body(&asked).1, ["top_k", "response_format", "parallel_tool_calls", "user"]);
    asked.choices = Some(2);
    assert!(refusal(write_request, &asked).contains("n must be 1"));
    for media in [
        Media::Url("https://example.com/a.png".into()),
        Media::File("file-1".into()),
        Media::Inline { media_type: "image/tiff".into(), data: "aGk=".into() },
    ] {
        let asked = ask(CLAUDE, vec![user(vec![part(Content::Image(media))])]);
        assert!(refusal(write_request, &asked).contains("cannot be sent to Bedrock"));
    }
    assert!(refusal(write_request, &ask(CLAUDE, vec![assistant(vec![call("c7", "f", "{}")])])).contains("c7"));
}

#[test]
fn a_schema_of_the_answer_goes_as_text() {
    let mut asked = hi(CLAUDE);
    asked.format = Some(Format::Schema { name: "n".into(), schema: json!({"type": "object"}), strict: Some(true) });
    let structure = json!({"jsonSchema": {"name": "n", "schema": "{\"type\":\"object\"}"}});
    assert_eq!(body(&asked).0["outputConfig"], json!({"textFormat": {"type": "json_schema", "structure": structure}}));
}

#[test]
fn ids_of_other_providers_are_made_to_fit_alike_in_call_and_result() {
    let id = format!("{}|x", "y".repeat(80));
    let (written, _) = body(&ask(CLAUDE, vec![assistant(vec![call(&id, "f", "{}")]), user(vec![result(&id, vec![])])]));
    let sent = written["messages"][0]["content"][0]["toolUse"]["toolUseId"].as_str().unwrap();
    assert_eq!(sent, format!("{}_x", "y".repeat(62)));
    assert_eq!(written["messages"][1]["content"][0]["toolResult"]["toolUseId"], sent);
}

const STREAM: [(&str, &str); 17] = [
    ("messageStart", r#"{"p":"abc","role":"assistant"}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"Eq+/=="}}}"#),
    ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"reasoningContent":{"redactedContent":"c2Vh"}}}"#),
    ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"text":"h\ud83d\ude00"}}"#),
    ("contentBlockStop", r#"{"contentBlockIndex":2}"#),
    ("contentBlockStart", r#"{"contentBlockIndex":3,"start":{"toolUse":{"toolUseId":"tooluse_a","name":"f"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":""}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"{\"a\":"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"1}"}}}"#),
    ("contentBlockStop", r#"{"contentBlockIndex":3}"#),
    ("contentBlockStart", r#"{"contentBlockIndex":4,"start":{"toolUse":{"toolUseId":"tooluse_b","name":"g"}}}"#),
    ("contentBlockStop", r#"{"contentBlockIndex":4}"#),
    ("messageStop", r#"{"stopReason":"tool_use"}"#),
    (
        "metadata",
        r#"{"metrics":{"latencyMs":9},"usage":{"inputTokens":11,"outputTokens":5,"totalTokens":3016,
        "cacheReadInputTokens":1000,"cacheWriteInputTokens":2000,"cacheDetails":[{"ttl":"1h","inputTokens":1500}]}}"#,
    ),
];

fn of_the_stream() -> Vec<Event> {
    let (events, is_complete) = streamed(Reader::default(), &STREAM);
    assert!(is_complete);
    events
}

#[test]
fn thoughts_texts_and_calls_come_in_their_order() {
    let events = of_the_stream();
    let expected = [
        Event::Start { id: String::new(), model: String::new() },
        Event::Thinking { choice: 0, text: "hm".into() },
        Event::Signature { choice: 0, signature: "Eq+/==".into() },
        Event::RedactedThinking { choice: 0, data: "c2Vh".into() },
        Event::Text { choice: 0, text: "h\u{1f600}".into() },
    ];
    assert_eq!(events[..5], expected);
    let named = [("tooluse_a", "f", r#"{"a":1}"#), ("tooluse_b", "g", "{}")];
    assert_eq!(calls(&events), named.map(|(id, name, json)| (id.into(), name.into(), json.into(), None)));
    let [.., stop, Event::Usage(tokens), end] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*stop, Event::Stop { choice: 0, reason: StopReason::Calls, sequence: None });
    assert_eq!((tokens.prompt(), tokens.cached(), tokens.completion()), (3011, 1000, 5));
    assert_eq!(tokens.get(Kind::CacheWriteHour), 1500);
    assert_eq!(*end, Event::End);
}

#[test]
fn a_stream_split_anywhere_says_the_same() {
    let bytes: Vec<u8> = STREAM.iter().flat_map(|(name, data)| frame(name, data.as_bytes())).collect();
    let read = |pieces: &[&[u8]]| {
        let (mut framer, mut reader, mut events) = (Framer::new(), Reader::default(), Vec::new());
        for piece in pieces {
            framer.push(piece);
            while let Some(Message { name, payload, .. }) = framer.next_message().unwrap() {
                reader.event(Some(name), payload, &mut events).unwrap();
            }
        }
        assert!(reader.finish(&mut events));
        events
    };
    let all = of_the_stream();
    for at in 0..=bytes.len() {
        assert_eq!(read(&[&bytes[..at], &bytes[at..]]), all, "cut at {at}");
    }
}

#[test]
fn a_whole_answer_says_the_same_as_a_stream() {
    let answer = r#"{"output":{"message":{"role":"assistant","content":[
        {"reasoningContent":{"reasoningText":{"text":"hm","signature":"Eq+/=="}}},
        {"reasoningContent":{"redactedContent":"c2Vh"}},
        {"text":"h\ud83d\ude00"},
        {"toolUse":{"toolUseId":"tooluse_a","name":"f","input":{"a":1}}},
        {"toolUse":{"toolUseId":"tooluse_b","name":"g","input":{}}}]}},
        "stopReason":"tool_use","metrics":{"latencyMs":9},
        "usage":{"inputTokens":11,"outputTokens":5,"totalTokens":3016,"cacheReadInputTokens":1000,
            "cacheWriteInputTokens":2000,"cacheDetails":[{"ttl":"1h","inputTokens":1500}]}}"#;
    let (whole, streamed) = (whole(Reader::default(), answer), of_the_stream());
    assert_eq!(calls(&whole), calls(&streamed));
    assert_eq!(whole[..5], streamed[..5]);
    for event in streamed.iter().rev().take(3) {
        assert!(whole.contains(event), "{event:?}");
    }
}

#[test]
fn every_reason_to_end_has_its_meaning() {
    let cases = [
        ("end_turn", StopReason::End),
        ("max_tokens", StopReason::Length),
        ("model_context_window_exceeded", StopReason::Length),
        ("stop_sequence", StopReason::Sequence),
        ("guardrail_intervened", StopReason::Refused),
        ("content_filtered", StopReason::Refused),
    ];
    for (word, reason) in cases {
        let data = format!(r#"{{"stopReason":"{word}"}}"#);
        let (events, is_complete) = streamed(Reader::default(), &[("messageStop", &data)]);
        // The report of tokens is owed, but the answer is complete without it.
        assert!(is_complete);
        let start = Event::Start { id: String::new(), model: String::new() };
        assert_eq!(events, [start, Event::Stop { choice: 0, reason, sequence: None }, Event::End]);
    }
    for word in ["malformed_model_output", "malformed_tool_use", "something_new"] {
        let data = format!(r#"{{"stopReason":"{word}"}}"#);
        let (events, _) = streamed(Reader::default(), &[("messageStop", &data)]);
        assert!(matches!(events.last(), Some(Event::Error(error)) if error.code == word), "{word}");
    }
}

#[test]
fn an_exception_in_the_stream_is_a_typed_error() {
    let cases = [
        ("throttlingException", 429),
        ("modelTimeoutException", 408),
        ("modelErrorException", 424),
        ("modelStreamErrorException", 424),
        ("serviceQuotaExceededException", 400),
        ("validationException", 400),
        ("internalServerException", 500),
        ("serviceUnavailableException", 503),
        ("InternalFailure", 500),
        ("somethingNewException", 502),
    ];
    for (name, status) in cases {
        for (data, words) in [(r#"{"message":"it is so"}"#, "it is so"), ("as text", "as text")] {
            let named = format!("exception:{name}");
            let (events, _) = streamed(Reader::default(), &[STREAM[0], (&named, data), STREAM[6]]);
            // Nothing has been told before it, so that somebody else may still be asked.
            let [Event::Error(error)] = &events[..] else { panic!("{events:?}") };
            assert_eq!((error.status, error.code.as_str(), error.message.as_str()), (status, name, words));
        }
    }
}

#[test]
fn a_stream_that_stops_early_is_incomplete() {
    for length in 0..15 {
        assert!(!streamed(Reader::default(), &STREAM[..length]).1, "{length}");
    }
}

#[test]
fn malformed_events_are_told_from_those_within_a_call() {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    assert_eq!(reader.event(Some(b"contentBlockDelta"), b"{", &mut events), Err(Malformed { in_call: false }));
    reader.event(Some(b"contentBlockStart"), STREAM[8].1.as_bytes(), &mut events).unwrap();
    assert_eq!(reader.event(Some(b"contentBlockDelta"), b"{", &mut events), Err(Malformed { in_call: true }));
    assert_eq!(reader.event(Some(b"newEvent"), b"{\"a\":1}", &mut events), Ok(()));
    assert!(matches!(whole(Reader::default(), "{}").last(), Some(Event::Error(_))));
}

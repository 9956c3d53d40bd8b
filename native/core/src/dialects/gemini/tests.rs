use serde_json::{Value, json};

use super::{Reader, write_request};
use crate::cost::Kind;
use crate::dialects::conversation::{Content, Conversation, Format, Media, Reasoning, ToolChoice};
use crate::dialects::reply::{Event, StopReason};
use crate::dialects::sample::{
    ask, assistant, cached, call, calls, image, part, refusal, result, signed_call, streamed, text, tool, user, whole,
    written,
};
use crate::dialects::{AnswerReader, Malformed};

const FLASH: &str = "gemini-2.5-flash";

fn body(conversation: &Conversation) -> (Value, Vec<String>) {
    written(write_request, conversation)
}

fn stop(events: &[Event]) -> Vec<(u32, StopReason)> {
    let stops = events.iter().filter_map(|event| match event {
        Event::Stop { choice, reason, .. } => Some((*choice, *reason)),
        _ => None,
    });
    stops.collect()
}

#[test]
fn all_settings_have_their_names() {
    let mut asked = ask(FLASH, vec![user(vec![text("hi"), image()])]);
    asked.system = vec![text("be kind"), text("be short")];
    asked.max_tokens = Some(7);
    asked.temperature = serde_json::Number::from_f64(0.5);
    asked.top_k = Some(3.into());
    asked.stop = vec!["END".into()];
    asked.choices = Some(2);
    asked.rest =
        serde_json::from_str(r#"{"seed":5,"safety_settings":[],"logit_bias":{},"cachedContent":"c/1"}"#).unwrap();
    let (written, lost) = body(&asked);
    assert_eq!(
        written,
        json!({
            "contents": [{"role": "user", "parts": [
                {"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
            ]}],
            "systemInstruction": {"parts": [{"text": "be kind"}, {"text": "be short"}]},
            "generationConfig": {
                "maxOutputTokens": 7, "temperature": 0.5, "topK": 3, "stopSequences": ["END"], "candidateCount": 2,
                "seed": 5,
            },
            "safetySettings": [],
            "cachedContent": "c/1",
        })
    );
    assert_eq!(lost, ["logit_bias"]);
}

#[test]
fn three_tool_messages_are_one_turn_with_three_function_responses() {
    let mut failed = result("c", vec![text("no such city")]);
    if let Content::CallResult { is_error, .. } = &mut failed.content {
        *is_error = true;
    }
    let asked = ask(
        FLASH,
        vec![
            user(vec![text("weather?")]),
            assistant(vec![call("a", "weather", r#"{"at":"A"}"#), call("b", "weather", "{}"), call("c", "time", "")]),
            user(vec![result("b", vec![text("[1]")])]),
            user(vec![failed]),
            user(vec![result("a", vec![text(r#"{"c":21}"#), image()])]),
            user(vec![text("well?")]),
        ],
    );
    let (written, _) = body(&asked);
    assert_eq!(
        written["contents"][1],
        json!({"role": "model", "parts": [
            {"functionCall": {"name": "weather", "args": {"at": "A"}}},
            {"functionCall": {"name": "weather", "args": {}}},
            {"functionCall": {"name": "time", "args": {}}},
        ]})
    );
    // In the order of the calls: two of one name are told apart by it alone.
    assert_eq!(
        written["contents"][2],
        json!({"role": "user", "parts": [
            {"functionResponse": {"name": "weather", "response": {"c": 21}}},
            {"functionResponse": {"name": "weather", "response": {"result": "[1]"}}},
            {"functionResponse": {"name": "time", "response": {"error": "no such city"}}},
            {"text": "well?"},
            {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        ]})
    );
    assert_eq!(written["contents"].as_array().unwrap().len(), 3);
}

#[test]
fn a_call_without_a_result_is_refused_by_its_id() {
    let turns = vec![assistant(vec![call("call_7", "f", "{}"), call("call_8", "f", "{}")])];
    let mut answered = turns.clone();
    answered.push(user(vec![result("call_7", vec![])]));
    assert!(refusal(write_request, &ask(FLASH, turns)).contains("call_7"));
    assert!(refusal(write_request, &ask(FLASH, answered)).contains("call_8"));
    let stray = vec![user(vec![result("call_9", vec![])])];
    assert!(refusal(write_request, &ask(FLASH, stray)).contains("call_9"));
}

#[test]
fn arguments_that_are_no_object_are_refused() {
    for arguments in ["[1]", "{", "\"a\"", "1"] {
        let turns = vec![assistant(vec![call("call_7", "f", arguments)]), user(vec![result("call_7", vec![])])];
        assert!(refusal(write_request, &ask(FLASH, turns)).contains("call_7"), "{arguments}");
    }
}

#[test]
fn a_thought_signature_survives() {
    let chunk = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"n":12345678901234567890.50}},
        "thoughtSignature":"CpQ+/=="}]},"finishReason":"STOP"}],"responseId":"r-1"}"#;
    let (events, _) = streamed(Reader::default(), &[("", chunk)]);
    let read = calls(&events);
    assert_eq!(
        read[0],
        (read[0].0.clone(), "f".into(), r#"{"n":12345678901234567890.50}"#.into(), Some("CpQ+/==".into()))
    );
    let id = &read[0].0;
    let turns = vec![
        assistant(vec![signed_call(id, "f", r#"{"n":1}"#, read[0].3.as_deref())]),
        user(vec![result(id, vec![text("ok")])]),
    ];
    let (written, _) = body(&ask("gemini-3-pro-preview", turns));
    assert_eq!(written["contents"][0]["parts"][0]["thoughtSignature"], "CpQ+/==");
}

#[test]
fn calls_of_another_model_are_marked_as_such_for_gemini_3() {
    let turns = || {
        vec![
            assistant(vec![call("a", "f", "{}"), call("b", "f", "{}")]),
            user(vec![result("a", vec![]), result("b", vec![])]),
        ]
    };
    let (newer, _) = body(&ask("gemini-3-flash-preview", turns()));
    let parts = &newer["contents"][0]["parts"];
    assert_eq!(parts[0]["thoughtSignature"], "skip_thought_signature_validator");
    assert_eq!(parts[1].get("thoughtSignature"), None);
    let (older, _) = body(&ask(FLASH, turns()));
    assert_eq!(older["contents"][0]["parts"][0].get("thoughtSignature"), None);
}

#[test]
fn thoughts_and_seals_of_others_are_not_replayed() {
    let thinking = part(Content::Thinking { text: "hm".into(), signature: Some("theirs".into()) });
    let turns = vec![assistant(vec![thinking, part(Content::RedactedThinking("x".into())), text("hi")])];
    assert_eq!(body(&ask(FLASH, turns)).0["contents"], json!([{"role": "model", "parts": [{"text": "hi"}]}]));
}

#[test]
fn the_choice_of_tools_has_its_modes() {
    let cases = [
        (Some(ToolChoice::None), json!({"mode": "NONE"})),
        (Some(ToolChoice::Auto), Value::Null),
        (None, Value::Null),
        (Some(ToolChoice::Required), json!({"mode": "ANY"})),
        (Some(ToolChoice::Named("f".into())), json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
    ];
    for (choice, expected) in cases {
        let mut asked = ask(FLASH, vec![user(vec![text("hi")])]);
        asked.tools = vec![tool("f", json!({"type": "object", "properties": {}}))];
        asked.tool_choice = choice;
        let (written, _) = body(&asked);
        assert_eq!(written["toolConfig"]["functionCallingConfig"], expected);
        // An object without properties is refused.
        assert_eq!(written["tools"], json!([{"functionDeclarations": [{"name": "f", "description": "what f does"}]}]));
    }
}

fn cleaned(schema: Value) -> (Value, Vec<String>) {
    let mut asked = ask(FLASH, vec![user(vec![text("hi")])]);
    asked.format = Some(Format::Schema { name: "n".into(), schema, strict: None });
    let (written, lost) = body(&asked);
    assert_eq!(written["generationConfig"]["responseMimeType"], "application/json");
    (written["generationConfig"]["responseSchema"].clone(), lost)
}

#[test]
fn references_are_inlined_and_idle_keywords_left_out() {
    let (schema, lost) = cleaned(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": false,
        "properties": {
            "where": {"$ref": "#/$defs/Place", "description": "of the meeting"},
            "when": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
            "how": {"type": ["string", "null"], "enum": ["a", "b", null]},
            "what": {"const": "x"},
            "both": {"allOf": [{"$ref": "#/$defs/Place"}, {"properties": {"zip": {"type": "string"}}, "required": ["zip"]}]},
            "list": {"type": "array"},
        },
        "required": ["where", "gone"],
        "$defs": {"Place": {"type": "object", "properties": {"city": {"type": "string", "minLength": 1}},
                            "required": ["city"]}},
    }));
    let place =
        json!({"type": "object", "properties": {"city": {"type": "string", "minLength": 1}}, "required": ["city"]});
    let mut described = place.clone();
    described["description"] = "of the meeting".into();
    assert_eq!(
        schema,
        json!({
            "type": "object",
            "properties": {
                "where": described,
                "when": {"nullable": true, "type": "string", "format": "date-time"},
                "how": {"nullable": true, "type": "string", "enum": ["a", "b"]},
                "what": {"type": "string", "enum": ["x"]},
                "both": {"type": "object", "required": ["city", "zip"],
                         "properties": {"city": {"type": "string", "minLength": 1}, "zip": {"type": "string"}}},
                "list": {"type": "array", "items": {}},
            },
            "required": ["where"],
        })
    );
    assert_eq!(lost, Vec::<String>::new());
}

#[test]
fn keywords_that_are_lost_are_named() {
    let (schema, lost) = cleaned(json!({
        "type": "object",
        "properties": {
            "n": {"type": "integer", "exclusiveMinimum": 0, "enum": [1, 2]},
            "mail": {"type": "string", "format": "email"},
            "either": {"type": ["string", "integer"]},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}]},
        },
        "patternProperties": {"^x": {"type": "string"}},
    }));
    assert_eq!(schema["properties"]["n"], json!({"type": "integer"}));
    assert_eq!(schema["properties"]["mail"], json!({"type": "string"}));
    assert_eq!(schema["properties"]["either"], json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}));
    let expected = ["exclusiveMinimum", "enum", "format", "prefixItems", "patternProperties"];
    assert_eq!(lost, expected.map(|name| format!("response_format.{name}")));
}

#[test]
fn a_schema_that_holds_itself_ends_and_one_that_explodes_is_refused() {
    let (schema, lost) = cleaned(json!({
        "type": "object", "properties": {"next": {"$ref": "#"}, "value": {"type": "string"}},
    }));
    let end = json!({"type": "object"});
    let inner = json!({"type": "object", "properties": {"next": end, "value": {"type": "string"}}});
    assert_eq!(schema["properties"]["next"], inner);
    assert_eq!(lost, ["response_format.$ref"]);

    let mut definitions = serde_json::Map::new();
    definitions.insert("d0".into(), json!({"type": "string"}));
    for n in 1..40 {
        let below = json!({"$ref": format!("#/$defs/d{}", n - 1)});
        definitions.insert(format!("d{n}"), json!({"type": "object", "properties": {"a": below, "b": below}}));
    }
    let mut asked = ask(FLASH, vec![]);
    let schema = json!({"$ref": "#/$defs/d39", "$defs": definitions});
    asked.format = Some(Format::Schema { name: "n".into(), schema, strict: None });
    assert!(refusal(write_request, &asked).contains("response_format"));
}

#[test]
fn thinking_has_budgets_or_levels_by_model() {
    let cases = [
        (FLASH, Reasoning::Off, json!({"thinkingBudget": 0}), false),
        ("gemini-2.5-pro", Reasoning::Off, json!({"thinkingBudget": 128}), true),
        (FLASH, Reasoning::Effort("medium".into()), json!({"thinkingBudget": 8192, "includeThoughts": true}), false),
        (FLASH, Reasoning::Budget(99), json!({"thinkingBudget": 99, "includeThoughts": true}), false),
        (FLASH, Reasoning::Adaptive, json!({"thinkingBudget": -1, "includeThoughts": true}), false),
        ("gemini-3-pro-preview", Reasoning::Off, json!({"thinkingLevel": "low"}), true),
        (
            "models/gemini-3-pro",
            Reasoning::Effort("minimal".into()),
            json!({"thinkingLevel": "low", "includeThoughts": true}),
            false,
        ),
        ("gemini-3-flash", Reasoning::Adaptive, json!({"includeThoughts": true}), false),
        ("gemini-2.0-flash", Reasoning::Effort("high".into()), Value::Null, true),
    ];
    for (model, reasoning, expected, is_lost) in cases {
        let mut asked = ask(model, vec![user(vec![text("hi")])]);
        asked.reasoning = Some(reasoning.clone());
        let (written, lost) = body(&asked);
        assert_eq!(written["generationConfig"]["thinkingConfig"], expected, "{model} {reasoning:?}");
        assert_eq!(!lost.is_empty(), is_lost, "{model} {reasoning:?}");
    }
}

#[test]
fn what_cannot_be_told_is_named_or_refused() {
    let mut asked = ask(FLASH, vec![user(vec![cached(text("hi"), None), part(Content::Foreign("x_block".into()))])]);
    asked.parallel_calls = Some(false);
    asked.user = Some("me".into());
    asked.tools = vec![tool("f", json!({}))];
    asked.tools[0].strict = Some(true);
    let (_, lost) = body(&asked);
    assert_eq!(lost, ["messages.x_block", "tools.strict", "parallel_tool_calls", "cache_control", "user"]);
    let kept = |id: &str| part(Content::Document { media: Media::File(id.into()), name: None });
    assert!(refusal(write_request, &ask(FLASH, vec![user(vec![kept("file-abc")])])).contains("another provider"));
    let (written, _) = body(&ask(FLASH, vec![user(vec![kept("gs://bucket/a.pdf?x")])]));
    assert_eq!(
        written["contents"][0]["parts"][0],
        json!({"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/a.pdf?x"}})
    );
}

#[test]
fn parallel_calls_of_one_name_get_indices_0_1_2() {
    let first = r#"{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}}},
        {"functionCall":{"name":"f","args":{"a":1}}}]}}],"responseId":"Ab-c_9","modelVersion":"gemini-2.5-flash"}"#;
    let second = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}"#;
    let (events, is_complete) = streamed(Reader::default(), &[("", first), ("", second)]);
    assert!(is_complete);
    assert_eq!(events[0], Event::Start { id: "Ab-c_9".into(), model: FLASH.into() });
    let read = calls(&events);
    let ids: Vec<&str> = read.iter().map(|call| call.0.as_str()).collect();
    assert_eq!(ids, ["call_Ab-c_9_0", "call_Ab-c_9_1", "call_Ab-c_9_2"]);
    assert_eq!(read[2].2, "{}");
    // STOP with calls waits for their results.
    assert_eq!(stop(&events), [(0, StopReason::Calls)]);
}

#[test]
fn ids_of_answers_without_an_id_differ() {
    let chunk = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}"#;
    let id = || calls(&whole(Reader::default(), chunk))[0].0.clone();
    assert_ne!(id(), id());
    assert!(id().starts_with("call_"));
}

#[test]
fn every_reason_to_end_has_its_meaning() {
    let cases = [
        ("STOP", StopReason::End),
        ("MAX_TOKENS", StopReason::Length),
        ("SAFETY", StopReason::Refused),
        ("RECITATION", StopReason::Refused),
        ("BLOCKLIST", StopReason::Refused),
        ("PROHIBITED_CONTENT", StopReason::Refused),
        ("SPII", StopReason::Refused),
        ("IMAGE_SAFETY", StopReason::Refused),
    ];
    for (word, reason) in cases {
        let chunk = format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"{word}"}}]}}"#);
        assert_eq!(stop(&whole(Reader::default(), &chunk)), [(0, reason)], "{word}");
        assert_eq!(stop(&streamed(Reader::default(), &[("", &chunk)]).0), [(0, reason)], "{word}");
    }
}

#[test]
fn a_malformed_function_call_and_unknown_reasons_are_errors() {
    for word in ["MALFORMED_FUNCTION_CALL", "OTHER", "UNEXPECTED_TOOL_CALL", "SOMETHING_NEW"] {
        let chunk = format!(r#"{{"candidates":[{{"finishReason":"{word}","finishMessage":"it broke"}}]}}"#);
        for events in [whole(Reader::default(), &chunk), streamed(Reader::default(), &[("", &chunk)]).0] {
            let Some(Event::Error(error)) = events.last() else { panic!("{events:?}") };
            assert_eq!((error.status, error.code.as_str(), error.message.as_str()), (502, word, "it broke"));
            assert!(stop(&events).is_empty());
        }
    }
}

#[test]
fn a_candidate_without_content_is_a_valid_empty_message() {
    for chunk in [
        r#"{"candidates":[{"finishReason":"STOP","index":0}]}"#,
        r#"{"candidates":[{"content":{},"finishReason":"STOP"}]}"#,
        r#"{"candidates":[{"content":{"parts":null,"role":"model"},"finishReason":"STOP"}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}]}"#,
    ] {
        let expected = [
            Event::Start { id: String::new(), model: String::new() },
            Event::Stop { choice: 0, reason: StopReason::End, sequence: None },
            Event::End,
        ];
        assert_eq!(whole(Reader::default(), chunk), expected);
        assert_eq!(streamed(Reader::default(), &[("", chunk)]), (expected.to_vec(), true));
    }
}

#[test]
fn a_blocked_prompt_is_refused_content() {
    let chunk = r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4}}"#;
    assert_eq!(stop(&whole(Reader::default(), chunk)), [(0, StopReason::Refused)]);
    assert_eq!(stop(&streamed(Reader::default(), &[("", chunk)]).0), [(0, StopReason::Refused)]);
}

#[test]
fn an_answer_with_nothing_in_it_is_an_error() {
    for body in ["{}", r#"{"candidates":[]}"#, "[]", "no json", r#"{"candidates":{}}"#] {
        assert!(matches!(whole(Reader::default(), body).last(), Some(Event::Error(_))), "{body}");
    }
    assert!(!streamed(Reader::default(), &[]).1);
}

#[test]
fn a_stream_without_a_reason_to_end_is_incomplete() {
    let chunk = r#"{"candidates":[{"content":{"parts":[{"text":"half"}]}}]}"#;
    let (events, is_complete) = streamed(Reader::default(), &[("", chunk)]);
    assert!(!is_complete);
    assert_eq!(events.len(), 2);
}

#[test]
fn thoughts_are_apart_and_billed_as_output() {
    let chunks = [
        (
            "",
            r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true}]}}],"usageMetadata":{"promptTokenCount":9,"thoughtsTokenCount":3}}"#,
        ),
        (
            "",
            r#"{"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}],
            "usageMetadata":{"promptTokenCount":9,"cachedContentTokenCount":4,"candidatesTokenCount":2,"thoughtsTokenCount":5,"totalTokenCount":16}}"#,
        ),
    ];
    let (events, _) = streamed(Reader::default(), &chunks);
    assert_eq!(events[2], Event::Thinking { choice: 0, text: "hm".into() });
    let usage = events.iter().rev().find_map(|event| match event {
        Event::Usage(tokens) => Some(*tokens),
        _ => None,
    });
    let tokens = usage.unwrap();
    assert_eq!((tokens.prompt(), tokens.cached(), tokens.completion()), (9, 4, 7));
    assert_eq!((tokens.get(Kind::Reasoning), tokens.get(Kind::Output)), (5, 2));
}

#[test]
fn candidates_are_choices_of_their_own() {
    let chunks = [
        ("", r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"b"}]}}]}"#),
        (
            "",
            r#"{"candidates":[{"index":0,"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}"#,
        ),
        ("", r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"c"}]},"finishReason":"MAX_TOKENS"}]}"#),
    ];
    let (events, is_complete) = streamed(Reader::default(), &chunks);
    assert!(is_complete);
    assert_eq!(stop(&events), [(1, StopReason::Length), (0, StopReason::Calls)]);
    assert_eq!(events.last(), Some(&Event::End));
}

#[test]
fn an_error_in_the_stream_has_its_status() {
    let chunk = r#"{"error":{"code":429,"message":"too fast","status":"RESOURCE_EXHAUSTED"}}"#;
    let (events, _) = streamed(Reader::default(), &[("", chunk)]);
    let Some(Event::Error(error)) = events.last() else { panic!("{events:?}") };
    assert_eq!((error.status, error.code.as_str()), (429, "RESOURCE_EXHAUSTED"));
    assert_eq!(error.message, "too fast");
}

#[test]
fn a_malformed_chunk_is_told_from_one_within_a_call() {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    assert_eq!(reader.event(None, b"{\"candidates\":", &mut events), Err(Malformed { in_call: false }));
    assert_eq!(reader.event(None, b"{\"functionCall\":", &mut events), Err(Malformed { in_call: true }));
    assert!(events.is_empty());
}

use serde_json::{Value, json};

use super::{Writer, read_request};
use crate::dialects::conversation::{Content, Conversation, Format, Media, Reasoning, Role, ToolChoice};
use crate::dialects::reply::{Event, ReplyError, StopReason};
use crate::dialects::{AnswerWriter, Setting};

fn read(body: &Value) -> Conversation {
    read_request(body.to_string().as_bytes()).unwrap()
}

fn refused(body: &Value) -> (String, String) {
    let error = read_request(body.to_string().as_bytes()).unwrap_err();
    (error.param().unwrap_or_default().to_owned(), error.message().to_owned())
}

fn with_input(input: &Value) -> Conversation {
    read(&json!({"model": "m", "input": input}))
}

fn contents(asked: &Conversation) -> Vec<(Role, Vec<Content>)> {
    asked.turns.iter().map(|turn| (turn.role, turn.parts.iter().map(|part| part.content.clone()).collect())).collect()
}

fn text(text: &str) -> Content {
    Content::Text(text.into())
}

#[test]
fn an_input_that_is_a_text_is_what_the_user_says() {
    let asked = read(&json!({"model": "m", "instructions": "Be brief.", "input": "hello"}));
    assert_eq!(asked.model, "m");
    assert_eq!(asked.system[0].content, text("Be brief."));
    assert_eq!(contents(&asked), [(Role::User, vec![text("hello")])]);
}

#[test]
fn system_and_developer_messages_are_instructions_in_their_order() {
    let asked = read(&json!({"instructions": "a", "input": [
        {"role": "developer", "content": "b"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {"role": "system", "content": [{"type": "input_text", "text": "c"}]},
    ]}));
    let system: Vec<_> = asked.system.iter().map(|part| part.content.clone()).collect();
    assert_eq!(system, [text("a"), text("b"), text("c")]);
    assert_eq!(contents(&asked), [(Role::User, vec![text("x")])]);
}

#[test]
fn thought_text_and_calls_of_one_turn_stay_together_and_so_do_their_results() {
    let asked = with_input(&json!([
        {"role": "user", "content": "go"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}],
         "encrypted_content": "tollhouse:signature:c2ln+/="},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Well", "annotations": []}]},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{\"a\":1}"},
        {"type": "function_call", "call_id": "call_2", "name": "g", "arguments": ""},
        {"type": "function_call_output", "call_id": "call_1", "output": "one"},
        {"type": "function_call_output", "call_id": "call_2", "output": [
            {"type": "input_text", "text": "two"}, {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
    ]));
    let call = |id: &str, name: &str, arguments: &str| Content::Call {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
        signature: None,
    };
    let turns = contents(&asked);
    assert_eq!(turns.len(), 3);
    let thought = Content::Thinking { text: "Hm".into(), signature: Some("c2ln+/=".into()) };
    let said = vec![thought, text("Well"), call("call_1", "f", "{\"a\":1}"), call("call_2", "g", "{}")];
    assert_eq!(turns[1], (Role::Assistant, said));
    assert_eq!(turns[2].0, Role::User);
    let Content::CallResult { id, parts, .. } = &turns[2].1[1] else { panic!("{turns:?}") };
    assert_eq!(id, "call_2");
    let image = Media::Inline { media_type: "image/png".into(), data: "AAAA".into() };
    assert_eq!(parts[1].content, Content::Image(image), "an image of a result reaches the model");
}

#[test]
fn sealed_thoughts_keep_their_place_and_the_proof_of_a_call_goes_with_it() {
    let asked = with_input(&json!([
        {"type": "reasoning", "summary": [], "encrypted_content": "tollhouse:redacted:xyz"},
        {"type": "reasoning", "summary": [], "encrypted_content": "tollhouse:call:c2ln"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]));
    let [(_, parts)] = &contents(&asked)[..] else { panic!() };
    assert_eq!(parts[0], Content::RedactedThinking("xyz".into()));
    assert!(matches!(&parts[1], Content::Call { signature: Some(proof), .. } if proof == "c2ln"));
}

#[test]
fn reasoning_that_another_provider_sealed_is_named_and_its_summary_is_unsigned() {
    let asked = with_input(&json!([
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}], "content": null},
    ]));
    assert_eq!(contents(&asked), [(Role::Assistant, vec![Content::Thinking { text: "Hm".into(), signature: None }])]);
    assert!(asked.rest.contains_key("input.reasoning.encrypted_content"));
}

#[test]
fn images_files_and_sounds_are_read_in_all_their_forms() {
    let asked = with_input(&json!([{"role": "user", "content": [
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
        {"type": "input_file", "filename": "a.txt", "file_data": "AAAA"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}},
        {"type": "input_text", "text": ""},
    ]}]));
    let inline = |kind: &str| Media::Inline { media_type: kind.into(), data: "AAAA".into() };
    let document = |media, name: Option<&str>| Content::Document { media, name: name.map(Into::into) };
    let url = |url: &str| Media::Url(url.into());
    let expected = vec![
        Content::Image(url("https://example.com/a.png")),
        Content::Image(Media::File("file-1".into())),
        document(inline("application/pdf"), Some("a.pdf")),
        document(inline("text/plain"), Some("a.txt")),
        document(url("https://example.com/a.pdf"), None),
        Content::Audio(inline("audio/wav")),
    ];
    assert_eq!(contents(&asked), [(Role::User, expected)]);
}

#[test]
fn tools_of_other_providers_are_left_out_and_named() {
    let asked = read(&json!({"input": "x", "tool_choice": "auto", "parallel_tool_calls": false, "tools": [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true},
        {"type": "web_search"},
    ]}));
    assert_eq!(asked.tools.len(), 1);
    assert_eq!((asked.tools[0].name.as_str(), asked.tools[0].strict), ("f", Some(true)));
    assert_eq!((asked.tool_choice, asked.parallel_calls), (Some(ToolChoice::Auto), Some(false)));
    assert_eq!(asked.rest.keys().collect::<Vec<_>>(), ["tools.web_search"]);
    let (param, _) = refused(&json!({"input": "x", "tool_choice": {"type": "web_search"}}));
    assert_eq!(param, "tool_choice");
}

#[test]
fn a_choice_may_name_one_tool_or_some() {
    let tools = json!([{"type": "function", "name": "f"}, {"type": "function", "name": "g"}]);
    let named = read(&json!({"input": "x", "tools": tools, "tool_choice": {"type": "function", "name": "g"}}));
    assert_eq!(named.tool_choice, Some(ToolChoice::Named("g".into())));
    let some = read(&json!({"input": "x", "tools": tools, "tool_choice": {
        "type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}}));
    assert_eq!(some.tool_choice, Some(ToolChoice::Required));
    assert_eq!(some.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["g"]);
}

#[test]
fn a_tool_that_takes_any_text_is_a_function_of_one_string() {
    let asked = read(&json!({
        "tools": [{"type": "custom", "name": "patch", "description": "Edits",
                   "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}}],
        "input": [{"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "a\"b"},
                  {"type": "custom_tool_call_output", "call_id": "c", "output": "done"}],
    }));
    assert_eq!(asked.tools[0].parameters.as_ref().unwrap()["required"], json!(["input"]));
    assert!(asked.tools[0].description.as_ref().unwrap().contains("start: x"));
    let call = &contents(&asked)[0].1[0];
    assert!(matches!(call, Content::Call { arguments, .. } if arguments == r#"{"input":"a\"b"}"#));
    assert!(asked.rest.contains_key("tools.patch.format"));
}

#[test]
fn what_was_kept_elsewhere_is_refused_by_name() {
    for name in ["previous_response_id", "conversation", "prompt"] {
        let (param, message) = refused(&json!({"input": "x", name: "kept"}));
        assert_eq!(param, name);
        assert!(message.starts_with(name), "{message}");
    }
    assert_eq!(refused(&json!({"input": "x", "background": true})).0, "background");
    assert_eq!(refused(&json!({"input": [{"type": "item_reference", "id": "i"}]})).0, "input[0].id");
    let asked = read(&json!({"input": "x", "previous_response_id": null, "background": false}));
    assert!(asked.rest.is_empty());
}

#[test]
fn wrong_types_and_missing_members_are_named() {
    for (body, param) in [
        (json!({}), "input"),
        (json!({"input": 1}), "input"),
        (json!({"input": [1]}), "input[0]"),
        (json!({"input": [{"role": "judge", "content": "x"}]}), "input[0].role"),
        (json!({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}), "input[0].content[0].text"),
        (json!({"input": [{"type": "function_call", "name": "f"}]}), "input[0].call_id"),
        (json!({"input": "x", "tools": [{"type": "function"}]}), "tools[0].name"),
        (json!({"input": "x", "max_output_tokens": -1}), "max_output_tokens"),
        (json!({"input": "x", "text": {"format": {"type": "json_schema", "name": "n"}}}), "text.format.schema"),
    ] {
        assert_eq!(refused(&body).0, param);
    }
}

#[test]
fn bounds_format_and_effort_have_their_places() {
    let asked = read(&json!({
        "input": "x", "max_output_tokens": 9, "temperature": 0.5, "top_p": 1, "stream": true, "user": "u",
        "reasoning": {"effort": "high", "summary": "auto"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}},
    }));
    assert_eq!((asked.max_tokens, asked.stream, asked.user.as_deref()), (Some(9), true, Some("u")));
    assert_eq!(asked.temperature.unwrap().to_string(), "0.5");
    assert_eq!(asked.reasoning, Some(Reasoning::Effort("high".into())));
    assert!(matches!(asked.format, Some(Format::Schema { name, strict: Some(true), .. }) if name == "n"));
    assert!(asked.rest.is_empty());
    assert_eq!(read(&json!({"input": "x", "reasoning": {"effort": "none"}})).reasoning, Some(Reasoning::Off));
}

#[test]
fn only_what_would_be_lost_is_left_over() {
    let asked = read(&json!({
        "input": "x", "store": false, "truncation": "disabled", "include": ["reasoning.encrypted_content"],
        "stream_options": {"include_obfuscation": false}, "text": {"format": {"type": "text"}}, "metadata": null,
    }));
    assert!(asked.rest.is_empty(), "{:?}", asked.rest);
    let asked = read(&json!({
        "input": "x", "store": true, "truncation": "auto", "text": {"verbosity": "low"}, "metadata": {"a": "b"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"], "top_logprobs": 2,
    }));
    let mut left: Vec<_> = asked.rest.keys().map(String::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["include", "metadata", "store", "top_logprobs", "truncation", "verbosity"]);
}

fn writer(request: &Value) -> Writer {
    Writer::new(&Setting {
        request_id: "req".into(),
        model: "asked".into(),
        created: 7,
        request: request.to_string().into_bytes(),
        ..Setting::default()
    })
}

fn start() -> Event {
    Event::Start { id: "1".into(), model: "m".into() }
}

fn said(text: &str) -> Event {
    Event::Text { choice: 0, text: text.into() }
}

fn thought(text: &str) -> Event {
    Event::Thinking { choice: 0, text: text.into() }
}

fn signed(signature: &str) -> Event {
    Event::Signature { choice: 0, signature: signature.into() }
}

fn called(call: u32, id: &str, name: &str, signature: Option<&str>) -> Event {
    Event::Call { choice: 0, call, id: id.into(), name: name.into(), signature: signature.map(Into::into) }
}

fn arguments(call: u32, json: &str) -> Event {
    Event::Arguments { choice: 0, call, json: json.into() }
}

fn stop(reason: StopReason) -> Event {
    Event::Stop { choice: 0, reason, sequence: None }
}

/// The events of a stream; each has its own type in its `event:` line, and they are numbered.
fn streamed(request: &Value, events: &[Event]) -> Vec<Value> {
    let mut out = Vec::new();
    let mut writer = writer(request);
    for event in events {
        writer.event(event, &mut out);
    }
    let out = String::from_utf8(out).unwrap();
    let frames = out.split_terminator("\n\n").map(|frame| {
        let (name, data) = frame.split_once('\n').unwrap();
        let value: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), value["type"].as_str().unwrap());
        value
    });
    let frames: Vec<_> = frames.collect();
    for (number, frame) in frames.iter().enumerate() {
        assert_eq!(frame["sequence_number"], number);
    }
    frames
}

fn kinds(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap().strip_prefix("response.").unwrap()).collect()
}

#[test]
fn text_comes_as_one_part_of_one_message() {
    let frames = streamed(&json!({}), &[start(), said("Hel"), said("lo"), stop(StopReason::End), Event::End]);
    assert_eq!(
        kinds(&frames),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed"
        ]
    );
    assert_eq!(frames[4]["delta"], "Hel");
    assert_eq!(frames[6]["text"], "Hello");
    let response = &frames[9]["response"];
    assert_eq!(
        (&response["id"], &response["model"], &response["created_at"]),
        (&json!("resp_1"), &json!("m"), &json!(7))
    );
    assert_eq!(response["output"], json!([frames[8]["item"]]));
    assert_eq!(response["output"][0]["content"][0]["text"], "Hello");
    assert_eq!(frames[0]["response"]["output"], json!([]));
}

#[test]
fn thought_text_and_two_calls_are_items_of_their_own() {
    let frames = streamed(
        &json!({}),
        &[
            start(),
            thought("Hm"),
            signed("c2"),
            signed("ln"),
            said("Well"),
            called(0, "call_a", "f", None),
            arguments(0, "{\"a\":"),
            arguments(0, "1}"),
            called(1, "call_b", "g", None),
            stop(StopReason::Calls),
            Event::End,
        ],
    );
    let output = frames.last().unwrap()["response"]["output"].clone();
    let types: Vec<_> = output.as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["reasoning", "message", "function_call", "function_call"]);
    assert_eq!(output[0]["summary"][0]["text"], "Hm");
    assert_eq!(output[0]["encrypted_content"], "tollhouse:signature:c2ln");
    assert_eq!((&output[2]["call_id"], &output[2]["arguments"]), (&json!("call_a"), &json!("{\"a\":1}")));
    assert_eq!(output[3]["arguments"], "{}", "a tool without arguments");
    let done: Vec<_> = frames.iter().filter(|frame| frame["type"] == "response.output_item.done").collect();
    assert_eq!(done.len(), 4);
    for (index, frame) in done.iter().enumerate() {
        assert_eq!((&frame["output_index"], &frame["item"]), (&json!(index), &output[index]));
    }
}

#[test]
fn an_answer_is_read_back_as_it_was_meant() {
    let events = [
        start(),
        thought("Hm"),
        signed("c2ln"),
        Event::RedactedThinking { choice: 0, data: "xyz".into() },
        said("Well"),
        called(0, "call_a", "f", Some("cHJvb2Y=")),
        arguments(0, "{}"),
        stop(StopReason::Calls),
        Event::End,
    ];
    let response: Value = serde_json::from_slice(&writer(&json!({})).body(&events)).unwrap();
    let asked = with_input(&response["output"]);
    let call = Content::Call {
        id: "call_a".into(),
        name: "f".into(),
        arguments: "{}".into(),
        signature: Some("cHJvb2Y=".into()),
    };
    let thinking = Content::Thinking { text: "Hm".into(), signature: Some("c2ln".into()) };
    let parts = vec![thinking, Content::RedactedThinking("xyz".into()), text("Well"), call];
    assert_eq!(contents(&asked), [(Role::Assistant, parts)]);
}

#[test]
fn whole_and_streamed_answers_are_the_same() {
    let events = [start(), thought("Hm"), said("Well"), stop(StopReason::End), Event::End];
    let whole: Value = serde_json::from_slice(&writer(&json!({})).body(&events)).unwrap();
    assert_eq!(whole, streamed(&json!({}), &events).last().unwrap()["response"]);
}

#[test]
fn an_answer_that_was_cut_short_is_incomplete_and_says_why() {
    for (reason, why) in [(StopReason::Length, "max_output_tokens"), (StopReason::Refused, "content_filter")] {
        let frames = streamed(&json!({}), &[start(), said("a"), stop(reason), Event::End]);
        let last = frames.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["status"], "incomplete");
        assert_eq!(last["response"]["incomplete_details"]["reason"], why);
        assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    }
}

#[test]
fn a_refusal_is_a_part_of_its_own() {
    let refusal = Event::Refusal { choice: 0, text: "No.".into() };
    let frames = streamed(&json!({}), &[start(), said("a"), refusal, stop(StopReason::End), Event::End]);
    let parts = &frames.last().unwrap()["response"]["output"][0]["content"];
    assert_eq!((&parts[0]["text"], &parts[1]), (&json!("a"), &json!({"type": "refusal", "refusal": "No."})));
}

#[test]
fn a_source_stands_beside_its_text() {
    let value =
        json!({"type": "url_citation", "url_citation": {"url": "https://e.org", "title": "E", "start_index": 0}});
    let events = [start(), said("häh"), Event::Citation { choice: 0, value }, stop(StopReason::End), Event::End];
    let frames = streamed(&json!({}), &events);
    let cited = &frames.last().unwrap()["response"]["output"][0]["content"][0]["annotations"];
    let expected =
        json!([{"type": "url_citation", "start_index": 0, "end_index": 3, "url": "https://e.org", "title": "E"}]);
    assert_eq!(cited, &expected);
    assert!(kinds(&frames).contains(&"output_text.annotation.added"));
}

#[test]
fn a_failure_is_the_last_event_and_has_a_code_that_clients_know() {
    let error =
        |status, code: &str| Event::Error(ReplyError { status, code: code.into(), message: "broke off".into() });
    for (event, code) in [
        (error(529, "overloaded_error"), "server_is_overloaded"),
        (error(429, ""), "rate_limit_exceeded"),
        (error(400, "context_length_exceeded"), "context_length_exceeded"),
        (error(502, "whatever"), "server_error"),
    ] {
        let frames = streamed(&json!({}), &[start(), said("a"), event.clone()]);
        let last = frames.last().unwrap();
        assert_eq!(last["type"], "response.failed");
        assert_eq!(last["response"]["error"], json!({"code": code, "message": "broke off"}));
        // Before anything else has come, too.
        assert_eq!(kinds(&streamed(&json!({}), &[event])), ["created", "in_progress", "failed"]);
    }
}

#[test]
fn a_response_repeats_what_was_asked() {
    let request =
        json!({"temperature": 0.25, "tools": [{"type": "function", "name": "f"}], "instructions": "Be brief."});
    let whole = writer(&request).body(&[start(), stop(StopReason::End), Event::End]);
    let response: Value = serde_json::from_slice(&whole).unwrap();
    for (name, value) in request.as_object().unwrap() {
        assert_eq!(&response[name], value);
    }
    assert_eq!((&response["store"], &response["parallel_tool_calls"]), (&json!(false), &json!(true)));
    assert_eq!(response["output"], json!([]));
}

#[test]
fn a_call_of_a_tool_that_takes_any_text_comes_as_one() {
    let request = json!({"tools": [{"type": "custom", "name": "patch"}]});
    let events = [
        start(),
        called(0, "c", "patch", None),
        arguments(0, "{\"input\":\"*** Beg"),
        arguments(0, "in\\n\"}"),
        stop(StopReason::Calls),
        Event::End,
    ];
    let frames = streamed(&request, &events);
    assert_eq!(
        kinds(&frames)[2..5],
        ["output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done"]
    );
    let item = &frames.last().unwrap()["response"]["output"][0];
    assert_eq!((&item["type"], &item["input"]), (&json!("custom_tool_call"), &json!("*** Begin\n")));
}

#[test]
fn usage_is_told_at_the_end() {
    let json = br#"{"input_tokens":5,"output_tokens":2,"cache_read_input_tokens":3,"cache_creation_input_tokens":0}"#;
    let tokens = crate::usage::Usage::find(json).tokens().unwrap();
    let frames = streamed(&json!({}), &[start(), Event::Usage(tokens), stop(StopReason::End), Event::End]);
    let usage = &frames.last().unwrap()["response"]["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["output_tokens"], &usage["total_tokens"]),
        (&json!(8), &json!(2), &json!(10))
    );
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 3);
    assert_eq!(frames[0]["response"]["usage"], Value::Null);
}

#[test]
fn an_emoji_over_two_deltas_and_controls_survive() {
    let frames =
        streamed(&json!({}), &[start(), said("a\"\n\u{1}"), said("\u{1F600}"), stop(StopReason::End), Event::End]);
    assert_eq!(frames.last().unwrap()["response"]["output"][0]["content"][0]["text"], "a\"\n\u{1}\u{1F600}");
}

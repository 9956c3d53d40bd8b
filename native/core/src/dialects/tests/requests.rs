//! Requests between chat and messages.

use serde_json::{Value, json};

use super::{asked, refused};

fn to_messages(members: &Value) -> (Value, Vec<String>) {
    let mut body = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    asked("chat", "messages", &body)
}

fn to_chat(members: &Value) -> (Value, Vec<String>) {
    let mut body = json!({"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    asked("messages", "openai", &body)
}

fn call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}})
}

#[test]
fn developer_and_several_system_messages_become_the_system_prompt() {
    let (body, warnings) = to_messages(&json!({"messages": [
        {"role": "system", "content": "one"},
        {"role": "user", "content": "hi"},
        {"role": "developer", "content": [{"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}}]},
    ]}));
    assert_eq!(
        body["system"],
        json!([
            {"type": "text", "text": "one"},
            {"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}},
        ])
    );
    assert_eq!(body["messages"], json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]));
    assert_eq!(body["max_tokens"], 4096);
    assert!(warnings.is_empty());
}

#[test]
fn results_of_parallel_calls_are_one_message_in_which_they_come_first() {
    let (body, _) = to_messages(&json!({"messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "", "tool_calls": [call("a"), call("b.1")]},
        {"role": "user", "content": "well?"},
        {"role": "tool", "tool_call_id": "a", "content": "A"},
        {"role": "tool", "tool_call_id": "b.1", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
    ]}));
    assert_eq!(
        body["messages"][1]["content"],
        json!([
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "b_1", "name": "f", "input": {"x": 1}},
        ])
    );
    assert_eq!(
        body["messages"][2],
        json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "A"}]},
            {"type": "tool_result", "tool_use_id": "b_1", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            ]},
            {"type": "text", "text": "well?"},
        ]})
    );
}

#[test]
fn a_call_without_a_result_is_refused_by_its_id() {
    let messages = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [call("call_7")]},
        {"role": "user", "content": "never mind"},
    ]);
    let message = refused("chat", "messages", &json!({"model": "m", "messages": messages}));
    assert!(message.contains("call_7") && message.contains("no result"), "{message}");
    let messages = json!([{"role": "tool", "tool_call_id": "call_8", "content": "x"}]);
    assert!(refused("chat", "messages", &json!({"model": "m", "messages": messages})).contains("call_8"));
}

#[test]
fn tool_choices_are_told_both_ways() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    for (chat, messages) in [
        (json!("none"), json!({"type": "none"})),
        (json!("auto"), json!({"type": "auto"})),
        (json!("required"), json!({"type": "any"})),
        (json!({"type": "function", "function": {"name": "f"}}), json!({"type": "tool", "name": "f"})),
    ] {
        let (body, _) = to_messages(&json!({"tools": tools, "tool_choice": chat}));
        assert_eq!(body["tool_choice"], messages);
        let (body, _) = to_chat(&json!({"tools": [{"name": "f", "input_schema": {}}], "tool_choice": messages}));
        assert_eq!(body["tool_choice"], chat);
    }
    let (body, _) = to_messages(&json!({"tools": tools, "parallel_tool_calls": false}));
    assert_eq!(body["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    let (body, _) = to_chat(&json!({
        "tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
    }));
    assert_eq!((&body["tool_choice"], &body["parallel_tool_calls"]), (&json!("required"), &json!(false)));
}

#[test]
fn a_tool_without_parameters_takes_an_empty_object() {
    let (body, _) = to_messages(&json!({"tools": [{"type": "function", "function": {"name": "f"}}]}));
    assert_eq!(body["tools"], json!([{"name": "f", "input_schema": {"type": "object"}}]));
    let (body, _) = to_chat(&json!({"tools": [{"name": "f"}]}));
    assert_eq!(body["tools"][0]["function"]["parameters"], json!({"type": "object", "properties": {}}));
}

#[test]
fn marks_of_the_cache_are_kept_where_there_is_one() {
    let hour = json!({"type": "ephemeral", "ttl": "1h"});
    let (body, warnings) = to_messages(&json!({
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": hour}]},
            {"role": "assistant", "content": null, "tool_calls": [call("a")]},
            {"role": "tool", "tool_call_id": "a", "content": "r", "cache_control": {"type": "ephemeral"}},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": hour}],
    }));
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], hour);
    assert_eq!(body["messages"][2]["content"][0]["cache_control"], json!({"type": "ephemeral"}));
    assert_eq!(body["tools"][0]["cache_control"], hour);
    assert!(warnings.is_empty());
    let (_, warnings) = to_chat(&json!({"system": [{"type": "text", "text": "s", "cache_control": hour}]}));
    assert_eq!(warnings, ["cache_control"]);
}

#[test]
fn proven_thoughts_are_handed_back_and_others_are_not() {
    let blocks = json!([
        {"type": "thinking", "thinking": "Hm", "signature": "s+/="},
        {"type": "redacted_thinking", "data": "sealed"},
    ]);
    let (body, _) = to_messages(&json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "Hm", "thinking_blocks": blocks},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d", "reasoning_content": "unproven"},
        {"role": "user", "content": "e"},
    ]}));
    assert_eq!(body["messages"][1]["content"], json!([blocks[0], blocks[1], {"type": "text", "text": "b"}]));
    assert_eq!(body["messages"][3]["content"], json!([{"type": "text", "text": "d"}]));
    // As the gateway tells the thoughts of models that do not sign them.
    let unsigned = json!([{"type": "thinking", "thinking": "Hm", "signature": ""}, {"type": "text", "text": "b"}]);
    let (body, _) = to_messages(&json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "thinking_blocks": unsigned.as_array().unwrap()[..1]},
    ]}));
    assert_eq!(body["messages"][1]["content"], json!([{"type": "text", "text": "b"}]));
}

#[test]
fn empty_texts_are_dropped() {
    let (body, _) = to_messages(&json!({"messages": [
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "a"}]},
        {"role": "assistant", "content": " \n"},
        {"role": "user", "content": "b"},
    ]}));
    assert_eq!(body["messages"].as_array().unwrap().len(), 2);
    assert_eq!(body["messages"][0]["content"], json!([{"type": "text", "text": "a"}]));
}

#[test]
fn what_cannot_be_said_is_named_or_refused() {
    let (body, warnings) = to_messages(&json!({
        "seed": 1, "logit_bias": {"1": 2}, "temperature": 1.5, "stop": ["\n", "END"], "response_format": {"type": "json_object"},
        "messages": [{"role": "user", "name": "bob", "content": "hi"}], "user": "u-1", "metadata": {"a": "b"},
    }));
    assert_eq!(warnings, ["response_format", "temperature", "stop", "messages.name", "seed", "logit_bias", "metadata"]);
    assert_eq!(body["temperature"], 1);
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(body["metadata"], json!({"user_id": "u-1"}));
    assert!(
        refused("chat", "messages", &json!({"model": "m", "n": 2, "messages": [{"role": "user", "content": "hi"}]}))
            .starts_with("n is")
    );
    let audio = json!([{"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}]);
    let message = refused("chat", "messages", &json!({"model": "m", "messages": [{"role": "user", "content": audio}]}));
    assert!(message.contains("sound"), "{message}");
}

#[test]
fn a_schema_for_the_answer_is_told_both_ways() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let (body, warnings) = to_messages(&json!({
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": true}},
    }));
    assert_eq!(body["output_config"], json!({"format": {"type": "json_schema", "schema": schema}}));
    assert!(warnings.is_empty());
    let (body, _) = to_chat(&json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}));
    assert_eq!(body["response_format"]["json_schema"]["schema"], schema);
}

#[test]
fn effort_is_a_budget_for_older_models_and_an_effort_for_newer_ones() {
    let (body, warnings) = to_messages(&json!({"reasoning_effort": "low", "max_tokens": 9000, "temperature": 0.5}));
    assert_eq!(body["thinking"], json!({"type": "enabled", "budget_tokens": 2048}));
    assert_eq!(warnings, ["temperature"]);
    let (body, _) = to_messages(&json!({"model": "claude-opus-4-6", "reasoning_effort": "high"}));
    assert_eq!(body["thinking"], json!({"type": "adaptive"}));
    assert_eq!(body["output_config"], json!({"effort": "high"}));
    let (body, _) = to_messages(&json!({"reasoning_effort": "high", "max_tokens": 4096}));
    assert_eq!(body["thinking"]["budget_tokens"], 3072);
    let (body, warnings) = to_messages(&json!({"reasoning_effort": "high", "max_tokens": 500}));
    assert_eq!((&body["thinking"], &warnings[..]), (&Value::Null, &["reasoning_effort".to_owned()][..]));
    let (body, _) = to_messages(&json!({"reasoning_effort": "none"}));
    assert_eq!(body["thinking"], json!({"type": "disabled"}));
}

#[test]
fn newer_models_are_not_told_a_temperature() {
    for (model, is_told) in [
        ("claude-opus-4-6", true),
        ("claude-opus-4-20250514", true),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", true),
        ("deepseek-chat", true),
        ("claude-opus-4-7", false),
        ("claude-sonnet-5", false),
        ("claude-mythos-preview", false),
    ] {
        let (body, warnings) = to_messages(&json!({"model": model, "temperature": 0.5, "top_k": 3}));
        assert_eq!(body.get("temperature").is_some(), is_told, "{model}");
        assert_eq!(warnings.len(), if is_told { 0 } else { 2 }, "{model}");
    }
}

#[test]
fn a_budget_is_an_effort_for_openai() {
    for (budget, effort) in [(1024, "low"), (8000, "medium"), (32_000, "high")] {
        let (body, _) = to_chat(&json!({
            "model": "gpt-5.2", "thinking": {"type": "enabled", "budget_tokens": budget},
        }));
        assert_eq!(body["reasoning_effort"], effort);
    }
    let max = json!({"model": "o3", "thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}});
    assert_eq!(to_chat(&max).0["reasoning_effort"], "xhigh");
}

#[test]
fn models_that_do_not_think_are_not_told_how_much() {
    let (body, warnings) = to_chat(&json!({"output_config": {"effort": "high"}}));
    assert_eq!((body.get("reasoning_effort"), warnings), (None, vec!["reasoning_effort".to_owned()]));
    for (model, told) in [("gpt-4o", None), ("gpt-5", None), ("o3-mini", None), ("gpt-5.1", Some(json!("none")))] {
        let (body, warnings) = to_chat(&json!({"model": model, "thinking": {"type": "disabled"}}));
        assert_eq!((body.get("reasoning_effort").cloned(), warnings.len()), (told, 0), "{model}");
    }
}

#[test]
fn a_conversation_of_anthropics_is_one_of_openais() {
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}});
    let (body, warnings) = to_chat(&json!({
        "system": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
        "stop_sequences": ["END"], "temperature": 0.25, "stream": true, "metadata": {"user_id": "u"},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "s"},
                {"type": "text", "text": "I will"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "R"}, image]},
                {"type": "tool_result", "tool_use_id": "t2"},
                {"type": "text", "text": "so?"},
            ]},
        ],
    }));
    let seen = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}});
    assert_eq!(
        body,
        json!({
            "model": "gpt-4o",
            "messages": [
                {"role": "system", "content": "one\n\ntwo"},
                {"role": "user", "content": [{"type": "text", "text": "look"}, seen]},
                {"role": "assistant", "content": "I will", "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                    {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                ]},
                {"role": "tool", "tool_call_id": "t1", "content": "R"},
                {"role": "tool", "tool_call_id": "t2", "content": ""},
                {"role": "user", "content": [seen, {"type": "text", "text": "so?"}]},
            ],
            "max_completion_tokens": 100, "temperature": 0.25, "stop": ["END"], "user": "u",
            "stream": true, "stream_options": {"include_usage": true},
        })
    );
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn documents_and_images_by_address_are_told_both_ways() {
    let (body, warnings) = to_messages(&json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aMOpbGxv"}},
    ]}]}));
    assert_eq!(
        body["messages"][0]["content"],
        json!([
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {"type": "document", "title": "a.pdf",
             "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
            {"type": "document", "title": "a.txt",
             "source": {"type": "text", "media_type": "text/plain", "data": "héllo"}},
        ])
    );
    assert_eq!(warnings, ["messages.content.image_url.detail"]);
    let document = |source: Value| {
        json!({"messages": [{"role": "user", "content": [
            {"type": "document", "source": source, "title": "T", "citations": {"enabled": true}},
        ]}]})
    };
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "aGk="});
    let (body, warnings) = to_chat(&document(pdf));
    assert_eq!(body["messages"][0]["content"][0]["file"]["file_data"], "data:application/pdf;base64,aGk=");
    assert_eq!(warnings, ["messages.content.citations"]);
    let (body, _) = to_chat(&document(json!({"type": "text", "media_type": "text/plain", "data": "words"})));
    assert_eq!(body["messages"], json!([{"role": "user", "content": "T\n\nwords"}]));
    let mut asked = document(json!({"type": "url", "url": "https://example.com/a.pdf"}));
    asked["model"] = json!("m");
    assert!(refused("messages", "chat", &asked).contains("document by its URL"));
}

#[test]
fn results_in_several_messages_follow_their_calls_at_once() {
    let (body, _) = to_chat(&json!({"messages": [
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "a", "name": "f", "input": {}},
            {"type": "tool_use", "id": "b", "name": "f", "input": {}},
        ]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "A"}, {"type": "text", "text": "so"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "b", "content": "B"}]},
    ]}));
    let roles: Vec<_> = body["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["assistant", "tool", "tool", "user"]);
}

#[test]
fn members_of_members_are_not_dropped_in_silence() {
    let options = json!({"stream_options": {"include_usage": true, "include_obfuscation": false}});
    assert_eq!(to_messages(&options).1, ["stream_options.include_obfuscation"]);
    assert_eq!(to_messages(&json!({"response_format": {"type": "grammar", "grammar": "x"}})).1, ["response_format"]);
    assert_eq!(to_messages(&json!({"response_format": {"type": "text"}})).1, [""; 0]);
    let (body, lost) = to_chat(&json!({"metadata": {"user_id": "u", "tenant": "t"}}));
    assert_eq!((body["user"].as_str(), lost), (Some("u"), vec!["metadata.tenant".to_owned()]));
}

#[test]
fn a_model_that_takes_one_of_temperature_and_top_p_is_told_one() {
    for (model, told) in
        [("claude-3-5-haiku-latest", true), ("claude-opus-4-1-20250805", false), ("claude-haiku-4-5", false)]
    {
        let (body, lost) = to_messages(&json!({"model": model, "temperature": 0.5, "top_p": 0.9}));
        assert_eq!(body["temperature"], json!(0.5));
        assert_eq!((body.get("top_p").is_some(), lost.is_empty()), (told, told), "{model}");
        let (body, lost) = to_messages(&json!({"model": model, "top_p": 0.9}));
        assert_eq!((&body["top_p"], lost.is_empty()), (&json!(0.9), true), "{model}");
    }
}

#[test]
fn tool_history_without_tools_declares_those_that_were_called() {
    let call =
        |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
    let body = json!({"model": "claude-sonnet-4-5", "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [call("a", "f"), call("b", "g"), call("c", "f")]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "tool", "tool_call_id": "c", "content": "3"},
    ]});
    let (told, warnings) = asked("chat", "messages", &body);
    let names: Vec<_> = told["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["f", "g"]);
    assert_eq!(told["tools"][0]["input_schema"]["type"], "object");
    assert_eq!(told["tool_choice"], json!({"type": "none"}), "the caller offers none");
    assert_eq!(warnings, ["tools"]);
    let (told, _) = asked("chat", "converse", &body);
    assert_eq!(told["toolConfig"]["tools"].as_array().unwrap().len(), 2);
    let (told, warnings) = asked(
        "messages",
        "chat",
        &json!({"model": "m", "max_tokens": 9, "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]},
        ]}),
    );
    assert_eq!((told.get("tools"), warnings.len()), (None, 0), "chat servers take it as it is");
}

#[test]
fn empty_messages_are_refused_by_name_and_instructions_alone_are_asked() {
    for to in ["chat", "openai", "messages", "gemini", "converse", "ollama"] {
        for from in ["chat", "messages"] {
            let message = refused(from, to, &json!({"model": "m", "max_tokens": 9, "messages": []}));
            assert_eq!(message, "messages must hold at least one message that is not empty", "{from} {to}");
        }
        assert!(refused("responses", to, &json!({"model": "m", "input": []})).contains("messages must hold"), "{to}");
    }
    let alone = json!({"model": "m", "messages": [{"role": "system", "content": "say hi"}]});
    let (told, warnings) = asked("chat", "messages", &alone);
    assert_eq!(told["messages"][0]["role"], "user");
    assert_eq!((told.get("system"), &warnings[..]), (None, &["messages.role".to_owned()][..]));
    let (told, _) = asked("chat", "gemini", &alone);
    assert_eq!(told["contents"][0]["parts"][0]["text"], "say hi");
    let (told, warnings) =
        asked("messages", "chat", &json!({"model": "m", "max_tokens": 9, "system": "say hi", "messages": []}));
    assert_eq!((&told["messages"][0]["role"], warnings.len()), (&json!("system"), 0));
}

#[test]
fn parallel_tool_calls_are_forbidden_both_ways() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let hello = json!([{"role": "user", "content": "hi"}]);
    let (told, _) = asked(
        "chat",
        "messages",
        &json!({"model": "m", "messages": hello, "tools": tools, "parallel_tool_calls": false}),
    );
    assert_eq!(told["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    let choice = json!({"type": "any", "disable_parallel_tool_use": true});
    let (told, _) = asked(
        "messages",
        "chat",
        &json!({"model": "m", "max_tokens": 9, "messages": hello, "tools": tools, "tool_choice": choice}),
    );
    assert_eq!((&told["tool_choice"], &told["parallel_tool_calls"]), (&json!("required"), &json!(false)));
}

#[test]
fn the_lower_of_both_limits_counts_and_openai_is_told_the_newer_name() {
    let hello = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": "m", "messages": hello, "max_tokens": 7, "max_completion_tokens": 9});
    assert_eq!(asked("chat", "messages", &body).0["max_tokens"], 7);
    let body = json!({"model": "m", "messages": hello, "max_tokens": 7});
    let (told, _) = asked("messages", "openai", &body);
    assert_eq!((&told["max_completion_tokens"], told.get("max_tokens")), (&json!(7), None));
    assert_eq!(asked("messages", "chat", &body).0["max_tokens"], 7);
}

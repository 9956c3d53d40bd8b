use super::*;

fn parse(body: &str, kind: Kind) -> Result<View, RequestError> {
    View::parse(body.as_bytes(), kind, Limits::default())
}

/// A body with what its endpoint needs as its last member.
fn whole(body: &str, kind: Kind) -> String {
    let member = match kind {
        Kind::Chat | Kind::Messages => r#""messages":[{"role":"user","content":"hi"}]"#,
        Kind::Completions => r#""prompt":"hi""#,
        _ => r#""input":"hi""#,
    };
    let open = body.strip_suffix('}').expect("an object");
    format!("{open}{}{member}}}", if open == "{" { "" } else { "," })
}

fn chat(extra: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{extra}}}"#)
}

#[test]
fn the_fields_that_matter_are_found() {
    let body = chat(
        r#","stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"max_completion_tokens":7,"n":3"#,
    );
    let view = parse(&body, Kind::Chat).unwrap();
    assert_eq!(view.model.as_deref(), Some("m"));
    assert!(view.stream && view.include_usage);
    assert_eq!((view.max_tokens, view.n), (Some(9), 3));
}

#[test]
fn embeddings_are_never_a_stream() {
    let asked = r#"{"model":"m","input":"hi","stream":true}"#;
    assert!(!parse(asked, Kind::Embeddings).unwrap().stream);
    assert!(parse(&asked.replace("true", "7"), Kind::Embeddings).is_err());
}

#[test]
fn what_a_request_belongs_to_is_told_in_order() {
    for (extra, session) in [
        (r#","user":"kim""#, Some("kim")),
        (r#","user":"kim","prompt_cache_key":"k\u00e9""#, Some("k\u{e9}")),
        (r#","user":"","safety_identifier":"s""#, Some("s")),
        (r#","user":7,"metadata":{"a":"b","user_id":"u"}"#, Some("u")),
        (r#","metadata":{"user_id":{"x":"y"}}"#, None),
        (r#","metadata":["user_id"],"user":{"a":"kim"},"x":{"user":"y"}"#, None),
    ] {
        let view = parse(&chat(extra), Kind::Chat).unwrap();
        assert_eq!(view.session(), session, "{extra}");
    }
    let body = r#"{"model":"m","input":"\"previous_response_id\":\"resp_0\"","previous_response_id":"resp_1"}"#;
    assert_eq!(parse(body, Kind::Responses).unwrap().previous_response_id(), Some("resp_1"));
}

#[test]
fn null_and_absent_fields_have_their_defaults() {
    let view = parse(&chat(r#","stream":null,"stream_options":null,"max_tokens":null,"n":null"#), Kind::Chat).unwrap();
    assert!(!view.stream && !view.include_usage);
    assert_eq!((view.max_tokens, view.n), (None, 1));
}

#[test]
fn wrong_types_name_their_field() {
    for (body, param, code) in [
        (r#"{"model":1,"messages":[{"role":"user"}]}"#, Some("model"), "invalid_type"),
        (r#"{"model":"","messages":[{"role":"user"}]}"#, Some("model"), "invalid_type"),
        (r#"{"model":{"a":[1]},"messages":[{"role":"user"}]}"#, Some("model"), "invalid_type"),
        (&chat(r#","stream":"yes""#), Some("stream"), "invalid_type"),
        (&chat(r#","stream_options":[{}]"#), Some("stream_options"), "invalid_type"),
        (&chat(r#","stream_options":{"include_usage":1}"#), Some("stream_options.include_usage"), "invalid_type"),
        (&chat(r#","max_tokens":-1"#), Some("max_tokens"), "invalid_value"),
        (&chat(r#","max_tokens":1.5"#), Some("max_tokens"), "invalid_value"),
        (&chat(r#","max_tokens":1e400"#), Some("max_tokens"), "invalid_value"),
        (&chat(r#","n":0"#), Some("n"), "invalid_value"),
        (&chat(r#","n":129"#), Some("n"), "invalid_value"),
        (r#"{"model":"m"}"#, Some("messages"), "missing_required_parameter"),
        (r#"{"messages":[]}"#, Some("messages"), "invalid_type"),
        (r#"{"messages":{"a":{}}}"#, Some("messages"), "invalid_type"),
        (r#"{"messages":["x"]}"#, Some("messages[0]"), "invalid_type"),
        (r#"{"messages":[{"role":"user"},{"content":"x"}]}"#, Some("messages[1].role"), "missing_required_parameter"),
        (r#"{"messages":[{"role":["x"]}]}"#, Some("messages[0].role"), "invalid_type"),
        (r#"{"messages":[{"role":"user","content":{"a":1}}]}"#, Some("messages[0].content"), "invalid_type"),
        ("[]", None, "invalid_type"),
        ("1", None, "invalid_type"),
        ("", None, "invalid_json"),
        (r#"{"model":1,"messages":[{"role":"user"}]"#, None, "invalid_json"),
    ] {
        let error = parse(body, Kind::Chat).unwrap_err();
        assert_eq!((error.param(), error.code()), (param, code), "{body}");
    }
    assert_eq!(parse("{}", Kind::Completions).unwrap_err().param(), Some("prompt"));
    assert_eq!(parse(r#"{"prompt":1}"#, Kind::Completions).unwrap_err().param(), Some("prompt"));
    assert_eq!(parse("{}", Kind::Embeddings).unwrap_err().param(), Some("input"));
    assert_eq!(parse(r#"{"input":[ ]}"#, Kind::Embeddings).unwrap_err().param(), Some("input"));
    assert!(parse(r#"{"input":[1,2]}"#, Kind::Embeddings).is_ok());
    assert!(parse("{}", Kind::Responses).is_ok());
}

#[test]
fn every_string_is_a_segment_of_its_kind() {
    use SegmentKind::{Media, Other, Text, ToolArguments, ToolDefinition};
    let body = r#"{"model":"m","user":"u1","system":[{"type":"text","text":"sys"}],"messages":[
        {"role":"user","name":"bob","content":[{"type":"text","text":"a\n"},
          {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},
          {"type":"input_audio","input_audio":{"data":"UklG","format":"wav"}}]},
        {"role":"assistant","content":null,"tool_calls":[
          {"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"user","content":[{"type":"tool_use","id":"t","name":"g","input":{"q":["deep"]}}]},
        {"role":"tool","tool_call_id":"c1","content":"result"}],
        "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"x":{"enum":["e"]}}}}]}"#;
    let view = parse(body, Kind::Chat).unwrap();
    assert!(view.segments.iter().all(|segment| segment.form == Form::String));
    let found: Vec<_> = view.segments.iter().map(|s| (&body[s.string.start..s.string.end], s.kind)).collect();
    assert_eq!(
        found,
        [
            ("u1", Other),
            ("text", Other),
            ("sys", Text),
            ("user", Other),
            ("bob", Text),
            ("text", Other),
            ("a\\n", Text),
            ("image_url", Other),
            ("data:image/png;base64,AAAA", Media),
            ("input_audio", Other),
            ("UklG", Media),
            ("wav", Other),
            ("assistant", Other),
            ("c1", Other),
            ("function", Other),
            ("f", Other),
            ("{}", ToolArguments),
            ("user", Other),
            ("tool_use", Other),
            ("t", Other),
            ("g", Text),
            ("deep", ToolArguments),
            ("tool", Other),
            ("c1", Other),
            ("result", Text),
            ("function", ToolDefinition),
            ("f", ToolDefinition),
            ("d", ToolDefinition),
            ("e", ToolDefinition),
        ]
    );
}

#[test]
fn media_are_told_by_their_place_and_not_by_their_looks() {
    use SegmentKind::{Media, Other, Text};
    let body = r#"{"messages":[{"role":"user","content":[
        {"type":"text","text":"data:text/plain;base64,AAAA"},
        {"type":"image_url","image_url":"data:image/png;base64,BBBB"},
        {"type":"image","source":{"data":"CCCC","type":"base64","media_type":"image/png"}},
        {"type":"file","file":{"file_data":"DDDD","filename":"EEEE"}},
        {"type":"thinking","thinking":"FFFF","signature":"GGGG"}]}]}"#;
    let view = parse(body, Kind::Messages).unwrap();
    let text = |segment: &Segment| &body[segment.string.start..segment.string.end];
    let found: Vec<_> = view.segments.iter().filter(|s| s.kind != Other).map(|s| (text(s), s.kind)).collect();
    assert_eq!(
        found,
        [
            ("data:text/plain;base64,AAAA", Text),
            ("data:image/png;base64,BBBB", Media),
            ("CCCC", Media),
            ("DDDD", Media),
            ("EEEE", Text),
            ("FFFF", Text),
            ("GGGG", Media),
        ]
    );
}

#[test]
fn keys_and_numbers_are_segments_where_something_could_hide() {
    let body = r#"{"messages":[{"role":"user","content":[{"type":"tool_use","id":"t","name":"g",
        "input":{"john@x.example":1,"list":[4111111111111111,7],"ok":true,"ratio":0.123456789}}]}],"metadata":{"A key":"v"},
        "tools":[{"type":"custom","parameters":{"someName":1}}],"seed":12345678}"#;
    let view = parse(body, Kind::Messages).unwrap();
    let text = |string: Str| &body[string.start..string.end];
    let hidden = view.segments.iter().filter(|s| s.form != Form::String);
    let found: Vec<_> = hidden.map(|s| (text(s.string), s.form, s.kind, s.key.map(text))).collect();
    assert_eq!(
        found,
        [
            ("john@x.example", Form::Key, SegmentKind::ToolArguments, None),
            ("4111111111111111", Form::Number, SegmentKind::ToolArguments, Some("list")),
            ("someName", Form::Key, SegmentKind::ToolDefinition, None),
        ]
    );
}

#[test]
fn a_rewrite_touches_nothing_else() {
    for (body, model, usage, wanted) in [
        (r#"{"model":"m","messages":[]}"#, Some("m"), false, None),
        (r#"{ "b" : 1, "model" : "m" , "c":2}"#, Some("x\"y"), false, Some(r#"{ "b" : 1, "model" : "x\"y" , "c":2}"#)),
        (r#"{"a":1}"#, Some("x"), true, Some(r#"{"model":"x","stream_options":{"include_usage":true},"a":1}"#)),
        ("{}", Some("x"), false, Some(r#"{"model":"x"}"#)),
        (r#"{"model":null}"#, Some("x"), false, Some(r#"{"model":"x"}"#)),
        (r#"{"stream_options":null}"#, None, true, Some(r#"{"stream_options":{"include_usage":true}}"#)),
        (r#"{"stream_options": {} }"#, None, true, Some(r#"{"stream_options": {"include_usage":true} }"#)),
        (
            r#"{"stream_options":{"x":[1]},"a":2}"#,
            None,
            true,
            Some(r#"{"stream_options":{"include_usage":true,"x":[1]},"a":2}"#),
        ),
        (
            r#"{"stream_options":{"include_usage": false},"model":"m"}"#,
            Some("n"),
            true,
            Some(r#"{"stream_options":{"include_usage": true},"model":"n"}"#),
        ),
        (r#"{"stream_options":{"include_usage":true}}"#, None, true, None),
    ] {
        let view = parse(body, Kind::Responses).unwrap();
        let rewritten = view.rewrite(body.as_bytes(), Changes { model, include_usage: usage, ..Changes::default() });
        assert_eq!(rewritten.as_deref(), wanted.map(str::as_bytes), "{body}");
    }
}

#[test]
fn a_limit_on_generated_tokens_is_lowered_wherever_it_stands_and_added_where_there_is_none() {
    for (body, wanted) in [
        (r#"{"model":"m"}"#, Some(r#"{"max_tokens":50,"model":"m"}"#)),
        ("{}", Some(r#"{"max_tokens":50}"#)),
        (r#"{"a":1,"max_tokens": 100 }"#, Some(r#"{"a":1,"max_tokens": 50 }"#)),
        (r#"{"max_tokens":50}"#, None),
        (r#"{"max_tokens":51,"max_completion_tokens":49}"#, Some(r#"{"max_tokens":50,"max_completion_tokens":49}"#)),
        (r#"{"max_completion_tokens":null,"b":2}"#, Some(r#"{"max_completion_tokens":50,"b":2}"#)),
        (r#"{"max_output_tokens":1}"#, Some(r#"{"max_tokens":50,"max_output_tokens":1}"#)),
    ] {
        let body = whole(body, Kind::Chat);
        let changes = Changes { max_tokens: Some((50, "max_tokens")), ..Changes::default() };
        let rewritten = parse(&body, Kind::Chat).unwrap().rewrite(body.as_bytes(), changes);
        assert_eq!(rewritten, wanted.map(|wanted| whole(wanted, Kind::Chat).into_bytes()), "{body}");
    }
}

#[test]
fn a_limit_bounds_what_its_endpoint_reads_and_of_several_the_largest_does() {
    let all = [("max_tokens", 1), ("max_completion_tokens", 2), ("max_output_tokens", 3)];
    let body = r#"{"max_tokens":1,"max_completion_tokens":2,"max_output_tokens":3}"#;
    for (kind, read) in [
        (Kind::Chat, &["max_tokens", "max_completion_tokens"][..]),
        (Kind::Completions, &["max_tokens"]),
        (Kind::Messages, &["max_tokens"]),
        (Kind::Responses, &["max_output_tokens"]),
        (Kind::Embeddings, &[]),
        (Kind::Other, &[]),
    ] {
        let most = all.iter().filter(|(name, _)| read.contains(name)).map(|(_, limit)| *limit).max();
        assert_eq!(parse(&whole(body, kind), kind).unwrap().max_tokens, most, "{kind:?}");
        for (name, limit) in all {
            let body = format!(r#"{{"{name}":{limit}}}"#);
            assert_eq!(
                parse(&whole(&body, kind), kind).unwrap().max_tokens,
                read.contains(&name).then_some(limit),
                "{kind:?} {name}"
            );
        }
    }
    let body = chat(r#","max_tokens":null,"max_completion_tokens":7"#);
    assert_eq!(parse(&body, Kind::Chat).unwrap().max_tokens, Some(7));
}

#[test]
fn an_answer_without_a_token_is_asked_of_a_completion_alone() {
    for (kind, name) in
        [(Kind::Chat, "max_completion_tokens"), (Kind::Messages, "max_tokens"), (Kind::Responses, "max_output_tokens")]
    {
        let error = parse(&whole(&format!(r#"{{"{name}":0}}"#), kind), kind).unwrap_err();
        assert_eq!(error.param(), Some(name), "{kind:?}");
    }
    let body = whole(r#"{"max_tokens":0}"#, Kind::Completions);
    assert_eq!(parse(&body, Kind::Completions).unwrap().max_tokens, Some(0));
}

#[test]
fn all_answers_are_counted_that_are_paid_for() {
    for (body, choices) in
        [("{}", 1), (r#"{"n":3}"#, 3), (r#"{"n":2,"best_of":5}"#, 5), (r#"{"n":2,"best_of":null}"#, 2)]
    {
        assert_eq!(parse(body, Kind::Responses).unwrap().choices(), choices, "{body}");
    }
    for (prompt, choices) in [
        (r#""one""#, 2),
        (r#"["one"]"#, 2),
        (r#"["one","two [3]"]"#, 4),
        ("[1,2,3]", 2),
        ("[[1,2],[3],[]]", 6),
        ("[]", 2),
    ] {
        let body = format!(r#"{{"prompt":{prompt},"n":2}}"#);
        assert_eq!(parse(&body, Kind::Completions).unwrap().choices(), choices, "{body}");
    }
}

#[test]
fn a_budget_for_thoughts_is_lowered_with_the_answer_they_are_part_of() {
    let cases = [
        (8000, 4000, 5000, r#"{ "type":"enabled","budget_tokens":4000}"#),
        (8000, 4000, 4000, r#"{"type":"enabled","budget_tokens":2976}"#),
        (8000, 4000, 1500, r#"{"type":"enabled","budget_tokens":1024}"#),
        (8000, 4000, 1024, r#"{"type":"disabled"}"#),
        (8000, 4000, 20, r#"{"type":"disabled"}"#),
        (8000, 4000, 4001, r#"{ "type":"enabled","budget_tokens":4000}"#),
        // Interleaved: a budget of more than one answer.
        (4000, 9000, 3000, r#"{ "type":"enabled","budget_tokens":9000}"#),
    ];
    for (asked, budget, most, expected) in cases {
        let body = format!(
            r#"{{"max_tokens":{asked},"thinking": {{ "type":"enabled","budget_tokens":{budget}}},"messages":[{{"role":"user","content":"x"}}]}}"#
        );
        let view = View::parse(body.as_bytes(), Kind::Messages, Limits { max_depth: 64, max_nodes: 1000 }).unwrap();
        let changes = Changes { max_tokens: Some((most, "max_tokens")), ..Changes::default() };
        let written = String::from_utf8(view.rewrite(body.as_bytes(), changes).unwrap()).unwrap();
        let head = format!(r#"{{"max_tokens":{most},"thinking": {expected},"messages""#);
        assert!(written.starts_with(&head), "{written}");
    }
}

#[test]
fn thoughts_with_an_empty_signature_are_left_out_and_nothing_else_is_touched() {
    let proven = |body: &str| {
        let view = View::parse(body.as_bytes(), Kind::Messages, Limits { max_depth: 64, max_nodes: 1000 }).unwrap();
        let changes = Changes { proven: true, ..Changes::default() };
        view.rewrite(body.as_bytes(), changes).map(|body| String::from_utf8(body).unwrap())
    };
    let thought = r#"{"type":"thinking","thinking":"hm","signature" : ""}"#;
    let signed = r#"{"type":"thinking", "thinking":"hm","signature":"Eq=="}"#;
    let call = r#"{"type":"tool_use","id":"a","name":"f","input":{"n": 1.50,"signature":""}}"#;
    let with = |blocks: &str| {
        format!(
            r#"{{"model":"m", "messages":[ {{"role":"user","content":"a"}},{{"role":"assistant","content":[{blocks}],"x":1}}]}}"#
        )
    };
    assert_eq!(proven(&with(&[signed, call].join(", "))), None);
    assert_eq!(proven(&with(call)), None);
    let expected = with(&[signed, call].join(",")).replace("[ {", "[{");
    assert_eq!(proven(&with(&[thought, signed, thought, call].join(" , "))), Some(expected));
    // A message of nothing else goes with them.
    let expected = r#"{"model":"m", "messages":[{"role":"user","content":"a"}]}"#;
    assert_eq!(proven(&with(thought)).as_deref(), Some(expected));
    // What is no block is the provider's to refuse.
    assert_eq!(proven(&with(&[thought, "[{}]"].join(","))), None);
}

#[test]
fn a_model_that_the_path_names_is_taken_out_and_the_version_put_in() {
    let version = Some("vertex-2023-10-16");
    for (body, wanted) in [
        (
            r#"{"model":"m","messages":[{"role":"user"}]}"#,
            r#"{"anthropic_version":"vertex-2023-10-16","messages":[{"role":"user"}]}"#,
        ),
        (
            r#"{ "messages":[{"role":"user"}] , "model" : "m" }"#,
            r#"{"anthropic_version":"vertex-2023-10-16", "messages":[{"role":"user"}]  }"#,
        ),
        (
            r#"{"messages":[{"role":"user"}], "model":"m" ,"max_tokens":1}"#,
            r#"{"anthropic_version":"vertex-2023-10-16","messages":[{"role":"user"}], "max_tokens":1}"#,
        ),
        (
            r#"{"anthropic_version":"v","messages":[{"role":"user"}],"model":null}"#,
            r#"{"anthropic_version":"v","messages":[{"role":"user"}]}"#,
        ),
    ] {
        let view = parse(body, Kind::Messages).unwrap();
        let changes = Changes { without_model: true, version, model: Some("other"), ..Changes::default() };
        let written = String::from_utf8(view.rewrite(body.as_bytes(), changes).unwrap()).unwrap();
        assert_eq!(written, wanted);
    }
}

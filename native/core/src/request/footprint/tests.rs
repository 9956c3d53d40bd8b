use super::*;
use crate::json::Limits;
use crate::request::Kind;

fn view(kind: Kind, body: &str) -> View {
    View::parse(body.as_bytes(), kind, Limits::default()).unwrap()
}

fn bound(kind: Kind, body: &str) -> Option<u64> {
    view(kind, body).prompt_bound(1000)
}

#[test]
fn a_text_is_at_most_its_bytes() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(bound(Kind::Chat, body), Some(body.len() as u64 + AROUND));
}

#[test]
fn images_and_sounds_are_not_their_bytes() {
    let big = "A".repeat(80_000);
    for (kind, part) in [
        (Kind::Chat, r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,BIG"}}"#),
        (Kind::Chat, r#"{"type":"input_audio","input_audio":{"data":"BIG","format":"wav"}}"#),
        (Kind::Messages, r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"BIG"}}"#),
    ] {
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{}]}}]}}"#, part.replace("BIG", &big));
        let bound = bound(kind, &body).unwrap();
        let image = if part.contains("image") { 1000 } else { 0 };
        assert!((10_000 + image..11_000 + image).contains(&bound), "{part}: {bound}");
    }
    let body =
        format!(r#"{{"input":[{{"role":"user","content":[{{"type":"input_image","image_url":"data:{big}"}}]}}]}}"#);
    assert!(bound(Kind::Responses, &body).unwrap() < 12_000);
}

#[test]
fn what_only_looks_like_an_image_is_text() {
    let big = "A".repeat(80_000);
    for content in [
        format!(r#"[{{"type":"redacted_thinking","data":"{big}"}}]"#),
        format!(r#"[{{"type":"thinking","thinking":"","signature":"{big}"}}]"#),
        format!(
            r#"[{{"type":"tool_use","id":"i","name":"n","input":{{"type":"image","source":{{"data":"{big}"}}}}}}]"#
        ),
        format!(r#""{big}""#),
    ] {
        let body = format!(r#"{{"messages":[{{"role":"assistant","content":{content}}}]}}"#);
        assert!(bound(Kind::Messages, &body).unwrap() > 80_000, "{}", &content[..40]);
    }
}

#[test]
fn what_does_not_stand_in_the_body_has_no_bound() {
    let with = |part: &str| format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#);
    for body in [
        with(r#"{"type":"file","file":{"file_id":"f"}}"#),
        with(r#"{"type":"document","source":{"type":"url","url":"https://x"}}"#),
        with(r#"{"type":"vid\u0065o_url","video_url":{"url":"https://x"}}"#),
        with(r#"{"typ\u0065":"document","source":{"type":"url","url":"https://x"}}"#),
        r#"{"messages":[{"role":"assistant","audio":{"id":"a"}}]}"#.into(),
        r#"{"messages":[{"role":"user","content":"x"}],"web_search_options":{}}"#.into(),
        r#"{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"web_search_20250305","name":"w"}]}"#.into(),
    ] {
        assert_eq!(bound(Kind::Chat, &body), None, "{body}");
    }
    for body in [
        r#"{"input":"x","previous_response_id":"r"}"#,
        r#"{"input":"x","conversation":"c"}"#,
        r#"{"prompt":{"id":"p"}}"#,
        r#"{"input":[{"type":"item_reference","id":"i"}]}"#,
        r#"{"input":"x","tools":[{"type":"function","name":"f"},{"type":"file_search"}]}"#,
    ] {
        assert_eq!(bound(Kind::Responses, body), None, "{body}");
    }
    for body in [
        r#"{"input":"x","previous_response_id":null,"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]}"#,
        r#"{"input":"x","text":{"format":{"type":"json_schema","schema":{"type":"object"}}}}"#,
        r#"{"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"x"}]}]}"#,
    ] {
        assert!(bound(Kind::Responses, body).is_some(), "{body}");
    }
}

#[test]
fn tools_are_counted_twice_and_with_their_instructions() {
    let plain = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
    let tool = r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#;
    let body = format!(r#"{{"tools":{tool},{}"#, &plain[1..]);
    let more = bound(Kind::Chat, &body).unwrap() - bound(Kind::Chat, plain).unwrap();
    assert!(more >= 2 * tool.len() as u64 + AROUND_TOOLS);
}

#[test]
fn prompts_are_counted_with_what_stands_around_messages() {
    let count = |kind, body: &str| view(kind, body).prompt_tokens(body.as_bytes(), Encoding::O200kBase);
    // "hello world" is two tokens; three and the role for the message, three for the answer's beginning.
    assert_eq!(count(Kind::Chat, r#"{"messages":[{"role":"user","content":"hello world"}]}"#), 9);
    assert_eq!(count(Kind::Chat, r#"{"messages":[{"role":"user","name":"bob","content":"hello \u0077orld"}]}"#), 11);
    assert_eq!(count(Kind::Embeddings, r#"{"input":"hello world"}"#), 2);
    assert_eq!(count(Kind::Embeddings, r#"{"input":["hello world","hello"]}"#), 3);
    assert_eq!(count(Kind::Embeddings, r#"{"input":[[1,2,3],[4]]}"#), 4);
    assert_eq!(count(Kind::Completions, r#"{"prompt":[15339,1917]}"#), 2);
    let parts = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hello world"},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}"#;
    assert_eq!(count(Kind::Chat, parts), 9);
    assert_eq!(count(Kind::Responses, r#"{"input":"hello world","instructions":"hello"}"#), 3);
}

#[test]
fn a_count_is_never_more_than_the_bound() {
    for (kind, body) in [
        (Kind::Chat, r#"{"messages":[{"role":"u","content":""},{"role":"u","content":"\u4f60\u597d"}],"tools":[{}]}"#),
        (
            Kind::Chat,
            r#"{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}]}"#,
        ),
        (Kind::Embeddings, r#"{"input":[1,2,3,4,5,6,7,8,9]}"#),
        (Kind::Responses, r#"{"input":[{"role":"user","content":"x"},{"role":"user","content":"y"}]}"#),
    ] {
        let view = view(kind, body);
        for encoding in [Encoding::Cl100kBase, Encoding::O200kBase] {
            assert!(view.prompt_tokens(body.as_bytes(), encoding) <= view.prompt_bound(0).unwrap(), "{body}");
        }
    }
}

pub(crate) mod from_tool;

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use super::*;
use crate::json::Limits;
use crate::request::Kind;
use crate::scan::{Action, Policy, RuleSpec, Rules};

/// The built-in rules, and two whose matches are told by their context and checksum; loaded once.
static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    let rule = |text: &str| -> RuleSpec { toml::from_str(text).unwrap() };
    let extra = vec![
        rule(
            r#"id = "test-card"
            type = "TEST_CARD"
            family = "pii"
            start = "number"
            regex = '[0-9]{16}'
            priority = 99
            validator = "luhn""#,
        ),
        rule(
            r#"id = "test-password"
            type = "TEST_PASSWORD"
            family = "secrets"
            start = "token"
            regex = '[a-z0-9!]{8,40}'
            priority = 99
            context = ["pass_phrase"]"#,
        ),
    ];
    Rules::load(extra).unwrap()
});

pub(crate) fn scanner(policy: &Policy) -> Scanner {
    Scanner::new(Arc::clone(&RULES), policy)
}

fn only_pii(action: Action) -> Policy {
    Policy { pii: action, ..Policy::default() }
}

fn request(body: &str, kind: Kind, vault: Option<&mut Vault>) -> BodyOutcome {
    let view = View::parse(body.as_bytes(), kind, Limits::default()).unwrap();
    redact_request(&scanner(&only_pii(Action::Redact)), body.as_bytes(), &view, vault)
}

fn told(outcome: &BodyOutcome) -> &str {
    std::str::from_utf8(outcome.body.as_deref().unwrap()).unwrap()
}

const MAIL: &str = "jane.doe@example.com";

#[test]
#[expect(clippy::too_many_lines, reason = "a table of every place of every API that a text can stand in")]
fn every_string_that_a_model_reads_is_looked_at() {
    let chat = |message: &str| (Kind::Chat, format!(r#"{{"messages":[{message}]}}"#));
    let user = |content: &str| chat(&format!(r#"{{"role":"user","content":{content}}}"#));
    let with = |kind, members: &str| (kind, format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],{members}}}"#));
    let responses = |members: &str| (Kind::Responses, format!("{{{members}}}"));
    for (kind, body) in [
        user(r#""write to MAIL""#),
        user(r#"[{"type":"text","text":"to MAIL"}]"#),
        user(r#"[{"type":"text","text":"a data: MAIL"}]"#),
        user(r#"[{"type":"text","text":"data:text/plain,MAIL"}]"#),
        user(r#"[{"type":"image_url","image_url":{"url":"https://h.example/?to=MAIL"}}]"#),
        user(r#"[{"type":"image_url","image_url":{"url":"data:text/plain,MAIL"}}]"#),
        user(r#"[{"type":"input_audio","input_audio":{"data":"MAIL","format":"wav"}}]"#),
        user(r#"[{"type":"file","file":{"filename":"MAIL","file_data":"AAAA"}}]"#),
        user(r#"[{"type":"text","text":"x","MAIL":1}]"#),
        user(r#""{\"to\": \"MAIL\"}""#),
        user(r#""{\"to\": \"jane.doe\\u0040example.com\"}""#),
        user(r#""[\"{\\\"to\\\": \\\"MAIL\\\"}\"]""#),
        user(r#""jane.doe\u0040example.com""#),
        user(r#"[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"MAIL"}]}]"#),
        user(
            r#"[{"type":"document","title":"MAIL","source":{"type":"text","data":"to MAIL","media_type":"text/plain"}}]"#,
        ),
        chat(r#"{"role":"system","content":"MAIL"}"#),
        chat(r#"{"role":"developer","content":"MAIL"}"#),
        chat(r#"{"role":"user","name":"MAIL","content":"x"}"#),
        chat(r#"{"role":"tool","tool_call_id":"MAIL","content":"x"}"#),
        chat(r#"{"role":"tool","tool_call_id":"c","content":"{\"rows\":[{\"mail\":\"MAIL\"}]}"}"#),
        chat(r#"{"role":"assistant","refusal":"MAIL","content":null}"#),
        chat(r#"{"role":"assistant","reasoning_content":"MAIL","content":null}"#),
        chat(r#"{"role":"assistant","content":[{"type":"thinking","thinking":"MAIL","signature":"c2ln"}]}"#),
        chat(
            r#"{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"to\":\"MAIL\"}"}}]}"#,
        ),
        chat(
            r#"{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"to\":\"jane.doe\\u0040example.com\"}"}}]}"#,
        ),
        chat(
            r#"{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"MAIL\":1}"}}]}"#,
        ),
        chat(
            r#"{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"cut\":\"MAIL"}}]}"#,
        ),
        chat(r#"{"role":"assistant","function_call":{"name":"f","arguments":"MAIL"}}"#),
        chat(
            r#"{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":[{"to":"MAIL"}]}}]}"#,
        ),
        with(Kind::Messages, r#""system":"MAIL""#),
        with(Kind::Messages, r#""system":[{"type":"text","text":"MAIL"}]"#),
        with(Kind::Messages, r#""metadata":{"user_id":"MAIL"}"#),
        with(Kind::Messages, r#""stop_sequences":["MAIL"]"#),
        with(Kind::Chat, r#""user":"MAIL""#),
        with(Kind::Chat, r#""metadata":{"MAIL":"x"}"#),
        with(Kind::Chat, r#""stop":["MAIL"]"#),
        with(Kind::Chat, r#""logit_bias":{"MAIL":1}"#),
        with(Kind::Chat, r#""MAIL":1"#),
        with(Kind::Chat, r#""prediction":{"type":"content","content":"MAIL"}"#),
        with(Kind::Chat, r#""tools":[{"type":"function","function":{"name":"f","description":"MAIL"}}]"#),
        with(
            Kind::Chat,
            r#""tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"to":{"enum":["MAIL"]}}}}}]"#,
        ),
        with(
            Kind::Chat,
            r#""tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"MAIL":{"default":"x"}}}}}]"#,
        ),
        with(Kind::Chat, r#""response_format":{"type":"json_schema","json_schema":{"schema":{"const":"MAIL"}}}"#),
        (Kind::Completions, r#"{"prompt":"MAIL"}"#.into()),
        (Kind::Completions, r#"{"prompt":["a","MAIL"]}"#.into()),
        (Kind::Completions, r#"{"prompt":"a","suffix":"MAIL"}"#.into()),
        (Kind::Embeddings, r#"{"input":"MAIL"}"#.into()),
        (Kind::Embeddings, r#"{"input":["a","MAIL"]}"#.into()),
        responses(r#""input":"MAIL""#),
        responses(r#""instructions":"MAIL","input":"x""#),
        responses(r#""input":[{"role":"user","content":[{"type":"input_text","text":"MAIL"}]}]"#),
        responses(
            r#""input":[{"role":"user","content":[{"type":"input_image","image_url":"https://h.example/?MAIL"}]}]"#,
        ),
        responses(r#""input":[{"type":"function_call","call_id":"c","name":"f","arguments":"{\"to\":\"MAIL\"}"}]"#),
        responses(r#""input":[{"type":"function_call_output","call_id":"c","output":"MAIL"}]"#),
        responses(
            r#""input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"MAIL"}]}]"#,
        ),
        responses(r#""input":[{"type":"reasoning","summary":[{"type":"summary_text","text":"MAIL"}]}]"#),
        responses(r#""input":"x","prompt":{"id":"p","variables":{"who":"MAIL"}}"#),
    ] {
        let body = body.replace("MAIL", MAIL);
        let outcome = request(&body, kind, None);
        assert_eq!(outcome.decision, Decision::Transformed, "{body}");
        let sent = told(&outcome);
        let plain = body.replace("\\\\u0040", "@").replace("\\u0040", "@");
        assert_eq!(sent, plain.replace(MAIL, "<EMAIL_ADDRESS>"), "{body}");
        serde_json::from_str::<Value>(sent).unwrap();
        let view = View::parse(body.as_bytes(), kind, Limits::default()).unwrap();
        for found in &outcome.findings {
            let string = view.segments[found.segment].string;
            let text: String = serde_json::from_str(&format!("\"{}\"", &body[string.start..string.end])).unwrap();
            let value = &text[found.finding.start..found.finding.end];
            assert!(value == MAIL || value.contains("u0040"), "{body}: {value}");
        }
        let rules = Rules::builtin();
        assert!(outcome.findings.iter().all(|found| rules.get(found.finding.rule).unwrap().kind == "EMAIL_ADDRESS"));
        assert!(!outcome.findings.is_empty());
    }
}

#[test]
fn media_are_passed_over_by_type_and_shape() {
    let image = "AKIA".to_owned() + &"QUJD".repeat(200);
    for part in [
        json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{image}")}}),
        json!({"type": "input_image", "image_url": format!("data:image/png;base64,{image}")}),
        json!({"type": "input_audio", "input_audio": {"data": image, "format": "wav"}}),
        json!({"type": "file", "file": {"file_data": format!("data:application/pdf;base64,{image}")}}),
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}}),
        json!({"type": "thinking", "thinking": "hm", "signature": image}),
        json!({"type": "redacted_thinking", "data": image}),
    ] {
        let body = json!({"messages": [{"role": "user", "content": [part]}]}).to_string();
        let view = View::parse(body.as_bytes(), Kind::Chat, Limits::default()).unwrap();
        let scanner = scanner(&Policy::default());
        let mut redactor = Redactor::new(&scanner, Way::Out(None));
        let media: Vec<_> = view.segments.iter().filter(|segment| segment.kind == SegmentKind::Media).collect();
        assert_eq!(media.len(), 1, "{body}");
        assert!(redactor.segment(body.as_bytes(), media[0], 0).is_empty());
        assert_eq!(request(&body, Kind::Chat, None), BodyOutcome::default());
    }
}

#[test]
fn encoded_files_of_text_are_read_and_written_anew() {
    let lines = "id;mail\n1;jane.doe@example.com\n2;nobody\n".repeat(20);
    let rows = json!({"rows": vec![json!({"to": MAIL, "n": 1}); 20]}).to_string();
    for plain in [lines, rows] {
        let digits = |text: &str| {
            let mut out = Vec::new();
            crate::base64::encode(text.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        for (part, escaped) in [
            (
                json!({"type": "file", "file": {"file_data": format!("data:text/plain;base64,{}", digits(&plain))}}),
                false,
            ),
            (json!({"type": "input_file", "file_data": digits(&plain)}), false),
            (
                json!({"type": "image_url", "image_url": {"url": format!("data:image/svg+xml;base64,{}", digits(&plain))}}),
                true,
            ),
            (
                json!({"type": "document", "source": {"type": "base64", "media_type": "text/csv", "data": digits(&plain)}}),
                false,
            ),
        ] {
            let body = json!({"messages": [{"role": "user", "content": [part]}]}).to_string();
            let body = if escaped { body.replace('/', "\\/") } else { body };
            let outcome = request(&body, Kind::Chat, None);
            let wanted = digits(&plain.replace(MAIL, "<EMAIL_ADDRESS>"));
            let head = body.split(&digits(&plain)[..40]).next().unwrap();
            assert!(told(&outcome).starts_with(head), "{body}");
            assert!(told(&outcome)[head.len()..].starts_with(&wanted), "{body}");
            assert_eq!(outcome.findings.len(), 20, "each is told");
        }
    }
}

#[test]
fn a_body_without_findings_passes_untouched() {
    let body = r#"{ "messages" : [ {"role":"user","content":"caf\u00e9 \ud83d\ude00 {not json} [1,2"} ] , "n":1}"#;
    assert_eq!(request(body, Kind::Chat, None), BodyOutcome::default());
}

#[test]
fn everything_beside_a_finding_stays_as_it_came() {
    let body = "{ \"z\":1.0e5 ,\"messages\" :[{\"content\":\"caf\\u00e9 \\ud83d\\ude00\\/ jane.doe@example.com \\t\u{e9}\",\"role\":\"user\"}]\n}";
    let outcome = request(body, Kind::Chat, None);
    assert_eq!(told(&outcome), body.replace(MAIL, "<EMAIL_ADDRESS>"));
}

#[test]
fn keys_are_context_for_their_values() {
    let body = r#"{"messages":[{"role":"user","content":[{"type":"tool_use","id":"t","name":"f",
        "input":{"pass_phrase":"xkcd0936!","other":"xkcd0936!"}}]},
        {"role":"tool","tool_call_id":"c","content":"{\"pass_phrase\":[\"xkcd0936!\"],\"note\":\"xkcd0936!\"}"}]}"#;
    let wanted = body
        .replace(r#""pass_phrase":"xkcd0936!""#, r#""pass_phrase":"<TEST_PASSWORD>""#)
        .replace(r#"[\"xkcd0936!\"]"#, r#"[\"<TEST_PASSWORD>\"]"#);
    assert_eq!(told(&request(body, Kind::Messages, None)), wanted);
}

#[test]
fn numbers_in_tool_arguments_become_strings() {
    let body = r#"{"messages":[{"role":"user","content":[{"type":"tool_use","id":"t","name":"f",
        "input":{"card":4111111111111111,"no":4111111111111112}}]},
        {"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"n\":[4111111111111111]}"}}]}],
        "seed":4111111111111111}"#;
    let wanted = body
        .replace(r#""card":4111111111111111"#, r#""card":"<TEST_CARD>""#)
        .replace("[4111111111111111]", r#"[\"<TEST_CARD>\"]"#);
    let outcome = request(body, Kind::Messages, None);
    assert_eq!(told(&outcome), wanted);
    assert_eq!(outcome.findings.len(), 2);
}

#[test]
fn two_keys_do_not_become_one() {
    let body = r#"{"messages":[{"role":"user","content":"{\"a@x.example\":1,\"b@x.example\":{\"a@x.example\":2}}"}]}"#;
    let outcome = request(body, Kind::Chat, None);
    assert!(told(&outcome).contains(r#"{\"<EMAIL_ADDRESS>\":1,\"<EMAIL_ADDRESS>_2\":{\"<EMAIL_ADDRESS>\":2}}"#));
}

#[test]
fn a_block_leaves_no_body() {
    let body = r#"{"messages":[{"role":"user","content":"a jane.doe@example.com"},{"role":"user","content":"b"}]}"#;
    let view = View::parse(body.as_bytes(), Kind::Chat, Limits::default()).unwrap();
    let outcome = redact_request(&scanner(&only_pii(Action::Block)), body.as_bytes(), &view, None);
    assert_eq!((outcome.decision, outcome.body), (Decision::Blocked, None));
    assert_eq!((outcome.findings.len(), outcome.findings[0].finding.start), (1, 2));
}

#[test]
fn a_flag_changes_nothing() {
    let body = r#"{"messages":[{"role":"user","content":"a jane.doe@example.com"}]}"#;
    let view = View::parse(body.as_bytes(), Kind::Chat, Limits::default()).unwrap();
    let outcome = redact_request(&scanner(&only_pii(Action::Flag)), body.as_bytes(), &view, None);
    assert_eq!((outcome.decision, outcome.body, outcome.findings.len()), (Decision::Allowed, None, 1));
}

fn answer(body: &str) -> BodyOutcome {
    redact_response(&scanner(&only_pii(Action::Redact)), body.as_bytes(), None)
}

#[test]
fn every_text_of_an_answer_is_looked_at() {
    for body in [
        r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"to MAIL"}}]}"#,
        r#"{"choices":[{"message":{"content":"a"}},{"message":{"content":[{"type":"text","text":"MAIL"}]}}]}"#,
        r#"{"choices":[{"message":{"reasoning_content":"MAIL"}}]}"#,
        r#"{"choices":[{"message":{"reasoning":"MAIL","refusal":"MAIL"}}]}"#,
        r#"{"choices":[{"message":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"to\":\"MAIL\"}"}}]}}]}"#,
        r#"{"choices":[{"message":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"to\":\"MAIL"}}]}}]}"#,
        r#"{"choices":[{"message":{"function_call":{"name":"f","arguments":"{\"MAIL\":1}"}}}]}"#,
        r#"{"choices":[{"message":{"audio":{"data":"AAAA","transcript":"MAIL"}}}]}"#,
        r#"{"choices":[{"text":"MAIL","index":0}]}"#,
        r#"{"output":[{"type":"message","content":[{"type":"output_text","text":"MAIL","annotations":[]}]}]}"#,
        r#"{"output":[{"type":"function_call","arguments":"{\"to\":\"MAIL\"}","call_id":"c"}]}"#,
        r#"{"output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"MAIL"}]}]}"#,
        r#"{"type":"message","content":[{"type":"text","text":"MAIL"},{"type":"thinking","thinking":"MAIL"}]}"#,
        r#"{"content":[{"type":"tool_use","id":"t","name":"f","input":{"to":["MAIL"]}}]}"#,
        "no JSON, but MAIL",
    ] {
        let body = body.replace("MAIL", MAIL);
        let outcome = answer(&body);
        assert_eq!(outcome.decision, Decision::Transformed, "{body}");
        assert_eq!(told(&outcome), body.replace(MAIL, "<EMAIL_ADDRESS>"));
    }
}

#[test]
fn embeddings_ids_and_invalid_bytes_are_left_alone() {
    let vector = "QUJD".repeat(300);
    let body =
        format!(r#"{{"id":"a@b.example","data":[{{"embedding":"{vector}"}},{{"embedding":[4111111111111111,0.1]}}]}}"#);
    assert_eq!(answer(&body), BodyOutcome::default());
    let scanner = scanner(&only_pii(Action::Redact));
    let outcome = redact_response(&scanner, b"{\"text\":\"\xff \\ud83d jane.doe@example.com \xe2\x82\"}", None);
    assert_eq!(outcome.body.as_deref(), Some(&b"{\"text\":\"\xff \\ud83d <EMAIL_ADDRESS> \xe2\x82\"}"[..]));
}

#[test]
fn token_probabilities_go_with_the_text_that_they_repeat() {
    let body = r#"{"choices":[
        {"index":0,"message":{"content":"to MAIL"},"logprobs":{"content":[{"token":"MAIL"}]}},
        {"index":1,"logprobs":{"content":[{"token":"fine"}]},"message":{"content":"fine"}}]}"#;
    let body = body.replace("MAIL", MAIL);
    let wanted =
        body.replace(r#"{"content":[{"token":"jane.doe@example.com"}]}"#, "null").replace(MAIL, "<EMAIL_ADDRESS>");
    assert_eq!(told(&answer(&body)), wanted);
    let body = r#"{"output":[{"content":[{"type":"output_text","logprobs":[{"token":"x"}],"text":"a@b.example"}]}]}"#;
    assert!(told(&answer(body)).contains(r#""logprobs":[],"text":"<EMAIL_ADDRESS>""#));
}

#[test]
fn pseudonyms_go_out_and_values_come_back_at_every_depth() {
    let scanner = scanner(&only_pii(Action::Pseudonymise));
    let mut vault = Vault::new(b"k");
    let body = r#"{"messages":[{"role":"user","content":"a@x.example, <PERSON_00000000>, {\"b\":\"c@x.example\"}"}]}"#;
    let view = View::parse(body.as_bytes(), Kind::Chat, Limits::default()).unwrap();
    let outcome = redact_request(&scanner, body.as_bytes(), &view, Some(&mut vault));
    let sent = told(&outcome).to_owned();
    assert!(!sent.contains('@') && !sent.contains("<PERSON_"), "{sent}");
    let quoted = vault.pseudonym("QUOTED", "say \"no\"\n");
    let echo: Value = serde_json::from_str(&sent).unwrap();
    let inner = json!({"echo": echo["messages"][0]["content"], "q": *quoted}).to_string();
    let arguments = json!({"inner": inner, "q": *quoted, *quoted: 1}).to_string();
    let reply = json!({"choices": [{"message": {
        "content": format!("{} d@x.example", echo["messages"][0]["content"].as_str().unwrap()),
        "tool_calls": [{"function": {"name": "f", "arguments": arguments}}],
    }}]});
    let outcome = redact_response(&scanner, reply.to_string().as_bytes(), Some(&vault));
    let back: Value = serde_json::from_str(told(&outcome)).unwrap();
    let asked: Value = serde_json::from_str(body).unwrap();
    let asked = asked["messages"][0]["content"].as_str().unwrap();
    let message = &back["choices"][0]["message"];
    assert_eq!(message["content"], format!("{asked} d@x.example"));
    let arguments: Value =
        serde_json::from_str(message["tool_calls"][0]["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments["q"], "say \"no\"\n");
    assert_eq!(arguments["say \"no\"\n"], 1);
    let inner: Value = serde_json::from_str(arguments["inner"].as_str().unwrap()).unwrap();
    assert_eq!(inner, json!({"echo": asked, "q": "say \"no\"\n"}));
}

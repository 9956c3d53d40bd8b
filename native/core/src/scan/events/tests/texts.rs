//! What comes out of the texts of a stream.

use super::*;

#[test]
fn a_stream_without_findings_passes_byte_for_byte() {
    let wire = [
        ": hello\n\n",
        "retry: 100\n\n",
        "data:{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\u00e9 \\ud83d\\ude00 \"}}]}\r\r",
        "id: 7\ndata: {\"choices\": [ {\"delta\":{\"content\":\"b. \"},\"index\":0} ],\ndata: \"usage\":null}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: [DONE]\n\n",
    ]
    .concat();
    let redactor = || EventRedactor::new(&scanner(Action::Redact), Dialect::Chat, None);
    let whole = every_cut(redactor, &wire);
    assert_eq!(String::from_utf8(whole.out).unwrap(), wire);
    assert_eq!((whole.decision, whole.stopped), (Decision::Allowed, None));
}

#[test]
fn invalid_bytes_pass_where_nothing_changes() {
    let wire = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a \xff b. \"}}]}\n\n";
    let redactor = EventRedactor::new(&scanner(Action::Redact), Dialect::Chat, None);
    assert_eq!(run(redactor, [&wire[..]]).out, wire);
}

#[test]
fn choices_are_texts_of_their_own() {
    let mut wire = String::new();
    for piece in ["a jane.", "doe@exa", "mple.com b"] {
        for index in 0..3 {
            wire += &delta(index, &json!({"content": piece, "reasoning_content": piece}));
        }
    }
    wire += &event(&json!({"choices": [
        {"index": 1, "delta": {"content": " x"}, "finish_reason": "stop"},
        {"index": 0, "delta": {"content": " y"}, "finish_reason": null}]}));
    wire += &(finish(0) + &finish(2) + "data: [DONE]\n\n");
    let run = redact(&wire);
    let texts = assembled(&run.out);
    for (index, end) in [(0, " y"), (1, " x"), (2, "")] {
        assert_eq!(texts[&format!("{index} content")], format!("a <EMAIL_ADDRESS> b{end}"));
        assert_eq!(texts[&format!("{index} reasoning_content")], "a <EMAIL_ADDRESS> b");
    }
    assert_eq!(run.findings.len(), 6);
}

#[test]
fn a_benign_tail_comes_out_once_before_the_end() {
    for (wire, wanted) in [
        (content("see jane.doe@") + &finish(0), "see jane.doe@"),
        (content("see ghp_") + &content("abc") + "data: [DONE]\n\n", "see ghp_abc"),
        (content("see jane.doe@"), "see jane.doe@"),
        (content("see jane") + &content(".doe@") + &content(" and on") + &finish(0), "see jane.doe@ and on"),
        (
            content("ghp_")
                + &event(&json!({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]})),
            "ghp_a",
        ),
    ] {
        let run = redact(&wire);
        assert_eq!(assembled(&run.out)["0 content"], wanted);
        let told = events(&run.out);
        let ends = told.iter().position(|event| event["choices"][0]["finish_reason"] == "stop");
        assert!(ends.is_none_or(|end| end + 1 == told.len()), "{told:?}");
        assert!(told.iter().all(|event| event["choices"][0]["index"] == 0));
    }
    let made = redact(&(content("ghp_") + &finish(0)));
    let told = events(&made.out);
    assert_eq!(
        told[1],
        json!({"id": "c", "object": "chat.completion.chunk", "model": "m",
        "choices": [{"index": 0, "delta": {"content": "ghp_"}, "logprobs": null, "finish_reason": null}]})
    );
}

#[test]
fn token_probabilities_go_with_the_text_that_they_repeat() {
    let with = |text: &str| {
        event(
            &json!({"choices": [{"index": 0, "delta": {"content": text}, "logprobs": {"content": [{"token": text}]}}]}),
        )
    };
    let run = redact(&(with("excellent. ") + &with(MAIL) + &with(" ") + &finish(0)));
    let told = events(&run.out);
    assert_eq!(told[0]["choices"][0]["logprobs"]["content"][0]["token"], "excellent. ");
    assert!(!String::from_utf8_lossy(&run.out).contains("jane"));
    assert_eq!(told[1]["choices"][0]["logprobs"], Value::Null);
}

#[test]
fn pseudonyms_are_restored_over_events_and_inside_arguments() {
    let mut vault = Vault::new(b"k");
    let mail = vault.pseudonym("EMAIL_ADDRESS", MAIL);
    let quote = vault.pseudonym("QUOTE", "say \"no\"\n");
    let vault = Arc::new(vault);
    let redactor = || EventRedactor::new(&scanner(Action::Pseudonymise), Dialect::Chat, Some(Arc::clone(&vault)));
    let text = format!("a {mail}, {quote}, <EMAIL_ADDRESS_00000000> {} <", &mail[..9]);
    let wanted = format!("a {MAIL}, say \"no\"\n, <EMAIL_ADDRESS_00000000> {} <", &mail[..9]);
    let arguments = json!({"q": *quote, "n": json!({"q": *quote}).to_string()}).to_string();
    for size in 1..20 {
        let pieces = |text: &str| -> Vec<String> {
            text.chars().collect::<Vec<_>>().chunks(size).map(|piece| piece.iter().collect()).collect()
        };
        let mut wire: String = pieces(&text).iter().map(|piece| content(piece)).collect();
        wire.extend(pieces(&arguments).iter().map(|piece| call(0, Some("a"), piece)));
        let run = run(redactor(), [(wire + &finish(0)).as_bytes()]);
        let texts = assembled(&run.out);
        assert_eq!(texts["0 content"], wanted);
        let told: Value = serde_json::from_str(&texts["0 call 0"]).unwrap();
        assert_eq!(told["q"], "say \"no\"\n");
        assert_eq!(serde_json::from_str::<Value>(told["n"].as_str().unwrap()).unwrap()["q"], "say \"no\"\n");
        assert_eq!((run.decision, run.findings.len()), (Decision::Transformed, 0));
    }
}

//! Streams that go no further.

use super::*;

#[test]
fn a_block_ends_the_stream_with_an_error_and_nothing_of_the_match() {
    let redactor = || EventRedactor::new(&scanner(Action::Block), Dialect::Chat, None);
    let wire =
        content("write ") + &content("to jane.doe@ex") + &content("ample.com now") + &finish(0) + "data: [DONE]\n\n";
    let run = every_cut(redactor, &wire);
    assert_eq!((run.stopped, run.decision), (Some(Stop::Blocked), Decision::Blocked));
    let out = String::from_utf8(run.out.clone()).unwrap();
    assert!(
        !out.contains("jane") && !out.contains("now") && !out.contains("[DONE]") && !out.contains("\"stop\""),
        "{out}"
    );
    assert_eq!(assembled(&run.out)["0 content"], "write to ");
    let last = events(&run.out).pop().unwrap();
    assert_eq!(last["error"]["code"], "content_policy_violation");
    let wire = call(0, Some("a"), "{\"to\":\"jane.doe@") + &call(0, None, "example.com\"}") + &finish(0);
    let out = every_cut(redactor, &wire).out;
    assert_eq!(events(&out).len(), 1);
    for wire in [
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"a@b.example \"}}\n\n",
        "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\",\"output_index\":0,\"text\":\"a@b.example\",\"sequence_number\":4}\n\n",
        "data: no JSON a@b.example\n\n",
        "data: {\"unknown\":{\"x\":[\"a@b.example\"]}}\n\n",
    ] {
        let run = every_cut(redactor, wire);
        assert_eq!(run.stopped, Some(Stop::Blocked));
        assert!(!String::from_utf8(run.out).unwrap().contains("b.example"));
    }
}

#[test]
fn what_has_to_be_held_is_bounded() {
    let limits = Limits { max_calls: 4096, max_event: 8192, max_texts: 8 };
    let redactor = || EventRedactor::with_limits(&scanner(Action::Redact), Dialect::Chat, None, limits);
    let calls: String = (0..100).map(|_| call(0, None, &" ".repeat(100))).collect();
    let texts: String = (0..9).map(|index| delta(index, &json!({"content": "a"}))).collect();
    for wire in [calls, texts, format!("data: {}", "x".repeat(9000))] {
        let run = run(redactor(), wire.as_bytes().chunks(512));
        assert_eq!(run.stopped, Some(Stop::TooLarge));
        assert_eq!(events(&run.out).last().unwrap()["error"]["code"], "content_policy_violation");
    }
}

#[test]
fn after_a_failure_of_the_scanner_nothing_more_passes() {
    let mut redactor = EventRedactor::new(&scanner(Action::Redact), Dialect::Chat, None);
    let mut out = Vec::new();
    redactor.feed((content("all well. ") + &content("to jane.doe@ex")).as_bytes(), &mut out).unwrap();
    redactor.fail(&mut out);
    redactor.fail(&mut out);
    assert_eq!(redactor.feed(content("ample.com").as_bytes(), &mut out), Err(Stop::Failed));
    assert_eq!(redactor.finish(&mut out), Err(Stop::Failed));
    assert_eq!((redactor.decision(), redactor.held()), (Decision::Blocked, 0));
    let told = events(&out);
    assert_eq!(told.len(), 3);
    assert_eq!(told[2]["error"]["code"], "policy_unavailable");
    assert_eq!(assembled(&out)["0 content"], "all well. ");
}

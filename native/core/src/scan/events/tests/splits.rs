//! Deltas and bytes may be cut anywhere.

use proptest::prelude::*;

use super::*;

#[test]
fn bytes_may_be_cut_anywhere() {
    let wire = [
        content("caf\u{e9} \u{1f600} to jane.doe"),
        content("@example.com, "),
        delta(1, &json!({"reasoning_content": "x@y.example"})),
        call(0, Some("id1"), "{\"to\":\"a@"),
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"\\ud83d\"}}]}\r\n\r\n".into(),
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"\\ude00 z\"}}]}\r\r".into(),
        call(0, None, "b.example\"}"),
        ": ping\n\n".into(),
        finish(0),
        finish(1),
        "data: [DONE]\n\n".into(),
    ]
    .concat();
    let redactor = || EventRedactor::new(&scanner(Action::Redact), Dialect::Chat, None);
    let whole = every_cut(redactor, &wire);
    let texts = assembled(&whole.out);
    assert_eq!(texts["0 content"], "caf\u{e9} \u{1f600} to <EMAIL_ADDRESS>, ");
    assert_eq!(texts["1 reasoning_content"], "<EMAIL_ADDRESS>");
    assert_eq!(texts["1 content"], "\u{1f600} z");
    assert_eq!(texts["0 call 0"], "{\"to\":\"<EMAIL_ADDRESS>\"}");
    assert_eq!(whole.decision, Decision::Transformed);
    assert_eq!(whole.findings.len(), 3);
}

#[test]
fn a_value_split_at_every_place_over_two_to_five_deltas_never_leaks() {
    let text = "to a.doe@ex.org \u{e9}!";
    let redactor = || EventRedactor::new(&scanner(Action::Redact), Dialect::Chat, None);
    for pieces in 1..=5 {
        for cut in cuts(text, pieces) {
            let wire: String = cut.iter().map(|piece| content(piece)).chain([finish(0)]).collect();
            let run = run(redactor(), [wire.as_bytes()]);
            assert_eq!(assembled(&run.out)["0 content"], "to <EMAIL_ADDRESS> \u{e9}!", "{cut:?}");
            assert_eq!(run.findings.iter().map(|f| (f.2, f.3)).collect::<Vec<_>>(), [(3, 15)], "{cut:?}");
            assert!(!String::from_utf8_lossy(&run.out).contains("a.doe"), "{cut:?}");
        }
    }
}

#[test]
fn halves_of_a_character_are_put_together() {
    let half = |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    for (pieces, wanted) in [
        (&[r"a\ud83d", r"\ude00b"][..], "a\u{1f600}b"),
        (&[r"a\uD83D", "", r"\uDE00b"], "a\u{1f600}b"),
        (&[r"a\ud83d", "b"], "a\u{fffd}b"),
        (&[r"a\ud83d"], "a\u{fffd}"),
        (&[r"a\\ud83d", "b"], "a\\ud83db"),
        (&[r"a\ud83d\ud83d", r"\ude00"], "a\u{fffd}\u{1f600}"),
    ] {
        let wire: String = pieces.iter().map(|piece| half(piece)).chain([finish(0)]).collect();
        assert_eq!(assembled(&redact(&wire).out)["0 content"], wanted, "{pieces:?}");
    }
    let wire = call(0, Some("a"), "{").replace("\"{\"", r#""\"\ud83d""#)
        + &call(0, None, "}").replace("\"}\"", r#""\ude00\"""#);
    assert_eq!(assembled(&redact(&(wire + &finish(0))).out)["0 call 0"], "\"\u{1f600}\"");
}

fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z]{1,6}@[a-z]{1,6}\\.(com|org)",
        "[a-z @.<>\u{e9}\u{1f600}\"\\\\\n]{0,8}",
        Just("4111111111111111".to_owned()),
        Just("ghp_".to_owned()),
        "<[A-Z]{1,3}_[0-9a-f]{8}>",
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// However texts are cut into deltas and deltas into reads, what a client puts together is what one delta gives.
    #[test]
    fn any_split_gives_what_the_whole_gives(
        texts in prop::collection::vec(texts(), 1..4),
        sizes in prop::collection::vec(1..12_usize, 1..6),
        reads in prop::collection::vec(1..90_usize, 1..6),
        blocks in any::<bool>(),
    ) {
        let action = if blocks { Action::Block } else { Action::Redact };
        let redactor = || EventRedactor::new(&scanner(action), Dialect::Chat, None);
        let ends: String = (0..texts.len()).map(finish).collect();
        let whole: String = texts.iter().enumerate().map(|(n, text)| delta(n, &json!({"content": text}))).collect();
        let whole = run(redactor(), [(whole + &ends).as_bytes()]);
        let mut wire = String::new();
        let mut rests: Vec<Vec<char>> = texts.iter().map(|text| text.chars().collect()).collect();
        let mut turn = 0;
        while rests.iter().any(|rest| !rest.is_empty()) {
            // Blocked streams show what came before, so that their texts have to come one after the other.
            let n = if blocks { rests.iter().position(|rest| !rest.is_empty()).unwrap() } else { turn % rests.len() };
            let size = sizes[turn % sizes.len()].min(rests[n].len());
            let piece: String = rests[n].drain(..size).collect();
            wire += &delta(n, &json!({"content": piece}));
            turn += 1;
        }
        wire += &ends;
        let mut chunks = Vec::new();
        let mut rest = wire.as_bytes();
        for size in reads.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at(rest.len().min(*size));
            chunks.push(chunk);
            rest = after;
        }
        let split = run(redactor(), chunks);
        if whole.stopped.is_none() {
            prop_assert_eq!(assembled(&split.out), assembled(&whole.out));
            prop_assert_eq!(&split.findings, &whole.findings);
        }
        prop_assert_eq!((split.decision, split.stopped), (whole.decision, whole.stopped));
    }
}

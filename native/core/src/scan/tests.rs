use super::*;

fn scanner() -> Scanner {
    Scanner::new(Rules::builtin(), &Policy::default())
}

#[test]
fn an_address_is_redacted_and_the_rest_stays() {
    let outcome = scanner().scan("write to jane.doe@example.com, please");
    assert_eq!(outcome.decision, Decision::Transformed);
    assert_eq!(outcome.redacted.as_deref(), Some("write to <EMAIL_ADDRESS>, please"));
}

#[test]
fn pieces_are_redacted_like_the_whole() {
    let text = "a b@c.d x write to jane.doe@example.com, or 'ghp_".to_owned() + &"a1".repeat(18) + "' x@y.zz";
    let whole = scanner().scan(&text);
    for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
        let mut stream = scanner().stream();
        let mut out = String::new();
        stream.feed(&text[..cut], &mut out).unwrap();
        stream.feed(&text[cut..], &mut out).unwrap();
        stream.finish(&mut out).unwrap();
        assert_eq!(Some(out), whole.redacted, "cut at {cut}");
        assert_eq!(stream.findings(), whole.findings);
    }
}

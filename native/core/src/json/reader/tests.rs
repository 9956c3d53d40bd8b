use super::*;

fn check(text: &[u8], mode: Mode) -> Result<usize, Error> {
    if mode == Mode::Strict {
        Reader::check_utf8(text)?;
    }
    let mut reader = Reader::new(text, Limits::default(), mode);
    let mut events = 0;
    while reader.next()? != Event::End {
        events += 1;
    }
    Ok(events)
}

#[test]
fn events_come_in_order_with_offsets() {
    let text = br#" {"a": [1, -2.5e3, true, null], "b\n": "x\u0041"} "#;
    let mut reader = Reader::new(text, Limits::default(), Mode::Strict);
    let mut seen = Vec::new();
    loop {
        let event = reader.next().unwrap();
        seen.push(event);
        if event == Event::End {
            break;
        }
    }
    let string = |start, end, escaped| Str { start, end, escaped };
    assert_eq!(
        seen,
        [
            Event::ObjectStart,
            Event::Key(string(3, 4, false)),
            Event::ArrayStart,
            Event::Number(Span { start: 8, end: 9 }),
            Event::Number(Span { start: 11, end: 17 }),
            Event::Bool(true),
            Event::Null,
            Event::ArrayEnd,
            Event::Key(string(33, 36, true)),
            Event::String(string(40, 47, true)),
            Event::ObjectEnd,
            Event::End,
        ]
    );
}

#[test]
fn strict_mode_refuses_what_two_parsers_could_read_differently() {
    for (text, kind) in [
        (&b""[..], ErrorKind::UnexpectedEnd),
        (b"{", ErrorKind::UnexpectedEnd),
        (b"[1,", ErrorKind::UnexpectedEnd),
        (b"[1,]", ErrorKind::Syntax),
        (b"{\"a\":1,}", ErrorKind::Syntax),
        (b"{\"a\" 1}", ErrorKind::Syntax),
        (b"[1 2]", ErrorKind::Syntax),
        (b"[1}", ErrorKind::Syntax),
        (b"{} x", ErrorKind::TrailingBytes),
        (b"tru", ErrorKind::UnexpectedEnd),
        (b"trux", ErrorKind::Syntax),
        (b"01", ErrorKind::TrailingBytes),
        (b"1.", ErrorKind::UnexpectedEnd),
        (b"[1.x]", ErrorKind::Syntax),
        (b"-", ErrorKind::UnexpectedEnd),
        (b"+1", ErrorKind::Syntax),
        (b"NaN", ErrorKind::NotANumber),
        (b"-Infinity", ErrorKind::NotANumber),
        (b"'a'", ErrorKind::Syntax),
        (b"\"a", ErrorKind::UnexpectedEnd),
        (b"\"\\x\"", ErrorKind::Syntax),
        (b"\"\\u12g4\"", ErrorKind::Syntax),
        (b"\"a\nb\"", ErrorKind::ControlCharacter),
        (b"\"\\ud800\"", ErrorKind::LoneSurrogate),
        (b"\"\\udc00\\ud800\"", ErrorKind::LoneSurrogate),
        (b"\"\\ud800\\u0041\"", ErrorKind::LoneSurrogate),
        (b"\"\xff\"", ErrorKind::Utf8),
        (b"\xef\xbb\xbf{}", ErrorKind::Utf8),
        (br#"{"a":1,"a":2}"#, ErrorKind::DuplicateKey),
        (br#"{"model":1,"mod\u0065l":2}"#, ErrorKind::DuplicateKey),
        (br#"{"x":[{"a":{"b":1,"b":1}}]}"#, ErrorKind::DuplicateKey),
    ] {
        let result = check(text, Mode::Strict);
        assert_eq!(result.map_err(|e| e.kind()), Err(kind), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn lenient_mode_lets_through_what_clients_survive() {
    for text in [&b"\"\xff\""[..], b"\"\\ud800\"", br#"{"a":1,"a":2}"#, b"\"a\nb\""] {
        assert!(check(text, Mode::Lenient).is_ok());
    }
    assert!(check(b"{", Mode::Lenient).is_err());
    assert!(check(b"NaN", Mode::Lenient).is_err());
}

#[test]
fn the_same_key_in_different_objects_is_no_duplicate() {
    assert!(check(br#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#, Mode::Strict).is_ok());
}

#[test]
fn duplicates_are_found_in_large_objects_too() {
    let member = |i: usize| format!("\"k{i}\":{{\"k{i}\":1}}");
    let mut members: Vec<_> = (0..5000).map(member).collect();
    assert!(check(format!("{{{}}}", members.join(",")).as_bytes(), Mode::Strict).is_ok());
    members.push("\"k\\u0034\":1".into());
    let error = check(format!("{{{}}}", members.join(",")).as_bytes(), Mode::Strict).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DuplicateKey);
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let deep = vec![b'['; 100_000];
    assert_eq!(check(&deep, Mode::Strict).unwrap_err().kind(), ErrorKind::TooDeep);
    let nested = [vec![b'['; 64], vec![b']'; 64]].concat();
    assert!(check(&nested, Mode::Strict).is_ok());
    let many = [b"[".to_vec(), b"1,".repeat(100_000), b"1]".to_vec()].concat();
    assert_eq!(check(&many, Mode::Strict).unwrap_err().kind(), ErrorKind::TooManyValues);
}

#[test]
fn a_value_can_be_skipped_whole() {
    let text = br#"{"a":{"b":[1,{"c":"}"}]},"d":2}"#;
    let mut reader = Reader::new(text, Limits::default(), Mode::Strict);
    reader.next().unwrap();
    reader.next().unwrap();
    assert_eq!(reader.skip_value().unwrap(), Span { start: 5, end: 24 });
    assert!(matches!(reader.next().unwrap(), Event::Key(_)));
    assert_eq!(reader.skip_value().unwrap(), Span { start: 29, end: 30 });
    assert_eq!(reader.next().unwrap(), Event::ObjectEnd);
}

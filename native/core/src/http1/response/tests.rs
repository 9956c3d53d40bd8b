use super::*;

const LIMITS: Limits = Limits { max_head: 1024, max_headers: 100 };

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    body: Vec<u8>,
    ended: bool,
    reusable: bool,
}

fn decode(pieces: &[&[u8]], eof: bool) -> Result<(Decoder, Outcome), Error> {
    let mut decoder = Decoder::new(LIMITS);
    let mut body = Vec::new();
    let mut ended = false;
    for piece in pieces {
        let mut at = 0;
        loop {
            match decoder.step(piece, &mut at)? {
                Step::Body(range) => body.extend_from_slice(&piece[range]),
                Step::Head => {}
                Step::More => break,
                Step::End => {
                    ended = true;
                    break;
                }
            }
        }
    }
    if eof {
        ended = decoder.eof();
    }
    let reusable = decoder.is_reusable();
    Ok((decoder, Outcome { body, ended, reusable }))
}

fn outcome(message: &[u8], eof: bool) -> Result<Outcome, Error> {
    let whole = decode(&[message], eof).map(|(_, outcome)| outcome);
    let bytes: Vec<&[u8]> = message.chunks(1).collect();
    assert_eq!(decode(&bytes, eof).map(|(_, outcome)| outcome), whole, "one byte at a time");
    for cut in 0..message.len() {
        let halves = [&message[..cut], &message[cut..]];
        assert_eq!(decode(&halves, eof).map(|(_, outcome)| outcome), whole, "cut at {cut}");
    }
    whole
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what may be an error")]
fn ok(body: &[u8], ended: bool, reusable: bool) -> Result<Outcome, Error> {
    Ok(Outcome { body: body.to_vec(), ended, reusable })
}

#[test]
fn bodies_are_framed_by_length_chunks_or_the_end() {
    assert_eq!(outcome(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false), ok(b"hello", true, true));
    assert_eq!(outcome(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", true), ok(b"hel", false, false));
    assert_eq!(
        outcome(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"1\"\r\nhello\r\n1 \r\n!\r\n0\r\nT: v\r\n\r\n",
            false
        ),
        ok(b"hello!", true, true)
    );
    assert_eq!(outcome(b"HTTP/1.1 200 OK\r\n\r\nhello", false), ok(b"hello", false, false));
    assert_eq!(outcome(b"HTTP/1.1 200 OK\r\n\r\nhello", true), ok(b"hello", true, false));
    assert_eq!(outcome(b"HTTP/1.1 204 No\r\n\r\n", false), ok(b"", true, true));
    assert_eq!(
        outcome(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", false),
        ok(b"", true, false)
    );
    assert_eq!(outcome(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", false), ok(b"x", true, false));
}

#[test]
fn informational_responses_are_passed_over_but_not_for_ever() {
    let message = [b"HTTP/1.1 100 C\r\n\r\n".repeat(3), b"HTTP/1.1 204 N\r\n\r\n".to_vec()].concat();
    assert_eq!(outcome(&message, false), ok(b"", true, true));
    assert!(matches!(decode(&[&b"HTTP/1.1 103 E\r\n\r\n".repeat(17)], false), Err(Error::Malformed(_))));
    assert!(matches!(decode(&[b"HTTP/1.1 101 S\r\n\r\n"], false), Err(Error::Malformed(_))));
}

#[test]
fn what_could_be_framed_in_two_ways_is_refused() {
    for head in [
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Content-Length: +1",
        "Content-Length: 1, 1",
        "Content-Length: 9999999999999999999",
        "A: b\r\n folded",
        "A: b\nC: d",
        "A b",
    ] {
        let message = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
        assert!(matches!(outcome(message.as_bytes(), false), Err(Error::Malformed(_))), "{head}");
    }
    for body in ["x\r\n", "1\nx", "1\r\nxy\r\n", "10000000000000000\r\n", "1\r\nx\r\n0\r\nT: v\n\r\n", "\r\n"] {
        let message = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert!(matches!(outcome(message.as_bytes(), false), Err(Error::Malformed(_))), "{body:?}");
    }
    assert!(matches!(outcome(b"HTTP/1.1 200 OK\nA: b\n\n", false), Err(Error::Malformed(_))));
    assert_eq!(outcome(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", false), Err(Error::Encoded));
}

#[test]
fn heads_and_trailers_are_bounded() {
    let endless = [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'a'; 2000]].concat();
    assert_eq!(outcome(&endless, false), Err(Error::TooLarge));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert_eq!(outcome(many.as_bytes(), false), Err(Error::TooLarge));
    let extension = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;".to_vec(), vec![b'x'; 2000]].concat();
    assert_eq!(outcome(&extension, false), Err(Error::TooLarge));
}

#[test]
fn only_end_to_end_headers_are_told() {
    let message = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nConnection: X-Hop, close\r\nX-Hop: 2\r\nKeep-Alive: 5\r\n\
        Content-Type: Text/Event-Stream; charset=utf-8\r\nContent-Length: 0\r\n\r\n";
    let (decoder, _) = decode(&[message], false).unwrap();
    let names: Vec<_> = decoder.headers().map(|(name, _)| name).collect();
    assert_eq!(names, [&b"x-a"[..], b"content-type", b"content-length"]);
    assert!(decoder.is_event_stream());
}

#[test]
fn another_protocol_is_told_at_once() {
    for wire in [&b"220 mail"[..], b"SSH-2.0-x\r\n", b"HTTP/2 200\r\n", b"\x15\x03"] {
        assert!(decode(&[wire], false).is_err(), "{wire:?}");
    }
    assert!(decode(&[b"HTT"], false).is_ok());
}

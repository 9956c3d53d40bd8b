use super::*;

const LIMITS: Limits = Limits { max_head: 1024, max_headers: 10 };

fn read(pieces: &[&[u8]]) -> Requests {
    let mut requests = Requests::new(LIMITS);
    for piece in pieces {
        requests.feed(piece);
    }
    requests
}

fn refused(wire: &[u8]) -> u16 {
    let requests = read(&[wire]);
    requests.refused().map_or(0, |refused| refused.status)
}

#[test]
fn a_request_is_read_alike_at_every_split() {
    let wire = b"\r\nPOST /v1/a%20b?x=1&y HTTP/1.1\r\nHost: a\r\nX-Y:  z \r\nContent-Length: 5\r\n\r\nhello";
    for at in 0..=wire.len() {
        let mut requests = read(&[&wire[..at], &wire[at..]]);
        assert_eq!(requests.feed(b""), HEAD | READY | END, "split at {at}");
        assert_eq!((requests.method(), requests.path()), (&b"POST"[..], &b"/v1/a%20b"[..]));
        assert_eq!(requests.query(), b"x=1&y");
        let headers: Vec<_> = requests.headers().collect();
        assert_eq!(headers, [(&b"host"[..], &b"a"[..]), (b"x-y", b"z"), (b"content-length", b"5")]);
        assert_eq!(requests.ready(), b"hello");
        assert!(requests.keep_alive());
    }
}

#[test]
fn a_chunked_body_is_joined() {
    let wire =
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\na: b\r\n\r\n";
    for at in 0..=wire.len() {
        let mut requests = read(&[&wire[..at], &wire[at..]]);
        assert_eq!(requests.feed(b""), HEAD | READY | END);
        assert_eq!(requests.ready(), b"abcde");
    }
}

#[test]
fn pipelined_requests_wait_for_their_turn() {
    let mut requests = read(&[b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET /3"]);
    assert_eq!(requests.feed(b" HTTP/1.1\r\n\r\n"), HEAD | END);
    assert_eq!(requests.path(), b"/1");
    assert_eq!(requests.proceed(), HEAD | END);
    assert_eq!(requests.path(), b"/2");
    assert_eq!(requests.proceed(), HEAD | END);
    assert_eq!(requests.path(), b"/3");
    assert_eq!(requests.proceed(), 0);
    assert!(!requests.has_begun());
}

#[test]
fn targets_of_all_forms_are_understood() {
    for (target, path) in [("/", "/"), ("*", "*"), ("http://h:1/a?b", "/a"), ("HTTPS://h/", "/"), ("/a#f", "/a")] {
        let wire = format!("OPTIONS {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(read(&[wire.as_bytes()]).path(), path.as_bytes(), "{target}");
    }
    for target in ["a", "http://h", "ftp://h/", "h:443"] {
        assert_eq!(refused(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()), 400, "{target}");
    }
}

#[test]
fn what_two_readers_could_frame_differently_is_refused() {
    let cases: [(&[u8], u16); 12] = [
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1,1\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nhost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
    ];
    for (wire, status) in cases {
        assert_eq!(refused(wire), status, "{:?}", String::from_utf8_lossy(wire));
    }
}

#[test]
fn a_refused_head_has_no_headers() {
    let requests = read(&[b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"]);
    assert!(requests.refused().is_some());
    assert_eq!(requests.headers().count(), 0);
}

#[test]
fn heads_are_bounded() {
    assert_eq!(refused(&[b"GET / HTTP/1.1\r\na: ".to_vec(), vec![b'x'; 2000]].concat()), 431);
    assert_eq!(refused(&[b"GET / HTTP/1.1\r\n".to_vec(), b"a: b\r\n".repeat(11), b"\r\n".to_vec()].concat()), 431);
}

#[test]
fn connections_end_when_the_client_says_so() {
    assert!(!read(&[b"GET / HTTP/1.0\r\nhost: a\r\n\r\n"]).keep_alive());
    assert!(!read(&[b"GET / HTTP/1.1\r\nconnection: x, Close\r\n\r\n"]).keep_alive());
    assert!(read(&[b"POST / HTTP/1.1\r\nexpect: 100-Continue\r\ncontent-length: 1\r\n\r\n"]).expects_continue());
}

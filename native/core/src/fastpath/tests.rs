use super::tally::One;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::http1::Limits;
use crate::http1::request::{END, Requests};
use crate::quota::Denial;

fn read(lines: &str) -> Requests {
    let mut requests = Requests::new(Limits { max_head: 65_536, max_headers: 100 });
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\n{lines}content-length: 2\r\n\r\n{{}}");
    assert!(requests.feed(head.as_bytes()) & END != 0, "{lines}");
    requests
}

const PLAIN: &str = "host: t\r\nauthorization: Bearer  key \r\n";

#[test]
fn a_plain_head_says_who_asks() {
    let requests = read(&format!("{PLAIN}x-request-id: a-B.9_:\r\nuser-agent: x\r\nx-stainless-os: y\r\n"));
    assert_eq!(asked(&requests), Some(Asked { token: b"key", request_id: Some("a-B.9_:") }));
    assert_eq!(asked(&read(PLAIN)).map(|asked| asked.request_id), Some(None));
}

#[test]
fn whatever_could_matter_is_not_plain() {
    for more in [
        "host: u\r\n",
        "authorization: Bearer key\r\n",
        "x-api-key: key\r\n",
        "x-request-id: \r\n",
        "x-request-id: a b\r\n",
        "x-request-id: a\r\nx-request-id: a\r\n",
        "content-encoding: identity\r\n",
        "expect: 100-continue\r\n",
        "openai-beta: x\r\n",
        "traceparent: x\r\n",
        "anything: else\r\n",
    ] {
        assert_eq!(asked(&read(&format!("{PLAIN}{more}"))), None, "{more}");
    }
    let long = format!("{PLAIN}x-request-id: {}\r\n", "a".repeat(129));
    for head in [long.as_str(), "host: t\r\n", "authorization: Bearer key\r\n", "host: \r\nauthorization: Bearer k\r\n"]
    {
        assert_eq!(asked(&read(head)), None, "{head}");
    }
    for scheme in ["bearer key", "Bearer ", "Basic key", "Bearerkey"] {
        assert_eq!(asked(&read(&format!("host: t\r\nauthorization: {scheme}\r\n"))), None, "{scheme}");
    }
}

#[test]
fn a_tally_counts_by_its_bounds_and_begins_anew_when_it_was_taken() {
    let tally = Tally::new(vec![10, 20], vec![5]);
    assert_eq!(tally.take(), None);
    for (duration_ns, overhead_ns, cost) in [(10, 5, Some(3)), (11, 6, None), (21, 0, Some(4))] {
        tally.add(One { duration_ns, overhead_ns, tokens: [1, 2, 3, 4], cost });
    }
    let counts = tally.take().unwrap();
    assert_eq!((counts.requests, counts.durations, counts.duration_ns), (3, vec![1, 1, 1], 42));
    assert_eq!((counts.overheads, counts.overhead_ns), (vec![2, 1], 11));
    assert_eq!((counts.tokens, counts.cost, counts.unpriced), ([3, 6, 9, 12], 7, 1));
    assert_eq!(tally.take(), None);
}

#[test]
fn money_and_times_are_written_as_callers_expect_them() {
    let written: Vec<String> = [0, 1, 13_000, 1_500_000_000, -2_000_000_001].map(usd).to_vec();
    assert_eq!(written, ["0.00", "0.000000001", "0.000013", "1.50", "-2.000000001"]);
    let told: Vec<String> = [0, 999, 7_660, 60_000, 360_000, 3_723_000, 59_999].map(duration).to_vec();
    assert_eq!(told, ["0ms", "999ms", "7.66s", "1m0s", "6m0s", "1h2m3s", "59.999s"]);
}

#[test]
fn a_stream_is_seen_before_it_is_parsed() {
    for (body, wants) in [
        (&br#"{"stream":true}"#[..], true),
        (b"{\"stream\" : \n true}", true),
        (br#"{"stream":false}"#, false),
        (br#"{"a":"stream","stream":null}"#, false),
        (br#"{"stream_options":{}}"#, false),
        (br#"{"stream""#, false),
    ] {
        assert_eq!(route::wants_stream(body), wants);
    }
}

#[test]
fn models_are_seen_before_a_body_is_parsed() {
    for (body, found) in [
        (&br#"{"model":"a"}"#[..], vec!["a"]),
        (b"{\"messages\":[{\"model\" : \n\"b\"}], \"model\":\"a\"}", vec!["b", "a"]),
        (br#"{"content":"\"model\":\"x\"","model":"a"}"#, vec!["a"]),
        (br#"{"a":"model","b":1}"#, vec![]),
        (br#"{"model":1}"#, vec![]),
        (br#"{"model":"a"#, vec![]),
        (b"{\"model\":\"\xff\"}", vec![]),
    ] {
        assert_eq!(models(body).collect::<Vec<_>>(), found);
    }
}

mod guards {
    use super::*;
    use crate::json;
    use crate::request::{Kind, View};
    use crate::scan::{Action, Decision, Policy, Rules, Scanner};

    const HIS: &str = "kim.doe@example.com";

    fn scanner(pii: Action) -> Scanner {
        Scanner::new(Rules::builtin(), &Policy { pii, ..Policy::default() })
    }

    fn body(text: &str) -> (Vec<u8>, View) {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#).into_bytes();
        let view = View::parse(&body, Kind::Chat, json::Limits { max_depth: 64, max_nodes: 1000 }).unwrap();
        (body, view)
    }

    fn guard(longest: usize) -> Guard {
        let restorer = Some(scanner(Action::Redact));
        Guard::new(Some(scanner(Action::Pseudonymise)), Some(scanner(Action::Block)), restorer, longest, vec![u64::MAX])
    }

    #[test]
    fn what_is_replaced_on_the_way_out_is_restored_on_the_way_back() {
        let guard = guard(1000);
        let (body, view) = body(&format!("write to {HIS}"));
        let (checked, vault) = guard.request(&body, &view, Some(b"key")).unwrap();
        let passed = String::from_utf8(checked.body.clone().unwrap()).unwrap();
        assert_eq!(checked.decision, Decision::Transformed);
        assert_eq!(checked.counts, [("EMAIL_ADDRESS".to_owned(), "pseudonymise", 1)]);
        assert!(!passed.contains(HIS));
        let answer = guard.response(passed.as_bytes(), vault.as_deref()).unwrap();
        assert_eq!(answer.body.as_deref(), Some(&*body));
        guard.count(Direction::Request, &checked);
        let [(_, asked), (_, answered)] = guard.take();
        assert_eq!((asked.outcomes, asked.durations), ([0, 1], vec![1, 0]));
        assert_eq!(asked.findings[&("EMAIL_ADDRESS".to_owned(), "pseudonymise")], 1);
        assert_eq!(answered.outcomes, [0, 0]);
        assert_eq!(guard.take()[0].1.outcomes, [0, 0]);
    }

    #[test]
    fn what_does_not_pass_or_is_too_long_is_left_to_the_stages() {
        let guard = guard(100);
        let (long, view) = body(&"a".repeat(100));
        assert!(guard.request(&long, &view, None).is_none());
        assert!(guard.response(&long, None).is_none());
        assert!(guard.response(HIS.as_bytes(), None).is_none());
        assert!(guard.response(b"{}", None).is_some());
    }

    #[test]
    fn a_direction_that_nobody_looks_at_passes_and_is_not_counted() {
        let guard = Guard::new(None, None, None, 0, vec![]);
        let (body, view) = body(HIS);
        let (checked, vault) = guard.request(&body, &view, Some(b"key")).unwrap();
        assert!(vault.is_none() && checked.body.is_none());
        guard.count(Direction::Request, &checked);
        guard.count(Direction::Response, &guard.response(&body, None).unwrap());
        assert!(guard.take().iter().all(|(_, runs)| runs.outcomes == [0, 0] && runs.duration_ns == 0));
    }
}

fn head_and_body(response: &[u8]) -> (String, String) {
    let text = String::from_utf8(response.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn a_limit_says_when_to_come_again() {
    let said = Some("rate limit of the key 'k': 60 requests per minute".to_owned());
    let bound = Bound { what: What::Requests, limit: 60, said };
    let deny = |wait, remaining| Denial { meter: 0, wait, remaining };
    let (head, body) = head_and_body(&bound.response(deny(Some(61_001), -3), "id", b"date: now\r\n\r\n").unwrap());
    assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
    assert_eq!(
        head,
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 62\r\nretry-after-ms: 61001\r\n\
         x-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 1m1.001s\r\n\
         x-should-retry: false\r\ncontent-length: 176\r\nx-request-id: id\r\ndate: now"
    );
    assert_eq!(
        body,
        "{\"error\":{\"message\":\"rate limit of the key 'k': 60 requests per minute; 0 are left, try again in 1m1.001s\",\
         \"type\":\"rate_limit_error\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}"
    );
    let (head, _) = head_and_body(&bound.response(deny(Some(0), 0), "id", b"\r\n").unwrap());
    assert!(
        head.contains("retry-after: 1\r\nretry-after-ms: 0\r\n") && head.contains("x-should-retry: true"),
        "{head}"
    );
    let (head, body) =
        head_and_body(&Bound { what: What::Parallel, ..bound.clone() }.response(deny(None, 0), "id", b"\r\n").unwrap());
    assert!(head.contains("\r\nretry-after: 1\r\nx-should-retry: true\r\n") && body.contains("minute are running\""));
    assert_eq!(Bound { said: None, ..bound.clone() }.response(deny(Some(1), 0), "id", b"\r\n"), None);
    for (what, wait) in [
        (What::Requests, None),
        (What::Tokens, None),
        (What::Parallel, Some(1)),
        (What::Budget, Some(1)),
        (What::Budget, None),
    ] {
        assert_eq!(Bound { what, ..bound.clone() }.response(deny(wait, 0), "id", b"\r\n"), None, "{what:?}");
    }
}

#[test]
fn a_refusal_that_is_the_same_each_time_has_the_id_where_it_belongs() {
    let noted = Noted {
        asked: "\"status\":503".to_owned(),
        who: "\"key_id\":\"k\"".to_owned(),
        error: "\"error\":\"x\"".to_owned(),
        tally: Arc::new(Tally::new(vec![10], vec![10])),
    };
    let refusal = Refusal { head: b"HTTP/1.1 503 No\r\n".to_vec(), body: (b"no".to_vec(), None), noted };
    let last = b"date: now\r\n\r\n";
    assert_eq!(
        refusal.response("a", last),
        b"HTTP/1.1 503 No\r\ncontent-length: 2\r\nx-request-id: a\r\ndate: now\r\n\r\nno"
    );
    let told = Refusal { body: (b"no ".to_vec(), Some(b"!".to_vec())), ..refusal.clone() };
    assert_eq!(
        told.response("a", last),
        b"HTTP/1.1 503 No\r\ncontent-length: 5\r\nx-request-id: a\r\nrequest-id: a\r\ndate: now\r\n\r\nno a!"
    );
    let took = Duration::from_nanos(11);
    let line = String::from_utf8(refusal.noted.note("a", Some(true), took, 1.5)).unwrap();
    assert_eq!(
        line,
        "{\"ts\":1.5,\"level\":\"info\",\"logger\":\"tollhouse.access\",\"msg\":\"request\",\"request_id\":\"a\",\"status\":503,\
         \"duration_ms\":0.0,\"key_id\":\"k\",\"stream\":true,\"error\":\"x\"}\n"
    );
    let unread = String::from_utf8(refusal.noted.note("a", None, took, 1.5)).unwrap();
    assert!(unread.ends_with("\"duration_ms\":0.0,\"error\":\"x\"}\n"), "{unread}");
    let counts = refusal.noted.tally.take().unwrap();
    assert_eq!((counts.requests, counts.durations, counts.overheads), (2, vec![0, 2], vec![0, 0]));
    assert_eq!((counts.cost, counts.unpriced, counts.tokens), (0, 0, [0; 4]));
}

#[test]
fn a_gate_is_open_until_something_refuses() {
    let gate = Gate::default();
    assert!(!gate.is_limited() && !gate.is_shut());
    gate.limit();
    assert!(gate.is_limited() && !gate.is_shut());
    gate.shut();
    assert!(!gate.is_limited() && gate.is_shut());
    gate.open();
    assert!(!gate.is_limited() && !gate.is_shut());
}

#[test]
fn of_a_repeated_id_the_last_counts_and_only_a_sane_one() {
    for (lines, id) in [
        ("x-request-id: a\r\n", Some("a")),
        ("x-request-id: a\r\nx-request-id: b\r\n", Some("b")),
        ("x-request-id: a b\r\n", None),
        ("", None),
    ] {
        assert_eq!(request_id(&read(lines)), id, "{lines}");
    }
}

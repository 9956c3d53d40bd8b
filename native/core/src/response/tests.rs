use super::stream::dollars;
use super::*;
use crate::cost::Kind;

const LIMITS: Limits =
    Limits { http: http1::Limits { max_head: 65536, max_headers: 100 }, max_body: 1000, max_event: 1000 };
const HEAD_OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    out: String,
    flags: u8,
    fault: Option<&'static str>,
    usage: Option<(u64, u64, u64, u64)>,
    reusable: bool,
}

fn run(pieces: &[&[u8]], strip: bool, eof: bool) -> Outcome {
    let mut response = Response::new(Dialect::Chat, strip, LIMITS);
    let mut out = Vec::new();
    for piece in pieces {
        if response.feed(piece) & READY != 0 {
            out.extend(response.ready());
            response.consume(usize::MAX);
        }
    }
    if eof {
        response.eof();
    }
    let flags = response.settle() & !READY;
    out.extend(response.ready());
    response.consume(usize::MAX);
    Outcome {
        out: String::from_utf8_lossy(&out).into_owned(),
        flags,
        fault: response.fault().map(|fault| fault.kind),
        usage: response
            .tokens()
            .map(|tokens| (tokens.prompt(), tokens.completion(), tokens.cached(), tokens.get(Kind::Reasoning))),
        reusable: response.is_reusable(),
    }
}

fn chunked(body: &str) -> Vec<u8> {
    // Chunk borders where they hurt: every seven bytes.
    let mut message = HEAD_OK.as_bytes().to_vec();
    for chunk in body.as_bytes().chunks(7) {
        message.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        message.extend_from_slice(chunk);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"0\r\n\r\n");
    message
}

fn all_splits(message: &[u8], strip: bool, eof: bool) -> Outcome {
    let whole = run(&[message], strip, eof);
    let bytes: Vec<&[u8]> = message.chunks(1).collect();
    assert_eq!(run(&bytes, strip, eof), whole, "one byte at a time");
    for cut in 0..message.len() {
        assert_eq!(run(&[&message[..cut], &message[cut..]], strip, eof), whole, "cut at {cut}");
    }
    whole
}

const A: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\u{1f600} a\"}}]}\n\n";
const FINISH: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[test]
fn a_stream_passes_byte_for_byte_at_every_split() {
    let stream = [A, FINISH, USAGE, DONE].concat();
    let outcome = all_splits(&chunked(&stream), false, false);
    assert_eq!(outcome.out, stream);
    assert_eq!((outcome.flags, outcome.usage, outcome.reusable), (HEAD | END, Some((3, 4, 0, 0)), true));
}

#[test]
fn a_usage_chunk_that_nobody_asked_for_is_taken_out() {
    let outcome = all_splits(&chunked(&[A, FINISH, USAGE, DONE].concat()), true, false);
    assert_eq!(outcome.out, [A, FINISH, DONE].concat());
    assert_eq!(outcome.usage, Some((3, 4, 0, 0)));
}

#[test]
fn a_stream_that_finished_is_given_the_done_it_lacks() {
    let outcome = all_splits(&chunked(&[A, FINISH].concat()), false, false);
    assert_eq!((outcome.out, outcome.flags), ([A, FINISH, DONE].concat(), HEAD | END));
    // The connection ended in front of it.
    let whole = chunked(&[A, FINISH].concat());
    let outcome = all_splits(&whole[..whole.len() - 5], false, true);
    assert_eq!((outcome.out, outcome.flags, outcome.reusable), ([A, FINISH, DONE].concat(), HEAD | END, false));
    let outcome = all_splits(&chunked(&[A, FINISH.trim_end()].concat()), false, false);
    assert_eq!((outcome.out, outcome.flags), ([A, FINISH, DONE].concat(), HEAD | END));
}

#[test]
fn a_finish_that_may_not_be_one_is_believed_only_where_the_message_is_whole() {
    let twice = [A, FINISH, FINISH].concat();
    let whole = chunked(&twice);
    assert_eq!(all_splits(&whole, false, false).out, [&twice, DONE].concat());
    let cut = all_splits(&whole[..whole.len() - 5], false, true);
    assert_eq!((cut.out, cut.fault), (twice, Some("truncated")));
    let on = [A, FINISH, A].concat();
    assert_eq!(all_splits(&chunked(&on), false, false).fault, Some("truncated"));
    let again = [A, FINISH, A, FINISH].concat();
    assert_eq!(all_splits(&chunked(&again), false, false).out, [&again, DONE].concat());
}

#[test]
fn a_comment_that_was_cut_off_swallows_nothing() {
    for (stream, kept) in [([A, FINISH, ": pi"], [A, FINISH, DONE]), ([A, A, ": pi"], [A, A, ""])] {
        let whole = chunked(&stream.concat());
        assert_eq!(all_splits(&whole[..whole.len() - 5], false, true).out, kept.concat());
    }
    let ended = [A, FINISH, ": ping\n"].concat();
    assert_eq!(all_splits(&chunked(&ended), false, false).out, [&ended, DONE].concat());
}

#[test]
fn comments_without_end_in_front_of_the_first_event_are_bounded() {
    let mut response = Response::new(Dialect::Chat, false, LIMITS);
    response.feed(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
    for _ in 0..1000 {
        assert_eq!(response.feed(": still at it\n\n".repeat(64).as_bytes()), HEAD);
    }
    assert!(response.ready().len() < 66 << 10);
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{}}]}\n\n";
    assert_eq!(response.feed(event.as_bytes()), HEAD | READY);
    assert!(response.ready().ends_with(event.as_bytes()));
}

#[test]
fn what_is_lost_is_cut_although_its_framing_would_end_it() {
    for (events, wanted) in [(&[A, FINISH][..], (HEAD | READY | END, true)), (&[A], (HEAD | READY | FAULT, true))] {
        let mut response = Response::new(Dialect::Chat, false, LIMITS);
        response.feed(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
        response.feed(events.concat().as_bytes());
        assert_eq!((response.lost(), response.is_cut()), wanted, "{events:?}");
    }
}

#[test]
fn no_done_is_told_of_a_stream_with_fewer_choices_than_were_asked_for() {
    for (choices, wanted) in [(1, [A, FINISH, DONE].concat()), (2, [A, FINISH].concat())] {
        let mut response = Response::new(Dialect::Chat, false, LIMITS);
        response.expect_choices(choices);
        let whole = chunked(&[A, FINISH].concat());
        response.feed(&whole);
        assert_eq!(response.settle(), HEAD | READY | END);
        assert_eq!(response.ready(), wanted.as_bytes());
        let mut response = Response::new(Dialect::Chat, false, LIMITS);
        response.expect_choices(choices);
        response.feed(&whole[..whole.len() - 5]);
        assert_eq!(response.eof(), HEAD | READY | if choices == 1 { END } else { FAULT });
    }
}

#[test]
fn a_stream_that_breaks_off_is_truncated() {
    let whole = chunked(&[A, A].concat());
    let outcome = all_splits(&whole, false, false);
    assert_eq!((outcome.out.as_str(), outcome.fault), ([A, A].concat().as_str(), Some("truncated")));
    let outcome = all_splits(&whole[..whole.len() - 5], false, true);
    assert_eq!((outcome.fault, outcome.reusable), (Some("truncated"), false));
    assert_eq!(all_splits(&chunked(": nothing\n\n"), false, false).fault, Some("truncated"));
}

#[test]
fn a_body_is_ready_when_it_is_whole() {
    let message =
        b"HTTP/1.1 200 OK\r\nContent-Length: 51\r\n\r\n{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}";
    let outcome = all_splits(message, false, false);
    assert_eq!((outcome.out.len(), outcome.usage), (51, Some((1, 2, 0, 0))));
    assert_eq!(all_splits(&message[..80], false, true).fault, Some("truncated"));
    let large = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 2000]].concat();
    assert_eq!(run(&[&large], false, true).fault, Some("too_large"));
}

#[test]
fn what_is_taken_of_a_long_answer_piece_by_piece_is_moved_but_rarely() {
    let limits = Limits { max_body: 64 << 20, ..LIMITS };
    let mut response = Response::new(Dialect::Chat, false, limits);
    response.expect_stream();
    let text = "x".repeat(16 << 20);
    let body = format!(r#"{{"choices":[{{"index":0,"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#);
    response.feed(
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len())
            .as_bytes(),
    );
    assert_eq!(response.feed(body.as_bytes()) & (END | FAULT), END);
    let (mut moved, mut taken) = (0, 0);
    while !response.ready().is_empty() {
        let left = response.ready().len();
        response.consume(32 << 10);
        taken += left - response.ready().len();
        if response.taken == 0 {
            moved += response.ready().len();
        }
    }
    assert!(taken > text.len());
    assert!(moved <= taken, "{moved}");
}

#[test]
fn an_event_without_an_end_is_bounded() {
    let message = [HEAD_OK.as_bytes().to_vec(), b"7d0\r\ndata: ".to_vec(), vec![b'x'; 1994]].concat();
    assert_eq!(run(&[&message], false, false).fault, Some("too_large"));
}

#[test]
fn bytes_after_the_end_forbid_reuse() {
    let message = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1";
    assert!(!all_splits(message, false, false).reusable);
}

#[test]
fn what_a_stream_has_cost_stands_with_its_usage() {
    let named = [("input".to_owned(), 1_000_000_000), ("output".to_owned(), 2_000_000_000)].into();
    let price = Arc::new(Price::new(vec![crate::cost::Rates::new(0, &named).unwrap()]).unwrap());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    for (strip, usage, told) in [
        (
            false,
            USAGE,
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4},\"x_gateway_cost_usd\":\"0.000011\"}\n\n",
        ),
        (true, USAGE, ""),
    ] {
        let http = http1::Limits { max_head: 65536, max_headers: 100 };
        let mut response = Response::new(Dialect::Chat, strip, Limits { http, max_body: 1 << 20, max_event: 1 << 16 });
        response.tell_cost(Arc::clone(&price));
        response.feed(format!("{head}{usage}").as_bytes());
        assert_eq!(String::from_utf8_lossy(response.ready()), told);
    }
    assert_eq!([0, 10_000_000, 1_234_567_891].map(dollars), ["0.00", "0.01", "1.234567891"]);
}

#[test]
fn a_stream_ends_in_front_of_the_event_that_nobody_has_paid_for() {
    let event =
        |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let role = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n";
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n";
    let (short, long) = (event("word"), event(&"word".repeat(9)));
    for (stream, passed, flags) in [
        (format!("{role}{short}{short}{end}"), format!("{role}{short}{short}{end}"), HEAD | READY),
        (format!("{role}{short}{short}{short}{end}"), format!("{role}{short}{short}"), HEAD | READY | FAULT),
        (format!("{role}{short}{long}{end}"), format!("{role}{short}{long}{end}"), HEAD | READY),
        (format!("{role}{long}{long}{end}"), format!("{role}{long}"), HEAD | READY | FAULT),
    ] {
        let http = http1::Limits { max_head: 65536, max_headers: 100 };
        let limits = Limits { http, max_body: 1 << 20, max_event: 1 << 16 };
        let mut response = Response::new(Dialect::Chat, false, limits);
        response.limit_output(2);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        assert_eq!(response.feed(format!("{head}{stream}").as_bytes()), flags, "{stream}");
        assert_eq!(String::from_utf8_lossy(response.ready()), passed);
        assert_eq!(response.fault().map(|fault| fault.kind), (flags & FAULT != 0).then_some("spent"));
    }
}

#[test]
fn a_translated_stream_has_no_more_text_than_a_whole_answer_may_have() {
    let setting = crate::dialects::Setting::default();
    let translation = Translation::new(
        crate::dialects::answer_reader("chat", &setting).unwrap(),
        crate::dialects::answer_writer("responses", &setting).unwrap(),
    );
    let mut response = Response::new(Dialect::Chat, false, LIMITS);
    response.translate(translation, Dialect::Responses);
    let words = "word".repeat(100);
    let event = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{words}\"}}}}]}}\n\n");
    response.feed(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
    assert_eq!(response.feed(event.repeat(2).as_bytes()) & FAULT, 0);
    assert_eq!(response.feed(event.as_bytes()) & FAULT, FAULT);
    assert_eq!(response.fault().map(|fault| fault.kind), Some("too_large"));
}

fn other(message: &[u8], eof: bool) -> (String, u8, Option<&'static str>, Option<u64>) {
    let mut response = Response::new(Dialect::Other, false, LIMITS);
    let mut out = Vec::new();
    // In pieces, as it may come.
    for piece in message.chunks(7) {
        if response.feed(piece) & READY != 0 {
            out.extend(response.ready());
            response.consume(usize::MAX);
        }
    }
    if eof {
        response.eof();
    }
    out.extend(response.ready());
    let tokens = response.tokens().map(|tokens| tokens.completion());
    (String::from_utf8_lossy(&out).into_owned(), response.settle() & !READY, response.fault().map(|f| f.kind), tokens)
}

#[test]
fn sound_of_any_length_is_ready_as_it_comes() {
    let sound = "x".repeat(5000);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n";
    let whole = format!("{head}Content-Length: 5000\r\n\r\n{sound}");
    assert_eq!(other(whole.as_bytes(), false), (sound.clone(), HEAD | END, None, None));
    let (out, flags, fault, _) = other(&whole.as_bytes()[..3000], true);
    assert!(!out.is_empty());
    assert_eq!((flags & END, fault), (0, Some("truncated")));
    let mut response = Response::new(Dialect::Other, false, LIMITS);
    assert_eq!(response.feed(format!("{head}Content-Length: 5000\r\n\r\nxx").as_bytes()) & READY, READY);
}

#[test]
fn json_that_is_no_conversation_is_held_and_its_usage_read() {
    let body = r#"{"data":[],"usage":{"input_tokens":3,"output_tokens":4}}"#;
    let whole =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut response = Response::new(Dialect::Other, false, LIMITS);
    assert_eq!(response.feed(&whole.as_bytes()[..whole.len() - 1]) & READY, 0);
    assert_eq!(other(whole.as_bytes(), false), (body.to_owned(), HEAD | END, None, Some(4)));
}

#[test]
fn events_that_are_no_conversation_end_with_their_framing() {
    let events = "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"usage\":\
                  {\"input_tokens\":3,\"output_tokens\":4}}\n\n";
    let whole = chunked(events);
    assert_eq!(other(&whole, false), (events.to_owned(), HEAD | END, None, Some(4)));
    assert_eq!(other(&whole[..whole.len() - 5], true).2, Some("truncated"));
    let failed = chunked("data: {\"type\":\"error\",\"message\":\"no\"}\n\n");
    assert_eq!(other(&failed, false).2, Some("stream_error"));
}

#[test]
fn a_response_that_breaks_off_fails_under_its_own_id() {
    let mut response = Response::new(Dialect::Responses, false, LIMITS);
    let begun = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\
                 \"response\":{\"id\":\"resp_9\"}}\n\n";
    response.feed(&chunked(begun)[..]);
    let event = String::from_utf8(response.fault_event("broke \"off\"", "upstream_truncated", None)).unwrap();
    assert!(event.starts_with("event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":1,"));
    let data: serde_json::Value = serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap();
    assert_eq!((&data["response"]["id"], &data["response"]["status"]), (&"resp_9".into(), &"failed".into()));
    assert_eq!(data["response"]["error"]["message"], "broke \"off\"");
}

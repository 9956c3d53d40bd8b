//! Pairs of dialects, through the very reader that the gateway uses.

use serde_json::{Value, json};

use super::{Setting, Warnings, answer_reader, answer_writer, ready, request_reader, request_writer};
use crate::http1;
use crate::response::{END, FAULT, Limits, Response, Translation};
use crate::tap::Dialect;

mod calls;
mod chat_to_messages;
mod disorder;
mod images;
mod messages_to_chat;
mod requests;
mod sse_cases;

const LIMITS: Limits =
    Limits { http: http1::Limits { max_head: 65_536, max_headers: 100 }, max_body: 1 << 20, max_event: 1 << 20 };

/// A reader of `upstream`'s answers for a caller that speaks `client`.
pub(super) fn response(upstream: &str, client: &str) -> Response {
    let setting = Setting {
        request_id: "r1".to_owned(),
        model: "m".to_owned(),
        created: 1_700_000_000,
        include_usage: true,
        ..Setting::default()
    };
    let reader = answer_reader(upstream, &setting).unwrap();
    let writer = answer_writer(client, &setting).unwrap();
    let client = Dialect::from_name(client).unwrap();
    let mut response = Response::new(client, false, LIMITS);
    response.translate(Translation::new(reader, writer), client);
    response
}

/// What the caller gets of a body that comes in pieces of `size` bytes.
fn fed(response: &mut Response, head: &[u8], body: &[u8], size: usize) -> (u8, Vec<u8>) {
    let mut out = Vec::new();
    let mut flags = response.feed(head);
    for piece in body.chunks(size) {
        flags = response.feed(piece);
        out.extend_from_slice(response.ready());
        response.consume(usize::MAX);
    }
    flags |= response.eof();
    out.extend_from_slice(response.ready());
    (flags & (END | FAULT), out)
}

const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// The bytes of a stream, which must be the same however it is cut.
pub(super) fn streamed(upstream: &str, client: &str, stream: &str) -> (Vec<u8>, Response) {
    let mut whole = response(upstream, client);
    let (flags, bytes) = fed(&mut whole, STREAM, stream.as_bytes(), usize::MAX);
    assert_ne!(flags, 0);
    for size in [1, 2, 3, 7, 61] {
        let mut cut = response(upstream, client);
        let (cut_flags, cut_bytes) = fed(&mut cut, STREAM, stream.as_bytes(), size);
        assert_eq!(String::from_utf8_lossy(&cut_bytes), String::from_utf8_lossy(&bytes), "in pieces of {size}");
        assert_eq!(cut_flags, flags);
        assert_eq!(cut.tokens(), whole.tokens());
        assert_eq!(cut.text_bytes(), whole.text_bytes());
        assert_eq!(cut.fault(), whole.fault());
    }
    for at in 1..stream.len() {
        let mut cut = response(upstream, client);
        let mut got = Vec::new();
        cut.feed(STREAM);
        for piece in [&stream.as_bytes()[..at], &stream.as_bytes()[at..]] {
            cut.feed(piece);
            got.extend_from_slice(cut.ready());
            cut.consume(usize::MAX);
        }
        cut.eof();
        got.extend_from_slice(cut.ready());
        assert!(got == bytes, "cut at {at}");
    }
    (bytes, whole)
}

/// The data of all events, [DONE] as a string.
pub(super) fn events(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let data = text.split("\n\n").filter_map(|block| block.lines().find_map(|line| line.strip_prefix("data: ")));
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data))).collect()
}

/// A whole answer, translated.
pub(super) fn whole(upstream: &str, client: &str, body: &Value) -> Value {
    let mut response = response(upstream, client);
    let body = body.to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    let (flags, out) = fed(&mut response, head.as_bytes(), body.as_bytes(), usize::MAX);
    assert_eq!(flags, END, "{:?}", response.fault());
    serde_json::from_slice(&out).unwrap()
}

/// A request, translated; its warnings.
pub(super) fn asked(from: &str, to: &str, body: &Value) -> (Value, Vec<String>) {
    let (body, warnings) = try_asked(from, to, body).unwrap();
    (serde_json::from_slice(&body).unwrap(), warnings.names().to_vec())
}

/// The message of a refusal.
pub(super) fn refused(from: &str, to: &str, body: &Value) -> String {
    try_asked(from, to, body).unwrap_err().message().to_owned()
}

fn try_asked(from: &str, to: &str, body: &Value) -> Result<(Vec<u8>, Warnings), crate::request::RequestError> {
    let mut conversation = request_reader(from).unwrap()(body.to_string().as_bytes())?;
    let mut warnings = Warnings::default();
    ready(&mut conversation, to, &mut warnings)?;
    let body = request_writer(to).unwrap()(&conversation, &mut warnings)?;
    Ok((body, warnings))
}

//! Conversations and answers for the tests of dialects.

use serde_json::Value;

use super::conversation::{CacheMark, Content, Conversation, Media, Part, Role, Tool, Turn};
use super::reply::Event;
use super::{AnswerReader, Warnings, WriteRequest};

pub(super) fn part(content: Content) -> Part {
    Part { content, cache: None }
}

pub(super) fn text(text: &str) -> Part {
    part(Content::Text(text.into()))
}

pub(super) fn cached(mut part: Part, ttl: Option<&str>) -> Part {
    part.cache = Some(CacheMark { ttl: ttl.map(Into::into) });
    part
}

pub(super) fn image() -> Part {
    part(Content::Image(Media::Inline { media_type: "image/png".into(), data: "aGk=".into() }))
}

pub(super) fn call(id: &str, name: &str, arguments: &str) -> Part {
    signed_call(id, name, arguments, None)
}

pub(super) fn signed_call(id: &str, name: &str, arguments: &str, signature: Option<&str>) -> Part {
    let signature = signature.map(Into::into);
    part(Content::Call { id: id.into(), name: name.into(), arguments: arguments.into(), signature })
}

pub(super) fn result(id: &str, parts: Vec<Part>) -> Part {
    part(Content::CallResult { id: id.into(), parts, is_error: false })
}

pub(super) fn user(parts: Vec<Part>) -> Turn {
    Turn { role: Role::User, parts }
}

pub(super) fn assistant(parts: Vec<Part>) -> Turn {
    Turn { role: Role::Assistant, parts }
}

pub(super) fn tool(name: &str, parameters: Value) -> Tool {
    Tool {
        name: name.into(),
        description: Some(format!("what {name} does")),
        parameters: Some(parameters),
        strict: None,
        cache: None,
    }
}

/// A conversation of these turns with a model.
pub(super) fn ask(model: &str, turns: Vec<Turn>) -> Conversation {
    Conversation { model: model.into(), turns, ..Conversation::default() }
}

/// The body, and what is lost.
pub(super) fn written(write: WriteRequest, conversation: &Conversation) -> (Value, Vec<String>) {
    let mut warnings = Warnings::default();
    let body = write(conversation, &mut warnings).unwrap();
    (serde_json::from_slice(&body).unwrap(), warnings.names().to_vec())
}

/// Why it is refused.
pub(super) fn refusal(write: WriteRequest, conversation: &Conversation) -> String {
    write(conversation, &mut Warnings::default()).unwrap_err().message().to_owned()
}

/// All events of a stream that is complete, or of one that is not.
pub(super) fn streamed(mut reader: impl AnswerReader, chunks: &[(&str, &str)]) -> (Vec<Event>, bool) {
    let mut events = Vec::new();
    for (name, data) in chunks {
        let name = (!name.is_empty()).then_some(name.as_bytes());
        reader.event(name, data.as_bytes(), &mut events).unwrap();
    }
    let is_complete = reader.finish(&mut events);
    (events, is_complete)
}

pub(super) fn whole(mut reader: impl AnswerReader, body: &str) -> Vec<Event> {
    let mut events = Vec::new();
    reader.body(body.as_bytes(), &mut events);
    events
}

/// The calls as (id, name, arguments, signature), in order of their numbers.
pub(super) fn calls(events: &[Event]) -> Vec<(String, String, String, Option<String>)> {
    let mut all: Vec<(String, String, String, Option<String>)> = Vec::new();
    for event in events {
        match event {
            Event::Call { call, id, name, signature, .. } => {
                assert_eq!(*call as usize, all.len());
                all.push((id.clone(), name.clone(), String::new(), signature.clone()));
            }
            Event::Arguments { call, json, .. } => all[*call as usize].2.push_str(json),
            _ => {}
        }
    }
    all
}

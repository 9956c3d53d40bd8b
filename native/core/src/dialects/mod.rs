//! Dialects: what one API says, told in the terms of another.
//!
//! Every dialect is a file. It reads its requests into a [`Conversation`] or writes one as its request, and reads its
//! answers into [`Event`]s or writes those as its answer. A pair of dialects never meets: what one of them adds, all the
//! others have. Where caller and upstream speak the same dialect none of this runs; bytes pass.

pub mod chat;
pub mod completions;
pub mod conversation;
pub mod converse;
pub(crate) mod fields;
pub mod gemini;
pub(crate) mod halves;
mod history;
mod json_end;
pub mod messages;
pub mod ollama;
pub(crate) mod order;
mod ready;
pub mod reply;
pub mod responses;
#[cfg(test)]
mod sample;

use std::fmt::Debug;

use conversation::Conversation;
pub use ready::ready;
use reply::Event;

use crate::request::RequestError;

/// Names of what the caller asked for and the upstream cannot be told; for `x-gateway-warnings`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warnings(Vec<String>);

impl Warnings {
    /// `name` is lost: a parameter ("seed", "messages.name"), in the caller's words and without its value.
    pub fn lost(&mut self, name: &str) {
        if !self.0.iter().any(|known| known == name) {
            self.0.push(name.to_owned());
        }
    }

    /// In the order of their first mention.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

/// A caller's body, read. What has a meaning elsewhere is in its place, everything else in `rest`.
pub type ReadRequest = fn(&[u8]) -> Result<Conversation, RequestError>;

/// A body for an upstream. What it cannot say is named in the warnings, or refused where leaving it out would change what
/// is asked (a tool result without its call, several choices where only one is to be had).
pub type WriteRequest = fn(&Conversation, &mut Warnings) -> Result<Vec<u8>, RequestError>;

/// What an answer cannot say of itself.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// The gateway's id of the request: the answer's own id, and a part of its calls', where the upstream gives none.
    pub request_id: String,
    /// What the upstream calls the model, where its answer does not say.
    pub model: String,
    /// Seconds since the epoch.
    pub created: u64,
    /// The caller wants the usage in the stream, where its dialect leaves that open.
    pub include_usage: bool,
    /// The caller's body, where answers of its dialect repeat what was asked; else empty.
    pub request: Vec<u8>,
}

/// The dialects of callers.
#[must_use]
pub fn request_reader(dialect: &str) -> Option<ReadRequest> {
    Some(match dialect {
        "chat" => chat::read_request,
        "completions" => completions::read_request,
        "messages" => messages::read_request,
        "responses" => responses::read_request,
        _ => return None,
    })
}

/// The dialects of upstreams. "openai" is "chat" as `OpenAI`'s own models want it, which refuse what they do not know;
/// "vertex-messages" is "messages" as Vertex AI wants it, where the path names the model.
#[must_use]
pub fn request_writer(dialect: &str) -> Option<WriteRequest> {
    Some(match dialect {
        "chat" => chat::write_request,
        "openai" => chat::write_openai_request,
        "messages" => messages::write_request,
        "vertex-messages" => messages::write_vertex_request,
        "gemini" => gemini::write_request,
        "converse" => converse::write_request,
        "ollama" => ollama::write_request,
        _ => return None,
    })
}

/// Reads what an upstream of this dialect answers.
#[must_use]
pub fn answer_reader(dialect: &str, setting: &Setting) -> Option<Box<dyn AnswerReader>> {
    Some(match dialect {
        "chat" | "openai" => Box::new(chat::Reader::new(setting)),
        "messages" | "vertex-messages" => Box::new(messages::Reader::new(setting)),
        "gemini" => Box::<gemini::Reader>::default(),
        "converse" => Box::<converse::Reader>::default(),
        "ollama" => Box::<ollama::Reader>::default(),
        _ => return None,
    })
}

/// Writes what a caller of this dialect reads.
#[must_use]
pub fn answer_writer(dialect: &str, setting: &Setting) -> Option<Box<dyn AnswerWriter>> {
    Some(match dialect {
        "chat" => Box::new(chat::Writer::new(setting)),
        "completions" => Box::new(completions::Writer::new(setting)),
        "messages" => Box::new(messages::Writer::new(setting)),
        "responses" => Box::new(responses::Writer::new(setting)),
        _ => return None,
    })
}

/// Reads the answer of an upstream.
pub trait AnswerReader: Debug + Send + Sync {
    /// A whole answer with a status of success: all events, the last of which is `End` or `Error`.
    fn body(&mut self, json: &[u8], events: &mut Vec<Event>);

    /// One event of a stream, with the name that its framing gives it. Err: malformed; (true) within a call.
    ///
    /// # Errors
    /// The event is left out and counted, or ends the stream where a call would be changed by leaving it out.
    fn event(&mut self, name: Option<&[u8]>, data: &[u8], events: &mut Vec<Event>) -> Result<(), Malformed>;

    /// Choices that the last event has told the end of without an `Event::Stop`, a bit each: that comes with `End`.
    fn reasons(&self) -> u128 {
        0
    }

    /// The stream ended. True if the answer was complete.
    fn finish(&mut self, events: &mut Vec<Event>) -> bool;
}

/// No event of this dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Leaving it out would change a call.
    pub in_call: bool,
}

/// Writes an answer for the caller.
pub trait AnswerWriter: Debug + Send + Sync {
    /// All of a whole answer.
    fn body(&mut self, events: &[Event]) -> Vec<u8>;

    /// What one event is in the stream; often nothing, at times several events.
    fn event(&mut self, event: &Event, out: &mut Vec<u8>);

    /// Whether its answers are made of blocks, so that a call has to be complete before something else is told.
    fn has_blocks(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;

//! What an answer says, in no dialect: the same events whether it comes whole or in a stream.

use serde_json::Value;

use super::conversation::Media;
use crate::usage::Tokens;

/// One step of an answer. Those of one choice keep their order; choices may be mixed.
///
/// A text, a thought or a call goes on until an event of another kind (or another call) of its choice begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// First, once.
    Start {
        /// The provider's id of the answer; empty if it has none.
        id: String,
        /// The model that answers, in the provider's words; empty if it does not say.
        model: String,
    },
    /// A piece of the text.
    Text {
        /// Of which choice.
        choice: u32,
        /// Never empty.
        text: String,
    },
    /// A piece of what the model thinks.
    Thinking {
        /// Of which choice.
        choice: u32,
        /// Never empty.
        text: String,
    },
    /// A piece of the proof of the thought before it, byte for byte.
    Signature {
        /// Of which choice.
        choice: u32,
        /// To be appended.
        signature: String,
    },
    /// A sealed thought.
    RedactedThinking {
        /// Of which choice.
        choice: u32,
        /// Sealed.
        data: String,
    },
    /// A piece of a refusal.
    Refusal {
        /// Of which choice.
        choice: u32,
        /// Never empty.
        text: String,
    },
    /// A picture that the model has drawn.
    Image {
        /// Of which choice.
        choice: u32,
        /// Its bytes, or where they are.
        media: Media,
    },
    /// A source of the text before it, in the words of the upstream's dialect.
    Citation {
        /// Of which choice.
        choice: u32,
        /// As it came.
        value: Value,
    },
    /// The model begins to call a tool.
    Call {
        /// Of which choice.
        choice: u32,
        /// Which of its calls, from 0 on.
        call: u32,
        /// Unique in this answer; made up if the provider gives none.
        id: String,
        /// Which tool.
        name: String,
        /// Gemini's `thoughtSignature`.
        signature: Option<String>,
    },
    /// A piece of the arguments of a call. The pieces of one call are JSON in the end.
    Arguments {
        /// Of which choice.
        choice: u32,
        /// Of which of its calls.
        call: u32,
        /// Never empty.
        json: String,
    },
    /// A choice is complete.
    Stop {
        /// Which.
        choice: u32,
        /// Why.
        reason: StopReason,
        /// The text that ended it, if it is known.
        sequence: Option<String>,
    },
    /// Tokens so far. A later one replaces an earlier one.
    Usage(Tokens),
    /// The provider is alive.
    Ping,
    /// The provider failed. Nothing follows.
    Error(ReplyError),
    /// The answer is complete. Nothing follows.
    End,
}

/// Why a choice is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It said all.
    End,
    /// A text of the caller's `stop`.
    Sequence,
    /// As many tokens as were allowed, or as fit into the context.
    Length,
    /// It waits for the results of its calls.
    Calls,
    /// The provider's filter, or the model itself, would not go on.
    Refused,
    /// The provider's own tools take a while; the caller may ask it to go on.
    Paused,
}

/// The code of [`ReplyError::truncated`].
pub const TRUNCATED: &str = "truncated";

/// What went wrong, as the provider says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyError {
    /// The HTTP status that it has or would have had.
    pub status: u16,
    /// The provider's code or type ("`overloaded_error`"); empty if it gives none.
    pub code: String,
    /// The provider's own words.
    pub message: String,
}

impl ReplyError {
    /// As an error object of `OpenAI`'s shape, with the status.
    #[must_use]
    pub fn object(&self) -> Vec<u8> {
        let object = serde_json::json!({
            "message": self.message, "type": self.code, "code": self.code, "status": self.status,
        });
        object.to_string().into_bytes()
    }

    /// The answer ended, by its own account, before it was complete.
    #[must_use]
    pub fn truncated() -> Self {
        Self {
            status: 502,
            code: TRUNCATED.to_owned(),
            message: "the upstream's stream ended before it was complete".to_owned(),
        }
    }

    /// The answer is none of its dialect.
    #[must_use]
    pub fn unreadable() -> Self {
        Self {
            status: 502,
            code: "upstream_protocol".to_owned(),
            message: "the upstream's answer cannot be read".to_owned(),
        }
    }
}

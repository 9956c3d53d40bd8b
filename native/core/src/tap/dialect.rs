//! In whose terms a stream speaks, and how a client is told in them that it has failed.

use crate::json::write::quote;

/// In whose terms a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Chat completions.
    Chat,
    /// Legacy completions; embeddings answer in the same frame.
    Completions,
    /// Anthropic's messages.
    Messages,
    /// The Responses API.
    Responses,
    /// No conversation, but tokens may be told of, and errors: images, sounds. Ends where its framing does.
    Other,
    /// Anything; never looked into.
    Raw,
}

impl Dialect {
    /// By the name that the rest of the gateway uses.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "chat" => Self::Chat,
            "completions" => Self::Completions,
            "messages" => Self::Messages,
            "responses" => Self::Responses,
            "other" => Self::Other,
            "raw" => Self::Raw,
            _ => return None,
        })
    }

    /// A well-formed event that tells a client of this dialect that its stream has failed.
    ///
    /// `response`: the id of the response that has begun, written, where that is known.
    #[must_use]
    pub fn fault_event(self, message: &str, code: &str, sequence: u64, response: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.len() + 160);
        match self {
            Self::Messages => {
                let kind = if code == "content_policy_violation" { "invalid_request_error" } else { "api_error" };
                out.extend_from_slice(b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"");
                out.extend_from_slice(kind.as_bytes());
                out.extend_from_slice(b"\",\"message\":");
                quote(&mut out, message);
                out.extend_from_slice(b"}}\n\n");
            }
            Self::Responses if response.is_some() => {
                out.extend_from_slice(
                    b"event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":",
                );
                out.extend_from_slice(sequence.to_string().as_bytes());
                out.extend_from_slice(b",\"response\":{\"id\":\"");
                out.extend_from_slice(response.unwrap_or_default());
                out.extend_from_slice(
                    b"\",\"object\":\"response\",\"created_at\":0,\"model\":\"\",\"status\":\"failed\",\"output\":[],\
                    \"parallel_tool_calls\":true,\"tool_choice\":\"auto\",\"tools\":[],\"error\":{\"code\":",
                );
                quote(&mut out, code);
                out.extend_from_slice(b",\"message\":");
                quote(&mut out, message);
                out.extend_from_slice(b"}}}\n\n");
            }
            Self::Responses => {
                out.extend_from_slice(b"event: error\ndata: {\"type\":\"error\",\"code\":");
                quote(&mut out, code);
                out.extend_from_slice(b",\"message\":");
                quote(&mut out, message);
                out.extend_from_slice(format!(",\"param\":null,\"sequence_number\":{sequence}}}\n\n").as_bytes());
            }
            Self::Chat | Self::Completions | Self::Other | Self::Raw => {
                out.extend_from_slice(b"data: {\"error\":{\"message\":");
                quote(&mut out, message);
                out.extend_from_slice(b",\"type\":\"upstream_error\",\"param\":null,\"code\":");
                quote(&mut out, code);
                out.extend_from_slice(b"}}\n\n");
            }
        }
        out
    }
}

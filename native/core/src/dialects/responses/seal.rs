//! What proves a thought, carried in the one member of an item of reasoning that callers hand back unread.
//!
//! `encrypted_content` of another provider means nothing here, so ours is marked as what it is.

/// A mark that no base64 begins with.
const SIGNATURE: &str = "tollhouse:signature:";
const REDACTED: &str = "tollhouse:redacted:";
const CALL: &str = "tollhouse:call:";

/// What an `encrypted_content` holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seal<'a> {
    /// The proof of the thought beside it.
    Signature(&'a str),
    /// A sealed thought.
    Redacted(&'a str),
    /// The proof of the call that comes next.
    Call(&'a str),
    /// Another provider's.
    Foreign,
}

pub(super) fn open(content: &str) -> Seal<'_> {
    if let Some(signature) = content.strip_prefix(SIGNATURE) {
        Seal::Signature(signature)
    } else if let Some(data) = content.strip_prefix(REDACTED) {
        Seal::Redacted(data)
    } else if let Some(signature) = content.strip_prefix(CALL) {
        Seal::Call(signature)
    } else {
        Seal::Foreign
    }
}

pub(super) fn signature(text: &str) -> String {
    format!("{SIGNATURE}{text}")
}

pub(super) fn redacted(data: &str) -> String {
    format!("{REDACTED}{data}")
}

pub(super) fn call(signature: &str) -> String {
    format!("{CALL}{signature}")
}

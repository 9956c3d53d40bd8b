//! The conversation as Anthropic takes it: roles take turns, results stand first and match their calls.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::base64;
use crate::dialects::conversation::{CacheMark, Content, Conversation, Media, Part, Role};
use crate::dialects::fields::named;
use crate::request::RequestError;

/// All messages.
pub(super) fn write(conversation: &Conversation) -> Result<Vec<Value>, RequestError> {
    let mut messages: Vec<(Role, Vec<Value>)> = Vec::with_capacity(conversation.turns.len());
    for (index, turn) in conversation.turns.iter().enumerate() {
        let mut blocks = Vec::with_capacity(turn.parts.len());
        for part in &turn.parts {
            blocks.extend(block(&format!("messages[{index}]"), part)?);
        }
        match messages.last_mut() {
            Some((role, open)) if *role == turn.role => open.append(&mut blocks),
            _ => messages.push((turn.role, blocks)),
        }
    }
    messages.retain(|(_, blocks)| !blocks.is_empty());
    for (role, blocks) in &mut messages {
        if *role == Role::User {
            // Results come first, in their order.
            blocks.sort_by_key(|block| block["type"] != "tool_result");
        }
    }
    check_calls(&messages)?;
    trim_end(&mut messages);
    let message = |(role, blocks)| {
        let role = if role == Role::User { "user" } else { "assistant" };
        json!({"role": role, "content": Value::Array(blocks)})
    };
    Ok(messages.into_iter().map(message).collect())
}

/// Every call is answered by the message behind it, and every result answers one of the message before.
fn check_calls(messages: &[(Role, Vec<Value>)]) -> Result<(), RequestError> {
    fn ids<'b>(blocks: &'b [Value], kind: &str, member: &str) -> Vec<&'b str> {
        let of_kind = blocks.iter().filter(|block| block["type"] == kind);
        of_kind.filter_map(|block| block[member].as_str()).collect()
    }
    let none = Vec::new();
    for (index, (role, blocks)) in messages.iter().enumerate() {
        if *role == Role::Assistant {
            let next = messages.get(index + 1).map_or(&none, |(_, blocks)| blocks);
            let answered: HashSet<&str> = ids(next, "tool_result", "tool_use_id").into_iter().collect();
            if let Some(id) = ids(blocks, "tool_use", "id").into_iter().find(|id| !answered.contains(id)) {
                return Err(unmatched(id, "has no result in the message after it"));
            }
        } else {
            let before = index.checked_sub(1).map_or(&none, |at| &messages[at].1);
            let called: HashSet<&str> = ids(before, "tool_use", "id").into_iter().collect();
            if let Some(id) = ids(blocks, "tool_result", "tool_use_id").into_iter().find(|id| !called.contains(id)) {
                return Err(unmatched(id, "is answered, but not called in the message before"));
            }
        }
    }
    Ok(())
}

fn unmatched(id: &str, what: &str) -> RequestError {
    let id: String = id.chars().take(80).collect();
    RequestError::new(format!("the tool call {id} {what}"), "messages", "invalid_tool_messages")
}

/// The beginning of an answer must not end in white space.
fn trim_end(messages: &mut [(Role, Vec<Value>)]) {
    if let Some((Role::Assistant, blocks)) = messages.last_mut()
        && let Some(Value::String(text)) = blocks.last_mut().and_then(|block| block.get_mut("text"))
    {
        text.truncate(text.trim_end().len());
    }
}

/// Texts of the system prompt.
pub(super) fn system(conversation: &Conversation) -> Result<Vec<Value>, RequestError> {
    let mut blocks = Vec::with_capacity(conversation.system.len());
    for part in &conversation.system {
        if !matches!(part.content, Content::Text(_)) {
            let message = "system holds something other than text, which this model's provider does not take";
            return Err(RequestError::new(message, "system", "unsupported_value"));
        }
        blocks.extend(block("system", part)?);
    }
    Ok(blocks)
}

/// Anthropic's mark.
pub(super) fn mark(cache: &CacheMark) -> Value {
    match &cache.ttl {
        Some(ttl) => json!({"type": "ephemeral", "ttl": ttl}),
        None => json!({"type": "ephemeral"}),
    }
}

/// A block; None for what is not to be sent on.
fn block(place: &str, part: &Part) -> Result<Option<Value>, RequestError> {
    let mut block = match &part.content {
        Content::Text(text) | Content::Refusal(text) if text.trim().is_empty() => return Ok(None),
        Content::Text(text) | Content::Refusal(text) => json!({"type": "text", "text": text}),
        Content::Image(media) => json!({"type": "image", "source": source(place, media)?}),
        Content::Document { media, name } => {
            let mut block = json!({"type": "document", "source": document(place, media)?});
            if let Some(name) = name {
                block["title"] = json!(name);
            }
            block
        }
        // Without its proof it would be refused.
        Content::Thinking { signature: None, .. } => return Ok(None),
        Content::Thinking { text, signature: Some(signature) } => {
            return Ok(Some(json!({"type": "thinking", "thinking": text, "signature": signature})));
        }
        Content::RedactedThinking(data) => return Ok(Some(json!({"type": "redacted_thinking", "data": data}))),
        Content::Call { id, name, arguments, .. } => {
            json!({"type": "tool_use", "id": plain(id), "name": name, "input": input(id, arguments)?})
        }
        Content::CallResult { id, parts, is_error } => {
            let mut inner = Vec::with_capacity(parts.len());
            for part in parts {
                inner.extend(self::block(place, part)?);
            }
            let mut block = json!({"type": "tool_result", "tool_use_id": plain(id)});
            if !inner.is_empty() {
                block["content"] = Value::Array(inner);
            }
            if *is_error {
                block["is_error"] = json!(true);
            }
            block
        }
        Content::Audio(_) => return Err(refused(place, "sound")),
        Content::Foreign(kind) => return Err(refused(place, &named(kind))),
    };
    if let Some(cache) = &part.cache {
        block["cache_control"] = mark(cache);
    }
    Ok(Some(block))
}

/// An id of the letters that the API takes; the same for a call and its result.
fn plain(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect()
}

fn input(id: &str, arguments: &str) -> Result<Value, RequestError> {
    if arguments.trim().is_empty() {
        return Ok(json!({}));
    }
    let value = serde_json::from_str(arguments).ok().filter(Value::is_object);
    value.ok_or_else(|| {
        let id: String = id.chars().take(80).collect();
        let message = format!("the arguments of the tool call {id} are not a JSON object");
        RequestError::new(message, "messages", "invalid_tool_messages")
    })
}

/// Of documents, those in Base64 are PDFs; a text is told as text.
fn document(place: &str, media: &Media) -> Result<Value, RequestError> {
    match media {
        Media::Inline { media_type, data } if media_type.starts_with("text/") => {
            let text = base64::decode(data.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.ok_or_else(|| refused(place, "a text that is not Base64 of UTF-8"))?;
            Ok(json!({"type": "text", "media_type": "text/plain", "data": text}))
        }
        _ => source(place, media),
    }
}

fn source(place: &str, media: &Media) -> Result<Value, RequestError> {
    match media {
        Media::File(_) => Err(refused(place, "a file that another provider keeps")),
        _ => Ok(told_source(media)),
    }
}

/// As it is told to callers, whoever keeps it.
pub(super) fn told_source(media: &Media) -> Value {
    match media {
        Media::Inline { media_type, data } => json!({"type": "base64", "media_type": media_type, "data": data}),
        Media::Url(url) => json!({"type": "url", "url": url}),
        Media::File(id) => json!({"type": "file", "file_id": id}),
    }
}

fn refused(place: &str, what: &str) -> RequestError {
    RequestError::new(
        format!("{place} holds {what}, which this model's provider does not take"),
        place,
        "unsupported_value",
    )
}

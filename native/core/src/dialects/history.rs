//! What upstream dialects have to know of a conversation's past, and what they say of what they cannot take.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};

use serde_json::{Map, Value};

use super::Warnings;
use super::conversation::{Content, Conversation, Part, Role, Turn};
use crate::request::RequestError;

/// Letters of a made-up id that come from the provider; ids of 40 are taken everywhere.
const SEED: usize = 28;

/// What the provider gave no id for gets one that no other call of the conversation has, as dialects with ids find the
/// results of calls by them. `seed` is what the provider has named the answer with, or when it was made.
pub(super) fn made_up_id(seed: &str, call: u32) -> String {
    let kept: String =
        seed.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '-').take(SEED).collect();
    if kept.is_empty() {
        return format!("call_{:016x}_{call}", RandomState::new().hash_one(call));
    }
    format!("call_{kept}_{call}")
}

/// The names of all calls so far by their ids.
pub(super) fn names(turns: &[Turn]) -> HashMap<&str, &str> {
    let parts = turns.iter().flat_map(|turn| &turn.parts);
    parts
        .filter_map(|part| match &part.content {
            Content::Call { id, name, .. } => Some((id.as_str(), name.as_str())),
            _ => None,
        })
        .collect()
}

/// The names of the functions that were called, each once.
pub(super) fn called_names(turns: &[Turn]) -> Vec<&str> {
    let mut called: Vec<&str> = Vec::new();
    for part in turns.iter().flat_map(|turn| &turn.parts) {
        if let Content::Call { name, .. } = &part.content
            && !called.contains(&name.as_str())
        {
            called.push(name);
        }
    }
    called
}

/// The turns with neighbours of one role joined, and with results in front of everything else and in the order of their
/// calls: some upstreams know them by that order only.
///
/// # Errors
/// A call without a result, or a result without a call in the turn before.
pub(super) fn joined(turns: &[Turn]) -> Result<Vec<(Role, Vec<&Part>)>, RequestError> {
    let mut all: Vec<(Role, Vec<&Part>)> = Vec::new();
    for turn in turns {
        match all.last_mut() {
            Some((role, parts)) if *role == turn.role => parts.extend(&turn.parts),
            _ => all.push((turn.role, turn.parts.iter().collect())),
        }
    }
    let mut open: Vec<&str> = Vec::new();
    for (role, parts) in &mut all {
        if *role == Role::Assistant {
            open = parts.iter().filter_map(|part| called(part)).collect();
            continue;
        }
        order(parts, &open)?;
        open.clear();
    }
    match open.first() {
        Some(id) => Err(unanswered(id)),
        None => Ok(all),
    }
}

fn called(part: &Part) -> Option<&str> {
    match &part.content {
        Content::Call { id, .. } => Some(id),
        _ => None,
    }
}

fn result_of(part: &Part) -> Option<&str> {
    match &part.content {
        Content::CallResult { id, .. } => Some(id),
        _ => None,
    }
}

fn order(parts: &mut [&Part], open: &[&str]) -> Result<(), RequestError> {
    let given: HashSet<&str> = parts.iter().filter_map(|part| result_of(part)).collect();
    if let Some(id) = open.iter().find(|id| !given.contains(*id)) {
        return Err(unanswered(id));
    }
    let places: HashMap<&str, usize> = open.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    if let Some(id) = given.iter().find(|id| !places.contains_key(*id)) {
        let message = format!("the tool result {} answers no call of the message before it", shown(id));
        return Err(RequestError::new(message, "messages", "invalid_tool_messages"));
    }
    parts.sort_by_key(|part| result_of(part).and_then(|id| places.get(id).copied()).unwrap_or(usize::MAX));
    Ok(())
}

fn unanswered(id: &str) -> RequestError {
    let message = format!("the tool call {} has no result in the message after it", shown(id));
    RequestError::new(message, "messages", "invalid_tool_messages")
}

/// An id in a message: its beginning, in letters that need no quotes.
fn shown(id: &str) -> String {
    id.chars().take(80).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// The arguments of a call as an object.
///
/// # Errors
/// They are none.
pub(super) fn arguments(id: &str, json: &str) -> Result<Map<String, Value>, RequestError> {
    if json.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(json).map_err(|_| {
        let message = format!("the arguments of the tool call {} are no JSON object", shown(id));
        RequestError::new(message, "messages", "invalid_tool_messages")
    })
}

/// All text of the parts; what else they hold is not told.
pub(super) fn text(parts: &[Part]) -> String {
    let mut all = String::new();
    for part in parts {
        if let Content::Text(text) = &part.content {
            let _ = write!(all, "{}{text}", if all.is_empty() { "" } else { "\n" });
        }
    }
    all
}

/// Names what a caller has marked as worth keeping, at an upstream that knows no marks.
pub(super) fn unmarked(conversation: &Conversation, warnings: &mut Warnings) {
    let marked = |part: &Part| part.cache.is_some();
    if conversation.system.iter().any(marked)
        || conversation.tools.iter().any(|tool| tool.cache.is_some())
        || conversation.turns.iter().flat_map(|turn| &turn.parts).any(marked)
    {
        warnings.lost("cache_control");
    }
}

/// Copies members that a caller may add in the upstream's own words: their names in his body, and here.
pub(super) fn carry<'a>(
    conversation: &Conversation,
    own: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: &mut Map<String, Value>,
    taken: &mut Vec<&'a str>,
) {
    for (name, here) in own {
        taken.push(name);
        if let Some(value) = conversation.rest.get(name).filter(|value| !value.is_null()) {
            body.insert(here.into(), value.clone());
        }
    }
}

/// Names what is lost at an upstream that knows nothing of who asks, and the members of the body that were not taken.
pub(super) fn unsaid(conversation: &Conversation, taken: &[&str], warnings: &mut Warnings) {
    if conversation.user.is_some() {
        warnings.lost("user");
    }
    for name in conversation.rest.keys() {
        if !taken.contains(&name.as_str()) {
            warnings.lost(name);
        }
    }
}

/// # Errors
/// More than one choice was asked for.
pub(super) fn one_choice(conversation: &Conversation, upstream: &str) -> Result<(), RequestError> {
    if conversation.choices.unwrap_or(1) <= 1 {
        return Ok(());
    }
    let message = format!("n must be 1: {upstream} gives one answer at a time");
    Err(RequestError::new(message, "n", "unsupported_value"))
}

/// A refusal of something in a message.
pub(super) fn refused(what: &str, upstream: &str) -> RequestError {
    RequestError::new(format!("{what} cannot be sent to {upstream}"), "messages", "unsupported_value")
}

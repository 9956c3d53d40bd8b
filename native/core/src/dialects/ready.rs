//! What a conversation must have before an upstream can be asked, beyond what its dialect can say.

use serde_json::json;

use super::Warnings;
use super::conversation::{Content, Conversation, Role, Tool, ToolChoice, Turn};
use super::history;
use crate::request::RequestError;

/// Make the conversation one that an upstream of `dialect` takes; what that changes is named.
///
/// # Errors
/// Nothing is said in it.
pub fn ready(conversation: &mut Conversation, dialect: &str, warnings: &mut Warnings) -> Result<(), RequestError> {
    if matches!(dialect, "chat" | "openai" | "messages" | "vertex-messages" | "converse") {
        leave_drawings_out(conversation, warnings);
    }
    if conversation.turns.iter().all(|turn| turn.parts.is_empty()) && dialect != "chat" && dialect != "openai" {
        speak(conversation, warnings)?;
    } else if conversation.turns.is_empty() && conversation.system.is_empty() {
        return Err(unsaid());
    }
    if matches!(dialect, "messages" | "vertex-messages" | "converse") {
        declare(conversation, warnings);
    }
    Ok(())
}

/// These upstreams take no images from the assistant.
fn leave_drawings_out(conversation: &mut Conversation, warnings: &mut Warnings) {
    for turn in conversation.turns.iter_mut().filter(|turn| turn.role == Role::Assistant) {
        let before = turn.parts.len();
        turn.parts.retain(|part| !matches!(part.content, Content::Image(_)));
        if turn.parts.len() < before {
            warnings.lost("messages.images");
        }
    }
}

/// Instructions alone are an answer's beginning at `OpenAI`; elsewhere somebody has to ask.
fn speak(conversation: &mut Conversation, warnings: &mut Warnings) -> Result<(), RequestError> {
    if conversation.system.is_empty() {
        return Err(unsaid());
    }
    warnings.lost("messages.role");
    conversation.turns = vec![Turn { role: Role::User, parts: std::mem::take(&mut conversation.system) }];
    Ok(())
}

fn unsaid() -> RequestError {
    RequestError::new("messages must hold at least one message that is not empty", "messages", "invalid_value")
}

/// Calls of the past are refused without tools, so those that were called are declared again. The caller offers none, so
/// none may be called.
fn declare(conversation: &mut Conversation, warnings: &mut Warnings) {
    if !conversation.tools.is_empty() {
        return;
    }
    let names: Vec<String> = history::called_names(&conversation.turns).into_iter().map(str::to_owned).collect();
    if names.is_empty() {
        return;
    }
    warnings.lost("tools");
    conversation.tool_choice = Some(ToolChoice::None);
    conversation.tools.extend(names.into_iter().map(|name| Tool {
        name,
        description: None,
        parameters: Some(json!({"type": "object", "additionalProperties": true})),
        strict: None,
        cache: None,
    }));
}

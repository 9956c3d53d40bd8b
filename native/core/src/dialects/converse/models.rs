//! What only some of the models behind Converse understand.

use serde_json::{Map, Value, json};

use crate::dialects::Warnings;
use crate::dialects::conversation::{Content, Conversation, Reasoning, Role};

/// The least that Anthropic's models think with.
const LEAST: u64 = 1024;
/// Room for the answer where the caller sets no bound and thinking needs one.
const ROOM: u64 = 4096;

/// Whose model it is, as far as its id tells. Ids of profiles and imported models tell nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Anthropic,
    Nova,
    OpenAi,
    Other,
}

impl Family {
    pub(super) fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        if model.contains("anthropic.") || model.contains("claude") {
            Self::Anthropic
        } else if model.contains("amazon.nova") {
            Self::Nova
        } else if model.contains("openai.") {
            Self::OpenAi
        } else {
            Self::Other
        }
    }

    /// Others refuse a cache point.
    pub(super) fn has_cache(self) -> bool {
        matches!(self, Self::Anthropic | Self::Nova)
    }

    pub(super) fn top_k(self, value: Value, fields: &mut Map<String, Value>, warnings: &mut Warnings) {
        match self {
            Self::Anthropic => drop(fields.insert("top_k".into(), value)),
            Self::Nova => drop(fields.insert("inferenceConfig".into(), json!({"topK": value}))),
            Self::OpenAi | Self::Other => warnings.lost("top_k"),
        }
    }

    /// Writes how much to think; returns the bound on the answer that this needs.
    pub(super) fn reasoning(
        self,
        conversation: &Conversation,
        fields: &mut Map<String, Value>,
        warnings: &mut Warnings,
    ) -> Option<u64> {
        let most = conversation.max_tokens;
        let Some(how) = &conversation.reasoning else { return most };
        match (self, how) {
            (Self::Anthropic, Reasoning::Off) => drop(fields.insert("thinking".into(), json!({"type": "disabled"}))),
            (Self::Anthropic, how) => return anthropic(how, conversation, fields, warnings),
            (Self::OpenAi, Reasoning::Effort(word)) => {
                let word = if word == "minimal" { "low" } else { word.as_str() };
                fields.insert("reasoning_effort".into(), word.into());
            }
            (Self::Nova, Reasoning::Effort(word)) if conversation.model.contains("nova-2") => {
                let word = if word == "minimal" { "low" } else { word.as_str() };
                let config = json!({"type": "enabled", "maxReasoningEffort": word});
                fields.insert("reasoningConfig".into(), config);
            }
            (Self::OpenAi | Self::Nova | Self::Other, Reasoning::Off) => {}
            _ => warnings.lost("reasoning_effort"),
        }
        most
    }
}

fn anthropic(
    how: &Reasoning,
    conversation: &Conversation,
    fields: &mut Map<String, Value>,
    warnings: &mut Warnings,
) -> Option<u64> {
    let most = conversation.max_tokens;
    if is_in_unsigned_loop(conversation) {
        // A loop of calls that was begun without thinking has to end without it.
        warnings.lost("reasoning_effort");
        return most;
    }
    let wanted = match how {
        Reasoning::Adaptive => {
            fields.insert("thinking".into(), json!({"type": "adaptive"}));
            return most;
        }
        Reasoning::Budget(tokens) => *tokens,
        Reasoning::Effort(word) => match word.as_str() {
            "minimal" => LEAST,
            "low" => 2048,
            "medium" => 8192,
            _ => 16384,
        },
        Reasoning::Off => return most,
    };
    // The answer's bound holds the thoughts as well, and must be more than they may take.
    let budget = match most {
        Some(most) if most <= LEAST => {
            warnings.lost("reasoning_effort");
            return Some(most);
        }
        Some(most) => wanted.min(most - 1).max(LEAST),
        None => wanted.max(LEAST),
    };
    fields.insert("thinking".into(), json!({"type": "enabled", "budget_tokens": budget}));
    most.or(Some(budget + ROOM))
}

/// Whether the model waits for results of calls that it made without a thought that can be replayed.
fn is_in_unsigned_loop(conversation: &Conversation) -> bool {
    let is_result = |content: &Content| matches!(content, Content::CallResult { .. });
    let mut turns = conversation.turns.iter().rev();
    let waits = turns.by_ref().take_while(|turn| turn.role == Role::User).any(|turn| {
        // The turns of the results; the assistant's is found anew below.
        turn.parts.iter().any(|part| is_result(&part.content))
    });
    let calling = conversation.turns.iter().rev().find(|turn| turn.role == Role::Assistant);
    let is_signed = calling.is_some_and(|turn| {
        turn.parts.iter().any(|part| {
            matches!(part.content, Content::Thinking { signature: Some(_), .. } | Content::RedactedThinking(_))
        })
    });
    waits && !is_signed
}

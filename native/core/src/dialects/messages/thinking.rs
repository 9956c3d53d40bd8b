//! How much to think, in the terms that a model takes.

use serde_json::{Map, Value, json};

use crate::dialects::Warnings;
use crate::dialects::conversation::{Content, Conversation, Reasoning, Role, ToolChoice};
use crate::request::thoughts::{LEAST, budget};

/// The version in a model's name: 4.5 of "claude-haiku-4-5-20251001". None: it is none of Anthropic's own names.
fn version(model: &str) -> Option<(u32, u32)> {
    let name = &model[model.rfind("claude")?..];
    let mut numbers =
        name.split(['-', '.', '@', ':']).filter(|part| part.len() <= 2).filter_map(|part| part.parse::<u32>().ok());
    // Those without a number are newer than those with one were.
    Some(numbers.next().map_or((u32::MAX, 0), |major| (major, numbers.next().unwrap_or(0))))
}

/// Whether the model takes an effort and thinks as it likes, as those from 4.6 on do, or a budget in tokens.
fn is_adaptive(model: &str) -> bool {
    version(model).is_none_or(|version| version >= (4, 6))
}

/// Whether the model's temperature can be set. From 4.7 on the API refuses it, and its clients have forgotten it.
pub(super) fn is_tunable(model: &str) -> bool {
    version(model).is_none_or(|version| version < (4, 7))
}

/// Whether the model's temperature can be set beside `top_p`. From 4.1 on the API refuses both together.
pub(super) fn takes_both(model: &str) -> bool {
    version(model).is_none_or(|version| version < (4, 1))
}

/// Put `thinking` and the effort into the body. True if the model will think.
pub(crate) fn write(
    conversation: &Conversation,
    max_tokens: u64,
    body: &mut Map<String, Value>,
    output: &mut Map<String, Value>,
    warnings: &mut Warnings,
) -> bool {
    let Some(reasoning) = &conversation.reasoning else { return false };
    if *reasoning == Reasoning::Off {
        body.insert("thinking".to_owned(), json!({"type": "disabled"}));
        return false;
    }
    let is_forced = matches!(conversation.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    if (is_forced && !conversation.tools.is_empty()) || has_bare_call(conversation) {
        // The API refuses to think then.
        warnings.lost("reasoning_effort");
        return false;
    }
    let adaptive = is_adaptive(&conversation.model);
    if let (Reasoning::Effort(word), true) = (reasoning, adaptive) {
        let word = if word == "minimal" { "low" } else { word };
        output.insert("effort".to_owned(), json!(word));
    }
    if adaptive && !matches!(reasoning, Reasoning::Budget(_)) {
        body.insert("thinking".to_owned(), json!({"type": "adaptive"}));
        return true;
    }
    let wanted = match reasoning {
        Reasoning::Budget(tokens) => *tokens,
        Reasoning::Effort(word) => match word.as_str() {
            "minimal" => LEAST,
            "low" => 2048,
            "medium" => 8192,
            "high" => 16_384,
            _ => 32_768,
        },
        Reasoning::Adaptive | Reasoning::Off => 8192,
    };
    let Some(budget) = budget(wanted, max_tokens) else {
        warnings.lost("reasoning_effort");
        return false;
    };
    body.insert("thinking".to_owned(), json!({"type": "enabled", "budget_tokens": budget}));
    true
}

/// The model's last turn has calls but no thought with its proof, which a thinking model is not allowed to go on from.
fn has_bare_call(conversation: &Conversation) -> bool {
    let last = conversation.turns.iter().rev().find(|turn| turn.role == Role::Assistant);
    last.is_some_and(|turn| {
        let is_call = |content: &Content| matches!(content, Content::Call { .. });
        let is_thought = |content: &Content| {
            matches!(content, Content::Thinking { signature: Some(_), .. } | Content::RedactedThinking(_))
        };
        turn.parts.iter().any(|part| is_call(&part.content)) && !turn.parts.iter().any(|part| is_thought(&part.content))
    })
}

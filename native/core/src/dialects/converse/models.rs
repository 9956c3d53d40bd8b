//! What only some of the models behind Converse understand.

use serde_json::{Map, Value, json};

use crate::dialects::Warnings;
use crate::dialects::conversation::{Conversation, Reasoning};
use crate::dialects::messages::thinking;

/// Tokens that thoughts and answer may share where neither the caller nor the price table says.
const MOST: u64 = 20_480;
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

    /// Writes how much to think into the model's own fields and into `outputConfig`; returns the bound on the answer that
    /// this needs.
    pub(super) fn reasoning(
        self,
        conversation: &Conversation,
        fields: &mut Map<String, Value>,
        output: &mut Map<String, Value>,
        warnings: &mut Warnings,
    ) -> Option<u64> {
        let most = conversation.max_tokens;
        let Some(how) = &conversation.reasoning else { return most };
        match (self, how) {
            (Self::Anthropic, _) => return anthropic(conversation, fields, output, warnings),
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

/// As Anthropic's own dialect says it.
fn anthropic(
    conversation: &Conversation,
    fields: &mut Map<String, Value>,
    output: &mut Map<String, Value>,
    warnings: &mut Warnings,
) -> Option<u64> {
    let most = conversation.max_tokens;
    thinking::write(conversation, most.unwrap_or(MOST), fields, output, warnings);
    let budget = fields.get("thinking").and_then(|thinking| thinking["budget_tokens"].as_u64());
    // The bound holds the thoughts as well, and the model's own may be less than they may take.
    most.or(budget.map(|budget| budget + ROOM))
}

//! A caller's messages request, read.

use serde_json::{Map, Value};

use super::blocks;
use crate::dialects::conversation::{Content, Conversation, Format, Part, Reasoning, Role, Tool, ToolChoice, Turn};
use crate::dialects::fields::Fields;
use crate::request::RequestError;

/// A caller's body, read.
///
/// # Errors
/// A member of another type than the API says, named by its path.
pub fn read_request(body: &[u8]) -> Result<Conversation, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let mut rest = Map::new();
    let mut conversation = Conversation {
        model: fields.text("model")?.unwrap_or_default(),
        system: blocks::read(&mut fields, "system", &mut rest)?,
        max_tokens: fields.count("max_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.number("top_k")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        include_usage: true,
        ..Conversation::default()
    };
    for text in fields.list("stop_sequences")? {
        let Value::String(text) = text else {
            return Err(RequestError::wrong_type("stop_sequences", "an array of strings"));
        };
        conversation.stop.push(text);
    }
    if let Some(mut metadata) = fields.object("metadata")? {
        conversation.user = metadata.text("user_id")?;
        rest.extend(metadata.rest().into_iter().map(|(name, value)| (format!("metadata.{name}"), value)));
    }
    read_output(&mut fields, &mut conversation)?;
    for tool in fields.objects("tools")? {
        read_tool(tool, &mut conversation)?;
    }
    if let Some(choice) = fields.object("tool_choice")? {
        read_choice(choice, &mut conversation)?;
    }
    for mut message in fields.objects("messages")? {
        let role = message.required("role")?;
        let parts = blocks::read(&mut message, "content", &mut rest)?;
        match role.as_str() {
            "user" => conversation.turns.push(Turn { role: Role::User, parts }),
            "assistant" => conversation.turns.push(Turn { role: Role::Assistant, parts }),
            "system" => conversation.system.extend(parts),
            _ => {
                let place = message.at("role");
                return Err(RequestError::new(format!("{place} must be user or assistant"), place, "invalid_value"));
            }
        }
    }
    conversation.rest.extend(rest);
    conversation.rest.extend(fields.rest());
    Ok(conversation)
}

/// How much to think, and of what form the answer is to be.
fn read_output(fields: &mut Fields, conversation: &mut Conversation) -> Result<(), RequestError> {
    let mut format = fields.object("output_format")?;
    if let Some(mut config) = fields.object("output_config")? {
        conversation.reasoning = config.text("effort")?.map(Reasoning::Effort);
        format = config.object("format")?.or(format);
        for (name, value) in config.rest() {
            conversation.rest.insert(format!("output_config.{name}"), value);
        }
    }
    if let Some(mut thinking) = fields.object("thinking")? {
        let budget = thinking.count("budget_tokens")?;
        match (thinking.text("type")?.as_deref(), budget) {
            (Some("disabled"), _) => conversation.reasoning = Some(Reasoning::Off),
            (_, Some(budget)) => conversation.reasoning = Some(Reasoning::Budget(budget)),
            _ => conversation.reasoning = conversation.reasoning.take().or(Some(Reasoning::Adaptive)),
        }
    }
    if let Some(mut format) = format {
        let place = format.at("schema");
        conversation.format = Some(Format::Schema {
            name: "answer".to_owned(),
            schema: format.take("schema").ok_or_else(|| RequestError::missing(&place))?,
            strict: Some(true),
        });
    }
    Ok(())
}

fn read_tool(mut tool: Fields, conversation: &mut Conversation) -> Result<(), RequestError> {
    let kind = tool.text("type")?;
    if let Some(kind) = kind.filter(|kind| kind != "custom") {
        // Tools that run at the provider.
        conversation.rest.insert(format!("tools.{kind}"), Value::Object(tool.rest()));
        return Ok(());
    }
    conversation.tools.push(Tool {
        name: tool.required("name")?,
        description: tool.text("description")?,
        parameters: tool.take("input_schema"),
        strict: tool.flag("strict")?,
        cache: tool.cache(),
    });
    for (name, value) in tool.rest() {
        conversation.rest.insert(format!("tools.{name}"), value);
    }
    Ok(())
}

fn read_choice(mut choice: Fields, conversation: &mut Conversation) -> Result<(), RequestError> {
    if let Some(one_at_a_time) = choice.flag("disable_parallel_tool_use")? {
        conversation.parallel_calls = Some(!one_at_a_time);
    }
    conversation.tool_choice = Some(match choice.required("type")?.as_str() {
        "none" => ToolChoice::None,
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "tool" => ToolChoice::Named(choice.required("name")?),
        _ => {
            let place = choice.at("type");
            return Err(RequestError::new(format!("{place} must be auto, any, tool or none"), place, "invalid_value"));
        }
    });
    Ok(())
}

/// A part without a mark.
pub(super) fn part(content: Content) -> Part {
    Part { content, cache: None }
}

//! Tools of a request, and whether they must be called.

use serde_json::{Map, Value, json};

use crate::dialects::conversation::{Conversation, Tool, ToolChoice};
use crate::dialects::fields::Fields;
use crate::request::RequestError;

/// The argument of a tool that takes any text, where it is told as a function.
pub(super) const CUSTOM_ARGUMENT: &str = "input";

/// Reads `tools` and `tool_choice`. What runs at another provider is left out and named in `lost`.
pub(super) fn read(
    fields: &mut Fields,
    asked: &mut Conversation,
    lost: &mut Map<String, Value>,
) -> Result<(), RequestError> {
    for mut tool in fields.objects("tools")? {
        match tool.required("type")?.as_str() {
            "function" => asked.tools.push(function(tool)?),
            "custom" => asked.tools.push(custom(tool, lost)?),
            other => {
                lost.insert(format!("tools.{other}"), Value::Bool(true));
            }
        }
    }
    match fields.take("tool_choice") {
        None => {}
        Some(Value::String(choice)) => asked.tool_choice = Some(mode(&choice)?),
        Some(value) => choose(Fields::new(value, "tool_choice")?, asked)?,
    }
    // A choice between tools none of which is left is no choice.
    if asked.tools.is_empty() && asked.tool_choice == Some(ToolChoice::Auto) {
        asked.tool_choice = None;
    }
    Ok(())
}

fn function(mut given: Fields) -> Result<Tool, RequestError> {
    Ok(Tool {
        name: given.required("name")?,
        description: given.text("description")?,
        parameters: given.take("parameters"),
        strict: given.flag("strict")?,
        cache: given.cache(),
    })
}

/// A tool that takes any text, as a function of one string. Its grammar, if it has one, can only be described.
fn custom(mut given: Fields, lost: &mut Map<String, Value>) -> Result<Tool, RequestError> {
    let name = given.required("name")?;
    let mut description = given.text("description")?;
    if let Some(mut format) = given.object("format")?
        && let Some(definition) = format.text("definition")?
    {
        let syntax = format.text("syntax")?.unwrap_or_default();
        let before = description.unwrap_or_default();
        description = Some(format!("{before}\n\nThe input follows this grammar ({syntax}):\n{definition}"));
        lost.insert(format!("tools.{name}.format"), Value::Bool(true));
    }
    let schema = json!({"type": "string"});
    let parameters = json!({
        "type": "object",
        "properties": {CUSTOM_ARGUMENT: schema},
        "required": [CUSTOM_ARGUMENT],
        "additionalProperties": false,
    });
    Ok(Tool { name, description, parameters: Some(parameters), strict: None, cache: None })
}

/// The text that such a tool was called with, as the arguments of a function.
pub(super) fn custom_arguments(input: &str) -> String {
    json!({CUSTOM_ARGUMENT: input}).to_string()
}

/// The other way round; arguments that are none of these stay as they are.
pub(super) fn custom_input(arguments: &str) -> String {
    let value: Option<Value> = serde_json::from_str(arguments).ok();
    let input = value.as_ref().and_then(|value| value.get(CUSTOM_ARGUMENT)).and_then(Value::as_str);
    input.map_or_else(|| arguments.to_owned(), str::to_owned)
}

fn mode(choice: &str) -> Result<ToolChoice, RequestError> {
    match choice {
        "none" => Ok(ToolChoice::None),
        "auto" => Ok(ToolChoice::Auto),
        "required" => Ok(ToolChoice::Required),
        _ => Err(RequestError::new("tool_choice must be none, auto or required", "tool_choice", "invalid_value")),
    }
}

fn choose(mut given: Fields, asked: &mut Conversation) -> Result<(), RequestError> {
    match given.required("type")?.as_str() {
        "function" | "custom" => asked.tool_choice = Some(ToolChoice::Named(given.required("name")?)),
        "allowed_tools" => {
            asked.tool_choice = Some(mode(&given.required("mode")?)?);
            let mut names = Vec::new();
            for mut tool in given.objects("tools")? {
                names.extend(tool.text("name")?);
            }
            asked.tools.retain(|tool| names.contains(&tool.name));
        }
        other => {
            let message = format!("tool_choice asks for {other}, which runs at another provider");
            return Err(RequestError::new(message, "tool_choice", "unsupported_parameter"));
        }
    }
    Ok(())
}

//! Bodies of `/v1/responses`, read.

use serde_json::{Map, Value};

use super::items::Items;
use super::tools;
use crate::dialects::conversation::{Conversation, Format, Reasoning};
use crate::dialects::fields::Fields;
use crate::request::RequestError;

/// What only the provider that kept it could look up.
const KEPT_ELSEWHERE: [&str; 3] = ["previous_response_id", "conversation", "prompt"];
/// What `include` may ask for that is given anyway.
const SEALED_REASONING: &str = "reasoning.encrypted_content";

/// A caller's body.
///
/// # Errors
/// A member of the wrong type, or one that leans on what the gateway's upstream does not have; it is named.
pub fn read_request(body: &[u8]) -> Result<Conversation, RequestError> {
    let mut fields = Fields::of_body(body)?;
    for name in KEPT_ELSEWHERE {
        if fields.take(name).is_some() {
            return Err(not_kept(name));
        }
    }
    if fields.flag("background")? == Some(true) {
        return Err(RequestError::new(
            "background is not to be had from this model's provider",
            "background",
            "unsupported_parameter",
        ));
    }
    let mut asked = Conversation { model: fields.text("model")?.unwrap_or_default(), ..Conversation::default() };
    let mut items = Items::default();
    if let Some(text) = fields.text("instructions")? {
        items.instruct(text);
    }
    match fields.take("input") {
        None => return Err(RequestError::missing("input")),
        Some(Value::String(text)) => items.say(text),
        Some(Value::Array(list)) => {
            for (index, value) in list.into_iter().enumerate() {
                items.add(Fields::new(value, &format!("input[{index}]"))?)?;
            }
        }
        Some(_) => return Err(RequestError::wrong_type("input", "a string or an array")),
    }
    let mut lost = items.finish(&mut asked);
    tools::read(&mut fields, &mut asked, &mut lost)?;
    asked.parallel_calls = fields.flag("parallel_tool_calls")?;
    asked.max_tokens = fields.count("max_output_tokens")?;
    asked.temperature = fields.number("temperature")?;
    asked.top_p = fields.number("top_p")?;
    asked.stream = fields.flag("stream")?.unwrap_or(false);
    // Every response tells its usage.
    asked.include_usage = true;
    asked.reasoning = reasoning(&mut fields)?;
    asked.format = text_format(&mut fields, &mut lost)?;
    asked.user = fields.text("user")?;
    free(&mut fields)?;
    asked.rest = fields.rest();
    asked.rest.append(&mut lost);
    Ok(asked)
}

fn not_kept(name: &str) -> RequestError {
    let message = format!(
        "{name} refers to what another provider has kept: this model's provider keeps nothing, so send the whole input"
    );
    RequestError::new(message, name, "unsupported_parameter")
}

/// What is given anyway, or is no loss.
fn free(fields: &mut Fields) -> Result<(), RequestError> {
    let left: Vec<Value> =
        fields.list("include")?.into_iter().filter(|value| value.as_str() != Some(SEALED_REASONING)).collect();
    if !left.is_empty() {
        fields.put("include", Value::Array(left));
    }
    // Nothing is stored; whoever wants it stored is told.
    if fields.flag("store")? == Some(true) {
        fields.put("store", Value::Bool(true));
    }
    if let Some(kind) = fields.text("truncation")?.filter(|kind| kind != "disabled") {
        fields.put("truncation", Value::String(kind));
    }
    // Only says how events are padded.
    fields.object("stream_options")?;
    Ok(())
}

fn reasoning(fields: &mut Fields) -> Result<Option<Reasoning>, RequestError> {
    let Some(mut asked) = fields.object("reasoning")? else { return Ok(None) };
    // Thoughts are told as the provider tells them: they are the summary.
    let effort = asked.text("effort")?;
    Ok(effort.map(|effort| if effort == "none" { Reasoning::Off } else { Reasoning::Effort(effort) }))
}

fn text_format(fields: &mut Fields, lost: &mut Map<String, Value>) -> Result<Option<Format>, RequestError> {
    let Some(mut text) = fields.object("text")? else { return Ok(None) };
    if let Some(verbosity) = text.take("verbosity") {
        lost.insert("verbosity".into(), verbosity);
    }
    let Some(mut format) = text.object("format")? else { return Ok(None) };
    match format.required("type")?.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::Json)),
        "json_schema" => Ok(Some(Format::Schema {
            name: format.required("name")?,
            schema: format.take("schema").ok_or_else(|| RequestError::missing("text.format.schema"))?,
            strict: format.flag("strict")?,
        })),
        _ => Err(RequestError::new("text.format.type is not known", "text.format.type", "invalid_value")),
    }
}

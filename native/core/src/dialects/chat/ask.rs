//! A caller's chat request, read.

use std::collections::HashMap;

use serde_json::Value;

use crate::dialects::conversation::{
    Content, Conversation, Format, Media, Part, Reasoning, Role, Tool, ToolChoice, Turn,
};
use crate::dialects::fields::{Fields, media_of_url};
use crate::request::RequestError;

/// A caller's body, read.
///
/// # Errors
/// A member of another type than the API says, named by its path.
pub fn read_request(body: &[u8]) -> Result<Conversation, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let mut conversation = Conversation {
        model: fields.text("model")?.unwrap_or_default(),
        parallel_calls: fields.flag("parallel_tool_calls")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.number("top_k")?,
        choices: fields.count("n")?,
        user: fields.text("user")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        reasoning: reasoning(&mut fields)?,
        format: format(&mut fields)?,
        stop: stop(&mut fields)?,
        ..Conversation::default()
    };
    if let Some(mut options) = fields.object("stream_options")? {
        conversation.include_usage = options.flag("include_usage")?.unwrap_or(false);
        for (name, value) in options.rest() {
            conversation.rest.insert(format!("stream_options.{name}"), value);
        }
    }
    let limits = [fields.count("max_completion_tokens")?, fields.count("max_tokens")?];
    conversation.max_tokens = limits.into_iter().flatten().min();
    for tool in fields.objects("tools")? {
        read_tool(tool, &mut conversation)?;
    }
    for function in fields.objects("functions")? {
        conversation.tools.push(read_function(function, None)?);
    }
    conversation.tool_choice = match fields.take("tool_choice") {
        Some(choice) => Some(read_choice(&choice, "tool_choice")?),
        None => fields.take("function_call").map(|choice| read_choice(&choice, "function_call")).transpose()?,
    };
    let messages = fields.objects("messages")?;
    let mut reader = Messages { conversation, functions: HashMap::new() };
    for (index, message) in messages.into_iter().enumerate() {
        reader.message(index, message)?;
    }
    let mut conversation = reader.conversation;
    for (name, value) in fields.rest() {
        conversation.rest.insert(name, value);
    }
    Ok(conversation)
}

fn reasoning(fields: &mut Fields) -> Result<Option<Reasoning>, RequestError> {
    let effort = fields.text("reasoning_effort")?;
    // Anthropic's member, which callers send through `extra_body`.
    if let Some(mut thinking) = fields.object("thinking")? {
        let budget = thinking.count("budget_tokens")?;
        return Ok(Some(match (thinking.text("type")?.as_deref(), budget) {
            (Some("disabled"), _) => Reasoning::Off,
            (_, Some(budget)) => Reasoning::Budget(budget),
            _ => effort.map_or(Reasoning::Adaptive, Reasoning::Effort),
        }));
    }
    Ok(effort.map(|effort| if effort == "none" { Reasoning::Off } else { Reasoning::Effort(effort) }))
}

fn format(fields: &mut Fields) -> Result<Option<Format>, RequestError> {
    let Some(mut format) = fields.object("response_format")? else { return Ok(None) };
    match format.text("type")?.as_deref() {
        Some("json_object") => Ok(Some(Format::Json)),
        Some("json_schema") => {
            let place = format.at("json_schema");
            let Some(mut schema) = format.object("json_schema")? else { return Err(RequestError::missing(&place)) };
            Ok(Some(Format::Schema {
                name: schema.text("name")?.unwrap_or_else(|| "answer".to_owned()),
                strict: schema.flag("strict")?,
                schema: schema.take("schema").unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            }))
        }
        None | Some("text") => Ok(None),
        Some(_) => {
            fields.put("response_format", Value::Object(format.rest()));
            Ok(None)
        }
    }
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, RequestError> {
    let texts = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::Array(texts)) => texts,
        Some(text) => vec![text],
    };
    let text = |value| match value {
        Value::String(text) => Ok(text),
        _ => Err(RequestError::wrong_type("stop", "a string or an array of strings")),
    };
    texts.into_iter().map(text).collect()
}

fn read_tool(mut tool: Fields, conversation: &mut Conversation) -> Result<(), RequestError> {
    let kind = tool.text("type")?.unwrap_or_else(|| "function".to_owned());
    let cache = tool.cache();
    if kind != "function" {
        conversation.rest.insert(format!("tools.{kind}"), Value::Object(tool.rest()));
        return Ok(());
    }
    let place = tool.at("function");
    let Some(function) = tool.object("function")? else { return Err(RequestError::missing(&place)) };
    let mut read = read_function(function, cache)?;
    read.strict = read.strict.or(tool.flag("strict")?);
    conversation.tools.push(read);
    Ok(())
}

fn read_function(
    mut function: Fields,
    cache: Option<crate::dialects::conversation::CacheMark>,
) -> Result<Tool, RequestError> {
    Ok(Tool {
        name: function.required("name")?,
        description: function.text("description")?,
        parameters: function.take("parameters"),
        strict: function.flag("strict")?,
        cache: cache.or(function.cache()),
    })
}

fn read_choice(choice: &Value, place: &str) -> Result<ToolChoice, RequestError> {
    let wrong = || RequestError::wrong_type(place, "\"none\", \"auto\", \"required\" or a named function");
    match choice {
        Value::String(word) => match word.as_str() {
            "none" => Ok(ToolChoice::None),
            "auto" => Ok(ToolChoice::Auto),
            "required" | "any" => Ok(ToolChoice::Required),
            _ => Err(wrong()),
        },
        Value::Object(named) => {
            let function = named.get("function").and_then(Value::as_object).unwrap_or(named);
            let name = function.get("name").and_then(Value::as_str).ok_or_else(wrong)?;
            Ok(ToolChoice::Named(name.to_owned()))
        }
        _ => Err(wrong()),
    }
}

struct Messages {
    conversation: Conversation,
    /// The last call of each function, for results of the old kind, which name the function alone.
    functions: HashMap<String, String>,
}

impl Messages {
    fn message(&mut self, index: usize, mut message: Fields) -> Result<(), RequestError> {
        let role = message.required("role")?;
        // The mark on a message is one on its last part.
        let cache = message.cache();
        let mut parts = match role.as_str() {
            "assistant" => self.assistant(index, &mut message)?,
            "tool" => {
                let id = message.required("tool_call_id")?;
                let is_error = message.flag("is_error")?.unwrap_or(false);
                vec![result(id, self.content(&mut message)?, is_error)]
            }
            "function" => {
                let name = message.required("name")?;
                let id = self.functions.get(&name).cloned().unwrap_or(name);
                vec![result(id, self.content(&mut message)?, false)]
            }
            "system" | "developer" | "user" => self.content(&mut message)?,
            _ => {
                let place = message.at("role");
                let known = "must be system, developer, user, assistant, tool or function";
                return Err(RequestError::new(format!("{place} {known}"), place, "invalid_value"));
            }
        };
        for (name, _) in message.rest() {
            self.conversation.rest.insert(format!("messages.{name}"), Value::Null);
        }
        if let Some(part) = parts.last_mut() {
            part.cache = part.cache.take().or(cache);
        }
        match role.as_str() {
            "system" | "developer" => self.conversation.system.append(&mut parts),
            "assistant" => self.conversation.turns.push(Turn { role: Role::Assistant, parts }),
            _ => self.conversation.turns.push(Turn { role: Role::User, parts }),
        }
        Ok(())
    }

    fn assistant(&mut self, index: usize, message: &mut Fields) -> Result<Vec<Part>, RequestError> {
        let mut parts = thoughts(message)?;
        parts.append(&mut self.content(message)?);
        for mut drawn in message.objects("images")? {
            parts.push(part(Content::Image(image(&mut drawn)?)));
        }
        if let Some(refusal) = message.text("refusal")?.filter(|text| !text.is_empty()) {
            parts.push(part(Content::Refusal(refusal)));
        }
        for mut call in message.objects("tool_calls")? {
            let id = call.required("id")?;
            let signature = call.object("extra_content")?.map(signature_of).transpose()?.flatten();
            let place = call.at("function");
            let Some(mut function) = call.object("function")? else { return Err(RequestError::missing(&place)) };
            parts.push(part(Content::Call {
                id,
                name: function.required("name")?,
                arguments: arguments(function.take("arguments")),
                signature,
            }));
        }
        if let Some(mut function) = message.object("function_call")? {
            let name = function.required("name")?;
            let id = format!("call_{index}");
            self.functions.insert(name.clone(), id.clone());
            let arguments = arguments(function.take("arguments"));
            parts.push(part(Content::Call { id, name, arguments, signature: None }));
        }
        Ok(parts)
    }

    fn content(&mut self, message: &mut Fields) -> Result<Vec<Part>, RequestError> {
        let place = message.at("content");
        let list = match message.take("content") {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) if text.is_empty() => return Ok(Vec::new()),
            Some(Value::String(text)) => return Ok(vec![part(Content::Text(text))]),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(RequestError::wrong_type(place, "a string, an array of parts or null")),
        };
        let mut parts = Vec::with_capacity(list.len());
        for (index, value) in list.into_iter().enumerate() {
            let mut fields = Fields::new(value, &format!("{place}[{index}]"))?;
            parts.extend(piece(&mut fields)?);
            for (name, _) in fields.rest() {
                self.conversation.rest.insert(format!("messages.content.{name}"), Value::Null);
            }
        }
        Ok(parts)
    }
}

/// Gemini's proof of a call, where its own `OpenAI` dialect has it: `extra_content.google.thought_signature`.
fn signature_of(mut extra: Fields) -> Result<Option<String>, RequestError> {
    extra.object("google")?.map_or(Ok(None), |mut google| google.text("thought_signature"))
}

/// What the model thought: `thinking_blocks` with their proofs if the caller kept them, else the plain text.
fn thoughts(message: &mut Fields) -> Result<Vec<Part>, RequestError> {
    let mut parts = Vec::new();
    let plain = [message.text("reasoning_content")?, message.take("reasoning").and_then(as_text)];
    for mut block in message.objects("thinking_blocks")? {
        if let Some(data) = block.text("data")? {
            parts.push(part(Content::RedactedThinking(data)));
            continue;
        }
        let text = block.text("thinking")?.unwrap_or_default();
        parts.push(part(Content::Thinking {
            text,
            signature: block.text("signature")?.filter(|proof| !proof.is_empty()),
        }));
    }
    if let Some(text) = plain.into_iter().flatten().find(|text| !text.is_empty() && parts.is_empty()) {
        parts.push(part(Content::Thinking { text, signature: None }));
    }
    Ok(parts)
}

fn as_text(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}

/// Servers differ in whether arguments are JSON in a string, as they should be, or JSON.
fn arguments(value: Option<Value>) -> String {
    match value {
        Some(Value::String(text)) if !text.trim().is_empty() => text,
        None | Some(Value::String(_)) => "{}".to_owned(),
        Some(value) => value.to_string(),
    }
}

fn result(id: String, parts: Vec<Part>, is_error: bool) -> Part {
    part(Content::CallResult { id, parts, is_error })
}

fn part(content: Content) -> Part {
    Part { content, cache: None }
}

/// A part of a message; None for a text that is empty.
fn piece(fields: &mut Fields) -> Result<Option<Part>, RequestError> {
    let kind = fields.required("type")?;
    let cache = fields.cache();
    let content = match kind.as_str() {
        "text" => match fields.required("text")? {
            text if text.is_empty() => return Ok(None),
            text => Content::Text(text),
        },
        "refusal" => Content::Refusal(fields.required("refusal")?),
        "image_url" => Content::Image(image(fields)?),
        "input_audio" => {
            let place = fields.at("input_audio");
            let mut audio = fields.object("input_audio")?.ok_or_else(|| RequestError::missing(&place))?;
            let format = audio.text("format")?.unwrap_or_else(|| "wav".to_owned());
            Content::Audio(Media::Inline { media_type: format!("audio/{format}"), data: audio.required("data")? })
        }
        "file" => {
            let place = fields.at("file");
            let mut file = fields.object("file")?.ok_or_else(|| RequestError::missing(&place))?;
            let name = file.text("filename")?;
            let media = match (file.text("file_data")?, file.text("file_id")?) {
                (Some(data), _) => match media_of_url(&data) {
                    // Bare Base64 is a PDF, as far as the API says.
                    Media::Url(data) if !data.contains("://") => {
                        Media::Inline { media_type: "application/pdf".to_owned(), data }
                    }
                    media => media,
                },
                (None, Some(id)) => Media::File(id),
                (None, None) => return Err(RequestError::missing(&format!("{place}.file_data"))),
            };
            Content::Document { media, name }
        }
        _ => Content::Foreign(kind),
    };
    Ok(Some(Part { content, cache }))
}

fn image(fields: &mut Fields) -> Result<Media, RequestError> {
    let place = fields.at("image_url");
    let url = match fields.take("image_url") {
        Some(Value::String(url)) => url,
        Some(value) => {
            let mut inner = Fields::new(value, &place)?;
            let url = inner.required("url")?;
            // How closely to look; "auto" is as good as nothing.
            if inner.text("detail")?.is_some_and(|detail| detail != "auto") {
                fields.put("image_url.detail", Value::Bool(true));
            }
            url
        }
        None => return Err(RequestError::missing(&place)),
    };
    Ok(media_of_url(&url))
}

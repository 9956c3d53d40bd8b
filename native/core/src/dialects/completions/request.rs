//! Bodies of `/v1/completions`, read.

use serde_json::Value;

use crate::dialects::conversation::{Content, Conversation, Part, Role, Turn};
use crate::dialects::fields::Fields;
use crate::request::RequestError;

/// A caller's body.
///
/// # Errors
/// A member of the wrong type, or what a conversation cannot give; it is named.
pub fn read_request(body: &[u8]) -> Result<Conversation, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let text = prompt(fields.take("prompt"))?;
    if fields.text("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(unsupported("suffix", "text between two others"));
    }
    if fields.flag("echo")? == Some(true) {
        return Err(unsupported("echo", "its prompt"));
    }
    if fields.take("logprobs").is_some() {
        return Err(unsupported("logprobs", "probabilities in the form of this endpoint"));
    }
    let choices = fields.count("n")?;
    if fields.count("best_of")?.is_some_and(|best| best > choices.unwrap_or(1)) {
        return Err(unsupported("best_of", "the best of several answers"));
    }
    let stop = match fields.take("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list
            .into_iter()
            .map(|text| text.as_str().map(str::to_owned).ok_or_else(|| RequestError::wrong_type("stop", "texts")))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(RequestError::wrong_type("stop", "a string or an array of strings")),
    };
    let part = Part { content: Content::Text(text), cache: None };
    let mut asked = Conversation {
        model: fields.text("model")?.unwrap_or_default(),
        turns: vec![Turn { role: Role::User, parts: vec![part] }],
        max_tokens: fields.count("max_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        stop,
        choices,
        user: fields.text("user")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        ..Conversation::default()
    };
    if let Some(mut options) = fields.object("stream_options")? {
        asked.include_usage = options.flag("include_usage")?.unwrap_or(false);
    }
    asked.rest = fields.rest();
    Ok(asked)
}

/// The one text that a prompt is.
fn prompt(given: Option<Value>) -> Result<String, RequestError> {
    let wrong = || unsupported("prompt", "answers to anything but one text");
    let text = match given {
        None => return Err(RequestError::missing("prompt")),
        Some(Value::String(text)) => text,
        Some(Value::Array(list)) => match <[Value; 1]>::try_from(list) {
            Ok([Value::String(text)]) => text,
            _ => return Err(wrong()),
        },
        Some(_) => return Err(RequestError::wrong_type("prompt", "a string or an array")),
    };
    if text.is_empty() { Err(wrong()) } else { Ok(text) }
}

fn unsupported(param: &str, what: &str) -> RequestError {
    let message = format!("{param}: this model converses, and does not give {what}");
    RequestError::new(message, param, "unsupported_parameter")
}

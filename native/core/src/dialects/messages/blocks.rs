//! Content blocks, read.

use serde_json::{Map, Value};

use super::ask::part;
use crate::dialects::conversation::{Content, Media, Part};
use crate::dialects::fields::Fields;
use crate::request::RequestError;

/// A text, or an array of blocks; empty texts are left out. Members that have no meaning elsewhere go to `rest`.
pub(super) fn read(fields: &mut Fields, name: &str, rest: &mut Map<String, Value>) -> Result<Vec<Part>, RequestError> {
    let place = fields.at(name);
    match fields.take(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![part(Content::Text(text))]),
        Some(Value::Array(list)) => {
            let mut parts = Vec::with_capacity(list.len());
            for (index, value) in list.into_iter().enumerate() {
                let mut fields = Fields::new(value, &format!("{place}[{index}]"))?;
                let read = block(&mut fields, rest)?;
                if !matches!(read, Some(Part { content: Content::Foreign(_), .. })) {
                    rest.extend(
                        fields.rest().into_iter().map(|(name, _)| (format!("messages.content.{name}"), Value::Null)),
                    );
                }
                parts.extend(read.filter(|part| part.content != Content::Text(String::new())));
            }
            Ok(parts)
        }
        Some(_) => Err(RequestError::wrong_type(place, "a string or an array of blocks")),
    }
}

fn block(fields: &mut Fields, rest: &mut Map<String, Value>) -> Result<Option<Part>, RequestError> {
    let kind = fields.required("type")?;
    let cache = fields.cache();
    let content = match kind.as_str() {
        "text" => Content::Text(fields.required("text")?),
        "image" => Content::Image(source(fields, rest)?.0),
        "document" => {
            let title = fields.text("title")?;
            let context = fields.text("context")?;
            match source(fields, rest)? {
                (Media::Inline { media_type, data }, true) if media_type.starts_with("text/") => {
                    let words: Vec<_> = [title, context, Some(data)].into_iter().flatten().collect();
                    Content::Text(words.join("\n\n"))
                }
                (media, _) => Content::Document { media, name: title },
            }
        }
        "thinking" => Content::Thinking {
            text: fields.text("thinking")?.unwrap_or_default(),
            signature: fields.text("signature")?.filter(|proof| !proof.is_empty()),
        },
        "redacted_thinking" => Content::RedactedThinking(fields.required("data")?),
        "tool_use" => {
            let (id, name) = (fields.required("id")?, fields.required("name")?);
            let arguments = match fields.take("input") {
                Some(input @ Value::Object(_)) => input.to_string(),
                None => "{}".to_owned(),
                Some(_) => return Err(RequestError::wrong_type(fields.at("input"), "an object")),
            };
            Content::Call { id, name, arguments, signature: None }
        }
        "tool_result" => Content::CallResult {
            id: fields.required("tool_use_id")?,
            is_error: fields.flag("is_error")?.unwrap_or(false),
            parts: read(fields, "content", rest)?,
        },
        _ => Content::Foreign(kind),
    };
    Ok(Some(Part { content, cache }))
}

/// Where an image or document is; true if it is plain text.
fn source(fields: &mut Fields, rest: &mut Map<String, Value>) -> Result<(Media, bool), RequestError> {
    let place = fields.at("source");
    let Some(mut source) = fields.object("source")? else { return Err(RequestError::missing(&place)) };
    Ok(match source.required("type")?.as_str() {
        "base64" => {
            let media_type = source.required("media_type")?;
            (Media::Inline { media_type, data: source.required("data")? }, false)
        }
        "text" => {
            let media_type = source.text("media_type")?.unwrap_or_else(|| "text/plain".to_owned());
            (Media::Inline { media_type, data: source.required("data")? }, true)
        }
        "url" => (Media::Url(source.required("url")?), false),
        "file" => (Media::File(source.required("file_id")?), false),
        "content" => {
            let parts = read(&mut source, "content", rest)?;
            let mut texts = Vec::new();
            for part in parts {
                match part.content {
                    Content::Text(text) => texts.push(text),
                    _ => return Err(RequestError::wrong_type(source.at("content"), "text")),
                }
            }
            (Media::Inline { media_type: "text/plain".to_owned(), data: texts.join("\n\n") }, true)
        }
        _ => {
            let place = source.at("type");
            let message = format!("{place} must be base64, text, content, url or file");
            return Err(RequestError::new(message, place, "invalid_value"));
        }
    })
}

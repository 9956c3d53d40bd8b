//! Items of an input: what was said, thought, called and answered.

use serde_json::{Map, Value};

use super::seal::{self, Seal};
use super::tools::custom_arguments;
use crate::dialects::conversation::{Content, Conversation, Media, Part, Role, Turn};
use crate::dialects::fields::{Fields, media_of_url};
use crate::request::RequestError;

/// The items so far, as turns.
#[derive(Debug, Default)]
pub(super) struct Items {
    system: Vec<Part>,
    turns: Vec<Turn>,
    /// Proof of the call that comes next.
    call_signature: Option<String>,
    lost: Map<String, Value>,
}

impl Items {
    pub(super) fn instruct(&mut self, text: String) {
        self.system.extend(part_of_text(text));
    }

    /// An input that is nothing but a text.
    pub(super) fn say(&mut self, text: String) {
        self.turn(Role::User, part_of_text(text));
    }

    /// Hands over to `asked`; returns what could not be said, by name.
    pub(super) fn finish(self, asked: &mut Conversation) -> Map<String, Value> {
        asked.system = self.system;
        asked.turns = self.turns;
        self.lost
    }

    pub(super) fn add(&mut self, mut item: Fields) -> Result<(), RequestError> {
        let kind = item.text("type")?.unwrap_or_else(|| "message".into());
        match kind.as_str() {
            "message" => self.message(item),
            "reasoning" => self.reasoning(item),
            "function_call" => {
                let arguments = item.text("arguments")?.filter(|text| !text.is_empty());
                self.call(item, arguments.unwrap_or_else(|| "{}".into()))
            }
            "custom_tool_call" => {
                let input = item.text("input")?.unwrap_or_default();
                self.call(item, custom_arguments(&input))
            }
            "function_call_output" | "custom_tool_call_output" => self.result(item),
            // One that a model here has drawn; those of OpenAI's own tool have the same form.
            "image_generation_call" => {
                let drawn = item.text("result")?.filter(|data| !data.is_empty());
                let content = drawn.map_or_else(|| Content::Foreign(kind), |data| Content::Image(image_of(data)));
                self.turn(Role::Assistant, Some(part(content)));
                Ok(())
            }
            "item_reference" => Err(RequestError::new(
                format!("{} refers to an item that another provider has kept: send the item itself", item.at("id")),
                item.at("id"),
                "unsupported_parameter",
            )),
            // What a provider's own tools did: only that provider can read it.
            _ => {
                self.turn(role_of(&kind), Some(part(Content::Foreign(kind))));
                Ok(())
            }
        }
    }

    fn message(&mut self, mut item: Fields) -> Result<(), RequestError> {
        let role = item.required("role")?;
        let parts = contents(&mut item, "content")?;
        match role.as_str() {
            "system" | "developer" => self.system.extend(parts),
            "user" => self.turn(Role::User, parts),
            "assistant" => self.turn(Role::Assistant, parts),
            _ => {
                let message = format!("{} must be user, assistant, system or developer", item.at("role"));
                return Err(RequestError::new(message, item.at("role"), "invalid_value"));
            }
        }
        Ok(())
    }

    fn reasoning(&mut self, mut item: Fields) -> Result<(), RequestError> {
        let mut texts = Vec::new();
        for name in ["summary", "content"] {
            for mut piece in item.objects(name)? {
                texts.extend(piece.text("text")?.filter(|text| !text.is_empty()));
            }
        }
        let text = texts.join("\n\n");
        let sealed = item.text("encrypted_content")?;
        let content = match sealed.as_deref().map(seal::open) {
            Some(Seal::Signature(signature)) => Content::Thinking { text, signature: Some(signature.to_owned()) },
            Some(Seal::Redacted(data)) => Content::RedactedThinking(data.to_owned()),
            Some(Seal::Call(signature)) => {
                self.call_signature = Some(signature.to_owned());
                return Ok(());
            }
            Some(Seal::Foreign) | None => {
                if sealed.is_some() {
                    self.lost.insert("input.reasoning.encrypted_content".into(), Value::Bool(true));
                }
                if text.is_empty() {
                    return Ok(());
                }
                Content::Thinking { text, signature: None }
            }
        };
        self.turn(Role::Assistant, Some(part(content)));
        Ok(())
    }

    fn call(&mut self, mut item: Fields, arguments: String) -> Result<(), RequestError> {
        let content = Content::Call {
            id: item.required("call_id")?,
            name: item.required("name")?,
            arguments,
            signature: self.call_signature.take(),
        };
        self.turn(Role::Assistant, Some(part(content)));
        Ok(())
    }

    fn result(&mut self, mut item: Fields) -> Result<(), RequestError> {
        let content = Content::CallResult {
            id: item.required("call_id")?,
            parts: contents(&mut item, "output")?,
            is_error: false,
        };
        self.turn(Role::User, Some(part(content)));
        Ok(())
    }

    /// Append to the turn of that role, or begin one.
    fn turn(&mut self, role: Role, parts: impl IntoIterator<Item = Part>) {
        let mut parts = parts.into_iter().peekable();
        if parts.peek().is_none() {
            return;
        }
        match self.turns.last_mut() {
            // Calls and thoughts are items of their own, but one turn of the model. What a user says stays apart.
            Some(last) if last.role == role && role == Role::Assistant => last.parts.extend(parts),
            Some(last) if last.role == role && is_results(&last.parts) => last.parts.extend(parts),
            _ => self.turns.push(Turn { role, parts: parts.collect() }),
        }
    }
}

fn is_results(parts: &[Part]) -> bool {
    parts.iter().all(|part| matches!(part.content, Content::CallResult { .. }))
}

/// Who speaks in an item of a provider's own tools.
fn role_of(kind: &str) -> Role {
    if kind.ends_with("_output") || kind.ends_with("_response") { Role::User } else { Role::Assistant }
}

fn part(content: Content) -> Part {
    Part { content, cache: None }
}

fn part_of_text(text: String) -> Option<Part> {
    (!text.is_empty()).then(|| part(Content::Text(text)))
}

/// A member that is a text or a list of parts.
fn contents(item: &mut Fields, name: &str) -> Result<Vec<Part>, RequestError> {
    let place = item.at(name);
    match item.take(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(part_of_text(text).into_iter().collect()),
        Some(Value::Array(list)) => {
            let mut parts = Vec::with_capacity(list.len());
            for (index, value) in list.into_iter().enumerate() {
                parts.extend(content(Fields::new(value, &format!("{place}[{index}]"))?)?);
            }
            Ok(parts)
        }
        Some(_) => Err(RequestError::wrong_type(place, "a string or an array")),
    }
}

fn content(mut given: Fields) -> Result<Option<Part>, RequestError> {
    let kind = given.required("type")?;
    let cache = given.cache();
    let content = match kind.as_str() {
        "input_text" | "output_text" | "text" | "summary_text" => Content::Text(given.required("text")?),
        "refusal" => Content::Refusal(given.required("refusal")?),
        "input_image" => Content::Image(image(&mut given)?),
        "input_file" => file(&mut given)?,
        "input_audio" => Content::Audio(audio(&mut given)?),
        _ => Content::Foreign(kind),
    };
    let is_empty = matches!(&content, Content::Text(text) | Content::Refusal(text) if text.is_empty());
    Ok((!is_empty).then_some(Part { content, cache }))
}

fn image(given: &mut Fields) -> Result<Media, RequestError> {
    if let Some(url) = given.text("image_url")? {
        return Ok(media_of_url(&url));
    }
    given.text("file_id")?.map(Media::File).ok_or_else(|| RequestError::missing(&given.at("image_url")))
}

fn file(given: &mut Fields) -> Result<Content, RequestError> {
    let name = given.text("filename")?;
    let media = if let Some(data) = given.text("file_data")? {
        match media_of_url(&data) {
            // Some clients send the bare base64: what it is then follows from the name.
            Media::Url(data) => Media::Inline { media_type: media_type(name.as_deref()).into(), data },
            media => media,
        }
    } else if let Some(url) = given.text("file_url")? {
        Media::Url(url)
    } else {
        Media::File(given.required("file_id")?)
    };
    Ok(Content::Document { media, name })
}

fn media_type(name: Option<&str>) -> &'static str {
    let ending = name.and_then(|name| name.rsplit_once('.')).map_or("pdf", |(_, ending)| ending);
    match ending.to_ascii_lowercase().as_str() {
        "txt" | "md" | "csv" | "json" | "log" => "text/plain",
        "html" | "htm" => "text/html",
        _ => "application/pdf",
    }
}

fn audio(given: &mut Fields) -> Result<Media, RequestError> {
    let place = given.at("input_audio");
    let mut sound = given.object("input_audio")?.ok_or_else(|| RequestError::missing(&place))?;
    let format = sound.required("format")?;
    Ok(Media::Inline { media_type: format!("audio/{format}"), data: sound.required("data")? })
}

/// A picture whose kind is known by how its Base64 begins.
fn image_of(data: String) -> Media {
    let kinds = [("/9j/", "image/jpeg"), ("UklGR", "image/webp"), ("R0lGOD", "image/gif")];
    let kind = kinds.iter().find(|(start, _)| data.starts_with(start)).map_or("image/png", |(_, kind)| kind);
    Media::Inline { media_type: kind.to_owned(), data }
}

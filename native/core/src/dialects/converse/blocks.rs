//! Parts of messages as Converse's blocks of content.

use serde_json::{Value, json};

use super::models::Family;
use crate::dialects::Warnings;
use crate::dialects::conversation::{CacheMark, Content, Media, Part};
use crate::dialects::history;
use crate::request::RequestError;

const BEDROCK: &str = "Bedrock";
const ID: usize = 64;

/// Writes the blocks of one conversation.
pub(super) struct Blocks<'w> {
    pub(super) family: Family,
    pub(super) warnings: &'w mut Warnings,
    /// So far; their names must differ.
    documents: usize,
}

impl<'w> Blocks<'w> {
    pub(super) fn new(family: Family, warnings: &'w mut Warnings) -> Self {
        Self { family, warnings, documents: 0 }
    }

    /// The blocks of a part: none, one, or one with a cache point behind it.
    pub(super) fn push(&mut self, part: &Part, out: &mut Vec<Value>) -> Result<(), RequestError> {
        let before = out.len();
        if let Some(block) = self.block(part)? {
            out.push(block);
        }
        let inner = match &part.content {
            Content::CallResult { parts, .. } => parts.iter().find_map(|part| part.cache.as_ref()),
            _ => None,
        };
        if let Some(mark) = part.cache.as_ref().or(inner) {
            match self.cache_point(mark) {
                Some(point) if out.len() > before => out.push(point),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn cache_point(&mut self, mark: &CacheMark) -> Option<Value> {
        if !self.family.has_cache() {
            self.warnings.lost("cache_control");
            return None;
        }
        Some(match &mark.ttl {
            Some(ttl) => json!({"cachePoint": {"type": "default", "ttl": ttl}}),
            None => json!({"cachePoint": {"type": "default"}}),
        })
    }

    fn block(&mut self, part: &Part) -> Result<Option<Value>, RequestError> {
        let replays = self.family == Family::Anthropic;
        Ok(match &part.content {
            // Blank texts are refused.
            Content::Text(text) | Content::Refusal(text) if text.trim().is_empty() => None,
            Content::Text(text) | Content::Refusal(text) => Some(json!({"text": text})),
            Content::Image(media) => Some(image(media)?),
            Content::Document { media, name } => Some(self.document(media, name.as_deref())?),
            Content::Audio(media) => Some(audio(media)?),
            Content::Thinking { text, signature: Some(signature) } if replays => {
                Some(json!({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}))
            }
            Content::RedactedThinking(data) if replays => Some(json!({"reasoningContent": {"redactedContent": data}})),
            Content::Thinking { .. } | Content::RedactedThinking(_) => None,
            Content::Call { id, name, arguments, .. } => {
                let input = history::arguments(id, arguments)?;
                Some(json!({"toolUse": {"toolUseId": fitting(id), "name": name, "input": input}}))
            }
            Content::CallResult { id, parts, is_error } => {
                let status = if *is_error { "error" } else { "success" };
                let content = self.result(parts)?;
                Some(json!({"toolResult": {"toolUseId": fitting(id), "content": content, "status": status}}))
            }
            Content::Foreign(kind) => {
                self.warnings.lost(&format!("messages.{kind}"));
                None
            }
        })
    }

    fn result(&mut self, parts: &[Part]) -> Result<Vec<Value>, RequestError> {
        let mut content = Vec::with_capacity(parts.len());
        for part in parts {
            content.extend(match &part.content {
                // Unlike elsewhere, nothing at all is worse than an empty text.
                Content::Text(text) => Some(json!({"text": text})),
                Content::Audio(_) => return Err(history::refused("audio in the result of a tool", BEDROCK)),
                _ => self.block(part)?,
            });
        }
        Ok(content)
    }

    fn document(&mut self, media: &Media, name: Option<&str>) -> Result<Value, RequestError> {
        self.documents += 1;
        let name = document_name(name.unwrap_or("document"), self.documents);
        let format = match media {
            Media::Inline { media_type, .. } => match media_type.split(';').next().unwrap_or_default() {
                "text/plain" => "txt",
                "text/csv" => "csv",
                "text/html" => "html",
                "text/markdown" => "md",
                "application/pdf" => "pdf",
                "application/msword" => "doc",
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
                "application/vnd.ms-excel" => "xls",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
                _ => return Err(history::refused("a document of this media type", BEDROCK)),
            },
            Media::Url(url) => match ending(url) {
                "" => "pdf",
                known => known,
            },
            Media::File(_) => return Err(history::refused("a document that another provider keeps", BEDROCK)),
        };
        let source = source(media, "a document")?;
        Ok(json!({"document": {"format": format, "name": name, "source": source}}))
    }
}

fn image(media: &Media) -> Result<Value, RequestError> {
    let format = match media {
        Media::Inline { media_type, .. } => media_type.strip_prefix("image/").unwrap_or_default(),
        Media::Url(url) => ending(url),
        Media::File(_) => "",
    };
    let format = match format {
        "jpg" | "jpeg" => "jpeg",
        "png" | "gif" | "webp" => format,
        _ if matches!(media, Media::Inline { .. }) => {
            return Err(history::refused("an image that is no PNG, JPEG, GIF or WebP", BEDROCK));
        }
        _ => "png",
    };
    let source = source(media, "an image")?;
    Ok(json!({"image": {"format": format, "source": source}}))
}

fn audio(media: &Media) -> Result<Value, RequestError> {
    let format = match media {
        Media::Inline { media_type, .. } => media_type.strip_prefix("audio/").unwrap_or_default(),
        Media::Url(url) => ending(url),
        Media::File(_) => "",
    };
    let source = source(media, "audio")?;
    Ok(json!({"audio": {"format": format, "source": source}}))
}

/// Bedrock fetches from S3 only.
fn source(media: &Media, what: &str) -> Result<Value, RequestError> {
    match media {
        Media::Inline { data, .. } => Ok(json!({"bytes": data})),
        Media::Url(uri) if uri.starts_with("s3://") => Ok(json!({"s3Location": {"uri": uri}})),
        Media::Url(_) => Err(history::refused(&format!("{what} by its address"), BEDROCK)),
        Media::File(_) => Err(history::refused(&format!("{what} that another provider keeps"), BEDROCK)),
    }
}

fn ending(url: &str) -> &str {
    url.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, ending)| ending)
}

/// Of letters, digits, single spaces, hyphens and brackets, and unlike all others.
fn document_name(name: &str, number: usize) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' })
        .take(150)
        .collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    format!("{} {number}", if words.is_empty() { "document".into() } else { words.join(" ") })
}

/// Ids of other providers may be longer, or hold other letters.
fn fitting(id: &str) -> String {
    let plain: Vec<char> =
        id.chars().map(|c| if c.is_ascii_alphanumeric() || "_.:-".contains(c) { c } else { '_' }).collect();
    plain[plain.len().saturating_sub(ID)..].iter().collect()
}

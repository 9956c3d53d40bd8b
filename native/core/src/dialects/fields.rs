//! Members of JSON objects that were read: taken out by name, so that what is left over is what nobody knew.

use serde_json::{Map, Number, Value};

use super::conversation::{CacheMark, Media};
use crate::request::RequestError;

/// An object whose members are taken out one by one. A member that is null counts as not said.
#[derive(Debug)]
pub(crate) struct Fields {
    members: Map<String, Value>,
    place: String,
}

impl Fields {
    /// The object at `place` ("messages[2]"; empty for the body itself).
    pub(crate) fn new(value: Value, place: &str) -> Result<Self, RequestError> {
        match value {
            Value::Object(members) => Ok(Self { members, place: place.to_owned() }),
            _ => Err(RequestError::wrong_type(if place.is_empty() { "body" } else { place }, "an object")),
        }
    }

    /// A body that the request view has parsed before.
    pub(crate) fn of_body(body: &[u8]) -> Result<Self, RequestError> {
        let value = serde_json::from_slice(body).map_err(|_| {
            // What the view took and this parser does not: no Rust string can hold it.
            let message =
                "the body holds half of a character (\\ud800 to \\udfff by itself), which cannot be translated";
            RequestError::new(message, "body", "invalid_value")
        })?;
        Self::new(value, "")
    }

    /// The place of a member, for an error.
    pub(crate) fn at(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.members.shift_remove(name).filter(|value| !value.is_null())
    }

    /// Back to what is left over.
    pub(crate) fn put(&mut self, name: &str, value: Value) {
        self.members.insert(name.to_owned(), value);
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, RequestError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(RequestError::wrong_type(self.at(name), "a string")),
        }
    }

    /// A text that must be there.
    pub(crate) fn required(&mut self, name: &str) -> Result<String, RequestError> {
        self.text(name)?.ok_or_else(|| RequestError::missing(&self.at(name)))
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, RequestError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(RequestError::wrong_type(self.at(name), "a boolean")),
        }
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<Option<Number>, RequestError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(_) => Err(RequestError::wrong_type(self.at(name), "a number")),
        }
    }

    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>, RequestError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => {
                value.as_u64().map(Some).ok_or_else(|| RequestError::wrong_type(self.at(name), "an integer from 0 on"))
            }
        }
    }

    /// An array; empty if it is not there.
    pub(crate) fn list(&mut self, name: &str) -> Result<Vec<Value>, RequestError> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(RequestError::wrong_type(self.at(name), "an array")),
        }
    }

    /// The objects of an array.
    pub(crate) fn objects(&mut self, name: &str) -> Result<Vec<Self>, RequestError> {
        let place = self.at(name);
        let list = self.list(name)?;
        list.into_iter().enumerate().map(|(index, value)| Self::new(value, &format!("{place}[{index}]"))).collect()
    }

    /// A member that is an object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Self>, RequestError> {
        let place = self.at(name);
        self.take(name).map(|value| Self::new(value, &place)).transpose()
    }

    /// Anthropic's mark, which other dialects have taken over.
    pub(crate) fn cache(&mut self) -> Option<CacheMark> {
        let mark = self.take("cache_control")?;
        Some(CacheMark { ttl: mark.get("ttl").and_then(Value::as_str).map(str::to_owned) })
    }

    /// What was not taken, nulls left out.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.members.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }
}

/// What a `data:` URL holds, or the URL itself.
pub(crate) fn media_of_url(url: &str) -> Media {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match inline {
        // Parameters ("charset=utf-8") say nothing that a model needs.
        Some((kind, data)) => Media::Inline {
            media_type: kind.split(';').next().unwrap_or_default().to_ascii_lowercase(),
            data: data.to_owned(),
        },
        None => Media::Url(url.to_owned()),
    }
}

/// The other way round; None for what is kept by a provider.
pub(crate) fn url_of_media(media: &Media) -> Option<String> {
    match media {
        Media::Inline { media_type, data } => Some(format!("data:{media_type};base64,{data}")),
        Media::Url(url) => Some(url.clone()),
        Media::File(_) => None,
    }
}

/// The type of a block in an error: a word of an API, not whatever a caller wrote in its place.
pub(crate) fn named(kind: &str) -> String {
    let is_word = kind.len() <= 64 && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_word { format!("a block of type {kind}") } else { "a block of an unknown type".to_owned() }
}

//! A request for embeddings, cut into the calls that a model takes.

use serde_json::{Map, Value, json};

use super::Dialect;
use crate::dialects::Warnings;
use crate::dialects::fields::Fields;
use crate::request::RequestError;

/// Texts in one request, as `OpenAI` has it.
const MOST_TEXTS: usize = 2048;

/// What a model is asked, and in how many calls.
#[derive(Debug, PartialEq, Eq)]
pub struct Calls {
    /// Each body, and how many texts are in it.
    pub bodies: Vec<(Vec<u8>, usize)>,
    /// Vectors are wanted as base64.
    pub is_base64: bool,
}

/// The calls of a body that the request view has parsed.
///
/// # Errors
/// A member of another type than the API says, tokens in place of texts, and dimensions that the model cannot be told.
pub fn write_calls(body: &[u8], dialect: Dialect, warnings: &mut Warnings) -> Result<Calls, RequestError> {
    let mut fields = Fields::of_body(body)?;
    fields.take("model");
    let texts = texts(&mut fields)?;
    let is_base64 = match fields.text("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            let message = "encoding_format must be float or base64";
            return Err(RequestError::new(message, "encoding_format", "invalid_value"));
        }
    };
    let write = Writer::new(dialect, &mut fields)?;
    for name in fields.rest().keys() {
        warnings.lost(name);
    }
    let bodies = groups(&texts, dialect.room()).map(|group| (write.body(group), group.len())).collect();
    Ok(Calls { bodies, is_base64 })
}

fn texts(fields: &mut Fields) -> Result<Vec<String>, RequestError> {
    let texts = match fields.take("input") {
        None => return Err(RequestError::missing("input")),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.into_iter().map(text).collect::<Result<_, _>>()?,
        Some(_) => return Err(RequestError::wrong_type("input", "a string or an array of strings")),
    };
    if texts.is_empty() || texts.len() > MOST_TEXTS {
        let message = format!("input must have 1 to {MOST_TEXTS} texts");
        return Err(RequestError::new(message, "input", "invalid_value"));
    }
    Ok(texts)
}

fn text(value: Value) -> Result<String, RequestError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(_) | Value::Array(_) => {
            let message = "input has tokens, but this model's provider takes texts only";
            Err(RequestError::new(message, "input", "unsupported_value"))
        }
        _ => Err(RequestError::wrong_type("input", "a string or an array of strings")),
    }
}

/// As many texts at a time as there is room for, one at least.
fn groups(texts: &[String], (most, bytes): (usize, usize)) -> impl Iterator<Item = &[String]> {
    let mut rest = texts;
    std::iter::from_fn(move || {
        let mut size = 0_usize;
        let fits = |text: &&String| {
            size = size.saturating_add(text.len());
            size <= bytes
        };
        let count = rest.iter().take(most).take_while(fits).count().max(1).min(rest.len());
        let (group, left) = rest.split_at(count);
        rest = left;
        (!group.is_empty()).then_some(group)
    })
}

/// What is the same in each call.
struct Writer {
    dialect: Dialect,
    members: Map<String, Value>,
    /// Of each text of Vertex AI.
    instance: Map<String, Value>,
}

impl Writer {
    fn new(dialect: Dialect, fields: &mut Fields) -> Result<Self, RequestError> {
        let dimensions = fields.count("dimensions")?;
        let mut members = Map::new();
        let mut instance = Map::new();
        match dialect {
            Dialect::TitanV1 if dimensions.is_some() => {
                let message = "dimensions cannot be chosen for this model";
                return Err(RequestError::new(message, "dimensions", "unsupported_value"));
            }
            Dialect::TitanV1 => {}
            Dialect::Titan => {
                keep(&mut members, "dimensions", dimensions.map(Value::from));
                keep(&mut members, "normalize", fields.take("normalize"));
            }
            Dialect::Nova => {
                let purpose = fields.text("embeddingPurpose")?.unwrap_or_else(|| "GENERIC_INDEX".to_owned());
                keep(&mut members, "embeddingPurpose", Some(purpose.into()));
                keep(&mut members, "embeddingDimension", dimensions.map(Value::from));
            }
            Dialect::Cohere => {
                let purpose = fields.text("input_type")?.unwrap_or_else(|| "search_document".to_owned());
                keep(&mut members, "input_type", Some(purpose.into()));
                keep(&mut members, "truncate", fields.take("truncate"));
                // Those from the fourth version on have dimensions to choose; the others say themselves that they have not.
                keep(&mut members, "output_dimension", dimensions.map(Value::from));
            }
            Dialect::Vertex | Dialect::VertexSingle => {
                // A text that is too long is an error elsewhere; here it would be cut without a word.
                let is_cut = fields.flag("auto_truncate")?.unwrap_or(false);
                keep(&mut members, "autoTruncate", Some(is_cut.into()));
                keep(&mut members, "outputDimensionality", dimensions.map(Value::from));
                for name in ["task_type", "title"] {
                    keep(&mut instance, name, fields.take(name));
                }
            }
        }
        Ok(Self { dialect, members, instance })
    }

    fn body(&self, texts: &[String]) -> Vec<u8> {
        let mut body = self.members.clone();
        let first = texts.first().map_or("", String::as_str);
        let value = match self.dialect {
            Dialect::TitanV1 | Dialect::Titan => {
                body.insert("inputText".to_owned(), first.into());
                Value::Object(body)
            }
            Dialect::Nova => {
                body.insert("text".to_owned(), json!({"truncationMode": "NONE", "value": first}));
                json!({
                    "schemaVersion": "nova-multimodal-embed-v1",
                    "taskType": "SINGLE_EMBEDDING",
                    "singleEmbeddingParams": body,
                })
            }
            Dialect::Cohere => {
                body.insert("texts".to_owned(), texts.into());
                Value::Object(body)
            }
            Dialect::Vertex | Dialect::VertexSingle => {
                let instances: Vec<Value> = texts.iter().map(|text| self.instance_of(text)).collect();
                json!({"instances": instances, "parameters": body})
            }
        };
        value.to_string().into_bytes()
    }

    fn instance_of(&self, text: &str) -> Value {
        let mut instance = Map::new();
        instance.insert("content".to_owned(), text.into());
        instance.extend(self.instance.clone());
        Value::Object(instance)
    }
}

fn keep(members: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        members.insert(name.to_owned(), value);
    }
}

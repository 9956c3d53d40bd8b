//! JSON Schema as the subset of `OpenAPI` that Gemini takes; what it would refuse is said another way or left out.
//!
//! <https://ai.google.dev/api/caching#Schema>

use serde_json::{Map, Value, json};

use crate::dialects::Warnings;
use crate::request::RequestError;

/// References may hold references; a schema that unfolds to more values than this is no schema for a model.
const MOST_VALUES: usize = 20_000;
const DEEPEST: usize = 64;

/// Taken over as they are.
const KEPT: [&str; 14] = [
    "title",
    "description",
    "nullable",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "propertyOrdering",
    "default",
];
/// Left out without a loss: names of the schema itself, and what is so anyway.
const IDLE: [&str; 10] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "additionalProperties",
    "examples",
    "example",
    "readOnly",
    "deprecated",
];

/// A schema that Gemini takes. What is lost is named as `place.keyword`.
///
/// # Errors
/// Its references unfold without end.
pub(super) fn cleaned(schema: &Value, place: &str, warnings: &mut Warnings) -> Result<Value, RequestError> {
    Cleaner { root: schema, place, warnings, values: 0, open: Vec::new() }.value(schema, 0)
}

struct Cleaner<'a, 'w> {
    root: &'a Value,
    place: &'a str,
    warnings: &'w mut Warnings,
    values: usize,
    /// References that are being unfolded.
    open: Vec<&'a str>,
}

impl<'a> Cleaner<'a, '_> {
    fn lost(&mut self, keyword: &str) {
        self.warnings.lost(&format!("{}.{keyword}", self.place));
    }

    fn value(&mut self, schema: &'a Value, depth: usize) -> Result<Value, RequestError> {
        self.values += 1;
        if self.values > MOST_VALUES || depth > DEEPEST {
            let message = format!("the schema in {} is too large once its references are unfolded", self.place);
            return Err(RequestError::new(message, self.place, "invalid_value"));
        }
        match schema {
            Value::Object(members) => self.object(members, depth),
            // `true` and `{}` admit anything, which is how a schema without a type is read.
            _ => Ok(json!({})),
        }
    }

    fn object(&mut self, members: &'a Map<String, Value>, depth: usize) -> Result<Value, RequestError> {
        if let Some(Value::String(name)) = members.get("$ref") {
            return self.reference(name, members, depth);
        }
        let mut out = Map::new();
        for (key, value) in members {
            match key.as_str() {
                "type" => kind(value, members, &mut out),
                "properties" => {
                    let mut properties = Map::new();
                    for (name, schema) in value.as_object().into_iter().flatten() {
                        properties.insert(name.clone(), self.value(schema, depth + 1)?);
                    }
                    out.insert(key.clone(), Value::Object(properties));
                }
                "items" => {
                    out.insert(key.clone(), self.value(value, depth + 1)?);
                }
                "prefixItems" => self.lost(key),
                "required" => {
                    out.insert(key.clone(), known(value, members));
                }
                "anyOf" | "oneOf" => self.alternatives(value, &mut out, depth)?,
                "allOf" => self.all_of(value, &mut out, depth)?,
                "enum" | "const" => self.choice(key, value, &mut out),
                "format" => self.format(value, members, &mut out),
                name if KEPT.contains(&name) => {
                    out.insert(key.clone(), value.clone());
                }
                name if IDLE.contains(&name) => {}
                name => self.lost(name),
            }
        }
        if !out.contains_key("type") && out.contains_key("properties") {
            out.insert("type".into(), "object".into());
        }
        if out.get("type").is_some_and(|kind| kind == "array") && !out.contains_key("items") {
            out.insert("items".into(), json!({}));
        }
        Ok(Value::Object(out))
    }

    /// What is referred to, with what stands beside the reference.
    fn reference(&mut self, name: &'a str, beside: &Map<String, Value>, depth: usize) -> Result<Value, RequestError> {
        let found = name.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let Some(target) = found.filter(|_| !self.open.contains(&name)) else {
            // Gemini has no references, so what holds itself ends at its second turn.
            self.lost("$ref");
            return Ok(json!({"type": "object"}));
        };
        self.open.push(name);
        let mut schema = self.value(target, depth + 1)?;
        self.open.pop();
        if let (Value::Object(out), Some(text)) = (&mut schema, beside.get("description")) {
            out.insert("description".into(), text.clone());
        }
        Ok(schema)
    }

    /// A `null` among the alternatives is an absence; a single one that is left needs no choice.
    fn alternatives(
        &mut self,
        value: &'a Value,
        out: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), RequestError> {
        let all: Vec<&Value> = value.as_array().into_iter().flatten().collect();
        let real: Vec<&Value> =
            all.iter().copied().filter(|schema| schema.get("type") != Some(&"null".into())).collect();
        if real.len() < all.len() {
            out.insert("nullable".into(), true.into());
        }
        let mut cleaned = Vec::with_capacity(real.len());
        for schema in real {
            cleaned.push(self.value(schema, depth + 1)?);
        }
        match <[Value; 1]>::try_from(cleaned) {
            Ok([Value::Object(only)]) => out.extend(only.into_iter().filter(|(key, _)| key != "description")),
            Ok([other]) => drop(other),
            Err(several) => {
                out.insert("anyOf".into(), several.into());
            }
        }
        Ok(())
    }

    /// Everything that all of them say; of two that say the same thing the first.
    fn all_of(&mut self, value: &'a Value, out: &mut Map<String, Value>, depth: usize) -> Result<(), RequestError> {
        for schema in value.as_array().into_iter().flatten() {
            let Value::Object(part) = self.value(schema, depth + 1)? else { continue };
            for (key, value) in part {
                match (out.get_mut(&key), value) {
                    (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
                    (Some(Value::Array(known)), Value::Array(more)) if key == "required" => known.extend(more),
                    (Some(known), value) if *known != value && key != "description" && key != "title" => {
                        self.lost("allOf");
                    }
                    (Some(_), _) => {}
                    (None, value) => {
                        out.insert(key, value);
                    }
                }
            }
        }
        Ok(())
    }

    /// Only strings can be chosen from.
    fn choice(&mut self, key: &str, value: &Value, out: &mut Map<String, Value>) {
        let one = std::slice::from_ref(value);
        let all = if key == "const" { one } else { value.as_array().map_or(&[][..], Vec::as_slice) };
        let words: Vec<Value> = all.iter().filter(|value| value.is_string()).cloned().collect();
        let is_nullable = all.iter().any(Value::is_null);
        if words.len() + usize::from(is_nullable) < all.len() {
            self.lost(key);
            return;
        }
        if is_nullable {
            out.insert("nullable".into(), true.into());
        }
        out.entry("type").or_insert_with(|| "string".into());
        out.insert("enum".into(), words.into());
    }

    fn format(&mut self, value: &Value, members: &Map<String, Value>, out: &mut Map<String, Value>) {
        let is_text = members.get("type").is_none_or(|kind| kind == "string" || kind.is_array());
        let word = value.as_str().unwrap_or_default();
        let is_known =
            if is_text { word == "date-time" } else { ["float", "double", "int32", "int64"].contains(&word) };
        if is_known {
            out.insert("format".into(), value.clone());
        } else {
            self.lost("format");
        }
    }
}

/// Of the required names those that are properties: Gemini refuses others.
fn known(required: &Value, members: &Map<String, Value>) -> Value {
    let Some(properties) = members.get("properties").and_then(Value::as_object) else { return required.clone() };
    let names = required.as_array().into_iter().flatten();
    names.filter(|name| name.as_str().is_some_and(|name| properties.contains_key(name))).cloned().collect()
}

/// `["string", "null"]` is a string that may be null.
fn kind(value: &Value, members: &Map<String, Value>, out: &mut Map<String, Value>) {
    let Value::Array(kinds) = value else {
        out.insert("type".into(), value.clone());
        return;
    };
    let mut real: Vec<&Value> = kinds.iter().filter(|kind| *kind != "null").collect();
    if real.len() < kinds.len() {
        out.insert("nullable".into(), true.into());
    }
    if real.len() > 1 && !members.contains_key("anyOf") && !members.contains_key("oneOf") {
        let any: Vec<Value> = real.iter().map(|kind| json!({"type": kind})).collect();
        out.insert("anyOf".into(), any.into());
    } else if let Some(kind) = real.pop() {
        out.insert("type".into(), kind.clone());
    }
}

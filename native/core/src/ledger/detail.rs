//! The detail of a charge: a JSON list of the request, who and what was charged, status, whether it was priced, tokens.

use std::array;
use std::borrow::Cow;
use std::fmt;

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use serde::Deserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{TOKENS, WHO};

const STATUS: usize = 1 + WHO.len();
const FIRST_TOKEN: usize = STATUS + 2;
const LENGTH: usize = FIRST_TOKEN + TOKENS.len();
/// Of the version before there was one, every list is so much shorter.
const TENANT: usize = 5;

/// The texts of its members, as JSON. What is not said is not known.
pub(super) struct Detail<'a>([&'a str; LENGTH]);

/// A member as it is stored.
#[derive(Debug, PartialEq)]
pub(super) enum Member<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(Cow<'a, str>),
}

impl<'a> Detail<'a> {
    /// None where it is neither a list nor an object, or a list that is too long.
    pub(super) fn read(json: &'a [u8]) -> Option<Self> {
        if json.is_empty() {
            return Some(Self::unknown());
        }
        let mut reader = serde_json::Deserializer::from_slice(json);
        let detail = reader.deserialize_any(Members).ok()?;
        reader.end().ok()?;
        Some(detail)
    }

    fn unknown() -> Self {
        Self(array::from_fn(|i| match i {
            STATUS => "\"complete\"",
            0..STATUS => "null",
            FIRST_TOKEN.. => "0",
            _ => "true",
        }))
    }

    pub(super) fn request(&self) -> &'a str {
        self.0[0]
    }

    /// In the order of `WHO`.
    pub(super) fn who(&self) -> &[&'a str] {
        &self.0[1..STATUS]
    }

    pub(super) fn status(&self) -> &'a str {
        self.0[STATUS]
    }

    pub(super) fn priced(&self) -> &'a str {
        self.0[STATUS + 1]
    }

    /// In the order of `TOKENS`.
    pub(super) fn tokens(&self) -> &[&'a str] {
        &self.0[FIRST_TOKEN..]
    }
}

impl<'a> Member<'a> {
    /// None for what no column takes.
    pub(super) fn read(json: &'a str) -> Option<Self> {
        match json.as_bytes().first()? {
            b'n' => Some(Self::Null),
            b't' => Some(Self::Int(1)),
            b'f' => Some(Self::Int(0)),
            b'"' => text(json).map(Self::Text),
            b'-' | b'0'..=b'9' => json.parse().map(Self::Int).ok().or_else(|| {
                let is_real = json.contains(['.', 'e', 'E']);
                json.parse().ok().filter(|number: &f64| is_real && number.is_finite()).map(Self::Real)
            }),
            _ => None,
        }
    }
}

fn text(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.get(1..json.len().checked_sub(1)?)?;
    if inner.contains('\\') { serde_json::from_str(json).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

impl ToSql for Member<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Detail<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut detail = Detail::unknown();
        let mut length = 0;
        for member in &mut detail.0 {
            let Some(json) = list.next_element::<&RawValue>()? else { break };
            *member = json.get();
            length += 1;
        }
        if length == LENGTH && list.next_element::<IgnoredAny>()?.is_some() {
            return Err(A::Error::custom("too many members"));
        }
        if length == LENGTH - 1 {
            detail.0[TENANT..].rotate_right(1);
            detail.0[TENANT] = "null";
        }
        Ok(detail)
    }

    /// Of a store that an early version wrote.
    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut detail = Detail::unknown();
        while let Some((name, json)) = object.next_entry::<String, &RawValue>()? {
            if let Some(i) = names().position(|known| known == name) {
                detail.0[i] = json.get();
            }
        }
        Ok(detail)
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    ["request"].into_iter().chain(WHO).chain(["status", "priced"]).chain(TOKENS)
}

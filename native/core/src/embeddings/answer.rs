//! Answers to the calls of one request, as the one answer that its caller reads.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Dialect;
use crate::base64;
use crate::json::write::quote;

/// The answer to one call.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// All of it.
    pub body: &'a [u8],
    /// Texts that were asked.
    pub texts: usize,
    /// Tokens, where the head of the answer tells them.
    pub tokens: Option<u64>,
}

/// `OpenAI`'s answer, without `usage` if one of the parts does not tell its tokens. None: a part is not as documented, or
/// has not a vector for each text.
#[must_use]
pub fn write_answer(parts: &[Part<'_>], dialect: Dialect, model: &str, is_base64: bool) -> Option<Vec<u8>> {
    if is_base64 {
        write::<f32>(parts, dialect, model, |vector, out| {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            out.push(b'"');
            base64::encode(&bytes, out);
            out.push(b'"');
            Some(())
        })
    } else {
        // Numbers as they were written.
        write::<Box<RawValue>>(parts, dialect, model, |vector, out| {
            out.push(b'[');
            for (index, number) in vector.iter().enumerate() {
                let text = number.get().as_bytes();
                if !matches!(text.first(), Some(b'-' | b'0'..=b'9')) {
                    return None;
                }
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(text);
            }
            out.push(b']');
            Some(())
        })
    }
}

fn write<T: DeserializeOwned>(
    parts: &[Part<'_>],
    dialect: Dialect,
    model: &str,
    put: impl Fn(&[T], &mut Vec<u8>) -> Option<()>,
) -> Option<Vec<u8>> {
    let mut out = br#"{"object":"list","data":["#.to_vec();
    let mut index = 0;
    let mut tokens = Some(0_u64);
    for part in parts {
        let (vectors, told) = read::<T>(part.body, dialect)?;
        if vectors.len() != part.texts {
            return None;
        }
        for vector in vectors {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(format!(r#"{{"object":"embedding","index":{index},"embedding":"#).as_bytes());
            put(&vector, &mut out)?;
            out.push(b'}');
            index += 1;
        }
        tokens = tokens.zip(told.or(part.tokens)).and_then(|(sum, more)| sum.checked_add(more));
    }
    out.extend_from_slice(br#"],"model":"#);
    quote(&mut out, model);
    if let Some(tokens) = tokens {
        let usage = format!(r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#);
        out.extend_from_slice(usage.as_bytes());
    }
    out.push(b'}');
    Some(out)
}

/// Vectors, and tokens where the body tells them.
fn read<T: DeserializeOwned>(body: &[u8], dialect: Dialect) -> Option<(Vec<Vec<T>>, Option<u64>)> {
    match dialect {
        Dialect::TitanV1 | Dialect::Titan => {
            let titan: Titan<T> = serde_json::from_slice(body).ok()?;
            Some((vec![titan.embedding], titan.tokens))
        }
        Dialect::Nova => {
            let nova: Nova<T> = serde_json::from_slice(body).ok()?;
            Some((nova.embeddings.into_iter().map(|one| one.embedding).collect(), None))
        }
        Dialect::Cohere => {
            let cohere: Cohere<'_> = serde_json::from_slice(body).ok()?;
            let text = cohere.embeddings.get();
            if text.starts_with('[') {
                return Some((serde_json::from_str(text).ok()?, None));
            }
            let typed: Typed<T> = serde_json::from_str(text).ok()?;
            Some((typed.float, None))
        }
        Dialect::Vertex | Dialect::VertexSingle => {
            let vertex: Vertex<T> = serde_json::from_slice(body).ok()?;
            let mut tokens = Some(0);
            let mut vectors = Vec::with_capacity(vertex.predictions.len());
            for Prediction { embeddings } in vertex.predictions {
                let told = embeddings.statistics.and_then(|statistics| whole(&statistics.tokens?));
                tokens = tokens.zip(told).and_then(|(sum, more): (u64, u64)| sum.checked_add(more));
                vectors.push(embeddings.values);
            }
            Some((vectors, tokens))
        }
    }
}

/// A count that is written as 6 or 6.0.
fn whole(number: &RawValue) -> Option<u64> {
    let text = number.get();
    text.strip_suffix(".0").unwrap_or(text).parse().ok()
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Titan<T> {
    embedding: Vec<T>,
    #[serde(rename = "inputTextTokenCount")]
    tokens: Option<u64>,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Nova<T> {
    embeddings: Vec<Typeless<T>>,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Typeless<T> {
    embedding: Vec<T>,
}

#[derive(Deserialize)]
struct Cohere<'a> {
    #[serde(borrow)]
    embeddings: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Typed<T> {
    float: Vec<Vec<T>>,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Vertex<T> {
    predictions: Vec<Prediction<T>>,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Prediction<T> {
    embeddings: Embedding<T>,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Embedding<T> {
    values: Vec<T>,
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
struct Statistics {
    #[serde(rename = "token_count")]
    tokens: Option<Box<RawValue>>,
}

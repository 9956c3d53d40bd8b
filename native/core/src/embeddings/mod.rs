//! Embeddings: what `OpenAI`'s endpoint is asked, told to models that are asked otherwise, and their answers in its terms.

mod answer;
mod request;

pub use answer::{Part, write_answer};
pub use request::{Calls, write_calls};

/// How a family of models is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Amazon's Titan, first text model: a text, and nothing to choose.
    TitanV1,
    /// Its second: dimensions as well.
    Titan,
    /// Amazon's Nova: a text, and what it is embedded for.
    Nova,
    /// Cohere at Bedrock: up to 96 texts.
    Cohere,
    /// Google's text models at Vertex AI: several texts.
    Vertex,
    /// Gemini's there: one text.
    VertexSingle,
}

impl Dialect {
    /// By the name that the rest of the gateway uses.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "titan-v1" => Self::TitanV1,
            "titan" => Self::Titan,
            "nova" => Self::Nova,
            "cohere" => Self::Cohere,
            "vertex" => Self::Vertex,
            "vertex-single" => Self::VertexSingle,
            _ => return None,
        })
    }

    /// Texts, and bytes of texts, that one call takes. A token is a byte at least, so that many bytes are never too many
    /// tokens.
    fn room(self) -> (usize, usize) {
        match self {
            Self::TitanV1 | Self::Titan | Self::Nova | Self::VertexSingle => (1, usize::MAX),
            Self::Cohere => (96, usize::MAX),
            // https://cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings
            Self::Vertex => (250, 20_000),
        }
    }
}

#[cfg(test)]
mod tests;

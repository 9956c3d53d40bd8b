//! Counting tokens as `OpenAI`'s models do, with the vocabularies built in.
//!
//! A text is split into pieces (`split`), and a piece that is no token itself is merged from its bytes (`merge`). What
//! would be special tokens is counted as the text that it is in a request.

use std::sync::LazyLock;

mod classes;
mod merge;
mod split;
mod vocabulary;

use merge::Merger;
use vocabulary::Vocabulary;

/// A vocabulary and its way of splitting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// GPT-3.5, GPT-4, the third generation of embeddings.
    Cl100kBase,
    /// GPT-4o and what came after it.
    O200kBase,
}

static CL100K: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::new(include_bytes!("../../../config/vocabularies/cl100k_base.bin")));
static O200K: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::new(include_bytes!("../../../config/vocabularies/o200k_base.bin")));

impl Encoding {
    /// By the name that tiktoken gives it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "cl100k_base" => Self::Cl100kBase,
            "o200k_base" => Self::O200kBase,
            _ => return None,
        })
    }

    /// Tokens of a text. The first call unpacks the vocabulary (see docs/costs.md for how long that takes).
    #[must_use]
    pub fn count(self, text: &str) -> u64 {
        self.counter().count(text)
    }

    /// For many texts one after the other.
    #[must_use]
    pub fn counter(self) -> Counter {
        let vocabulary = match self {
            Self::Cl100kBase => &*CL100K,
            Self::O200kBase => &*O200K,
        };
        Counter { encoding: self, vocabulary, merger: Merger::default() }
    }
}

/// Counts texts, keeping the room that it needs for that.
#[derive(Debug)]
pub struct Counter {
    encoding: Encoding,
    vocabulary: &'static Vocabulary,
    merger: Merger,
}

impl Counter {
    /// Tokens of a text.
    #[must_use]
    pub fn count(&mut self, text: &str) -> u64 {
        let mut at = 0;
        let mut count = 0;
        while at < text.len() {
            let end = match self.encoding {
                Encoding::Cl100kBase => split::cl100k(text, at),
                Encoding::O200kBase => split::o200k(text, at),
            };
            count += self.merger.count(self.vocabulary, &text.as_bytes()[at..end]);
            at = end;
        }
        count
    }
}

#[cfg(test)]
mod tests;

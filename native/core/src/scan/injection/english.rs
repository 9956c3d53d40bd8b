//! Whether a short text is English, told by its commonest words: what the gate knows of attacks is mostly English.

use memchr::memmem::Finder;

/// Words of most English texts, the commonest first, that no other language has which is written without marks: `is`, `of`
/// and `to` would be Dutch and Polish, too.
const WORDS: [&[u8]; 6] = [b" the ", b" and ", b" you ", b" that ", b" with ", b" this "];

/// Looks for the words.
#[derive(Debug)]
pub(super) struct English {
    words: [Finder<'static>; WORDS.len()],
}

impl English {
    pub(super) fn new() -> Self {
        Self { words: WORDS.map(Finder::new) }
    }

    /// Whether any of them stands in the text in small letters.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        self.words.iter().any(|word| word.find(text).is_some())
    }
}

//! The text that a matcher may look at, and what it can answer.

use super::simd::token_run;

/// A stretch of normalised text. Positions are indices into `text`.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// What has arrived and is still kept: at least [`LOOKBACK`] bytes before whatever is asked about, if there are so many.
    pub text: &'a [u8],
    /// Nothing follows.
    pub at_end: bool,
}

/// How far before a match anything may look, in bytes.
pub const LOOKBACK: usize = 96;
/// How far before a match context words count, in bytes.
pub const CONTEXT: usize = 64;
/// How far before its trigger a match may begin, in bytes.
pub const REACH: usize = 256;
/// From this length on a token is searched for literals, in bytes.
pub const LONG_TOKEN: usize = 15;
/// The longest match of an expression, in bytes.
pub const MAX_LEN: usize = 4096;

/// What a matcher says of a position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// No match, whatever follows.
    No,
    /// Depends on what follows; never said when the window is at its end.
    More,
    /// A match, whatever follows.
    Match(Match),
}

/// Where a value stands, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// Its first byte.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
    /// What the shape alone says: the evidence of the rule adds to it.
    pub score: f32,
}

impl<'a> Window<'a> {
    /// The byte at a position.
    #[must_use]
    #[inline]
    pub fn get(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    /// The byte before a position.
    #[must_use]
    #[inline]
    pub fn before(&self, at: usize) -> Option<u8> {
        at.checked_sub(1).and_then(|i| self.get(i))
    }

    /// Whether it takes bytes that have not arrived to know what stands at a position.
    #[must_use]
    #[inline]
    pub fn unknown(&self, at: usize) -> bool {
        !self.at_end && at >= self.text.len()
    }

    /// The bytes before a position where context words count.
    #[must_use]
    #[inline]
    pub fn context(&self, at: usize) -> &'a [u8] {
        let at = at.min(self.text.len());
        &self.text[at.saturating_sub(CONTEXT)..at]
    }

    /// The end of the run of bytes from a position that a predicate accepts, and whether it could go on.
    #[inline]
    pub fn run(&self, from: usize, limit: usize, accept: impl Fn(u8) -> bool) -> (usize, bool) {
        let stop = self.text.len().min(from.saturating_add(limit));
        let run = self.text.get(from..stop).unwrap_or_default();
        let at = from + run.iter().position(|byte| !accept(*byte)).unwrap_or(run.len());
        (at, at < from.saturating_add(limit) && self.unknown(at))
    }

    /// The same for what tokens consist of, which may be long.
    pub(crate) fn token_run(&self, from: usize, limit: usize) -> (usize, bool) {
        let stop = self.text.len().min(from.saturating_add(limit));
        let at = from + token_run(self.text.get(from..stop).unwrap_or_default());
        (at, at < from.saturating_add(limit) && self.unknown(at))
    }
}

/// Letters, digits and underscore.
#[must_use]
#[inline]
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

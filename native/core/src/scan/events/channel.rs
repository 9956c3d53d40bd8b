//! One text of a stream: what has come of it, and what may go out.

use std::borrow::Cow;
use std::sync::Arc;

use super::parse::{Piece, text, whole_end};
use crate::scan::mask::Hit;
use crate::scan::{Blocked, Finding, Restorer, Scanner, Stream, Vault};

/// An event that a rest can go out in.
#[derive(Debug, Default)]
pub(super) struct Template {
    /// There is one; its room outlives it.
    pub(super) is_set: bool,
    pub(super) event: Wire,
    /// Where in its data the text stands.
    pub(super) start: usize,
    pub(super) end: usize,
    /// What must not go out twice.
    pub(super) edits: Vec<Hit>,
}

/// One event, apart from its line ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    /// What precedes the data.
    pub(super) head: Vec<u8>,
    pub(super) data: Vec<u8>,
    /// Lines behind the data.
    pub(super) tail: Vec<u8>,
    /// Its `sequence_number`.
    pub(super) sequence: Option<crate::json::Span>,
}

/// A text that comes in pieces.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) owner: u64,
    pub(super) path: u64,
    /// The key that its pieces stand under.
    pub(super) key: Vec<u8>,
    stream: Stream,
    restorer: Option<Restorer>,
    /// The first half of a surrogate pair, escaped.
    half: Vec<u8>,
    /// What may go out and has not.
    pub(super) ready: String,
    passed: String,
    told: usize,
    /// The last event of this text, if something of it is held back.
    pub(super) template: Template,
}

impl Channel {
    pub(super) fn new(piece: &Piece, key: &[u8], scanner: &Scanner, vault: Option<&Arc<Vault>>) -> Self {
        Self {
            owner: piece.owner,
            path: piece.path,
            key: key.to_vec(),
            stream: scanner.stream(),
            restorer: vault.filter(|vault| !vault.is_empty()).map(|vault| Restorer::new(Arc::clone(vault))),
            half: Vec::new(),
            ready: String::new(),
            passed: String::new(),
            told: 0,
            template: Template::default(),
        }
    }

    /// Takes the body of a string; true if what is ready now is just that.
    pub(super) fn feed(&mut self, raw: &[u8], escaped: bool) -> Result<bool, Blocked> {
        let was_idle = self.half.is_empty() && self.ready.is_empty();
        let piece = self.decode(raw, escaped);
        let result = self.take(&piece);
        let same = was_idle && self.half.is_empty() && self.ready == *piece;
        result.map(|()| same)
    }

    /// Nothing follows.
    pub(super) fn finish(&mut self) -> Result<(), Blocked> {
        if !self.half.is_empty() {
            self.half.clear();
            self.take("\u{fffd}")?;
        }
        self.passed.clear();
        let result = self.stream.finish(&mut self.passed);
        self.restore();
        if let Some(restorer) = &mut self.restorer {
            restorer.finish(&mut self.ready);
        }
        result
    }

    /// Whether something waits for what follows.
    pub(super) fn is_held(&self) -> bool {
        !self.half.is_empty()
            || !self.ready.is_empty()
            || self.stream.held() > 0
            || self.restorer.as_ref().is_some_and(|restorer| restorer.held() > 0)
    }

    /// Bytes that are held back.
    pub(super) fn held(&self) -> usize {
        self.half.len() + self.ready.len() + self.stream.held() + self.restorer.as_ref().map_or(0, Restorer::held)
    }

    /// Whether a pseudonym was restored.
    pub(super) fn has_restored(&self) -> bool {
        self.restorer.as_ref().is_some_and(|restorer| restorer.restored() > 0)
    }

    /// What was found since this was last asked.
    pub(super) fn news(&mut self) -> &[Finding] {
        let from = std::mem::replace(&mut self.told, self.stream.findings().len());
        &self.stream.findings()[from..]
    }

    fn take(&mut self, piece: &str) -> Result<(), Blocked> {
        self.passed.clear();
        let result = self.stream.feed(piece, &mut self.passed);
        self.restore();
        if let Some(restorer) = self.restorer.as_mut().filter(|_| result.is_err()) {
            restorer.finish(&mut self.ready);
        }
        result
    }

    fn restore(&mut self) {
        match &mut self.restorer {
            Some(restorer) => restorer.feed(&self.passed, &mut self.ready),
            None => self.ready.push_str(&self.passed),
        }
    }

    fn decode<'a>(&mut self, raw: &'a [u8], escaped: bool) -> Cow<'a, str> {
        if !escaped && self.half.is_empty() {
            return String::from_utf8_lossy(raw);
        }
        let mut joined = std::mem::take(&mut self.half);
        joined.extend_from_slice(raw);
        let end = whole_end(&joined);
        let decoded = text(&joined[..end]);
        joined.drain(..end);
        self.half = joined;
        decoded.into()
    }
}

//! A text with some bytes left out, and where the others stand.

use std::ops::Range;

/// What stands at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to look at once more.
    No,
    /// The text ends before it is decided.
    More,
    /// A stretch that reads differently.
    Run(View),
}

/// A stretch of a text without the bytes that cut it to pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    bytes: Vec<u8>,
    /// Where each of the bytes stands, from `start` on.
    offsets: Vec<u32>,
    start: usize,
    end: usize,
}

impl View {
    pub(super) fn new(start: usize) -> Self {
        Self { start, end: start, ..Self::default() }
    }

    /// The bytes that are left.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the stretch begins in the text.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }

    /// Where the stretch ends in the text.
    #[must_use]
    pub fn end(&self) -> usize {
        self.end
    }

    /// The stretch of the text from the first to the last of some bytes of the view.
    #[must_use]
    pub fn span(&self, bytes: Range<usize>) -> Range<usize> {
        let at = |index: usize| self.offsets.get(index).map(|&offset| self.start + offset as usize);
        let start = at(bytes.start).unwrap_or(self.end);
        let last = bytes.end.checked_sub(1).filter(|_| !bytes.is_empty()).and_then(at);
        start..last.map_or(start, |last| last + 1)
    }

    /// The view without some bytes at its front and its end.
    ///
    /// A word of one letter beside spelled-out words reads like a part of them, such as the first of `a t o k e n`:
    /// who looks for whole words looks at the view without it as well.
    #[must_use]
    pub fn trimmed(&self, front: usize, back: usize) -> Self {
        let end = self.bytes.len().saturating_sub(back);
        let kept = front.min(end)..end;
        let span = self.span(kept.clone());
        let first = self.offsets.get(kept.start).copied().unwrap_or_default();
        Self {
            bytes: self.bytes.get(kept.clone()).unwrap_or_default().to_vec(),
            offsets: self.offsets.get(kept).unwrap_or_default().iter().map(|offset| offset - first).collect(),
            start: span.start,
            end: span.end,
        }
    }

    /// Makes room for so many bytes.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
        self.offsets.reserve(bytes);
    }

    /// Adds the bytes of `text` from `from` to `to`.
    pub(super) fn push(&mut self, text: &[u8], from: usize, to: usize) {
        for (byte, at) in text.get(from..to).unwrap_or_default().iter().zip(from..) {
            self.bytes.push(*byte);
            self.offsets.push(u32::try_from(at - self.start).unwrap_or(u32::MAX));
        }
        self.end = self.end.max(to);
    }

    /// Adds every other byte of `text` from `from` to `to`, the first of them included.
    pub(super) fn push_every_other(&mut self, text: &[u8], from: usize, to: usize) {
        let bytes = text.get(from..to).unwrap_or_default();
        let offset = |at: usize| u32::try_from(at - self.start).unwrap_or(u32::MAX);
        self.bytes.extend(bytes.iter().step_by(2));
        self.offsets.extend((offset(from)..offset(to)).step_by(2));
        self.end = self.end.max(to);
    }

    /// Takes off what the view ends with while it is this byte.
    pub(super) fn trim_end(&mut self, byte: u8) {
        while self.bytes.last() == Some(&byte) {
            self.bytes.pop();
            self.offsets.pop();
        }
        self.end = self.offsets.last().map_or(self.start, |&offset| self.start + offset as usize + 1);
    }
}

//! The side buffer: normalised text, and where each of its bytes comes from.

use super::ambiguous::LOOK_BACK;

/// A stretch of the output that ends where the next one begins.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where the stretch begins in the normalised text.
    normal: usize,
    /// Where its source begins in the raw text.
    raw: usize,
    /// Raw bytes of each byte, 1 for a copy; or those of the whole stretch.
    width: u32,
    /// Whether the raw bytes became the whole stretch together.
    joint: bool,
}

impl Piece {
    /// Where the raw text of the byte at a position begins.
    fn start(&self, normal: usize) -> usize {
        if self.joint { self.raw } else { self.raw + (normal - self.normal) * self.width as usize }
    }

    /// Where the raw text of the byte at a position ends.
    fn end(&self, normal: usize) -> usize {
        self.start(normal) + self.width as usize
    }
}

/// Normalised text with its offset map. All positions count from the start of the stream.
#[derive(Clone, Debug, Default)]
pub struct Normalised {
    bytes: Vec<u8>,
    /// Bytes at the front of `bytes` that were given up and not yet moved out.
    dead: usize,
    /// The position of the first byte of `bytes`.
    base: usize,
    /// In the order of both their positions.
    pieces: Vec<Piece>,
}

/// Given up bytes are moved out when there are so many, to move each byte that stays once only.
const COMPACT: usize = 4096;

impl Normalised {
    /// An empty text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins another text of about so many bytes.
    pub(super) fn restart(&mut self, size: usize) {
        self.bytes.clear();
        self.pieces.clear();
        (self.dead, self.base) = (0, 0);
        self.bytes.reserve(size);
    }

    /// The text from `start` on.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.dead..]
    }

    /// The position of the first byte that is still held.
    #[must_use]
    pub fn start(&self) -> usize {
        self.base + self.dead
    }

    /// The position behind the last byte.
    #[must_use]
    pub fn end(&self) -> usize {
        self.base + self.bytes.len()
    }

    /// Where the raw text begins that became the character at a position.
    ///
    /// A position at or behind the end gives where the raw text of the last character ends.
    #[must_use]
    pub fn to_raw_start(&self, normal: usize) -> usize {
        if normal >= self.end() {
            return self.to_raw_end(normal);
        }
        self.piece(normal).map_or(normal, |piece| piece.start(normal))
    }

    /// Where the raw text ends that became the character before a position. What was removed behind it is outside.
    #[must_use]
    pub fn to_raw_end(&self, normal: usize) -> usize {
        let normal = normal.min(self.end());
        let Some(last) = normal.checked_sub(1) else { return 0 };
        self.piece(last).map_or(normal, |piece| piece.end(last))
    }

    /// Gives up the text before a position; positions before it are no longer mapped.
    pub fn discard_before(&mut self, normal: usize) {
        self.dead = normal.clamp(self.start(), self.end()) - self.base;
        if self.dead < COMPACT || self.dead < self.bytes.len() / 2 {
            return;
        }
        // What follows is read by the end of what precedes it.
        let moved = self.dead.min(self.bytes.len().saturating_sub(LOOK_BACK));
        self.bytes.drain(..moved);
        self.base += moved;
        self.dead -= moved;
        // The piece of the byte before stays too: it tells where the raw text of a match that ends here ends.
        let kept = self.base.saturating_sub(1);
        let first = self.pieces.partition_point(|piece| piece.normal <= kept).saturating_sub(1);
        self.pieces.drain(..first);
    }

    /// How many bytes and pieces are in memory.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.bytes.len(), self.pieces.len())
    }

    /// The piece that holds a byte.
    fn piece(&self, normal: usize) -> Option<&Piece> {
        let after = self.pieces.partition_point(|piece| piece.normal <= normal);
        self.pieces.get(after.checked_sub(1)?)
    }

    /// The end of the text, given up or not.
    pub(super) fn recent(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the last byte is ASCII.
    pub(super) fn ends_in_ascii(&self) -> bool {
        self.bytes.last().is_some_and(u8::is_ascii)
    }

    /// Adds a copy of raw text that begins at `raw`.
    #[inline]
    pub(super) fn copy(&mut self, text: &[u8], raw: usize) {
        match *text {
            [] => {}
            // Alphabets that mix letters that stay with others that do not make many copies of one character.
            [first, second] => {
                self.go_on(raw, 1);
                self.bytes.extend([first, second]);
            }
            _ => {
                self.go_on(raw, 1);
                self.bytes.extend_from_slice(text);
            }
        }
    }

    /// Adds the one byte that `width` raw bytes at `raw` became.
    #[inline]
    pub(super) fn replace_by_byte(&mut self, byte: u8, raw: usize, width: u32) {
        self.go_on(raw, width);
        self.bytes.push(byte);
    }

    /// Adds what `width` raw bytes at `raw` became together.
    #[inline]
    pub(super) fn replace(&mut self, text: &[u8], raw: usize, width: u32) {
        self.pieces.push(Piece { normal: self.end(), raw, width, joint: true });
        self.bytes.extend_from_slice(text);
    }

    /// Makes sure that the last piece continues with bytes of `width` raw bytes from `raw` on.
    #[inline]
    fn go_on(&mut self, raw: usize, width: u32) {
        let normal = self.end();
        let goes_on = match self.pieces.last() {
            Some(last) => !last.joint && last.width == width && last.start(normal) == raw,
            // The start of the stream is in step without a piece: text that nothing happened to keeps an empty map.
            None => normal == raw && width == 1,
        };
        if !goes_on {
            self.pieces.push(Piece { normal, raw, width, joint: false });
        }
    }
}

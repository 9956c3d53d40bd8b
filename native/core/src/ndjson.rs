//! Framing of lines of JSON (`application/x-ndjson`), each byte looked at once.

use crate::pending::Pending;

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub struct Framer {
    pending: Pending,
    /// Up to here the present line has no end.
    scanned: usize,
}

impl Framer {
    /// A framer at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Add what was read; then call `next_line` until it has none.
    pub fn push(&mut self, data: &[u8]) {
        self.scanned -= self.pending.push(data);
    }

    /// Bytes that wait for the end of their line; the caller bounds them.
    #[must_use]
    pub fn held(&self) -> usize {
        self.pending.held()
    }

    /// The next complete line that holds anything, without white space around it. None: more bytes are needed.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        loop {
            let Some(length) = memchr::memchr(b'\n', &self.pending.bytes[self.scanned..]) else {
                self.scanned = self.pending.bytes.len();
                return None;
            };
            let (start, end) = (self.pending.start, self.scanned + length);
            self.pending.start = end + 1;
            self.scanned = end + 1;
            if !self.pending.bytes[start..end].trim_ascii().is_empty() {
                return Some(self.pending.bytes[start..end].trim_ascii());
            }
        }
    }

    /// The stream has ended: what is left is the last line, line feed or not. None if nothing is left.
    pub fn finish(&mut self) -> Option<&[u8]> {
        let start = self.pending.start;
        self.pending.start = self.pending.bytes.len();
        self.scanned = self.pending.start;
        let line = self.pending.bytes[start..].trim_ascii();
        (!line.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests;

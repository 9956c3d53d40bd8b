//! Framing of lines of JSON (`application/x-ndjson`), each byte looked at once.

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Where the present line begins; what is before it is dropped with the next read.
    start: usize,
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
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(data);
    }

    /// Bytes that wait for the end of their line; the caller bounds them.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The next complete line that holds anything, without white space around it. None: more bytes are needed.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        loop {
            let Some(length) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) else {
                self.scanned = self.buffer.len();
                return None;
            };
            let (start, end) = (self.start, self.scanned + length);
            self.start = end + 1;
            self.scanned = end + 1;
            if !self.buffer[start..end].trim_ascii().is_empty() {
                return Some(self.buffer[start..end].trim_ascii());
            }
        }
    }

    /// The stream has ended: what is left is the last line, line feed or not. None if nothing is left.
    pub fn finish(&mut self) -> Option<&[u8]> {
        let start = self.start;
        self.start = self.buffer.len();
        self.scanned = self.start;
        let line = self.buffer[start..].trim_ascii();
        (!line.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests;

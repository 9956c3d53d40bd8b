//! Framing of `text/event-stream` bytes into blocks, each byte looked at once.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>

use std::borrow::Cow;
use std::ops::Range;

use crate::pending::Pending;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// One block: the lines up to and including a blank one.
#[derive(Debug)]
pub struct Block<'a> {
    raw: &'a [u8],
    lines: &'a [Line],
}

#[derive(Clone, Debug)]
struct Line {
    kind: LineKind,
    /// The field's value, or all of a comment line with its end.
    span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineKind {
    Data,
    Event,
    Comment,
}

impl Block<'_> {
    /// The block as it was received.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        self.raw
    }

    /// The data lines joined by line feeds; None without any.
    #[must_use]
    pub fn data(&self) -> Option<Cow<'_, [u8]>> {
        let mut lines = self.of(LineKind::Data);
        let first = lines.next()?;
        let Some(second) = lines.next() else {
            return Some(Cow::Borrowed(first));
        };
        let mut joined = first.to_vec();
        for line in std::iter::once(second).chain(lines) {
            joined.push(b'\n');
            joined.extend_from_slice(line);
        }
        Some(Cow::Owned(joined))
    }

    /// Where the data stand in [`Block::raw`], if they are one line.
    #[must_use]
    pub fn data_place(&self) -> Option<Range<usize>> {
        let mut lines = self.lines.iter().filter(|line| line.kind == LineKind::Data);
        let only = lines.next()?.span.clone();
        lines.next().is_none().then_some(only)
    }

    /// The last `event:` field.
    #[must_use]
    pub fn event(&self) -> Option<&[u8]> {
        self.of(LineKind::Event).last()
    }

    /// Comment lines with their ends.
    pub fn comments(&self) -> impl Iterator<Item = &[u8]> {
        self.of(LineKind::Comment)
    }

    fn of(&self, kind: LineKind) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().filter(move |line| line.kind == kind).map(|line| &self.raw[line.span.clone()])
    }
}

/// Cuts a stream into blocks.
#[derive(Debug, Default)]
pub struct Framer {
    pending: Pending,
    /// Up to here the lines of the present block are known.
    line_start: usize,
    /// Up to here the present line has no end.
    scanned: usize,
    lines: Vec<Line>,
    at_start: bool,
    /// The last line ended in CR LF, so a CR at the end of a read will have its LF.
    crlf: bool,
    /// A block ended in a CR that was the last byte there was: an LF right after it still belongs to it.
    lf_belongs: bool,
}

/// What `Framer::next_block` found.
#[derive(Debug)]
pub enum Framed<'a> {
    /// A block.
    Block(Block<'a>),
    /// The line feed of the block before, which came too late to be part of it.
    LateLf,
}

impl Framer {
    /// A framer at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self { at_start: true, ..Self::default() }
    }

    /// Add what was read; then call `next_block` until it has none.
    pub fn push(&mut self, data: &[u8]) {
        let dropped = self.pending.push(data);
        self.line_start -= dropped;
        self.scanned -= dropped;
    }

    /// Bytes that wait for the end of their block; the caller bounds them.
    #[must_use]
    pub fn held(&self) -> usize {
        self.pending.held()
    }

    /// Take the next complete block to `handle`. False when more bytes are needed.
    pub fn next_block(&mut self, handle: &mut impl FnMut(Framed<'_>)) -> bool {
        self.find(false, handle)
    }

    /// The stream has ended: what is left is the last block, blank line or not.
    pub fn finish(&mut self, handle: &mut impl FnMut(Framed<'_>)) {
        while self.find(true, handle) {}
        let end = self.pending.bytes.len();
        if self.line_start < end {
            self.line(end, end);
        }
        if self.pending.start < end {
            handle(Framed::Block(Block { raw: &self.pending.bytes[self.pending.start..], lines: &self.lines }));
        }
        self.begin_block(end);
    }

    fn begin_block(&mut self, at: usize) {
        self.pending.start = at;
        self.line_start = at;
        self.scanned = at;
        self.lines.clear();
        self.crlf = false;
    }

    fn find(&mut self, is_last: bool, handle: &mut impl FnMut(Framed<'_>)) -> bool {
        if self.at_start {
            if !is_last && self.pending.bytes.len() < BOM.len() && BOM.starts_with(&self.pending.bytes) {
                return false;
            }
            if self.pending.bytes.starts_with(BOM) {
                self.begin_block(BOM.len());
            }
            self.at_start = false;
        }
        if self.lf_belongs && self.pending.start < self.pending.bytes.len() {
            self.lf_belongs = false;
            if self.pending.bytes[self.pending.start] == b'\n' {
                self.begin_block(self.pending.start + 1);
                handle(Framed::LateLf);
            }
        }
        loop {
            let Some(found) = memchr::memchr2(b'\n', b'\r', &self.pending.bytes[self.scanned..]) else {
                self.scanned = self.pending.bytes.len();
                return false;
            };
            let end = self.scanned + found;
            let mut next = end + 1;
            let mut may_get_lf = false;
            if self.pending.bytes[end] == b'\r' {
                match self.pending.bytes.get(next) {
                    Some(b'\n') => next += 1,
                    Some(_) => {}
                    None => may_get_lf = !is_last,
                }
            }
            let is_blank = end == self.line_start;
            // A CR that ends a line inside a block may still get its LF, which would look like a blank line; so may
            // one after lines that ended in CR LF. Only a stream of bare CRs must not wait for what never comes.
            if may_get_lf && (self.crlf || !is_blank) {
                self.scanned = end;
                return false;
            }
            if !is_blank {
                self.crlf = next == end + 2;
                self.line(end, next);
                continue;
            }
            handle(Framed::Block(Block { raw: &self.pending.bytes[self.pending.start..next], lines: &self.lines }));
            self.begin_block(next);
            self.lf_belongs = may_get_lf;
            return true;
        }
    }

    /// Note the line from `line_start` to `end`; `next` is after its line end.
    fn line(&mut self, end: usize, next: usize) {
        let text = &self.pending.bytes[self.line_start..end];
        // Spans count from the start of the block.
        let start = self.line_start - self.pending.start;
        let (end, after) = (end - self.pending.start, next - self.pending.start);
        let (name, value) = match memchr::memchr(b':', text) {
            Some(0) => (&b":"[..], start..after),
            Some(colon) => {
                let skip = usize::from(text.get(colon + 1) == Some(&b' '));
                (&text[..colon], start + colon + 1 + skip..end)
            }
            None => (text, end..end),
        };
        let kind = match name {
            b":" => Some(LineKind::Comment),
            b"data" => Some(LineKind::Data),
            b"event" => Some(LineKind::Event),
            _ => None,
        };
        if let Some(kind) = kind {
            self.lines.push(Line { kind, span: value });
        }
        self.line_start = next;
        self.scanned = next;
    }
}

#[cfg(test)]
mod tests;

//! How a stream is cut into events: as its content type says.

use super::Stream;
use crate::aws_events::{self, Message, MessageKind};
use crate::dialects::converse::EXCEPTION;
use crate::{ndjson, sse};

/// A body that is a stream, and what it is cut with.
#[derive(Debug)]
pub(super) enum Framing {
    /// `text/event-stream`
    Blocks(sse::Framer),
    /// `application/x-ndjson`; no caller speaks it, so it is always translated.
    Lines(ndjson::Framer),
    /// `application/vnd.amazon.eventstream`, likewise.
    Messages(aws_events::Framer),
}

impl Framing {
    /// By the value of `content-type`; None: the body is taken whole.
    pub(super) fn of(content_type: &[u8], is_translated: bool) -> Option<Self> {
        let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if kind.eq_ignore_ascii_case(b"text/event-stream") {
            Some(Self::Blocks(sse::Framer::new()))
        } else if !is_translated {
            None
        } else if kind.eq_ignore_ascii_case(b"application/x-ndjson") {
            Some(Self::Lines(ndjson::Framer::new()))
        } else if kind.eq_ignore_ascii_case(b"application/vnd.amazon.eventstream") {
            Some(Self::Messages(aws_events::Framer::new()))
        } else {
            None
        }
    }

    /// Take in what was read, and hand every complete event to the stream.
    pub(super) fn take(&mut self, piece: &[u8], stream: &mut Stream, out: &mut Vec<u8>) {
        match self {
            Self::Blocks(framer) => {
                framer.push(piece);
                let mut handle = |framed: sse::Framed<'_>| stream.block(&framed, out, false);
                while framer.next_block(&mut handle) {}
            }
            Self::Lines(framer) => {
                framer.push(piece);
                while let Some(line) = framer.next_line() {
                    stream.foreign(None, line, out);
                }
            }
            Self::Messages(framer) => {
                framer.push(piece);
                messages(framer, stream, out);
            }
        }
    }

    /// The body has ended. What is left is the last event where the framing does without an end.
    pub(super) fn finish(&mut self, stream: &mut Stream, out: &mut Vec<u8>) {
        match self {
            Self::Blocks(framer) => framer.finish(&mut |framed| stream.block(&framed, out, true)),
            Self::Lines(framer) => {
                if let Some(line) = framer.finish() {
                    stream.foreign(None, line, out);
                }
            }
            Self::Messages(_) => {}
        }
    }

    /// Bytes that wait for the end of their event.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Blocks(framer) => framer.held(),
            Self::Lines(framer) => framer.held(),
            Self::Messages(framer) => framer.held(),
        }
    }
}

fn messages(framer: &mut aws_events::Framer, stream: &mut Stream, out: &mut Vec<u8>) {
    while stream.failed.is_none() {
        match framer.next_message() {
            Ok(None) => return,
            Ok(Some(Message { kind: MessageKind::Event, name, payload })) => stream.foreign(Some(name), payload, out),
            Ok(Some(Message { name, payload, .. })) => {
                stream.foreign(Some(&[EXCEPTION, name].concat()), payload, out);
            }
            Err(error) => stream.failed = Some(("protocol", error.message().to_owned())),
        }
    }
}

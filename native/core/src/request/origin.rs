//! Which texts a tool wrote.

use std::ops::Range;

use super::Segment;
use crate::json::{self, Reader, Str};

/// Bytes of the longest value that is looked at, escapes included: those that tell are words.
const LONGEST: usize = 256;

/// Whether an object with this member is what a tool wrote, or what a document says, in any of the APIs.
pub(crate) fn is_from_tool(reader: &Reader<'_>, key: Str, value: Str) -> bool {
    if value.end - value.start > LONGEST {
        return false;
    }
    let word = || json::unescape(reader.raw(value));
    match &*json::unescape(reader.raw(key)) {
        b"role" => matches!(&*word(), b"tool" | b"function"),
        b"type" => is_output(&word()),
        _ => false,
    }
}

/// Blocks of Anthropic's API, and items of the Responses API.
fn is_output(kind: &[u8]) -> bool {
    kind.ends_with(b"tool_result")
        || kind.ends_with(b"_call_output")
        || matches!(kind, b"mcp_call" | b"file_search_call" | b"search_result" | b"document")
}

/// The segments of objects that a tool wrote. What tells may stand behind the texts, so they are marked at the end.
#[derive(Debug, Default)]
pub(crate) struct FromTool(Vec<Range<usize>>);

impl FromTool {
    /// Such an object ends; `segments` are those of it.
    pub(crate) fn note(&mut self, segments: Range<usize>) {
        // What lies within goes with it, so that deep nesting costs nothing.
        while self.0.pop_if(|inner| inner.start >= segments.start).is_some() {}
        self.0.push(segments);
    }

    pub(crate) fn mark(self, segments: &mut [Segment]) {
        for range in self.0 {
            for segment in segments.get_mut(range).unwrap_or_default() {
                segment.from_tool = true;
            }
        }
    }
}

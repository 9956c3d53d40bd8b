//! What goes out.

use super::parse::Shape;
use super::wire::WireRef;
use super::{EventRedactor, Stop, number};
use crate::request::SegmentKind;
use crate::scan::body::Redactor;
use crate::scan::mask::{Hit, Way, splice};
use crate::sse::Block;
use crate::tap::Dialect;

const VIOLATION: &str = "content_policy_violation";

impl EventRedactor {
    /// An event as it came.
    pub(super) fn pass(&mut self, block: &Block<'_>, is_last: bool, out: &mut Vec<u8>) {
        let raw = block.raw();
        out.extend_from_slice(raw);
        self.passed = true;
        if is_last && !raw.ends_with(b"\n\n") && !raw.ends_with(b"\r\r") && !raw.ends_with(b"\r\n\r\n") {
            // The stream ended without the blank line that makes this an event.
            out.extend_from_slice(if raw.ends_with(b"\n") || raw.ends_with(b"\r") { b"\n" } else { b"\n\n" });
        }
    }

    /// An event that was changed or made.
    pub(super) fn write(&mut self, event: WireRef<'_>, edits: &[Hit], out: &mut Vec<u8>) {
        let told = event.sequence.and_then(|span| number(event.data, span));
        let sequence = match self.sequence.filter(|_| self.renumbers) {
            Some(last) => told.map(|_| last + 1),
            None => told,
        };
        event.write(edits, sequence.filter(|_| sequence != told), out);
        self.sequence = sequence.or(self.sequence);
    }

    /// Data that are no JSON: one text, looked at by itself.
    pub(super) fn plain(
        &mut self,
        block: &Block<'_>,
        data: &[u8],
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let text = String::from_utf8_lossy(data);
        let mut redactor = Redactor::new(&self.scanner, Way::Back(self.vault.as_deref()));
        redactor.flat = true;
        let hits = redactor.text(&text, SegmentKind::Text);
        let is_blocked = redactor.blocked;
        self.note(0, SegmentKind::Text, hits.iter().filter_map(Hit::placed));
        if is_blocked {
            return Err(Stop::Blocked);
        }
        if hits.iter().all(|hit| hit.text.is_none()) {
            self.pass(block, is_last, out);
            return Ok(());
        }
        self.is_changed = true;
        if let Some(name) = block.event() {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(name);
            out.push(b'\n');
        }
        for line in splice(&text, &hits).split(['\n', '\r']) {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        out.push(b'\n');
        Ok(())
    }

    /// The stream goes no further: its client is told, in the dialect that it reads.
    pub(super) fn stop(&mut self, stop: Stop, out: &mut Vec<u8>) {
        self.stopped = Some(stop);
        self.texts = Vec::new();
        self.calls = Vec::new();
        self.held = Vec::new();
        let dialect = match self.shape {
            Shape::Chat => Dialect::Chat,
            Shape::Messages => Dialect::Messages,
            Shape::Responses => Dialect::Responses,
            Shape::Other => self.dialect,
        };
        let (message, code) = match stop {
            Stop::Blocked => ("the answer was stopped by the content policy", VIOLATION),
            Stop::TooLarge => (
                "the answer was stopped: more of it had to be held back for the content policy than is allowed",
                VIOLATION,
            ),
            Stop::Failed => ("the answer could not be scanned, so it was stopped", "policy_unavailable"),
        };
        let sequence = self.sequence.map_or(0, |last| last + 1);
        out.extend_from_slice(&dialect.fault_event(message, code, sequence, None));
    }
}

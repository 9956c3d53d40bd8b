//! The texts of a stream: fed piece by piece, given out event by event.

use super::channel::{Channel, Template};
use super::parse::Piece;
use super::wire::{replaced, text_event};
use super::{Arrival, EventFinding, EventRedactor, Stop};
use crate::json::Span;
use crate::request::SegmentKind;
use crate::scan::Action;
use crate::scan::body::{BodyFinding, Redactor, answer_hits};
use crate::scan::mask::{Hit, Way};

/// A piece that was fed.
#[derive(Debug)]
pub(super) struct Taken {
    /// Where it stands.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Its text, by place.
    at: usize,
    /// As long as so much of its text is ready and no more, that is the piece as it came.
    same: Option<usize>,
}

impl EventRedactor {
    /// Feeds the pieces of an event to their texts.
    pub(super) fn take_texts(
        &mut self,
        arrival: &Arrival<'_>,
        all: &mut Vec<Taken>,
        out: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        for piece in arrival.parsed.pieces.iter().filter(|piece| !piece.is_call) {
            self.has_streamed = true;
            let at = self.text(piece, arrival.data)?;
            let text = &mut self.texts[at];
            let raw = &arrival.data[piece.string.start..piece.string.end];
            let fed = text.feed(raw, piece.string.escaped);
            self.report(at);
            let (start, end) = (piece.string.start, piece.string.end);
            let Ok(same) = fed else {
                if arrival.parsed.is_pure() {
                    set_template(&mut self.texts[at].template, arrival, start, end);
                }
                self.flush(at, out);
                return Err(Stop::Blocked);
            };
            all.push(Taken { start, end, at, same: same.then_some(self.texts[at].ready.len()) });
        }
        Ok(())
    }

    /// The texts that end here are complete.
    pub(super) fn finish_texts(&mut self, ends: impl Fn(&Channel) -> bool, out: &mut Vec<u8>) -> Result<(), Stop> {
        for at in 0..self.texts.len() {
            if ends(&self.texts[at]) {
                let finished = self.texts[at].finish();
                self.report(at);
                if finished.is_err() {
                    self.flush(at, out);
                    return Err(Stop::Blocked);
                }
            }
        }
        Ok(())
    }

    /// Puts what is ready into the event.
    pub(super) fn give(&mut self, arrival: &Arrival<'_>, all: &[Taken], edits: &mut Vec<Hit>) {
        let Arrival { parsed, data, .. } = *arrival;
        for Taken { start, end, at, same } in all {
            let text = &mut self.texts[*at];
            if *same != Some(text.ready.len()) {
                edits.push(replaced(*start, *end, &text.ready));
                let probabilities = parsed.logprobs.iter().filter(|(owner, _)| *owner == text.owner);
                edits.extend(probabilities.map(|(_, value)| nothing(*value, data)));
            }
            text.ready.clear();
        }
        if let [Taken { start, end, at, .. }] = all
            && parsed.is_pure()
            && self.texts[*at].is_held()
        {
            set_template(&mut self.texts[*at].template, arrival, *start, *end);
        }
    }

    /// Gives out what is left of texts that end here, and forgets them.
    pub(super) fn flush_texts(&mut self, ends: impl Fn(&Channel) -> bool, out: &mut Vec<u8>) {
        for at in 0..self.texts.len() {
            if ends(&self.texts[at]) {
                self.is_changed |= self.texts[at].has_restored();
                self.flush(at, out);
            }
        }
        self.texts.retain(|text| !ends(text));
    }

    /// Looks at the strings of an event that are no pieces, each by itself.
    pub(super) fn rest(&mut self, arrival: &Arrival<'_>) -> Result<Vec<Hit>, Stop> {
        let Arrival { parsed, data, .. } = *arrival;
        let mut redactor = Redactor::new(&self.scanner, Way::Back(self.vault.as_deref()));
        redactor.flat = true;
        let (found, edits) = answer_hits(&mut redactor, data, &|segment| {
            parsed.pieces.iter().all(|piece| piece.string.start != segment.string.start)
        });
        let is_blocked = found.iter().any(|found| found.finding.action == Action::Block);
        if !parsed.repeats || !self.has_streamed || is_blocked {
            let owner = 0;
            self.findings.extend(found.into_iter().map(|BodyFinding { kind, finding, .. }| EventFinding {
                owner,
                kind,
                finding,
            }));
        }
        self.is_changed |= !edits.is_empty();
        if is_blocked { Err(Stop::Blocked) } else { Ok(edits) }
    }

    fn text(&mut self, piece: &Piece, data: &[u8]) -> Result<usize, Stop> {
        let known = |text: &Channel| text.owner == piece.owner && text.path == piece.path;
        if let Some(at) = self.texts.iter().position(known) {
            return Ok(at);
        }
        if self.texts.len() >= self.limits.max_texts {
            return Err(Stop::TooLarge);
        }
        let key = &data[piece.key.start..piece.key.end];
        self.texts.push(Channel::new(piece, key, &self.scanner, self.vault.as_ref()));
        Ok(self.texts.len() - 1)
    }

    fn report(&mut self, at: usize) {
        let text = &mut self.texts[at];
        let (owner, kind) = (text.owner, SegmentKind::Text);
        self.findings.extend(text.news().iter().map(|&finding| EventFinding { owner, kind, finding }));
    }

    /// Gives out what is ready of a text in an event of its own.
    fn flush(&mut self, at: usize, out: &mut Vec<u8>) {
        let ready = std::mem::take(&mut self.texts[at].ready);
        if ready.is_empty() {
            return;
        }
        self.renumbers = true;
        if self.texts[at].template.is_set {
            let mut template = std::mem::take(&mut self.texts[at].template);
            template.fill(&ready);
            self.write(template.event.as_ref(), &template.edits, out);
        } else {
            let event = text_event(self.shape, &self.texts[at], &ready);
            self.write(event.as_ref(), &[], out);
        }
    }
}

fn set_template(template: &mut Template, arrival: &Arrival<'_>, start: usize, end: usize) {
    let Arrival { block, data, parsed, .. } = *arrival;
    template.is_set = true;
    template.event.set(block, data, parsed.sequence);
    (template.start, template.end) = (start, end);
    template.edits.clear();
    template.edits.extend(parsed.logprobs.iter().map(|(_, value)| nothing(*value, data)));
}

/// Token probabilities repeat the text: they go with it.
fn nothing(value: Span, data: &[u8]) -> Hit {
    let empty = if data.get(value.start) == Some(&b'[') { "[]" } else { "null" };
    Hit { start: value.start, end: value.end, finding: None, text: Some(empty.into()) }
}

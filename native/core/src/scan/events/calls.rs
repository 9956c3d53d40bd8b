//! Tool calls: nothing of one goes out before all of it was looked at.

use super::channel::Wire;
use super::parse::{Parsed, Piece, text};
use super::wire::{call_event, replaced};
use super::{Arrival, EventRedactor, Stop};
use crate::request::SegmentKind;
use crate::scan::body::Redactor;
use crate::scan::mask::{Hit, Way, splice};

/// A call whose arguments are still coming.
#[derive(Debug)]
pub(super) struct Call {
    /// Calls are counted: an index may come twice.
    serial: u64,
    owner: u64,
    path: u64,
    id: u64,
    /// An event has a place for them.
    has_place: bool,
    /// The bodies of the strings that its arguments came in, one behind the other.
    raw: Vec<u8>,
}

/// Where arguments of a call stand in an event that waits for it.
#[derive(Debug)]
pub(super) struct Slot {
    serial: u64,
    pub(super) start: usize,
    /// 0 without a place.
    pub(super) end: usize,
}

/// An event that waits for the calls that it is a part of.
#[derive(Debug)]
pub(super) struct Held {
    owner: u64,
    event: Wire,
    edits: Vec<Hit>,
    slots: Vec<Slot>,
    /// Kept for its token counts only, so that a later one will do.
    is_weak: bool,
}

impl EventRedactor {
    /// Takes a piece of a call; returns its number, and whether its event is needed: the first, and the first with a place.
    fn call(&mut self, piece: &Piece, data: &[u8]) -> (u64, bool) {
        let raw = &data[piece.string.start..piece.string.end];
        let has_place = piece.string.end > 0;
        let same = |call: &&mut Call| {
            call.owner == piece.owner
                && call.path == piece.path
                && (piece.id == 0 || call.id == 0 || call.id == piece.id)
        };
        if let Some(call) = self.calls.iter_mut().rev().find(same) {
            call.raw.extend_from_slice(raw);
            let is_needed = !call.has_place && has_place;
            call.has_place |= has_place;
            return (call.serial, is_needed);
        }
        let serial = self.serial;
        self.serial += 1;
        let Piece { owner, path, id, .. } = *piece;
        self.calls.push(Call { serial, owner, path, id, has_place, raw: raw.to_vec() });
        (serial, true)
    }

    /// Takes the calls of an event; returns where they stand, and the owner if the event has to wait for them.
    pub(super) fn take_calls(&mut self, arrival: &Arrival<'_>) -> (Vec<Slot>, Option<(u64, bool)>) {
        let mut slots = Vec::new();
        let mut owners = None;
        for piece in arrival.parsed.pieces.iter().filter(|piece| piece.is_call) {
            self.has_streamed = true;
            let (serial, is_needed) = self.call(piece, arrival.data);
            slots.push(Slot { serial, start: piece.string.start, end: piece.string.end });
            let (owner, needed, is_shared) = owners.unwrap_or((piece.owner, false, false));
            owners = Some((owner, needed || is_needed, is_shared || owner != piece.owner));
        }
        if let Some(owner) = arrival.parsed.opens_call {
            return (slots, Some((owner, true)));
        }
        // Calls of several choices in one event cannot wait for one another: their arguments go out in events of their own.
        let waits = owners.filter(|(.., is_shared)| !is_shared).map(|(owner, is_needed, _)| (owner, is_needed));
        (slots, waits)
    }

    /// Keeps an event until its calls are complete, if it is needed then.
    pub(super) fn wait(
        &mut self,
        arrival: &Arrival<'_>,
        (owner, is_needed): (u64, bool),
        edits: Vec<Hit>,
        slots: Vec<Slot>,
    ) -> Result<(), Stop> {
        self.renumbers = true;
        let Parsed { is_kept, has_usage, .. } = *arrival.parsed;
        let is_weak = !is_needed && !is_kept;
        if !is_weak || has_usage {
            let held = Held { owner, event: arrival.wire(), edits, slots, is_weak };
            match self.held.last_mut().filter(|last| last.is_weak && is_weak && last.owner == owner) {
                Some(last) => *last = held,
                None => self.held.push(held),
            }
        }
        if self.held_for_calls() > self.limits.max_calls { Err(Stop::TooLarge) } else { Ok(()) }
    }

    /// Bytes that wait for the end of a call.
    pub(super) fn held_for_calls(&self) -> usize {
        let events = self.held.iter().map(|held| held.event.data.len() + held.event.head.len());
        events.sum::<usize>() + self.calls.iter().map(|call| call.raw.len()).sum::<usize>()
    }

    /// The calls of some owners are complete: they are looked at, and what waited for them goes out.
    pub(super) fn complete_calls(&mut self, is_done: impl Fn(u64) -> bool, out: &mut Vec<u8>) -> Result<(), Stop> {
        if self.calls.is_empty() && self.held.is_empty() {
            return Ok(());
        }
        let calls: Vec<Call> = self.calls.extract_if(.., |call| is_done(call.owner)).collect();
        let mut texts: Vec<(Call, Option<String>)> = Vec::with_capacity(calls.len());
        for call in calls {
            let arguments = self.verdict(&call)?;
            texts.push((call, Some(arguments)));
        }
        let held: Vec<Held> = self.held.extract_if(.., |held| is_done(held.owner)).collect();
        for Held { event, mut edits, slots, .. } in held {
            for slot in slots.iter().filter(|slot| slot.end > 0) {
                let text =
                    texts.iter_mut().find(|(call, _)| call.serial == slot.serial).and_then(|(_, text)| text.take());
                edits.push(replaced(slot.start, slot.end, &text.unwrap_or_default()));
            }
            edits.sort_by_key(|edit| edit.start);
            self.write(event.as_ref(), &edits, out);
        }
        for (call, text) in texts {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                let event = call_event(self.shape, call.owner, call.path, &text);
                self.write(event.as_ref(), &[], out);
            }
        }
        Ok(())
    }

    fn verdict(&mut self, call: &Call) -> Result<String, Stop> {
        let arguments = text(&call.raw);
        let mut redactor = Redactor::new(&self.scanner, Way::Back(self.vault.as_deref()));
        let hits = redactor.text(&arguments, SegmentKind::ToolArguments);
        let blocked = redactor.blocked;
        self.note(call.owner, SegmentKind::ToolArguments, hits.iter().filter_map(Hit::placed));
        self.is_changed |= hits.iter().any(|hit| hit.text.is_some());
        if blocked { Err(Stop::Blocked) } else { Ok(splice(&arguments, &hits)) }
    }
}

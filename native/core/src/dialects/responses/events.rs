//! Events of a response as bytes: the frame that all of them have, numbered.

use crate::json::write::{number, quote};

/// Writes events one after the other.
#[derive(Debug, Default)]
pub(super) struct Events {
    sequence: u64,
}

/// Where in the response something stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The item's id.
    pub(super) item: &'a str,
    /// Its number.
    pub(super) output: usize,
    /// The part's number, by the name of its member.
    pub(super) part: Option<(&'static str, usize)>,
}

impl Events {
    /// One event with members that are written already (`"part":{...}`, no comma in front).
    pub(super) fn write(&mut self, kind: &str, place: Option<Place<'_>>, members: &[&[u8]], out: &mut Vec<u8>) {
        self.begin(kind, out);
        if let Some(place) = place {
            out.extend_from_slice(b",\"item_id\":");
            quote(out, place.item);
            out.extend_from_slice(b",\"output_index\":");
            number(out, place.output as u64);
            if let Some((name, index)) = place.part {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                number(out, index as u64);
            }
        }
        for member in members {
            out.push(b',');
            out.extend_from_slice(member);
        }
        out.extend_from_slice(b"}\n\n");
    }

    /// A piece of text: what comes most, so without anything in between.
    pub(super) fn delta(&mut self, kind: &str, place: Place<'_>, text: &str, tail: &[u8], out: &mut Vec<u8>) {
        out.reserve(text.len() + 256);
        self.write(kind, Some(place), &[], out);
        // In front of the end that was just written.
        out.truncate(out.len() - 3);
        out.extend_from_slice(b",\"delta\":");
        quote(out, text);
        out.extend_from_slice(tail);
        out.extend_from_slice(b"}\n\n");
    }

    fn begin(&mut self, kind: &str, out: &mut Vec<u8>) {
        for piece in ["event: ", kind, "\ndata: {\"type\":\"", kind, "\",\"sequence_number\":"] {
            out.extend_from_slice(piece.as_bytes());
        }
        number(out, self.sequence);
        self.sequence += 1;
    }
}

/// `"name":value`
pub(super) fn member(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + value.len() + 3);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
    out
}

/// `"name":"text"`
pub(super) fn text_member(name: &str, text: &str) -> Vec<u8> {
    let mut out = member(name, b"");
    quote(&mut out, text);
    out
}

/// `{...}` of members that are written already.
pub(super) fn object(members: &[&[u8]]) -> Vec<u8> {
    [b"{", members.join(&b","[..]).as_slice(), b"}"].concat()
}

/// `[...]` of values that are written already.
pub(super) fn array(values: &[Vec<u8>]) -> Vec<u8> {
    [b"[", values.join(&b","[..]).as_slice(), b"]"].concat()
}

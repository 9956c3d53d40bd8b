//! Where a text says what an exemption knows: a prohibition ("never share") and the like. A phrase that shares a word with one
//! of those meant for it is none.

use super::phrases::{Found, Search};
use super::templates::Phrases;
use super::tokens::{self, Token};
use crate::scan::bytes::ByteSet;

/// Bytes that no exemption goes over, and those with which it takes a look around.
const SIGNS: ByteSet = ByteSet::of(b".,;:!?()[]{}<>|*/=\n\r\t");
const STOPS: ByteSet = ByteSet::of(b" .,;:!?()[]{}<>|*/=\n\r\t").range(0xC2, 0xFF);

/// Where signs and line ends stand that no exemption goes over: what stands behind one is said anew.
fn stops(text: &[u8]) -> Vec<usize> {
    let is_stop = |at: &usize| match text[*at] {
        // Such scripts part no words by it.
        b' ' => is_han(text, at.wrapping_sub(3)) && is_han(text, at + 1),
        sign => SIGNS.has(sign) || tokens::is_gap(text, *at),
    };
    let places = text.iter().enumerate().filter(|(_, byte)| STOPS.has(**byte)).map(|(at, _)| at);
    places.filter(is_stop).collect()
}

/// Whether a Chinese or Japanese character begins there.
fn is_han(text: &[u8], at: usize) -> bool {
    text.get(at).is_some_and(|lead| matches!(lead, 0xE3..=0xE9))
}

/// So much text on both sides of a phrase is looked at first.
const NEAR: usize = 192;

/// First byte of a stretch and the byte behind it.
type Span = (usize, usize);

/// The exemptions of a stretch of text: for each beginning of ids where they are, and where they are taken back, in order,
/// none overlapping another.
#[derive(Debug, Default)]
pub(super) struct Exemptions(Vec<(&'static str, Vec<Span>, Vec<Span>)>);

impl Exemptions {
    /// Those in the text of these tokens that go over no sign.
    pub(super) fn find(templates: &Phrases, text: &[u8], tokens: &[Token]) -> Self {
        let mut search = Search::new(templates);
        search.follow(tokens);
        let (_, found) = search.finish();
        let mut exemptions = Self::default();
        if found.is_empty() {
            return exemptions;
        }
        let stops = stops(text);
        for Found { id, insists, start, end, .. } in found {
            let stop = stops.get(stops.partition_point(|stop| *stop < start));
            if !insists && stop.is_some_and(|stop| *stop < end) {
                continue;
            }
            let at = exemptions.0.iter().position(|(own, ..)| *own == id).unwrap_or_else(|| {
                exemptions.0.push((id, Vec::new(), Vec::new()));
                exemptions.0.len() - 1
            });
            let (_, exempt, insist) = &mut exemptions.0[at];
            (if insists { insist } else { exempt }).push((start, end));
        }
        for (_, exempt, insist) in &mut exemptions.0 {
            (*exempt, *insist) = (merged(std::mem::take(exempt)), merged(std::mem::take(insist)));
        }
        exemptions
    }

    /// Whether the surroundings of a phrase exempt it.
    pub(super) fn near(templates: &Phrases, text: &[u8], phrase: &Found) -> bool {
        // Words are cut at a space; where there is none near, the script has none, and any character is a word.
        let from = phrase.start.saturating_sub(NEAR);
        let before = text.get(from..phrase.start).unwrap_or_default();
        let begins = |byte: &u8| *byte == b' ' || byte & 0xC0 == 0xC0 && !before.contains(&b' ');
        let from = if from == 0 { 0 } else { from + before.iter().position(begins).unwrap_or(0) };
        let near = text.get(from..(phrase.end + NEAR).min(text.len())).unwrap_or_default();
        let near = tokens::of(near, |tokens| Self::find(templates, near, tokens));
        near.void(&Found { start: phrase.start - from, end: phrase.end - from, ..*phrase })
    }

    /// Whether one that is meant for the phrase shares a word with it, and nothing that insists does.
    pub(super) fn void(&self, phrase: &Found) -> bool {
        let span = (phrase.start, phrase.end);
        let own = self.0.iter().filter(|(prefix, ..)| phrase.id.starts_with(prefix));
        own.into_iter().any(|(_, exempt, insist)| overlap(exempt, span) && !overlap(insist, span))
    }

    /// What any of them covers, in order.
    pub(super) fn covered(&self) -> Vec<Span> {
        let all =
            self.0.iter().flat_map(|(_, exempt, insist)| exempt.iter().copied().filter(|span| !overlap(insist, *span)));
        merged(all.collect())
    }
}

/// Whether any of the stretches, which are in order and do not overlap, overlaps another.
fn overlap(spans: &[Span], (start, end): Span) -> bool {
    spans.get(spans.partition_point(|span| span.1 <= start)).is_some_and(|span| span.0 < end)
}

/// The stretches in order, overlapping ones as one.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    spans.dedup_by(|next, last| {
        let overlap = next.0 < last.1;
        if overlap {
            last.1 = last.1.max(next.1);
        }
        overlap
    });
    spans
}

//! Where a text says what an exemption knows: a prohibition ("never share") and the like.

use super::phrases::Found;

/// Signs and line ends that no exemption goes over, as normalisation leaves them: what stands behind one is said anew.
const STOPS: &[u8] = b".,;:!?()\n\r";
const WIDE_STOPS: [&str; 9] =
    ["\u{3002}", "\u{3001}", "\u{2026}", "\u{2013}", "\u{2014}", "\u{964}", "\u{60C}", "\u{61B}", "\u{61F}"];
/// With what the bytes of these begin, at least.
const WIDE: u8 = 0xD8;

fn is_stop(text: &[u8]) -> bool {
    text.first().is_some_and(|first| {
        STOPS.contains(first) || *first >= WIDE && WIDE_STOPS.iter().any(|stop| text.starts_with(stop.as_bytes()))
    })
}

/// First byte of a stretch and the byte behind it.
type Span = (usize, usize);

/// The exemptions of a stretch of text.
#[derive(Debug, Default)]
pub(super) struct Exemptions {
    /// By what the phrases are called in the beginning that they are for: in order, none overlapping another.
    spans: Vec<(&'static str, Vec<Span>)>,
}

impl Exemptions {
    /// Of what was found in `text` that which goes over no sign.
    pub(super) fn new(found: Vec<Found>, text: &[u8]) -> Self {
        let mut exemptions = Self::default();
        if found.is_empty() {
            return exemptions;
        }
        let stops: Vec<usize> = (0..text.len()).filter(|at| is_stop(text.get(*at..).unwrap_or_default())).collect();
        for Found { id, start, end, .. } in found {
            let stop = stops.get(stops.partition_point(|stop| *stop < start));
            if stop.is_some_and(|stop| *stop < end) {
                continue;
            }
            match exemptions.spans.iter_mut().find(|(own, _)| *own == id) {
                Some((_, spans)) => spans.push((start, end)),
                None => exemptions.spans.push((id, vec![(start, end)])),
            }
        }
        for (_, spans) in &mut exemptions.spans {
            *spans = merged(std::mem::take(spans));
        }
        exemptions
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Whether one that is meant for the phrase shares a word with it.
    pub(super) fn void(&self, phrase: &Found) -> bool {
        self.spans.iter().filter(|(prefix, _)| phrase.id.starts_with(prefix)).any(|(_, spans)| {
            let next = spans.get(spans.partition_point(|(_, end)| *end <= phrase.start));
            next.is_some_and(|(start, _)| *start < phrase.end)
        })
    }

    /// What any of them covers, in order.
    pub(super) fn covered(self) -> Vec<Span> {
        merged(self.spans.into_iter().flat_map(|(_, spans)| spans).collect())
    }
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

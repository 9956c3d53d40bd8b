//! The detector on a text that arrives in parts.

use super::phrases::Search;
use super::{Channel, Detector, OVERLAP, SEGMENT, Segment, Verdict, with_hidden};

/// Gathers a text up to the next segment border and judges segment by segment.
#[derive(Clone, Debug)]
pub struct Accumulator<'detector> {
    detector: &'detector Detector,
    channel: Channel,
    search: Search<'detector>,
    /// The end of what was judged already, then what was not.
    held: Vec<u8>,
    /// How much of `held` was judged.
    judged: usize,
    /// Where `held` begins in the text.
    offset: usize,
    verdict: Verdict,
}

impl<'detector> Accumulator<'detector> {
    pub(super) fn new(detector: &'detector Detector, channel: Channel) -> Self {
        let search = Search::new(&detector.templates.phrases);
        Self { detector, channel, search, held: Vec::new(), judged: 0, offset: 0, verdict: Verdict::NONE }
    }

    /// Takes the next part.
    pub fn feed(&mut self, mut part: &[u8]) {
        while !part.is_empty() {
            let room = SEGMENT + self.judged - self.held.len();
            let (now, later) = part.split_at(room.min(part.len()));
            self.held.extend_from_slice(now);
            part = later;
            if self.held.len() == SEGMENT + self.judged {
                self.judge();
            }
        }
    }

    /// The verdict on the whole text; `hidden` as for [`Detector::score`].
    #[must_use]
    pub fn finish(mut self, hidden: usize) -> Verdict {
        if self.held.len() > self.judged {
            self.judge();
        }
        with_hidden(self.verdict, hidden, self.offset + self.held.len()).judged(self.channel)
    }

    fn judge(&mut self) {
        let segment = Segment { text: &self.held, offset: self.offset };
        self.verdict = self.detector.segment(segment, &mut self.search, self.verdict, self.channel);
        let done = self.held.len().saturating_sub(OVERLAP);
        self.held.drain(..done);
        self.offset += done;
        self.judged = self.held.len();
    }
}

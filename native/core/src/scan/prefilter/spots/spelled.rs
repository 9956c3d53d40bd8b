//! Where single characters stand with separators between them: `j o h n @ ...`.

use super::{Spots, is_alnum};
use crate::scan::decode::{is_separator, is_start};
use crate::scan::prefilter::Candidate;
use crate::scan::views::View;

/// So many pairs of a character and a separator are looked back over.
const PAIRS: usize = 8;
/// Letters or digits and other bytes take turns for so many bytes where something is spelled out.
const TURNS: usize = 5;

impl Spots<'_> {
    /// Whether all that is spelled out before a position has been put together.
    pub(in super::super) fn is_spelled(&self, end: usize) -> bool {
        end <= self.spelled.get()
    }

    /// Single characters with other bytes between them stand here, and may have begun before.
    pub(in super::super) fn spelled(&mut self, at: usize, found: &mut impl FnMut(Candidate)) {
        if at >= self.settled || at < self.spelled.get() {
            return;
        }
        let Some(separator) = self.window.get(at + 1).filter(|byte| is_separator(*byte)) else { return };
        let start = self.spelled_from(at, separator);
        self.chain = (start, at);
        if start >= self.from {
            found(Candidate::View(start, View::Spelled));
        }
    }

    /// Whether a byte by itself stands before a position, with the same separator on both sides.
    #[inline]
    fn goes_on(&self, place: usize, separator: u8) -> bool {
        let text = self.window.text;
        place >= 2
            && text[place - 1] == separator
            && text[place - 2] != separator
            // White space in its place begins another run.
            && !text[place - 2].is_ascii_whitespace()
            && place.checked_sub(3).is_none_or(|i| text[i] == separator)
    }

    /// Where single characters with a separator between them begin that go on at a position: with what a value begins with,
    /// and at most [`PAIRS`] pairs earlier.
    fn spelled_from(&self, at: usize, separator: u8) -> usize {
        if !self.goes_on(at, separator) {
            return at;
        }
        let text = self.window.text;
        let least = at.saturating_sub(2 * PAIRS);
        let (first, known) = self.chain;
        let (mut start, mut place) = (at, at);
        while place > least && self.goes_on(place, separator) {
            place -= 2;
            if place == known {
                // From here on it was read before.
                let first = first.max(least + (place - least) % 2);
                return (first..=place).step_by(2).find(|place| is_start(text[*place])).unwrap_or(start);
            }
            if is_start(text[place]) {
                start = place;
            }
        }
        start
    }

    /// Where a run may begin of which [`Spots::spelled`] is to learn yet, if nothing is asked about from a position on: the
    /// characters before it take turns to the end of what has come, or the next one goes on from them.
    pub(super) fn spelled_before(&self, at: usize) -> usize {
        let text = self.window.text;
        let separator = |place: usize| text.get(place).copied().filter(|byte| is_separator(*byte));
        let mut least = at;
        // Letters or digits and others take turns to the end of what has come, too few yet to be told from words.
        let turns = !matches!(text, [.., a, b] if is_alnum(*a) == is_alnum(*b));
        let near = if turns { text.len().min(TURNS - 1) } else { 0 };
        for place in (text.len() - near..text.len()).rev() {
            let before = place.checked_sub(1).map(|before| is_alnum(text[before]));
            if place < at
                && is_alnum(text[place])
                && before != Some(true)
                && let Some(separator) = separator(place + 1).or_else(|| separator(place.checked_sub(1)?))
            {
                least = least.min(self.spelled_from(place, separator));
            }
            if before == Some(is_alnum(text[place])) {
                break;
            }
        }
        let Some(before) = at.checked_sub(1) else { return least };
        // The next character stands here, or one byte further on.
        if let Some(separator) = separator(before).filter(|separator| self.goes_on(at, *separator)) {
            least = least.min(self.spelled_from(at, separator));
        }
        let between = text.get(at).copied();
        if before == 0 {
            let joins = between.is_none_or(|byte| is_separator(byte) && byte != text[before]);
            return if joins && is_start(text[before]) { 0 } else { least };
        }
        if let Some(separator) = separator(before - 1)
            && between.is_none_or(|byte| byte == separator)
            && text[before] != separator
            && !text[before].is_ascii_whitespace()
        {
            let start = self.spelled_from(before, separator);
            if is_start(text[start]) {
                least = least.min(start);
            }
        }
        least
    }
}

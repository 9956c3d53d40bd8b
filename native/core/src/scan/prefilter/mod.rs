//! Where a match could begin: one pass over the text that the rules are asked about.
//!
//! Bytes are classed 64 at a time; what is rare in prose (long tokens, numbers of five digits and more, `@`, colons close
//! together) falls out of the masks by arithmetic on words, and only that is looked at byte by byte. What makes a
//! candidate is a matter of the bytes around it alone, so a text in pieces has the same candidates as the whole.

mod spots;

use std::cell::Cell;

use spots::Spots;

use super::bytes::ByteSet;
use super::rules::Rules;
use super::simd::{BLOCK, Classes, Masks, PIECE, Places, classify, keep};
use super::views::View;
use super::window::{REACH, Window};

/// So far ahead of a number it is known whether letters or digits stand side by side, in bytes.
pub(crate) const AHEAD: usize = 64;
/// Something that rules are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// An `@` between what could be a name and a host.
    At(usize),
    /// The first colon of a chain, and another one at most five bytes later.
    Colon(usize),
    /// An alphanumeric run in a number of five digits or more (see [`spots`]).
    Number(usize),
    /// An alphanumeric run that starts a token with a digit in it, or of twenty bytes.
    Token(usize),
    /// A literal of a rule.
    Literal(usize, u16),
    /// Something that may read differently.
    View(usize, View),
}

impl Candidate {
    /// Where it stands.
    pub(crate) fn at(self) -> usize {
        let (Self::At(at)
        | Self::Colon(at)
        | Self::Number(at)
        | Self::Token(at)
        | Self::Literal(at, _)
        | Self::View(at, _)) = self;
        at
    }

    /// Whether something may be found that begins behind where it stands.
    pub(crate) fn reaches_ahead(self, rules: &Rules) -> bool {
        match self {
            Self::At(_) | Self::Colon(_) => false,
            Self::Number(_) | Self::Token(_) => rules.leads,
            Self::Literal(_, rule) => rules.at(rule).reaches_ahead(),
            // What is spelled out within a text ends with it.
            Self::View(_, view) => view != View::Spelled,
        }
    }
}

/// Bytes that no match reaches back over: its trigger may stand behind its start, but in the same run.
#[must_use]
pub const fn breaks(byte: u8) -> bool {
    BREAKS.has(byte)
}

static BREAKS: ByteSet = ByteSet::of(b"\x7f,;\"<>()[]{}|").range(0, b' ');

/// Where the run that a position belongs to begins, at most [`REACH`] bytes earlier.
pub(crate) fn run_start(text: &[u8], at: usize) -> usize {
    let least = at.saturating_sub(REACH);
    let mut start = at.min(text.len());
    while start > least && !breaks(text[start - 1]) {
        start -= 1;
    }
    start
}

/// Where a number starts with the plus sign and the parenthesis before its first digit.
pub(crate) fn sign_start(text: &[u8], at: usize) -> usize {
    let least = at.saturating_sub(3);
    let mut start = at.min(text.len());
    while start > least && matches!(text[start - 1], b'+' | b'(') {
        start -= 1;
    }
    start
}

/// What of the pass can be used again, and what is known of the text. Its positions count from the start of the text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    masks: Option<Box<Masks>>,
    places: Places,
    /// A stretch without a byte that breaks runs.
    unbroken: (usize, usize),
    /// The run of tokens' bytes that was looked at last, as far as it was.
    token: (usize, usize),
}

impl Scratch {
    /// Forgets the text.
    pub(crate) fn reset(&mut self) {
        self.unbroken = (0, 0);
        self.token = (0, 0);
    }

    /// As [`run_start`], but what was read for it before is not read again.
    pub(crate) fn run_start(&mut self, text: &[u8], base: usize, at: usize) -> usize {
        let (first, end) = self.unbroken;
        let here = base + at;
        if here > end || here < first {
            let known = if here > end { end.saturating_sub(base) } else { 0 };
            // Twice as far as a match reaches: what is asked about next begins up to that far back.
            let least = known.max(at.saturating_sub(2 * REACH));
            let mut start = at;
            while start > least && !breaks(text[start - 1]) {
                start -= 1;
            }
            let goes_on = base + start == end && end > first;
            self.unbroken = (if goes_on { first } else { base + start }, here);
        }
        self.unbroken.0.max(here.saturating_sub(REACH)).saturating_sub(base)
    }
}

/// Calls back for every candidate at or behind `from`, and returns up to where there are no others. What is `spelled` out
/// has been put together up to a position of the window, which the callback may move on: nothing is spelled within.
pub(crate) fn candidates(
    rules: &Rules,
    window: &Window<'_>,
    base: usize,
    from: usize,
    scratch: &mut Scratch,
    spelled: &Cell<usize>,
    mut found: impl FnMut(Candidate),
) -> usize {
    let text = window.text;
    let frontier = if window.at_end { text.len() } else { scratch.run_start(text, base, text.len()) }.max(from);
    let token = (scratch.token.0.saturating_sub(base), scratch.token.1.saturating_sub(base).min(from));
    let mut spots = Spots::new(rules, window, from, frontier, token, spelled);
    let mut start = from;
    let Scratch { masks, places, .. } = scratch;
    let masks = masks.get_or_insert_default();
    while start < frontier && spots.is_open() {
        let blocks = (frontier - start).div_ceil(BLOCK).min(PIECE);
        // One block more: whether a run is long shows behind the end of a piece.
        let stop = text.len().min(start + (blocks + 1) * BLOCK);
        classify(&rules.prints, &text[start..stop], masks, places);
        keep(places, |at| rules.outer.may_begin(&text[start..], at));
        let known = (blocks * BLOCK).min(frontier - start);
        for here in places.iter().map(|place| *place as usize).take_while(|place| *place < known) {
            rules.outer.each(text, start + here, &mut |rule| found(Candidate::Literal(start + here, rule)));
        }
        piece(masks, blocks, start, &mut spots, &mut found);
        start += PIECE * BLOCK;
    }
    scratch.token = (spots.token.0 + base, spots.token.1 + base);
    spots.settled()
}

fn piece(masks: &Masks, blocks: usize, start: usize, spots: &mut Spots<'_>, found: &mut impl FnMut(Candidate)) {
    let edge = spots.edge();
    let mut eventful = masks.eventful() & ((1 << blocks) - 1);
    while eventful != 0 {
        let i = eventful.trailing_zeros() as usize;
        eventful &= eventful - 1;
        let at = start + i * BLOCK;
        let [before, block, next] = [0, 1, 2].map(|row| masks.row(i + row));
        if block.digits != 0 {
            let chained = i > 0 && is_sparse(&before, &block, &next) && spots.may_chain(at);
            let mut starts = block.digits & !(block.digits << 1 | before.digits >> 63);
            let few = is_few(block.digits) && next.digits & spots::NEARBY == 0;
            if few && i > 0 && at + BLOCK <= edge {
                starts &= in_runs(before.token, block.token, next.token);
            }
            while starts != 0 {
                let bit = starts.trailing_zeros();
                starts &= starts - 1;
                let here = at + bit as usize;
                if chained && spots.is_passed_over(here) {
                    continue;
                }
                let digits = from_bit(block.digits, next.digits, bit);
                // Most numbers stand alone and are short: a year, a count.
                let ahead = from_bit(block.token, next.token, bit).trailing_ones();
                let behind = up_to_bit(before.token, block.token, bit).leading_ones();
                // What stands before the first block of a piece is not in the masks.
                let around = if i == 0 && behind == bit { u32::MAX } else { ahead + behind };
                if around >= spots::QUAD_MIN || here >= edge || spots::near(digits) >= spots::MANY {
                    spots.digits(here, digits, around, from_bit(block.alnum, next.alnum, bit), found);
                }
            }
        }
        let mut long = masks.long(i);
        while long != 0 {
            let bit = long.trailing_zeros();
            long &= long - 1;
            spots.long_token(at + bit as usize, from_bit(block.token, next.token, bit), found);
        }
        let mut emphasis = block.mark;
        while emphasis != 0 {
            spots.mark(at + emphasis.trailing_zeros() as usize, found);
            emphasis &= emphasis - 1;
        }
        let mut spelled = masks.spelled(i);
        if spelled != 0 && spots.is_spelled(at + BLOCK) {
            spelled = 0;
        }
        while spelled != 0 {
            spots.spelled(at + spelled.trailing_zeros() as usize, found);
            spelled &= spelled - 1;
        }
        let mut ats = block.at;
        if ats != 0 {
            let all = wide(block.at, next.at);
            let crowded = low(all >> 1 | all >> 2 | all >> 3 | all >> 4);
            // No host begins with another one.
            ats &= !low(all >> 1);
            while ats != 0 {
                let bit = ats.trailing_zeros();
                ats &= ats - 1;
                let colon = last(block.colon & ((1 << bit) - 1)).map(|bit| at + bit);
                spots.at_sign(at + bit as usize, crowded >> bit & 1 != 0, colon, found);
            }
        }
        if block.colon != 0 {
            let colons = wide(block.colon, next.colon);
            let mut near = low(colons & (colons >> 1 | colons >> 2 | colons >> 3 | colons >> 4 | colons >> 5));
            while near != 0 {
                spots.colon(at + near.trailing_zeros() as usize, found);
                near &= near - 1;
            }
        }
        if let Some(bit) = last(block.colon) {
            spots.last_colon(at + bit);
        }
    }
}

/// At how many places a literal could stand: the pass that classes bytes, alone, for benchmarks.
#[must_use]
pub fn fingerprints(rules: &Rules, text: &[u8]) -> usize {
    let (mut masks, mut places) = (Masks::default(), Places::new());
    let pieces = text.chunks(PIECE * BLOCK).map(|part| {
        classify(&rules.prints, part, &mut masks, &mut places);
        places.len()
    });
    pieces.sum()
}

/// The highest bit that is set.
fn last(bits: u64) -> Option<usize> {
    bits.checked_ilog2().map(|bit| bit as usize)
}

fn wide(block: u64, next: u64) -> u128 {
    u128::from(block) | u128::from(next) << 64
}

/// The 64 bits from one of a block on.
#[inline]
fn from_bit(block: u64, next: u64, bit: u32) -> u64 {
    block >> bit | next << 1 << (63 - bit)
}

/// The 64 bits before one of a block.
#[inline]
fn up_to_bit(before: u64, block: u64, bit: u32) -> u64 {
    block << (63 - bit) << 1 | before >> bit
}

#[expect(clippy::cast_possible_truncation, reason = "the bits of this block are meant")]
fn low(bits: u128) -> u64 {
    bits as u64
}

/// Whether fewer than [`spots::MANY`] bits are set.
#[inline]
fn is_few(mut bits: u64) -> bool {
    for _ in 1..spots::MANY {
        bits &= bits.wrapping_sub(1);
    }
    bits == 0
}

/// The bits of a block that are part of a run of [`spots::QUAD_MIN`] or more.
#[inline]
fn in_runs(before: u64, block: u64, next: u64) -> u64 {
    let mut run = wide(block, next) << 6 | u128::from(before >> 58);
    run &= run >> 1;
    run &= run >> 2;
    run &= run >> 3;
    run |= run << 1;
    run |= run << 2;
    run |= run << 3;
    low(run >> 6)
}

/// Whether there are no letters in a block and beside it, and from the block on no digits side by side.
fn is_sparse(before: &Classes, block: &Classes, next: &Classes) -> bool {
    let digits = wide(block.digits, next.digits);
    block.alnum == block.digits
        && before.alnum == before.digits
        && next.alnum == next.digits
        && digits & digits >> 1 == 0
}

const _: () = assert!(AHEAD == BLOCK, "there is one block more");
const _: () = assert!(spots::QUAD_MIN == 7, "one, two and three bytes more than one, and six around them");

#[cfg(test)]
mod tests;

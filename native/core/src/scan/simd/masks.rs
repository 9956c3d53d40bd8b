//! What the bytes of some blocks are, a bit for each, and what arithmetic on these bits shows.

use super::BLOCK;
use crate::scan::window::LONG_TOKEN;

/// Blocks that are classed before they are looked at.
pub(crate) const PIECE: usize = 32;

/// One word for each block of a piece, one for the block before it, which is not known and has no bit, and one for the block
/// behind it.
type Row = [u64; PIECE + 2];

/// One bit for each byte of a block, the first byte lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Classes {
    /// `0-9`
    pub(crate) digits: u64,
    /// Letters and digits.
    pub(crate) alnum: u64,
    /// Letters, digits and `_ + - . / = ~`.
    pub(crate) token: u64,
    /// `@`
    pub(crate) at: u64,
    /// `:`
    pub(crate) colon: u64,
    /// A grave accent or `*`.
    pub(crate) mark: u64,
}

/// The classes of the blocks of a piece, side by side, so that some blocks are looked at together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Masks {
    digits: Row,
    alnum: Row,
    token: Row,
    at: Row,
    colon: Row,
    mark: Row,
    long: [u64; PIECE],
    spelled: [u64; PIECE],
    eventful: u64,
}

impl Default for Masks {
    fn default() -> Self {
        let row = [0; PIECE + 2];
        Self {
            digits: row,
            alnum: row,
            token: row,
            at: row,
            colon: row,
            mark: row,
            long: [0; PIECE],
            spelled: [0; PIECE],
            eventful: 0,
        }
    }
}

impl Masks {
    /// The blocks of the piece that have something to look at: a digit, an `@`, a colon, a mark, a long run, or something
    /// spelled out. A bit for each.
    pub(crate) fn eventful(&self) -> u64 {
        self.eventful
    }

    /// The classes of a block, counted from the one before the piece.
    #[inline]
    pub(crate) fn row(&self, row: usize) -> Classes {
        let row = row.min(PIECE + 1);
        Classes {
            digits: self.digits[row],
            alnum: self.alnum[row],
            token: self.token[row],
            at: self.at[row],
            colon: self.colon[row],
            mark: self.mark[row],
        }
    }

    /// The bits of a block at which a run of tokens' bytes starts, or goes on over the start of the block, of [`LONG_TOKEN`]
    /// bytes or more.
    #[inline]
    pub(crate) fn long(&self, block: usize) -> u64 {
        self.long[block.min(PIECE - 1)]
    }

    /// The bits of a block from which letters or digits and other bytes take turns, five bytes in all.
    #[inline]
    pub(crate) fn spelled(&self, block: usize) -> u64 {
        self.spelled[block.min(PIECE - 1)]
    }

    /// Sets the classes of a block of the piece, or of the one behind it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
    pub(super) fn set(&mut self, block: usize, classes: Classes) {
        let row = (block + 1).min(PIECE + 1);
        self.digits[row] = classes.digits;
        self.alnum[row] = classes.alnum;
        self.token[row] = classes.token;
        self.at[row] = classes.at;
        self.colon[row] = classes.colon;
        self.mark[row] = classes.mark;
    }

    /// Works out what so many blocks show, some at a time, when their classes are set.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
    pub(super) fn work_out<const TOGETHER: usize>(&mut self, blocks: usize) {
        if blocks <= PIECE {
            // Nothing stands behind them.
            self.set(blocks, Classes::default());
        }
        let blocks = blocks.min(PIECE);
        self.eventful = 0;
        for from in (0..blocks).step_by(TOGETHER) {
            let Some((long, spelled, eventful)) = self.some::<TOGETHER>(from) else { break };
            let behind = from + TOGETHER;
            self.long[from..behind].copy_from_slice(&long);
            self.spelled[from..behind].copy_from_slice(&spelled);
            for (i, bits) in eventful.iter().enumerate() {
                self.eventful |= u64::from(*bits != 0) << (from + i);
            }
        }
        self.eventful &= (1 << blocks) - 1;
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
    fn some<const N: usize>(&self, from: usize) -> Option<([u64; N], [u64; N], [u64; N])> {
        let of = |row: &Row, by: usize| row.get(from + by..from + by + N)?.first_chunk::<N>().copied();
        let [before, alnum, next] = [of(&self.alnum, 0)?, of(&self.alnum, 1)?, of(&self.alnum, 2)?];
        let [token, token_next] = [of(&self.token, 1)?, of(&self.token, 2)?];
        let [digits, at, colon, mark] =
            [of(&self.digits, 1)?, of(&self.at, 1)?, of(&self.colon, 1)?, of(&self.mark, 1)?];
        let (mut long, mut spelled, mut eventful) = ([0; N], [0; N], [0; N]);
        for i in 0..N {
            long[i] = starts_of_runs(token[i], token_next[i]);
            spelled[i] = starts_of_spelled(before[i], alnum[i], next[i]);
            eventful[i] = digits[i] | at[i] | colon[i] | mark[i] | long[i] | spelled[i];
        }
        Some((long, spelled, eventful))
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
fn starts_of_runs(block: u64, next: u64) -> u64 {
    // Of both halves of a block with half a block behind each.
    let long = |mut run: u64| {
        run &= run >> 1;
        run &= run >> 2;
        run &= run >> 4;
        run & run >> 7
    };
    let run = long(block) & LOW_HALF | long(block >> 32 | next << 32) << 32;
    run & !(run << 1)
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "its body must be compiled for the caller's processor features")]
fn starts_of_spelled(before: u64, block: u64, next: u64) -> u64 {
    let run = |alnum: u64| {
        let turns = alnum ^ alnum >> 1;
        let run = turns & turns >> 1;
        run & run >> 2
    };
    let run = run(block) & LOW_HALF | run(block >> 32 | next << 32) << 32;
    run & block & !(block << 1 | before >> 63)
}

const LOW_HALF: u64 = (1 << (BLOCK / 2)) - 1;

const _: () = assert!(LONG_TOKEN == 15, "one, two, four and seven bytes more than one");
const _: () = assert!(PIECE < 64 && PIECE.is_multiple_of(8), "a bit for each block, and some at a time");

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks with runs of letters and digits of all lengths.
    fn random(count: usize) -> Vec<u64> {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        (0..count)
            .map(|round| match round % 4 {
                0 => next(),
                1 => next() | next() << 1 | next() | next(),
                2 => 0x5555_5555_5555_5555 ^ 1 << (next() % 64) ^ 1 << (next() % 64),
                _ => u64::MAX << (next() % 64) ^ next() & next() & next() & next(),
            })
            .collect()
    }

    fn bit(blocks: &[u64], at: usize) -> bool {
        blocks.get(at / BLOCK).is_some_and(|block| block >> (at % BLOCK) & 1 != 0)
    }

    fn agrees<const TOGETHER: usize>(blocks: &[u64]) {
        let mut masks = Masks::default();
        // What stood there before.
        (0..=PIECE)
            .for_each(|i| masks.set(i, Classes { token: u64::MAX, alnum: 0x5555 << 40, at: 1, ..Classes::default() }));
        for (i, block) in blocks.iter().enumerate() {
            masks.set(i, Classes { token: *block, alnum: *block, ..Classes::default() });
        }
        masks.work_out::<TOGETHER>(blocks.len());
        for i in 0..blocks.len().min(PIECE) {
            let here = i * BLOCK..(i + 1) * BLOCK;
            // A run that began in another block goes on from the start of this one.
            let is_long = |at: usize| (at..at + LONG_TOKEN).all(|at| bit(blocks, at));
            let long = here.clone().filter(|at| is_long(*at) && (*at == here.start || !is_long(at - 1)));
            let turns = |at: usize| (at..at + 4).all(|at| bit(blocks, at) != bit(blocks, at + 1));
            let begins = |at: &usize| bit(blocks, *at) && (*at == 0 || !bit(blocks, at - 1)) && turns(*at);
            let bits = |all: &mut dyn Iterator<Item = usize>| all.fold(0, |all, at| all | 1u64 << (at % BLOCK));
            let (long, spelled) = (bits(&mut long.into_iter()), bits(&mut here.clone().filter(begins)));
            assert_eq!((masks.long(i), masks.spelled(i)), (long, spelled), "{i} of {}", blocks.len());
            assert_eq!(masks.eventful() >> i & 1 != 0, long | spelled != 0, "{i}");
        }
        assert_eq!(masks.eventful() >> blocks.len().min(PIECE), 0);
    }

    #[test]
    fn what_blocks_show_is_the_same_however_many_are_looked_at_together() {
        let all = random(40 * PIECE);
        for part in all.chunks(PIECE + 1) {
            for count in [part.len(), part.len() - 1, 1, 2, 5] {
                let blocks = &part[..count];
                agrees::<1>(blocks);
                agrees::<4>(blocks);
                agrees::<8>(blocks);
            }
        }
    }

    #[test]
    fn whatever_a_block_has_makes_it_eventful() {
        for (i, classes) in [
            Classes { digits: 1, ..Classes::default() },
            Classes { at: 1, ..Classes::default() },
            Classes { colon: 1, ..Classes::default() },
            Classes { mark: 1, ..Classes::default() },
        ]
        .into_iter()
        .enumerate()
        {
            let mut masks = Masks::default();
            masks.set(i, classes);
            masks.work_out::<4>(6);
            assert_eq!(masks.eventful(), 1 << i);
        }
    }
}

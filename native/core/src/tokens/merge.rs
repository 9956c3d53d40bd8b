//! Merging the bytes of a piece into tokens: always the pair with the lowest number, of equals the first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::vocabulary::Vocabulary;

/// Up to so many bytes all pairs are looked through for each merge; beyond, they wait in a heap.
const SHORT: usize = 96;
/// Longer pieces are cut, which may count a token more for each cut; else a body of one word would take 16 times its size.
const LONG: usize = 1 << 20;
const NONE: u32 = u32::MAX;

/// Merges pieces, in room that is used again.
#[derive(Debug, Default)]
pub(super) struct Merger {
    /// Where each part begins, and the number that it and the next one would make.
    parts: Vec<(usize, u32)>,
}

impl Merger {
    pub(super) fn count(&mut self, vocabulary: &Vocabulary, piece: &[u8]) -> u64 {
        if piece.len() == 1 || vocabulary.find(piece).is_some() {
            return 1;
        }
        if piece.len() <= SHORT {
            return self.short(vocabulary, piece);
        }
        piece.chunks(LONG).map(|part| long(vocabulary, part)).sum()
    }

    fn short(&mut self, vocabulary: &Vocabulary, piece: &[u8]) -> u64 {
        let number = |from: usize, to: usize| vocabulary.find(&piece[from..to]).unwrap_or(NONE);
        let parts = &mut self.parts;
        parts.clear();
        parts.extend((0..piece.len() - 1).map(|at| (at, number(at, at + 2))));
        parts.extend([(piece.len() - 1, NONE), (piece.len(), NONE)]);
        while let Some((least, at)) = parts.iter().enumerate().map(|(at, (_, number))| (*number, at)).min()
            && least != NONE
        {
            parts.remove(at + 1);
            for at in [Some(at), at.checked_sub(1)].into_iter().flatten() {
                parts[at].1 = parts.get(at + 2).map_or(NONE, |(end, _)| number(parts[at].0, *end));
            }
        }
        parts.len() as u64 - 1
    }
}

/// A part of a long piece: what was before and after it, where it ends, the number that it and the next would make.
#[derive(Clone, Copy)]
struct Part {
    before: u32,
    end: u32,
    number: u32,
}

#[expect(clippy::cast_possible_truncation, reason = "a piece is cut at 2^20 bytes")]
fn long(vocabulary: &Vocabulary, piece: &[u8]) -> u64 {
    let length = piece.len();
    let mut parts: Vec<Part> =
        (0..length as u32).map(|at| Part { before: at.wrapping_sub(1), end: at + 1, number: NONE }).collect();
    let number = |parts: &[Part], at: usize| {
        let next = parts[at].end as usize;
        let end = parts.get(next)?.end as usize;
        vocabulary.find(&piece[at..end])
    };
    let mut waiting = Vec::with_capacity(length);
    for at in 0..length {
        if let Some(found) = number(&parts, at) {
            parts[at].number = found;
            waiting.push(Reverse((found, at as u32)));
        }
    }
    let mut waiting = BinaryHeap::from(waiting);
    let mut count = length as u64;
    while let Some(Reverse((least, at))) = waiting.pop() {
        let at = at as usize;
        // What has been merged since, or makes another token by now, waits elsewhere in the heap.
        if parts[at].number != least {
            continue;
        }
        let next = parts[at].end as usize;
        parts[at].end = parts[next].end;
        parts[next].number = NONE;
        let after = parts[at].end as usize;
        if let Some(after) = parts.get_mut(after) {
            after.before = at as u32;
        }
        count -= 1;
        for at in [at, parts[at].before as usize] {
            if at < length {
                parts[at].number = number(&parts, at).unwrap_or(NONE);
                if parts[at].number != NONE {
                    waiting.push(Reverse((parts[at].number, at as u32)));
                }
            }
        }
    }
    count
}

#[cfg(test)]
mod tests;

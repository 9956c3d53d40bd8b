//! What is written down of each charge, until somebody has stored it.

use std::collections::VecDeque;

/// Records that room is kept for. What more of them take, while the disk stands still say, is given back.
const ROOM: usize = 1024;

/// Why a budget was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The request has ended.
    Settle,
    /// It ended after its hold had expired: a correction.
    Late,
    /// Nobody has ended it in time: charged in full.
    Expire,
}

impl Verb {
    /// As it is stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Late => "late",
            Self::Expire => "expire",
        }
    }
}

/// One record. The amounts of all records of a budget's window are what is posted there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts up from 1 without a gap.
    pub seq: u64,
    /// Why.
    pub verb: Verb,
    /// The hold.
    pub hold: u64,
    /// Nano-USD; negative where a correction gives some back.
    pub amount: i64,
    /// Milliseconds since the epoch.
    pub wall: u64,
    /// What was given with the admission.
    pub meta: Box<[u8]>,
    /// What was given with the settlement.
    pub entry: Box<[u8]>,
}

/// Records that are not known to be stored.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// All up to this are stored.
    stored: u64,
}

impl Queue {
    pub(super) fn after(stored: u64) -> Self {
        Self { entries: VecDeque::new(), stored }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        if entry.seq > self.stored {
            self.entries.push_back(entry);
        }
    }

    pub(super) fn read(&self, after: u64, limit: usize) -> impl Iterator<Item = &Entry> {
        self.entries.iter().skip(self.up_to(after)).take(limit)
    }

    /// Those that need not be kept any more, at most `limit` of them: to be asked again until there are none. To give
    /// them back takes time, and so does the room that may come with them.
    #[must_use]
    pub(super) fn stored(&mut self, seq: u64, limit: usize) -> VecDeque<Entry> {
        self.stored = self.stored.max(seq);
        let known = self.up_to(seq).min(limit);
        if self.entries.capacity() > ROOM && self.entries.len() - known <= ROOM / 2 {
            let mut rest = VecDeque::with_capacity(ROOM);
            rest.extend(self.entries.drain(known..));
            return std::mem::replace(&mut self.entries, rest);
        }
        self.entries.drain(..known).collect()
    }

    /// How many records there are up to and with this one.
    fn up_to(&self, seq: u64) -> usize {
        self.entries.partition_point(|entry| entry.seq <= seq)
    }

    pub(super) fn stored_until(&self) -> u64 {
        self.stored
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Queue, ROOM, Verb};

    fn entry(seq: u64) -> Entry {
        Entry { seq, verb: Verb::Settle, hold: seq, amount: 1, wall: 0, meta: [].into(), entry: [].into() }
    }

    fn seqs<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<u64> {
        entries.into_iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn the_room_of_many_is_given_back_once_few_are_left() {
        let mut queue = Queue::after(0);
        (1..=50_000).for_each(|seq| queue.push(entry(seq)));
        let most = queue.entries.capacity();
        let mut told = Vec::new();
        loop {
            let some = queue.stored(49_900, 512);
            if some.is_empty() {
                break;
            }
            assert!(some.len() <= 512);
            told.extend(seqs(&some));
        }
        assert_eq!(told, (1..=49_900).collect::<Vec<_>>());
        assert_eq!(seqs(queue.read(0, 1000)), (49_901..=50_000).collect::<Vec<_>>());
        assert!(most >= 50_000);
        assert_eq!(queue.entries.capacity(), ROOM);
    }

    #[test]
    fn the_room_of_few_is_kept() {
        let mut queue = Queue::after(0);
        for round in 0..10 {
            (1..=1000).for_each(|n| queue.push(entry(round * 1000 + n)));
            let before = queue.entries.capacity();
            assert!(before <= ROOM);
            assert_eq!(queue.stored((round + 1) * 1000, 5000).len(), 1000);
            assert_eq!(queue.entries.capacity(), before);
        }
    }
}

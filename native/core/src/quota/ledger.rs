//! What is written down of each charge, until somebody has stored it.

use std::collections::VecDeque;

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

    /// Those that need not be kept any more, at most `limit` of them: to be asked again until there are none.
    #[must_use]
    pub(super) fn stored(&mut self, seq: u64, limit: usize) -> Vec<Entry> {
        self.stored = self.stored.max(seq);
        self.entries.drain(..self.up_to(seq).min(limit)).collect()
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

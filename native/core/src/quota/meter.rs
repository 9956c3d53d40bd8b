//! What a request is charged on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Bucket;

/// Numbers below it are exact in a double, which is what Redis' scripts calculate in.
pub const EXACT: u64 = 1 << 53;

/// Why a meter cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterError(pub(super) &'static str);

impl fmt::Display for MeterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for MeterError {}

/// Money that may be spent between `start` and `end`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Nano-USD.
    pub cap: u64,
    /// Milliseconds since the epoch.
    pub start: u64,
    /// Milliseconds since the epoch, not included; 0: it never ends.
    pub end: u64,
}

impl Budget {
    /// Whether `wall` (milliseconds since the epoch) lies in its window.
    #[must_use]
    pub fn holds(&self, wall: u64) -> bool {
        wall >= self.start && (self.end == 0 || wall < self.end)
    }
}

/// The ways of measuring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// So many in a time.
    Bucket(Bucket),
    /// So many at once.
    Parallel(u64),
    /// So much money.
    Budget(Budget),
}

/// Where a meter's state is found: its name, and for a budget the start of its window.
pub(super) type Key = (Arc<str>, u64);

/// One meter of a plan.
#[derive(Debug)]
pub struct Meter {
    name: Arc<str>,
    kind: Kind,
    /// Where its state was found last.
    slot: AtomicU32,
}

impl Clone for Meter {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            kind: self.kind.clone(),
            slot: AtomicU32::new(self.slot.load(Ordering::Relaxed)),
        }
    }
}

impl Meter {
    /// A meter, unique by its name (for a budget: by name and start).
    ///
    /// # Errors
    /// A number is zero where there must be one, or too large to be counted exactly.
    pub fn new(name: &str, kind: Kind) -> Result<Self, MeterError> {
        match &kind {
            Kind::Parallel(0) => return Err(MeterError("the capacity of a parallel limit must be at least 1")),
            Kind::Parallel(capacity) if *capacity >= EXACT => {
                return Err(MeterError("the capacity of a parallel limit is too large"));
            }
            Kind::Budget(budget) if budget.cap >= EXACT => {
                return Err(MeterError("the cap of a budget is too large to be counted exactly"));
            }
            Kind::Budget(budget) if budget.end != 0 && budget.end <= budget.start => {
                return Err(MeterError("the window of a budget must end after it begins"));
            }
            _ => {}
        }
        Ok(Self { name: name.into(), kind, slot: AtomicU32::new(u32::MAX) })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it measures.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(super) fn key(&self) -> Key {
        (Arc::clone(&self.name), self.start())
    }

    pub(super) fn start(&self) -> u64 {
        if let Kind::Budget(budget) = &self.kind { budget.start } else { 0 }
    }

    pub(super) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// The same meter under the one copy of its name, so that its state is found by a pointer.
    pub(super) fn named(self, name: Arc<str>) -> Self {
        Self { name, ..self }
    }

    pub(super) fn slot(&self) -> usize {
        self.slot.load(Ordering::Relaxed) as usize
    }

    pub(super) fn found_at(&self, slot: usize) {
        self.slot.store(u32::try_from(slot).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

/// The meters that a request is charged on, all of them or none; the first that refuses is the one that is told.
pub type Plan = Arc<[Meter]>;

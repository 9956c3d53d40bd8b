//! Two ways of telling the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A moment, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// On a clock that goes neither back nor ahead when the system's is set: for buckets and the expiry of holds.
    pub now: u64,
    /// What the system's clock says: for the windows of budgets and for records.
    pub wall: u64,
}

/// Starts at the system's time, and goes on by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    base: u64,
}

impl Clock {
    /// A clock that shows at least `latest`, which is where an earlier one has stopped.
    #[must_use]
    pub fn after(latest: u64) -> Self {
        Self { origin: Instant::now(), base: wall().max(latest) }
    }

    /// Now.
    #[must_use]
    pub fn read(&self) -> Times {
        let passed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        Times { now: self.base.saturating_add(passed), wall: wall() }
    }
}

fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

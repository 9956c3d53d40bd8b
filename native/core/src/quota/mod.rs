//! Limits and budgets: one decision over all meters that a request is charged on, and one end for each.
//!
//! [`Engine`] has the rules and nothing else; [`Store`] adds clocks, a journal that outlives the process, and the
//! records of the ledger. Redis' scripts (`middlewares/stores/redis/`) follow the same rules to the letter.

mod bucket;
mod clock;
mod engine;
mod journal;
mod ledger;
mod meter;
mod numbered;
mod record;
mod segment;
mod slots;
mod store;

#[cfg(test)]
mod tests;

pub use bucket::{Bucket, Refill};
pub use clock::{Clock, Times};
pub use engine::{Decision, Denial, Engine, Memory, Outcome, Request, Standing};
pub use ledger::{Entry, Verb};
pub use meter::{Budget, EXACT, Kind, Meter, MeterError, Plan};
pub use slots::Account;
pub use store::{Admission, Store, StoreError};

/// How many cases a property is tried on: `QUOTA_CASES` for a longer run.
#[cfg(test)]
fn cases() -> u32 {
    std::env::var("QUOTA_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
}

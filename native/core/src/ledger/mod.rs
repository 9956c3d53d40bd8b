//! The ledger's file: records of charges in an `SQLite` database, written a batch at a time.
//!
//! Locks of a file are the process's, and go when any descriptor of the file is closed: whatever opens this file in a
//! process that has it open must do so with this copy of `SQLite`.

mod database;
mod detail;
mod error;
mod series;

#[cfg(test)]
mod tests;

pub use database::{Charge, Database};
pub use error::{Error, Kind};
pub use rusqlite::types::Value;

/// Who and what was charged, in the order of a charge's detail: columns of `series`.
pub const WHO: [&str; 8] = ["key", "team", "user", "model", "tenant", "provider", "upstream_model", "prices"];
/// Tokens by kind, in the order of a charge's detail: columns of `ledger`.
pub const TOKENS: [&str; 7] = ["input", "cached", "cache_write", "output", "reasoning", "audio_input", "audio_output"];

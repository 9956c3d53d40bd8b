//! What tokens cost: prices by kind, the table of who asks what for which model, and bounds. Integers only.
//!
//! Prices are nano-USD per million tokens, amounts are nano-USD. Every amount that comes out is below 2^53, so that
//! JSON, Lua and `SQLite` hold it exactly.

mod error;
mod kind;
mod name;
mod price;
mod table;

pub use error::CostError;
pub use kind::{Kind, PerKind};
pub use price::{MOST, Price, Rates};
pub use table::{Entry, Table};

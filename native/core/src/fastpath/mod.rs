//! The way of a plain request, in few calls: what was decided for the one before that was like it is decided again.
//!
//! Nothing here decides anything new. A [`Route`] holds what the gateway's stages have found for a key and a model and
//! what does not change from request to request; whatever is not plain (a header that could matter, the first refusal, an
//! answer that is no success) is left to those stages, with nothing taken and nothing told. A limit that has refused one
//! is asked first from then on, and so are full queues: what is turned away costs little.

mod answer;
mod guard;
mod head;
mod line;
mod refusal;
mod route;
mod tally;

pub use answer::{Answer, Ended, Facts, Success};
pub use guard::{Checked, Direction, Guard, Runs};
pub use head::{Asked, asked, request_id};
pub use line::{duration, usd};
pub use refusal::{Bound, Gate, Noted, Refusal, What};
pub use route::{Account, Known, Reserved, Route, Upstream, models, wants_stream};
pub use tally::{Counts, Tally};

#[cfg(test)]
mod tests;

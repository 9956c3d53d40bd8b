//! What the mock upstream and the load generator share: the clock, the little HTTP/1.1 they speak, their arguments.

pub mod args;
pub mod chunked;
pub mod http;
pub mod stamp;

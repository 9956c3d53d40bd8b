//! What Tollhouse does to bytes: read a request once, decode an upstream's answer once, frame its events once.
//!
//! Nothing here knows of Python or sockets; and but for the store of [`quota`] and the file of [`ledger`], nothing of files or
//! clocks: bytes go in, values come out.

pub mod aws_events;
mod base64;
pub mod cost;
pub mod dialects;
pub mod digest;
pub mod embeddings;
pub mod fastpath;
pub mod http1;
pub mod ids;
pub mod json;
pub mod ledger;
pub mod ndjson;
mod pending;
pub mod quota;
pub mod request;
pub mod response;
pub mod scan;
pub mod signing;
pub mod sigv4;
pub mod sse;
pub mod tap;
pub mod tokens;
pub mod usage;

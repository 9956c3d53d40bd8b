//! What Tollhouse does to bytes: read a request once, decode an upstream's answer once, frame its events once.
//!
//! Nothing here knows of Python, sockets or clocks: bytes go in, values come out.

pub mod json;

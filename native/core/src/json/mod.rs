//! A pull reader over JSON bytes: one pass, explicit depth, byte offsets for everything.
//!
//! Strict mode is for requests: whatever two parsers could read differently is refused. Lenient mode is for what
//! upstreams send: bytes that no client chokes on are let through as they are.

mod error;
mod reader;
mod text;
pub(crate) mod write;

pub use error::{Error, ErrorKind};
pub use reader::{Event, Limits, Mode, Reader, Span, Str};
pub use text::{decoded_len, key_is, raw_places, unescape};

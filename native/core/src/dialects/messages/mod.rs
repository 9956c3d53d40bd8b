//! Messages: Anthropic's dialect.

mod ask;
mod blocks;
mod reader;
mod tell;
pub(super) mod thinking;
mod turns;
mod writer;

pub use ask::read_request;
pub use reader::Reader;
pub use tell::{write_request, write_vertex_request};
pub use writer::Writer;

//! Chat completions: `OpenAI`'s dialect, and that of every server that speaks like it.

mod ask;
mod reader;
mod tell;
mod writer;

pub use ask::read_request;
pub use reader::Reader;
pub use tell::{write_openai_request, write_request};
pub use writer::Writer;
pub(super) use writer::{finish, usage};

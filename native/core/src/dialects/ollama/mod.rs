//! Ollama's own dialect: `/api/chat`, whose stream is lines of JSON.
//!
//! <https://github.com/ollama/ollama/blob/main/docs/api.md>

mod answer;
mod request;

pub use answer::Reader;
pub use request::write_request;

#[cfg(test)]
mod tests;

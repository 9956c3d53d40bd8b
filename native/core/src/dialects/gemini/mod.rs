//! Gemini's own dialect: `generateContent`, `streamGenerateContent?alt=sse`; the Gemini API and Vertex AI alike.
//!
//! <https://ai.google.dev/api/generate-content>

mod answer;
mod request;
mod schema;

pub use answer::Reader;
pub use request::write_request;

#[cfg(test)]
mod tests;

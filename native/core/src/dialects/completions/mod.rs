//! Legacy completions, as callers speak them: <https://platform.openai.com/docs/api-reference/completions>
//!
//! One prompt is what a user says, which is as near as a model that only converses can come. What makes no sense in a
//! conversation (several prompts, tokens, text to go on to, the prompt told back) is refused.

mod request;
mod writer;

pub use request::read_request;
pub use writer::Writer;

#[cfg(test)]
mod tests;

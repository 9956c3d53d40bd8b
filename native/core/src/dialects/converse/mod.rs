//! Amazon Bedrock's Converse: `/model/{id}/converse`, and `/converse-stream` in binary messages.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>

mod answer;
mod blocks;
mod models;
mod request;

pub use answer::{EXCEPTION, Reader};
pub use request::write_request;

#[cfg(test)]
mod tests;

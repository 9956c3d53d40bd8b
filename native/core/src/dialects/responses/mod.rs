//! `OpenAI`'s Responses API, as callers speak it: <https://platform.openai.com/docs/api-reference/responses>
//!
//! Upstreams that speak it get it as it is. A request that leans on what a provider would have kept (an earlier response,
//! a stored prompt) means nothing to another one and is refused.

mod echo;
mod events;
mod items;
mod open;
mod request;
mod seal;
mod tools;
mod writer;

pub use echo::echo;
pub use request::read_request;
pub use writer::Writer;

#[cfg(test)]
mod tests;

//! Bounded second views of a text: encoded tokens, spelled-out words, tokens cut by markup.
//!
//! A view is what the rules are run on once more; what they find is mapped back to the text. Each function looks at one
//! position and reads a bounded stretch from there.

mod joined;
mod markup;
#[cfg(test)]
mod tests;
mod token;
mod view;

pub use joined::{is_separator, is_start, joined_run, may_start_run};
pub use markup::{is_split, without_marks};
pub use token::{MIN_TOKEN, decode_token, may_be_text};
pub use view::{Verdict, View};

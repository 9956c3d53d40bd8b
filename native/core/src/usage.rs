//! Token counts as providers report them.

use crate::json::{Error, Event, Reader};

/// Tokens of one answer. A later report replaces what it mentions: providers send cumulative values, never parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    prompt: Option<u64>,
    completion: Option<u64>,
    cached: Option<u64>,
    created: Option<u64>,
    reasoning: Option<u64>,
    /// Prompt tokens do not include cache reads and writes (Anthropic).
    cache_apart: bool,
}

impl Usage {
    /// Prompt, completion, cached and reasoning tokens; None if nothing was reported.
    #[must_use]
    pub fn totals(&self) -> Option<(u64, u64, u64, u64)> {
        if self.prompt.is_none() && self.completion.is_none() {
            return None;
        }
        let cached = self.cached.unwrap_or(0);
        let apart = if self.cache_apart { cached + self.created.unwrap_or(0) } else { 0 };
        Some((self.prompt.unwrap_or(0) + apart, self.completion.unwrap_or(0), cached, self.reasoning.unwrap_or(0)))
    }

    /// Read the value that comes next; anything but an object is passed over. True if it was an object.
    ///
    /// # Errors
    /// Malformed JSON.
    pub fn read(&mut self, reader: &mut Reader<'_>) -> Result<bool, Error> {
        let outside = reader.depth();
        match reader.next()? {
            Event::ObjectStart => {}
            Event::ArrayStart => {
                while reader.depth() > outside {
                    reader.next()?;
                }
                return Ok(false);
            }
            _ => return Ok(false),
        }
        let mut field: Option<&mut Option<u64>> = None;
        while reader.depth() > outside {
            match reader.next()? {
                Event::Key(key) => {
                    let inside_details = reader.depth() > outside + 1;
                    field = match (reader.raw(key), inside_details) {
                        (b"prompt_tokens" | b"input_tokens", false) => Some(&mut self.prompt),
                        (b"completion_tokens" | b"output_tokens", false) => Some(&mut self.completion),
                        (b"cached_tokens", true) => Some(&mut self.cached),
                        (b"reasoning_tokens", true) => Some(&mut self.reasoning),
                        (b"cache_read_input_tokens", false) => {
                            self.cache_apart = true;
                            Some(&mut self.cached)
                        }
                        (b"cache_creation_input_tokens", false) => {
                            self.cache_apart = true;
                            Some(&mut self.created)
                        }
                        _ => None,
                    };
                }
                Event::Number(span) => {
                    if let Some(slot) = field.take() {
                        *slot = reader.integer(span).or(*slot);
                    }
                }
                _ => field = None,
            }
        }
        Ok(true)
    }
}

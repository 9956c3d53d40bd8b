//! What a request may come to before it is known: bounds for money, an estimate for limits of tokens.

use super::View;
use crate::cost::{CostError, Price};

/// Of English text: for estimates, never for bounds.
const BYTES_PER_TOKEN: usize = 4;
/// Where neither the request nor the price says how long an answer may be, the upstream is told this.
const DEFAULT_OUTPUT: u64 = 4096;
/// Tokens of all answers together, which is more than anybody generates; prices end at 10^9.
const MOST_OUTPUT: u64 = 100_000_000;
/// Of a prompt that nothing in its body bounds, by a model that nobody knows.
const LARGEST_CONTEXT: u64 = 2_000_000;
/// Tokens of an answer below which it is not worth asking for one.
const USEFUL: u64 = 16;

/// What is known of a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Model {
    /// The most tokens of one answer.
    pub max_output: Option<u64>,
    /// Tokens of prompt and answer together.
    pub context: Option<u64>,
    /// The most that an image can be.
    pub tokens_per_image: u64,
}

/// Of one request for answers of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Tokens that are read, at most.
    pub prompt: u64,
    /// About so many.
    pub estimate: u64,
    /// Tokens that are written for each choice, at most.
    pub output: u64,
    /// Answers.
    pub choices: u64,
    /// What buckets of tokens are asked for.
    pub tokens: u64,
    /// Nobody else enforces the bound of the output, so the upstream is to be told.
    pub must_limit: bool,
}

impl Quote {
    /// Of a body of so many bytes.
    #[must_use]
    pub fn of(view: &View, size: usize, model: Model) -> Self {
        let prompt = view.prompt_bound(model.tokens_per_image);
        let prompt = prompt.unwrap_or_else(|| model.context.filter(|size| *size > 0).unwrap_or(LARGEST_CONTEXT));
        let estimate = size.div_ceil(BYTES_PER_TOKEN) as u64;
        let choices = u64::from(view.choices());
        let most = MOST_OUTPUT / choices.max(1);
        let output = view.max_tokens.or(model.max_output);
        Self {
            prompt,
            estimate,
            output: output.unwrap_or(DEFAULT_OUTPUT).min(most),
            choices,
            tokens: estimate + view.max_tokens.unwrap_or(0).min(most) * choices,
            must_limit: output.is_none_or(|output| output > most),
        }
    }

    /// Nano-USD that are surely enough, and those that are enough for the beginning of an answer.
    ///
    /// # Errors
    /// More tokens than any model reads or writes.
    pub fn bounds(&self, price: &Price) -> Result<(u64, u64), CostError> {
        let want = price.bound(self.prompt, self.output * self.choices)?;
        Ok((want, price.bound(self.prompt, self.output.min(USEFUL) * self.choices)?))
    }

    /// Tokens that each answer may have for so many nano-USD.
    ///
    /// # Errors
    /// A prompt larger than any model reads.
    pub fn affordable(&self, price: &Price, granted: u64) -> Result<u64, CostError> {
        let tokens = price.affordable_output(self.prompt, granted, self.choices)?;
        Ok(self.output.min(tokens.unwrap_or(0)))
    }
}

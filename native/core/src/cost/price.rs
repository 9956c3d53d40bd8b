//! The price of one model.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{CostError, Kind, PerKind};
use crate::usage::{MOST_TOKENS, Tokens};

/// Amounts stay below 2^53.
pub const MOST: u64 = (1 << 53) - 1;
/// 2000 USD for a million tokens; with `MOST_TOKENS` read and as many written that is less than half of `MOST`.
const DEAREST: u64 = 2_000_000_000_000;
/// 1000 USD for a request.
const DEAREST_REQUEST: u64 = 1_000_000_000_000;
const MILLION: u128 = 1_000_000;

/// What is asked for tokens of each kind, for prompts longer than some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Tokens of the prompt above which these prices hold, for the whole request.
    above: u64,
    /// Nano-USD per million tokens.
    per_million: PerKind<u64>,
    /// Nano-USD per request.
    request: u64,
    dearest_input: u64,
    dearest_output: u64,
}

impl Rates {
    /// From prices by name of kind, and "request". A kind without a price of its own costs what the next wider one does.
    ///
    /// # Errors
    /// An unknown kind, no price for input, a price that is too large.
    pub fn new(above: u64, named: &BTreeMap<String, u64>) -> Result<Self, CostError> {
        let mut given = PerKind::<Option<u64>>::default();
        let mut request = 0;
        for (name, price) in named {
            if name == "request" {
                request = *price;
                if request > DEAREST_REQUEST {
                    return Err(CostError::data("the price of a request is too large"));
                }
                continue;
            }
            let kind = Kind::from_name(name).ok_or_else(|| CostError::data(format!("{name} is no kind of tokens")))?;
            if *price > DEAREST {
                return Err(CostError::data(format!("the price of {name} is too large")));
            }
            given[kind] = Some(*price);
        }
        let input = given[Kind::Input].ok_or_else(|| CostError::data("the price of input is missing"))?;
        let cached = given[Kind::Cached].unwrap_or(input);
        let audio = given[Kind::AudioInput].unwrap_or(input);
        let write = given[Kind::CacheWrite].unwrap_or(input);
        // Embeddings have no output; should one report some, it is not for nothing.
        let output = given[Kind::Output].unwrap_or(input);
        let mut per_million = PerKind::default();
        for kind in Kind::ALL {
            per_million[kind] = given[kind].unwrap_or(match kind {
                Kind::Input | Kind::ImageInput => input,
                Kind::Cached => cached,
                Kind::CacheWrite | Kind::CacheWriteHour => write,
                Kind::AudioInput => audio,
                // A discount that nobody has promised is none.
                Kind::CachedAudio if given[Kind::AudioInput].is_some() => audio,
                Kind::CachedAudio => cached,
                Kind::Output | Kind::Reasoning | Kind::AudioOutput | Kind::ImageOutput => output,
            });
        }
        let dearest = |kinds: &[Kind]| kinds.iter().map(|kind| per_million[*kind]).max().unwrap_or(0);
        let (dearest_input, dearest_output) = (dearest(&Kind::INPUT), dearest(&Kind::OUTPUT));
        Ok(Self { above, per_million, request, dearest_input, dearest_output })
    }

    /// Millionths of a nano-USD, at most.
    fn worst(&self, prompt: u64, output: u64) -> u128 {
        u128::from(prompt) * u128::from(self.dearest_input)
            + u128::from(output) * u128::from(self.dearest_output)
            + u128::from(self.request) * MILLION
    }
}

/// What a model costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// By length of prompt, rising; the first holds from nothing on.
    rates: Vec<Rates>,
    variants: BTreeMap<String, Arc<Price>>,
    /// The most tokens of one answer, as far as known.
    pub max_output: Option<u64>,
    /// Tokens of prompt and answer together, as far as known.
    pub context: Option<u64>,
}

impl Price {
    /// From rates by length of prompt.
    ///
    /// # Errors
    /// No rates, or none for the shortest prompts, or two for the same length.
    pub fn new(mut rates: Vec<Rates>) -> Result<Self, CostError> {
        rates.sort_by_key(|rates| rates.above);
        if rates.first().is_none_or(|first| first.above != 0) {
            return Err(CostError::data("there is no price for short prompts"));
        }
        if rates.windows(2).any(|pair| pair[0].above == pair[1].above) {
            return Err(CostError::data("there are two prices for one length of prompt"));
        }
        Ok(Self { rates, variants: BTreeMap::new(), max_output: None, context: None })
    }

    /// With what it costs in another way of processing.
    #[must_use]
    pub fn with_variant(mut self, name: impl Into<String>, price: Self) -> Self {
        self.variants.insert(name.into(), Arc::new(price));
        self
    }

    /// The price in another way of processing: "batch", or a service tier.
    #[must_use]
    pub fn variant(&self, name: &str) -> Option<&Arc<Self>> {
        self.variants.get(name)
    }

    /// Whether nothing costs anything.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.rates.iter().all(|rates| rates.dearest_input == 0 && rates.dearest_output == 0 && rates.request == 0)
    }

    /// Nano-USD per million tokens of a kind, for prompts of so many tokens.
    #[must_use]
    pub fn rate(&self, kind: Kind, prompt: u64) -> u64 {
        self.at(prompt).per_million[kind]
    }

    /// What these tokens cost in nano-USD, rounded up once. Below 2^53, because counts and prices are bounded.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens) -> u64 {
        let rates = self.at(tokens.prompt());
        let sum: u128 =
            Kind::ALL.into_iter().map(|kind| u128::from(tokens.get(kind)) * u128::from(rates.per_million[kind])).sum();
        amount(sum + u128::from(rates.request) * MILLION)
    }

    /// No request of at most so many tokens costs more than this, whatever kinds they are of: nano-USD.
    ///
    /// # Errors
    /// More tokens than any model reads or writes.
    pub fn bound(&self, prompt: u64, output: u64) -> Result<u64, CostError> {
        checked(prompt, "prompt")?;
        checked(output, "output")?;
        Ok(amount(self.reachable(prompt).map(|rates| rates.worst(prompt, output)).max().unwrap_or(0)))
    }

    /// The most tokens for each of so many choices such that `bound` is at most `most`; None if not even the prompt is
    /// affordable. Where output costs nothing that is `MOST_TOKENS` for all choices together.
    ///
    /// # Errors
    /// A prompt larger than any model reads.
    pub fn affordable_output(&self, prompt: u64, most: u64, choices: u64) -> Result<Option<u64>, CostError> {
        checked(prompt, "prompt")?;
        let mut least = MOST_TOKENS;
        for rates in self.reachable(prompt) {
            let Some(rest) = (u128::from(most) * MILLION).checked_sub(rates.worst(prompt, 0)) else {
                return Ok(None);
            };
            if let Some(tokens) = rest.checked_div(u128::from(rates.dearest_output)) {
                least = least.min(u64::try_from(tokens).unwrap_or(u64::MAX));
            }
        }
        Ok(Some(least / choices.max(1)))
    }

    /// The rates for a prompt of so many tokens.
    fn at(&self, prompt: u64) -> &Rates {
        let holding = self.rates.iter().rposition(|rates| prompt > rates.above).unwrap_or(0);
        &self.rates[holding]
    }

    /// The rates that may hold for a prompt of at most so many tokens.
    fn reachable(&self, prompt: u64) -> impl Iterator<Item = &Rates> {
        self.rates.iter().take_while(move |rates| rates.above == 0 || prompt > rates.above)
    }
}

/// Millionths, rounded up.
fn amount(millionths: u128) -> u64 {
    u64::try_from(millionths.div_ceil(MILLION)).unwrap_or(MOST).min(MOST)
}

fn checked(tokens: u64, of: &str) -> Result<(), CostError> {
    if tokens > MOST_TOKENS {
        return Err(CostError::range(format!("{of}: more than {MOST_TOKENS} tokens have no price")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Who asks what for which model.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::name::{self, Pattern};
use super::{CostError, Price, Rates};

type Named = BTreeMap<String, u64>;

/// Prices for prompts longer than some.
#[derive(Clone, Debug, Deserialize)]
struct Above {
    tokens: u64,
    price: Named,
}

/// Prices for another way of processing.
#[derive(Clone, Debug, Deserialize)]
struct Variant {
    price: Named,
    #[serde(default)]
    above: Vec<Above>,
}

/// Everything that is asked for a model at a time.
#[derive(Clone, Debug, Deserialize)]
struct Period {
    /// The day it begins, "2027-01-01"; empty for the present.
    #[serde(default)]
    from: String,
    price: Named,
    #[serde(default)]
    above: Vec<Above>,
    #[serde(default)]
    variants: BTreeMap<String, Variant>,
}

#[derive(Debug, Deserialize)]
struct Model {
    provider: String,
    #[serde(rename = "model")]
    name: String,
    #[serde(default)]
    names: Vec<String>,
    context: Option<u64>,
    max_output: Option<u64>,
    #[serde(flatten)]
    now: Period,
    #[serde(default)]
    later: Vec<Period>,
}

#[derive(Debug, Deserialize)]
struct File {
    version: String,
    #[serde(default)]
    aliases: HashMap<String, String>,
    #[serde(default)]
    fallbacks: HashMap<String, Vec<String>>,
    /// Names of models that think unseen.
    #[serde(default)]
    hides_thoughts: Vec<String>,
    models: Vec<Model>,
}

/// What the operator says about a model, by "provider/model" or, ending in `*`, the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Prices by kind; those for prompts longer than some.
    Prices(BTreeMap<String, u64>, BTreeMap<u64, BTreeMap<String, u64>>),
    /// The same as another "provider/model".
    SameAs(String),
}

/// Prices of one provider.
#[derive(Debug, Default)]
struct Provider {
    exact: HashMap<String, Arc<Price>>,
    /// Those that say more first.
    patterns: Vec<(Pattern, Arc<Price>)>,
    fallbacks: Vec<String>,
}

/// The table: prices by provider and model, and what the operator says instead.
#[derive(Debug)]
pub struct Table {
    version: String,
    aliases: HashMap<String, String>,
    hides_thoughts: Vec<Pattern>,
    providers: HashMap<String, Provider>,
    overrides: HashMap<String, Own>,
    /// Those that end in `*`, the longest first.
    open_overrides: Vec<(String, Own)>,
}

#[derive(Clone, Debug)]
enum Own {
    Price(Arc<Price>),
    SameAs(String),
}

impl Table {
    /// From the text of prices.json, as it holds on a day ("2026-11-21").
    ///
    /// # Errors
    /// Malformed data.
    pub fn new(json: &[u8], overrides: BTreeMap<String, Entry>, day: &str) -> Result<Self, CostError> {
        let file: File = serde_json::from_slice(json).map_err(|error| CostError::data(format!("prices: {error}")))?;
        let mut providers: HashMap<String, Provider> = HashMap::new();
        for model in file.models {
            let within = |error: CostError| CostError::data(format!("{}/{}: {error}", model.provider, model.name));
            let mut price = model.period(day).price().map_err(within)?;
            price.context = model.context;
            price.max_output = model.max_output;
            providers.entry(model.provider).or_default().add(&model.name, &model.names, &Arc::new(price));
        }
        for provider in providers.values_mut() {
            provider.patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.weight()));
        }
        for (name, fallbacks) in file.fallbacks {
            providers.entry(name).or_default().fallbacks = fallbacks;
        }
        let mut table = Self {
            version: file.version,
            aliases: file.aliases,
            hides_thoughts: file.hides_thoughts.iter().map(|name| Pattern::new(name)).collect(),
            providers,
            overrides: HashMap::new(),
            open_overrides: Vec::new(),
        };
        table.override_with(overrides)?;
        Ok(table)
    }

    /// Where the prices are from, their day and digest.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The price of a model: the operator's word; the very name; that without its date; the most telling
    /// pattern; then the same at the providers whose models this one resells. None: unpriced, which is not 0.
    #[must_use]
    pub fn find(&self, provider: &str, model: &str) -> Option<Arc<Price>> {
        let (provider, model, own) = self.followed(provider, model)?;
        own.map_or_else(|| self.listed(provider, model), |own| Some(self.completed(own, provider, model)))
    }

    /// Whether a model thinks without being asked to, and does not show all of it, as far as its name tells.
    #[must_use]
    pub fn hides_thoughts(&self, provider: &str, model: &str) -> bool {
        let Some((_, model, _)) = self.followed(provider, model) else { return false };
        let model = model.to_lowercase();
        // Behind what resellers and clouds put before a name.
        let name = model.rsplit('/').next().unwrap_or_default();
        self.hides_thoughts.iter().any(|pattern| pattern.matches(name.as_bytes()))
    }

    /// As which model one is priced, and what the operator says of that.
    fn followed<'a>(&'a self, provider: &'a str, model: &'a str) -> Option<(&'a str, &'a str, Option<&'a Arc<Price>>)> {
        let (mut provider, mut model) = (provider, model);
        // As many steps as an operator may chain; a circle has no price.
        for _ in 0..8 {
            match self.own(&format!("{provider}/{model}").to_lowercase()) {
                Some(Own::SameAs(other)) => (provider, model) = other.split_once('/')?,
                Some(Own::Price(own)) => return Some((provider, model, Some(own))),
                None => return Some((provider, model, None)),
            }
        }
        None
    }

    fn own(&self, name: &str) -> Option<&Own> {
        self.overrides.get(name).or_else(|| {
            let mut open = self.open_overrides.iter();
            open.find(|(start, _)| name.starts_with(start.as_str())).map(|(_, own)| own)
        })
    }

    /// What a model can do stays as it was when the operator says what it costs.
    fn completed(&self, own: &Arc<Price>, provider: &str, model: &str) -> Arc<Price> {
        let Some(listed) = self.listed(provider, model) else {
            return Arc::clone(own);
        };
        let mut price = Price::clone(own);
        (price.context, price.max_output) = (listed.context, listed.max_output);
        Arc::new(price)
    }

    fn listed(&self, provider: &str, model: &str) -> Option<Arc<Price>> {
        let name = self.aliases.get(provider).map_or(provider, String::as_str);
        let provider = self.providers.get(name)?;
        let model = model.to_lowercase();
        provider
            .find(&model)
            .or_else(|| provider.fallbacks.iter().find_map(|other| self.providers.get(other)?.find(&model)))
    }

    fn override_with(&mut self, overrides: BTreeMap<String, Entry>) -> Result<(), CostError> {
        for (name, entry) in overrides {
            let within = |error: CostError| CostError::data(format!("{name}: {error}"));
            let own = match entry {
                Entry::Prices(price, above) => {
                    let above: Vec<Above> = above.into_iter().map(|(tokens, price)| Above { tokens, price }).collect();
                    Own::Price(Arc::new(ladder(&price, &above).map_err(within)?))
                }
                Entry::SameAs(other) => Own::SameAs(other),
            };
            let name = name.to_lowercase();
            match name.strip_suffix('*') {
                Some(start) => self.open_overrides.push((start.to_owned(), own)),
                None => drop(self.overrides.insert(name, own)),
            }
        }
        self.open_overrides.sort_by_key(|(start, _)| std::cmp::Reverse(start.len()));
        Ok(())
    }
}

impl Provider {
    fn add(&mut self, model: &str, names: &[String], price: &Arc<Price>) {
        // A model's own name wins over what others call theirs.
        self.exact.insert(model.to_lowercase(), Arc::clone(price));
        for name in names {
            match Pattern::exact(name) {
                Some(name) => drop(self.exact.entry(name).or_insert_with(|| Arc::clone(price))),
                None => self.patterns.push((Pattern::new(name), Arc::clone(price))),
            }
        }
    }

    fn find(&self, model: &str) -> Option<Arc<Price>> {
        self.exact
            .get(model)
            .or_else(|| self.exact.get(&*name::dashed(model)?))
            .or_else(|| self.exact.get(name::undated(model)?))
            .or_else(|| self.matching(model))
            .or_else(|| self.matching(&name::dashed(model)?))
            .map(Arc::clone)
    }

    fn matching(&self, model: &str) -> Option<&Arc<Price>> {
        let mut patterns = self.patterns.iter();
        patterns.find(|(pattern, _)| pattern.matches(model.as_bytes())).map(|(_, price)| price)
    }
}

impl Model {
    fn period(&self, day: &str) -> &Period {
        self.later
            .iter()
            .filter(|later| later.from.as_str() <= day)
            .max_by_key(|later| &later.from)
            .unwrap_or(&self.now)
    }
}

impl Period {
    fn price(&self) -> Result<Price, CostError> {
        let mut price = ladder(&self.price, &self.above)?;
        for (name, variant) in &self.variants {
            price = price.with_variant(name, ladder(&variant.price, &variant.above)?);
        }
        Ok(price)
    }
}

fn ladder(price: &Named, above: &[Above]) -> Result<Price, CostError> {
    let longer = above.iter().map(|above| Rates::new(above.tokens, &above.price));
    Price::new(std::iter::once(Rates::new(0, price)).chain(longer).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests;

//! `--name value` arguments.

use std::fmt::Display;
use std::str::FromStr;

/// The arguments of this process.
pub struct Args(Vec<(String, String)>);

impl Args {
    /// Reads the command line.
    ///
    /// # Errors
    /// Says which argument is no `--name value` pair.
    pub fn from_env() -> Result<Self, String> {
        let mut pairs = Vec::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("unexpected argument {word:?}"))?;
            let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
            pairs.push((name.to_owned(), value));
        }
        Ok(Self(pairs))
    }

    /// Every value given for `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The last value given for `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The last value given for `name` as a number or the like.
    ///
    /// # Errors
    /// Says which value cannot be read.
    pub fn parse<T: FromStr<Err: Display>>(&self, name: &str, default: T) -> Result<T, String> {
        self.get(name).map_or(Ok(default), |text| text.parse().map_err(|error| format!("--{name} {text}: {error}")))
    }
}

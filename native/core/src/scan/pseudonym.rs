//! Reversible pseudonyms: `<EMAIL_ADDRESS_3f9a12cd>` goes out, the value comes back in the answer.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The type under which look-alikes in a caller's own text go out, so that they come back as they were.
const LITERAL: &str = "LITERAL";
/// Hexadecimal digits of a pseudonym.
const DIGITS: usize = 8;

/// The pseudonyms of one conversation and what they stand for. The same key gives a value the same pseudonym, request
/// after request; another key gives another one, so that conversations and tenants cannot be linked.
pub struct Vault {
    key: Box<[u8]>,
    /// Made of the key for the first pseudonym: most requests need none, and have no time to give.
    mac: Option<Hmac<Sha256>>,
    /// By type and value.
    names: HashMap<(String, String), Arc<str>>,
    values: BTreeMap<Arc<str>, String>,
    longest: usize,
}

impl Vault {
    /// An empty vault. The key is a secret of the conversation or tenant; any length will do, 32 random bytes are best.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self { key: key.into(), mac: None, names: HashMap::new(), values: BTreeMap::new(), longest: 0 }
    }

    /// What a value of a type is called from now on.
    pub fn pseudonym(&mut self, kind: &str, value: &str) -> Arc<str> {
        let kind = type_name(kind);
        let entry = (kind, value.to_owned());
        if let Some(name) = self.names.get(&entry) {
            return Arc::clone(name);
        }
        // Eight digits do not tell all values apart: one that meets another's pseudonym takes its next one.
        let mut round = 0_u32;
        let name: Arc<str> = loop {
            let name = self.name(&entry.0, value, round);
            if !self.values.contains_key(&*name) {
                break name.into();
            }
            round += 1;
        };
        self.longest = self.longest.max(name.len());
        self.values.insert(Arc::clone(&name), value.to_owned());
        self.names.insert(entry, Arc::clone(&name));
        name
    }

    /// What a placeholder that a caller wrote goes out as: it must never be taken for one of ours.
    pub fn escape(&mut self, look_alike: &str) -> Arc<str> {
        self.pseudonym(LITERAL, look_alike)
    }

    /// What a pseudonym stands for.
    #[must_use]
    pub fn value(&self, pseudonym: &str) -> Option<&str> {
        self.values.get(pseudonym).map(String::as_str)
    }

    /// How many values are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is nothing to restore.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Where pseudonyms of this vault stand, and what they stand for.
    pub fn places<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (Range<usize>, &'a str)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            while let Some(found) = next_open(text, at).filter(|_| !self.is_empty()) {
                at = found + 1;
                if let Seen::Known(end, value) = self.look(text, found) {
                    at = end;
                    return Some((found..end, value));
                }
            }
            None
        })
    }

    /// The text with every pseudonym of this vault replaced by its value. Altered and unknown ones stay.
    #[must_use]
    pub fn restore(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        for (place, value) in self.places(text) {
            out.push_str(&text[from..place.start]);
            out.push_str(value);
            from = place.end;
        }
        out.push_str(&text[from..]);
        out
    }

    fn name(&mut self, kind: &str, value: &str, round: u32) -> String {
        // The check that HMAC asks for in its types can only fail for algorithms that restrict their keys.
        let keyed = || {
            Hmac::new_from_slice(&self.key).unwrap_or_else(|_| Hmac::new(&hmac::digest::Key::<Hmac<Sha256>>::default()))
        };
        let mut mac = self.mac.get_or_insert_with(keyed).clone();
        mac.update(kind.as_bytes());
        mac.update(&[0]);
        mac.update(value.as_bytes());
        if round > 0 {
            mac.update(&round.to_be_bytes());
        }
        let digest = mac.finalize().into_bytes();
        let mut name = format!("<{kind}_");
        for byte in digest.iter().take(DIGITS / 2) {
            for digit in [byte >> 4, byte & 15] {
                name.extend(char::from_digit(digit.into(), 16));
            }
        }
        name.push('>');
        name
    }

    /// What begins with the `<` at `at`.
    fn look(&self, text: &str, at: usize) -> Seen<'_> {
        let rest = &text.as_bytes()[at..];
        let most = rest.len().min(self.longest);
        let Some(close) = memchr::memchr(b'>', &rest[..most]) else {
            let cut = if rest.len() < self.longest { text.get(at..) } else { None };
            let live = cut.is_some_and(|cut| {
                let mut after = self.values.range::<str, _>((Bound::Included(cut), Bound::Unbounded));
                after.next().is_some_and(|(name, _)| name.starts_with(cut))
            });
            return if live { Seen::Cut } else { Seen::Other };
        };
        let end = at + close + 1;
        match text.get(at..end).and_then(|name| self.value(name)) {
            Some(value) => Seen::Known(end, value),
            None => Seen::Other,
        }
    }
}

/// Values are what this is to hide.
impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("len", &self.len()).finish_non_exhaustive()
    }
}

enum Seen<'a> {
    /// A pseudonym up to here, and its value.
    Known(usize, &'a str),
    /// The text ends inside what may become one.
    Cut,
    Other,
}

/// Restores a text that comes in pieces; holds back no more than what may become a pseudonym.
#[derive(Debug)]
pub struct Restorer {
    vault: Arc<Vault>,
    held: String,
    restored: usize,
}

impl Restorer {
    /// A restorer at the start of a text.
    #[must_use]
    pub fn new(vault: Arc<Vault>) -> Self {
        Self { vault, held: String::new(), restored: 0 }
    }

    /// Takes more text and appends what is certain.
    pub fn feed(&mut self, text: &str, out: &mut String) {
        if self.held.is_empty() && (self.vault.is_empty() || next_open(text, 0).is_none()) {
            out.push_str(text);
            return;
        }
        self.held.push_str(text);
        let (mut from, mut at) = (0, 0);
        while let Some(found) = next_open(&self.held, at) {
            at = found + 1;
            match self.vault.look(&self.held, found) {
                Seen::Known(end, value) => {
                    out.push_str(&self.held[from..found]);
                    out.push_str(value);
                    (from, at) = (end, end);
                    self.restored += 1;
                }
                Seen::Cut => {
                    out.push_str(&self.held[from..found]);
                    self.held.drain(..found);
                    return;
                }
                Seen::Other => {}
            }
        }
        out.push_str(&self.held[from..]);
        self.held.clear();
    }

    /// Nothing follows: appends what was held back.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }

    /// How many bytes are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// How many pseudonyms were replaced by their values.
    #[must_use]
    pub fn restored(&self) -> usize {
        self.restored
    }
}

/// Where a text has the shape of a pseudonym: `<`, capitals, digits and underscores, `_`, eight hexadecimal digits, `>`.
pub fn look_alikes(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(start) = next_open(text, at) {
            let inside = &text.as_bytes()[start + 1..];
            let length = inside.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
            at = start + 1 + length;
            if inside.get(length) == Some(&b'>') && is_name(&inside[..length]) {
                at += 1;
                return Some(start..at);
            }
        }
        None
    })
}

fn is_name(name: &[u8]) -> bool {
    let Some((kind, [b'_', digits @ ..])) = name.split_at_checked(name.len().wrapping_sub(DIGITS + 1)) else {
        return false;
    };
    kind.first().is_some_and(u8::is_ascii_uppercase)
        && kind.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
        && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A type as it stands in a pseudonym: people may name their own types as they like.
fn type_name(kind: &str) -> String {
    let upper = kind.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    let name: String = upper.collect();
    if name.starts_with(|first: char| first.is_ascii_uppercase()) { name } else { format!("X{name}") }
}

fn next_open(text: &str, from: usize) -> Option<usize> {
    memchr::memchr(b'<', text.as_bytes().get(from..)?).map(|found| from + found)
}

#[cfg(test)]
mod tests;

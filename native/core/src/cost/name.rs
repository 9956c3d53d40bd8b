//! Names of models, and patterns of names.

use std::borrow::Cow;

/// Which names a price holds for. Lower case; `*` is anything, `#` a digit; words after the first that begin with `!`
/// say what a name must not match: `gemini-2.5-pro* !*-tts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    wanted: Box<[u8]>,
    unwanted: Vec<Box<[u8]>>,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let text = text.to_lowercase();
        let mut words = text.split(' ');
        let wanted = words.next().unwrap_or_default().as_bytes().into();
        let unwanted = words.filter_map(|word| Some(word.strip_prefix('!')?.as_bytes().into())).collect();
        Self { wanted, unwanted }
    }

    /// The name itself, if the pattern is one.
    pub(super) fn exact(text: &str) -> Option<String> {
        (!text.contains(['*', '#', ' '])).then(|| text.to_lowercase())
    }

    pub(super) fn matches(&self, name: &[u8]) -> bool {
        fits(&self.wanted, name) && !self.unwanted.iter().any(|unwanted| fits(unwanted, name))
    }

    /// Patterns that say more come first.
    pub(super) fn weight(&self) -> usize {
        self.wanted.iter().filter(|byte| **byte != b'*').count()
    }
}

/// Whether all of `name` is as the pattern says: greedy, going back to the last `*` only.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut resume: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                resume = Some((p + 1, n));
                p += 1;
            }
            Some(wanted) if *wanted == name[n] || (*wanted == b'#' && name[n].is_ascii_digit()) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after, from)) = resume else {
                    return false;
                };
                resume = Some((after, from + 1));
                (p, n) = (after, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The name without the date that it ends in: `-2025-04-14`, `-20250414`, `@20250414`.
pub(super) fn undated(name: &str) -> Option<&str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let cut = |length: usize| name.len().checked_sub(length).and_then(|at| name.split_at_checked(at));
    if let Some((rest, date)) = cut(9)
        && date.starts_with(['-', '@'])
        && date[1..].starts_with("20")
        && digits(&date[1..])
    {
        return Some(rest);
    }
    let (rest, date) = cut(11)?;
    let parts: Vec<&str> = date.strip_prefix('-')?.split('-').collect();
    let is_date =
        parts.len() == 3 && parts[0].len() == 4 && parts[1].len() == 2 && parts.iter().all(|part| digits(part));
    is_date.then_some(rest)
}

/// The name with its date in dashes, where it ends in eight digits; other gateways write dates that way.
pub(super) fn dashed(name: &str) -> Option<Cow<'_, str>> {
    let rest = undated(name)?;
    let date = name.get(rest.len() + 1..)?;
    (date.len() == 8).then(|| Cow::Owned(format!("{rest}-{}-{}-{}", &date[..4], &date[4..6], &date[6..])))
}

#[cfg(test)]
mod tests;

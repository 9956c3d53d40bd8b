//! Words that name a value when they stand right before it.

use aho_corasick::AhoCorasick;

use super::compile::automaton;
use crate::scan::window::Window;

/// Whole words, ignoring case; `word*` may go on. They count from the last digit before the value on, so that the label of
/// one value is none for the next: `DOB: 1990-01-31, seen 2024-05-06`.
#[derive(Debug)]
pub(crate) struct Labels {
    words: AhoCorasick,
    open: Vec<bool>,
}

impl Labels {
    pub(crate) fn new(words: &[String]) -> Result<Self, String> {
        let open = words.iter().map(|word| word.ends_with('*')).collect();
        let words: Vec<_> = words.iter().map(|word| word.trim_end_matches('*').to_owned()).collect();
        Ok(Self { words: automaton(&words, true)?, open })
    }

    /// Whether one of the words names the value that starts here.
    pub(crate) fn name(&self, window: &Window<'_>, start: usize) -> bool {
        self.are_in(zone(window, start))
    }

    /// Whether one of the words stands in a [`zone`].
    pub(crate) fn are_in(&self, zone: &[u8]) -> bool {
        self.words.find_overlapping_iter(zone).any(|hit| {
            let ends = self.open[hit.pattern().as_usize()]
                || !zone.get(hit.end()).is_some_and(u8::is_ascii_alphabetic)
                || !zone[hit.end() - 1].is_ascii_alphabetic();
            let begins = !zone[hit.start()].is_ascii_alphabetic()
                || !hit.start().checked_sub(1).is_some_and(|before| zone[before].is_ascii_alphabetic());
            begins && ends
        })
    }
}

/// The bytes before a value that can name it: up to a digit, or to the end of a sentence. Of values with `and` between, what
/// names the first names the second.
pub(crate) fn zone<'a>(window: &Window<'a>, start: usize) -> &'a [u8] {
    let mut before = window.context(start);
    let mut from = behind_digit(before);
    while let Some(joiner) = JOINERS.iter().find(|joiner| before[from..] == ***joiner) {
        before = &before[..before.len() - joiner.len()];
        let value = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
        before = &before[..before.len() - value];
        from = behind_digit(before);
    }
    let zone = &before[from..];
    // A full stop behind a word that is too long to be cut short (`Tel.`, `geb.`), and a blank.
    let ends = |stop: &usize| {
        zone.get(stop + 1) == Some(&b' ')
            && stop.checked_sub(WORD).is_some_and(|word| zone[word..*stop].iter().all(u8::is_ascii_alphabetic))
    };
    let stop = memchr::memrchr_iter(b'.', zone).find(ends);
    stop.map_or(zone, |stop| &zone[stop + 2..])
}

fn behind_digit(text: &[u8]) -> usize {
    text.iter().rposition(u8::is_ascii_digit).map_or(0, |digit| digit + 1)
}

const JOINERS: [&[u8]; 7] = [b" and ", b" or ", b" & ", b" und ", b" oder ", b" et ", b" y "];

/// The shortest word that is none cut short, in bytes.
const WORD: usize = 5;

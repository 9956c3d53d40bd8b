//! Words that name a value when they stand right before it.

use std::collections::BTreeSet;
use std::ops::{Deref, RangeInclusive};

use aho_corasick::AhoCorasick;

use super::compile::automaton;
use super::words::Around;
use crate::scan::normalise::{Normalised, normalise};
use crate::scan::window::{CONTEXT, Window};

/// Whole words, ignoring case and how they are joined: `tax id` is `Tax-ID`, `tax_id` and `taxId` as well. `word*` may go on;
/// `word!` counts only if nothing but words such as `number` or `is` stands between it and the value. They count from the
/// last digit before the value on, so that the label of one value is none for the next: `DOB: 1990-01-31, seen 2024-05-06`.
#[derive(Debug)]
pub(crate) struct Labels {
    words: AhoCorasick,
    reaches: Vec<Reach>,
    beginnings: Vec<(Box<[u8]>, Around)>,
}

/// How a word stands to what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Whole,
    Open,
    Adjacent,
}

impl Labels {
    pub(crate) fn new(words: &[String]) -> Result<Self, String> {
        let (mut all, mut reaches, mut beginnings) = (Vec::new(), Vec::new(), Vec::new());
        for word in words {
            let reach = match word.as_bytes().last() {
                Some(b'*') => Reach::Open,
                Some(b'!') => Reach::Adjacent,
                _ => Reach::Whole,
            };
            for spelling in spellings(word.trim_end_matches(['*', '!'])) {
                beginnings.push(beginning(&spelling, reach));
                all.push(spelling);
                reaches.push(reach);
            }
        }
        Ok(Self { words: automaton(&all, true)?, reaches, beginnings })
    }

    /// What each of the words begins with as it stands in a text: where none of that is, no word stands in the [`zone`].
    pub(super) fn beginnings(&self) -> impl Iterator<Item = (&[u8], Around)> {
        self.beginnings.iter().map(|(text, around)| (&**text, *around))
    }

    /// Whether one of the words stands in a [`zone`].
    pub(crate) fn are_in(&self, zone: &Zone) -> bool {
        self.words.find_overlapping_iter(&**zone).any(|hit| {
            let reach = self.reaches[hit.pattern().as_usize()];
            let ends = reach == Reach::Open || !goes_on(zone, hit.end());
            let begins = !goes_on(zone, hit.start());
            begins && ends && (reach != Reach::Adjacent || is_filler(&zone[hit.end()..]))
        })
    }
}

/// A label in small letters, with a capital and in capitals, as normalisation leaves them: of other alphabets it takes some
/// letters for ours. The case of ours is nobody's concern.
fn spellings(label: &str) -> BTreeSet<Vec<u8>> {
    let mut rest = label.chars();
    let capital: String = rest.next().iter().flat_map(|first| first.to_uppercase()).chain(rest).collect();
    let normal = |spelling: &str| {
        let mut normal = Normalised::new();
        let text = if normalise(spelling, &mut normal) { normal.bytes() } else { spelling.as_bytes() };
        Zone::of(text).to_ascii_lowercase()
    };
    [label, &capital, &label.to_uppercase()]
        .into_iter()
        .filter(|text| *text == label || !text.is_ascii())
        .map(normal)
        .collect()
}

/// Up to the first blank, which is something else in a text, or nothing before a capital: `tax_id`, `taxId`.
fn beginning(spelling: &[u8], reach: Reach) -> (Box<[u8]>, Around) {
    let end = spelling.iter().position(|byte| *byte == b' ');
    let text = &spelling[..end.unwrap_or(spelling.len())];
    let around = if end.is_none() && reach == Reach::Open { Around::BorderBefore } else { Around::Borders };
    (text.into(), around)
}

/// Whether a word goes on over a position.
fn goes_on(text: &[u8], at: usize) -> bool {
    letter_at(text, at) && letter_before(text, at)
}

/// Whether a letter of a script that puts blanks between words stands at a position: Latin, Greek, Cyrillic.
fn letter_at(text: &[u8], at: usize) -> bool {
    text.get(at).is_some_and(|byte| byte.is_ascii_alphabetic() || LETTERS.contains(byte))
}

/// Whether one ends there.
fn letter_before(text: &[u8], at: usize) -> bool {
    match text[..at] {
        [.., lead, 0x80..=0xbf] => LETTERS.contains(&lead),
        [.., last] => last.is_ascii_alphabetic(),
        [] => false,
    }
}

/// The first bytes of such letters beyond ASCII, in UTF-8.
const LETTERS: RangeInclusive<u8> = 0xc3..=0xd3;

/// What can stand between a word and the value that it names.
const FILLERS: &[&str] = &[
    "a", "an", "and", "as", "at", "by", "for", "her", "here", "his", "is", "it", "me", "mine", "my", "no", "nos", "nr",
    "num", "number", "numbers", "of", "on", "or", "our", "s", "that", "the", "their", "this", "to", "under", "us",
    "via", "was", "with", "your", "back", "him", "them", "checking", "savings", "office", "home", "work", "now",
    "please", "new", "personal", "direct", "directly", "main", "am", "auf", "die", "der", "das", "ist", "lautet",
    "mein", "meine", "nummer", "sie", "mich", "unter", "uns", "de", "el", "la", "le", "es", "est", "sur", "au", "mon",
    "ma", "moi", "nous", "mi", "al", "en", "mio", "il", "per", "numero", "número", "numéro", "do", "da", "meu", "op",
    "naar", "mijn", "na", "pod", "mój", "td", "th", "dd", "dt", "span", "div", "strong", "b", "em", "li", "p", "é",
    "è",
];

/// Whether a text is nothing but such words and marks.
fn is_filler(text: &[u8]) -> bool {
    text.split(|byte| byte.is_ascii() && !byte.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .all(|word| FILLERS.iter().any(|filler| word.eq_ignore_ascii_case(filler.as_bytes())))
}

/// What stands before a value, with one blank between words that are written in one: `taxId`, `tax_id`, `tax-id`.
#[derive(Debug)]
pub(crate) struct Zone {
    bytes: [u8; 2 * CONTEXT],
    len: usize,
}

impl Zone {
    fn of(text: &[u8]) -> Self {
        let mut zone = Self { bytes: [0; 2 * CONTEXT], len: 0 };
        if let Some(all) = zone.bytes.get_mut(..text.len())
            && !has_joints(text)
        {
            all.copy_from_slice(text);
            zone.len = text.len();
            return zone;
        }
        let (mut before, mut letters) = (0u8, 0usize);
        for byte in text {
            // A hump after the first letter is none: `iPhone`.
            let hump = letters > 1 && before.is_ascii_lowercase() && byte.is_ascii_uppercase();
            letters = match byte.is_ascii_alphabetic() {
                true if hump => 1,
                true => letters + 1,
                false => 0,
            };
            let plain = if joins(*byte) { b' ' } else { *byte };
            if hump {
                zone.push(b' ');
            } else if plain == b' ' && before == b' ' {
                continue;
            }
            zone.push(plain);
            before = plain;
        }
        zone
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }
}

/// What stands for a blank between the words of a name.
fn joins(byte: u8) -> bool {
    matches!(byte, b'_' | b'-' | b'\n' | b'\t')
}

/// Whether words are joined in a text, or more than one blank stands between them. No branch: most have none.
fn has_joints(text: &[u8]) -> bool {
    let joined = text.iter().fold(0, |any, byte| any | u8::from(joins(*byte)));
    let next = text.get(1..).unwrap_or_default();
    let met = text.iter().zip(next).fold(joined, |any, (byte, next)| {
        let hump = u8::from(byte.is_ascii_lowercase()) & u8::from(next.is_ascii_uppercase());
        any | hump | u8::from(*byte == b' ') & u8::from(*next == b' ')
    });
    met != 0
}

/// The zone of the value that was asked about last: several rules ask about each.
#[derive(Debug, Default)]
pub(crate) struct LastZone(Option<(usize, Zone)>);

impl LastZone {
    /// The zone of a value in a window, which must be the same every time.
    pub(crate) fn of(&mut self, window: &Window<'_>, start: usize) -> &Zone {
        if self.0.as_ref().is_none_or(|(at, _)| *at != start) {
            self.0 = None;
        }
        &self.0.get_or_insert_with(|| (start, zone(window, start))).1
    }
}

impl Deref for Zone {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The bytes before a value that can name it: up to a digit, or to the end of a sentence. Of values with `and` between, what
/// names the first names the second.
pub(crate) fn zone(window: &Window<'_>, start: usize) -> Zone {
    let mut before = window.context(start);
    let mut from = behind_digit(before);
    while let Some(joiner) = JOINERS.iter().find(|joiner| before[from..] == ***joiner) {
        before = &before[..before.len() - joiner.len()];
        let value = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
        before = &before[..before.len() - value];
        from = behind_digit(before);
    }
    let zone = &before[from..];
    // A full stop behind a word that is too long to be cut short (`Tel.`, `geb.`, `Kontonr.`), and a blank.
    let ends = |stop: &usize| {
        zone.get(stop + 1) == Some(&b' ')
            && stop.checked_sub(WORD).is_some_and(|word| zone[word..*stop].iter().all(u8::is_ascii_alphabetic))
            && !zone[..*stop].ends_with(b"nr")
    };
    let stop = memchr::memrchr_iter(b'.', zone).find(ends);
    Zone::of(stop.map_or(zone, |stop| &zone[stop + 2..]))
}

fn behind_digit(text: &[u8]) -> usize {
    text.iter().rposition(u8::is_ascii_digit).map_or(0, |digit| digit + 1)
}

const JOINERS: [&[u8]; 7] = [b" and ", b" or ", b" & ", b" und ", b" oder ", b" et ", b" y "];

/// The shortest word that is none cut short, in bytes.
const WORD: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn named(label: &str, before: &str) -> bool {
        let window = Window { text: before.as_bytes(), at_end: false };
        let labels = Labels::new(&[label.to_owned()]).expect("a label");
        labels.are_in(&zone(&window, before.len()))
    }

    #[test]
    fn words_are_the_same_however_they_are_joined() {
        for before in ["Tax ID: ", "tax_id=", "TAX-ID ", "\"taxId\": \"", "the tax\n  id is ", "customerTaxId "] {
            assert!(named("tax id", before), "{before}");
        }
        for before in ["taxi: ", "syntax id ", "tax identity ", "tax, id ", "Tax ID 7, seen "] {
            assert!(!named("tax id", before), "{before}");
        }
        assert!(named("tax id*", "tax identity "));
        assert!(named("steuer-nr", "Steuer Nr. "));
    }

    #[test]
    fn one_letter_is_no_word_before_a_hump() {
        assert!(named("phone", "homePhone "));
        assert!(!named("phone", "an iPhone "));
    }

    #[test]
    fn a_word_may_have_to_stand_beside_the_value() {
        for before in ["license: ", "License No. ", "my license number is ", "<td>License</td><td>"] {
            assert!(named("license!", before), "{before}");
        }
        for before in ["license MIT, build ", "the licenses ", "license expires on day "] {
            assert!(!named("license!", before), "{before}");
        }
    }

    #[test]
    fn words_of_other_alphabets_are_known_in_either_case_and_have_borders() {
        for before in ["телефон: ", "Телефон ", "ТЕЛЕФОН: ", "номер телефон "] {
            assert!(named("телефон", &normalised(before)), "{before}");
        }
        assert!(named("führerschein*", "FÜHRERSCHEINNUMMER "));
        assert!(!named("tel", "hôtel "));
        assert!(!named("тел", &normalised("водитель ")));
        assert!(named("电话", "联系电话："));
    }

    fn normalised(text: &str) -> String {
        let mut normal = Normalised::new();
        let bytes = if normalise(text, &mut normal) { normal.bytes() } else { text.as_bytes() };
        String::from_utf8(bytes.to_vec()).expect("letters")
    }

    #[test]
    fn a_stop_ends_a_sentence_but_not_a_word_that_is_cut_short() {
        assert!(named("konto*", "Kontonr. "));
        assert!(!named("passport", "He lost the passport. Then "));
    }

    #[test]
    fn a_zone_is_looked_at_once() {
        let window = Window { text: b"tax_id 1", at_end: true };
        let mut last = LastZone::default();
        assert_eq!(&**last.of(&window, 7), b"tax id ");
        assert_eq!(&**last.of(&window, 3), b"tax");
        assert_eq!(&**last.of(&window, 3), b"tax");
    }
}

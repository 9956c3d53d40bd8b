use std::collections::BTreeSet;

use super::super::{templates, tokens};
use super::*;

/// Templates of words that plain text is full of and of others, some with the same beginnings; behind the names the same for
/// the search below: how far behind the word before, and the words.
const SOURCE: &str = "\
    set you = you your zebra
    exempt first = the ~3 quagga ~2 you
    exempt second = the ~3 quagga ~1 to ~4 the
    exempt third = the the
    exempt fourth = @you to ~1 @you
    exempt fifth = okapi
    exempt sixth = to ~6 the ~6 okapi
    exempt seventh = okapi ~2 okapi ~2 okapi";
type Slowly = &'static [(&'static str, &'static [(u32, &'static [&'static str])])];
const SLOWLY: Slowly = &[
    ("first", &[(0, &["the"]), (4, &["quagga"]), (3, &["you"])]),
    ("second", &[(0, &["the"]), (4, &["quagga"]), (2, &["to"]), (5, &["the"])]),
    ("third", &[(0, &["the"]), (1, &["the"])]),
    ("fourth", &[(0, &["you", "your", "zebra"]), (1, &["to"]), (2, &["you", "your", "zebra"])]),
    ("fifth", &[(0, &["okapi"])]),
    ("sixth", &[(0, &["to"]), (7, &["the"]), (7, &["okapi"])]),
    ("seventh", &[(0, &["okapi"]), (3, &["okapi"]), (3, &["okapi"])]),
];

/// Each id with where it begins and ends, looked for at every word; of several beginnings the one that the last words lead to.
fn found_slowly(words: &[&str]) -> BTreeSet<(&'static str, usize, usize)> {
    let mut found = BTreeSet::new();
    for (id, places) in SLOWLY {
        let mut starts: Vec<Option<usize>> = (0..words.len()).map(Some).collect();
        for (index, (reach, any)) in places.iter().enumerate() {
            let from = |at: usize| match index {
                0 => Some(at),
                _ => (at.saturating_sub(*reach as usize)..at).rev().find_map(|before| starts[before]),
            };
            starts = (0..words.len()).map(|at| any.contains(&words[at]).then(|| from(at)).flatten()).collect();
        }
        found.extend(starts.iter().enumerate().filter_map(|(end, start)| Some((*id, (*start)?, end))));
    }
    found
}

#[test]
fn phrases_are_found_wherever_they_stand_and_nowhere_else() {
    let templates = templates::parse(SOURCE).expect("well formed");
    let mut search = Search::new(&templates.exemptions);
    let words = ["the", "you", "to", "and", "quagga", "okapi", "zebra", "gnu", "your"];
    let mut seed = 3u32;
    let mut random = |most: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % most
    };
    let mut total = 0;
    for _ in 0..3000 {
        let (count, of) = (random(60), words.len() - random(8));
        let words: Vec<_> = (0..count).map(|_| words[random(of)]).collect();
        let text = words.join(" ");
        tokens::of(text.as_bytes(), |tokens| search.follow(tokens));
        let word_of = |place: usize| text[..place].matches(' ').count();
        let (_, found) = search.finish();
        let found: BTreeSet<_> =
            found.iter().map(|found| (found.id, word_of(found.start), word_of(found.end))).collect();
        assert_eq!(found, found_slowly(&words), "{text}");
        total += found.len();
    }
    assert!(total > 10_000, "{total}");
}

#[test]
fn a_word_with_digits_is_read_both_ways() {
    let templates =
        templates::parse("exempt first = do anything now\nexempt second = d0 nothing").expect("well formed");
    let mut search = Search::new(&templates.exemptions);
    for (text, id) in [("d0 anything now", "first"), ("and so d0 nothing", "second"), ("D7 nothing", "second")] {
        tokens::of(text.as_bytes(), |tokens| search.follow(tokens));
        let (_, found) = search.finish();
        assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), [id], "{text}");
    }
}

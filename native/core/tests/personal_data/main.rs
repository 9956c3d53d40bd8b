//! Values that people write are found with the settings that hold by default, and numbers that are nobody's are not.
//!
//! Each line is a text of ours; a value stands in it as `⟦TYPE:value⟧`, more types if several would be right. All check
//! digits are right, no value is anybody's. `found.txt` are found to the last character, `nothing.txt` hold none, and
//! `missed.txt` are missed or found in part by mistake, listed to be seen. `\n` and `\t` stand for a new line and a tab.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeSet;

use tollhouse_core::scan::{Family, Policy, Rules, Scanner};

const FOUND: &str = include_str!("found.txt");
const NOTHING: &str = include_str!("nothing.txt");
const MISSED: &str = include_str!("missed.txt");

/// A text and what is to be found in it: types, start and end in bytes.
#[derive(Debug)]
struct Case<'a> {
    text: String,
    values: Vec<(Vec<&'a str>, usize, usize)>,
}

impl<'a> Case<'a> {
    fn of(line: &'a str) -> Self {
        let (mut text, mut values) = (String::new(), Vec::new());
        let mut pieces = line.split('⟦');
        text.push_str(&plain(pieces.next().unwrap()));
        for piece in pieces {
            let (value, rest) = piece.split_once('⟧').unwrap();
            let (types, value) = value.split_once(':').unwrap();
            let start = text.len();
            text.push_str(value);
            values.push((types.split('/').collect(), start, text.len()));
            text.push_str(&plain(rest));
        }
        Self { text, values }
    }

    /// Whether all of its values are found, and nothing else.
    fn is_found(&self, scanner: &Scanner) -> bool {
        let found: Vec<_> = scanner
            .scan(&self.text)
            .findings
            .iter()
            .map(|finding| (scanner.rules().get(finding.rule).unwrap(), finding.start, finding.end))
            .filter(|(rule, ..)| rule.family == Family::Pii)
            .map(|(rule, start, end)| (rule.kind.clone(), start, end))
            .collect();
        found.len() == self.values.len()
            && found.iter().zip(&self.values).all(|((kind, start, end), (types, first, last))| {
                types.contains(&kind.as_str()) && (start, end) == (first, last)
            })
    }
}

fn plain(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t")
}

/// The lines of a file that are no heads.
fn lines(file: &'static str) -> impl Iterator<Item = &'static str> {
    file.lines().filter(|line| !line.is_empty() && !line.starts_with("# "))
}

/// The lines of a file whose values are all found, with nothing else, or those of which that is not so.
fn judged(file: &'static str, found: bool) -> Vec<&'static str> {
    let scanner = Scanner::new(Rules::builtin(), &Policy::default());
    lines(file).filter(|line| Case::of(line).is_found(&scanner) == found).collect()
}

#[test]
fn values_are_found_and_nothing_beside_them() {
    let wrong = judged(FOUND, false);
    assert!(wrong.is_empty(), "{} are not: {wrong:#?}", wrong.len());
}

#[test]
fn numbers_that_are_nobodys_are_not_found() {
    let wrong = judged(NOTHING, false);
    assert!(wrong.is_empty(), "{} are: {wrong:#?}", wrong.len());
}

#[test]
fn what_is_missed_is_listed_only_while_it_is() {
    let passed = judged(MISSED, true);
    assert!(passed.is_empty(), "move to found.txt what is found now: {passed:#?}");
}

#[test]
fn each_list_is_long_and_of_many_types_and_says_nothing_twice() {
    for (file, least, types) in [(FOUND, 250, 50), (NOTHING, 40, 0)] {
        let all: Vec<_> = lines(file).map(|line| (line, Case::of(line))).collect();
        let named: BTreeSet<_> = all.iter().flat_map(|(_, case)| &case.values).flat_map(|(types, ..)| types).collect();
        assert!(all.len() >= least, "{}", all.len());
        assert!(named.len() >= types, "{}", named.len());
        assert_eq!(all.iter().map(|(line, _)| line).collect::<BTreeSet<_>>().len(), all.len());
    }
}

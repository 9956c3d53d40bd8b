//! Everyday sentences pass the gate of injections with the settings that hold by default, and attacks with the same words do not.
//!
//! `harmless.txt` are sentences of ours in some thirty languages, `attacks.txt` what they forbid or nearly say, asked for.
//! `refused.txt` are harmless ones that are refused by mistake, listed to be seen.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeSet;

use tollhouse_core::scan::{Family, Policy, Rules, Scanner};

const HARMLESS: &str = include_str!("harmless.txt");
const ATTACKS: &str = include_str!("attacks.txt");
const REFUSED: &str = include_str!("refused.txt");

/// The texts of a file and the languages that head them.
fn texts(file: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut language = "";
    let mut texts = Vec::new();
    for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => language = name,
            None => texts.push((language, line)),
        }
    }
    texts
}

/// Those of the texts in which an injection is found, or those in which none is.
fn judged(file: &'static str, found: bool) -> Vec<(&'static str, &'static str)> {
    let scanner = Scanner::new(Rules::builtin(), &Policy::default());
    let is_injection = |text: &str| {
        let findings = scanner.scan(text).findings;
        findings.iter().any(|finding| scanner.rules().get(finding.rule).unwrap().family == Family::Injection)
    };
    texts(file).into_iter().filter(|(_, text)| is_injection(text) == found).collect()
}

#[test]
fn everyday_sentences_pass() {
    let refused = judged(HARMLESS, true);
    assert!(refused.is_empty(), "{} are refused: {refused:#?}", refused.len());
}

#[test]
fn attacks_with_the_same_words_are_found() {
    let missed = judged(ATTACKS, false);
    assert!(missed.is_empty(), "{} are missed: {missed:#?}", missed.len());
}

#[test]
fn what_is_refused_by_mistake_is_listed_only_while_it_is() {
    let passed = judged(REFUSED, false);
    assert!(passed.is_empty(), "move to harmless.txt what passes now: {passed:#?}");
}

#[test]
fn each_list_is_long_and_of_many_languages_and_says_nothing_twice() {
    for (file, least, languages) in [(HARMLESS, 400, 25), (ATTACKS, 150, 20)] {
        let texts = texts(file);
        assert!(texts.len() >= least, "{}", texts.len());
        assert!(texts.iter().map(|(language, _)| language).collect::<BTreeSet<_>>().len() >= languages);
        assert_eq!(texts.iter().map(|(_, text)| text).collect::<BTreeSet<_>>().len(), texts.len());
    }
}

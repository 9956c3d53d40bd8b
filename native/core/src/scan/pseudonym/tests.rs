use proptest::prelude::*;

use super::*;
use crate::scan::mask::{Way, splice};
use crate::scan::{Action, Policy, Rules, Scanner};

fn scanner() -> Scanner {
    Scanner::new(Rules::builtin(), &Policy { pii: Action::Pseudonymise, ..Policy::default() })
}

/// A text as it goes to a model.
fn masked(scanner: &Scanner, text: &str, vault: &mut Vault) -> String {
    let findings = scanner.scan(text).findings;
    splice(text, &scanner.hits(text, &findings, &mut Way::Out(Some(vault))))
}

fn in_pieces<'a>(vault: &Arc<Vault>, pieces: impl IntoIterator<Item = &'a str>) -> String {
    let mut restorer = Restorer::new(Arc::clone(vault));
    let mut out = String::new();
    for piece in pieces {
        restorer.feed(piece, &mut out);
    }
    restorer.finish(&mut out);
    out
}

#[test]
fn a_value_has_one_pseudonym_per_key_and_type() {
    let mut vault = Vault::new(b"one");
    let name = vault.pseudonym("EMAIL_ADDRESS", "a@b.example");
    assert_eq!(vault.pseudonym("EMAIL_ADDRESS", "a@b.example"), name);
    assert_eq!(Vault::new(b"one").pseudonym("EMAIL_ADDRESS", "a@b.example"), name);
    assert_ne!(Vault::new(b"two").pseudonym("EMAIL_ADDRESS", "a@b.example"), name);
    assert_ne!(vault.pseudonym("EMAIL_ADDRESS", "c@b.example"), name);
    assert_eq!(look_alikes(&name).next(), Some(0..name.len()));
    assert_eq!(vault.value(&name), Some("a@b.example"));
}

#[test]
fn the_digest_is_hmac_sha_256() {
    // Computed with another implementation: HMAC-SHA-256("key", "EMAIL_ADDRESS" 00 "a@b.example").
    assert_eq!(&*Vault::new(b"key").pseudonym("EMAIL_ADDRESS", "a@b.example"), "<EMAIL_ADDRESS_a994ed6d>");
}

#[test]
fn a_pseudonym_that_is_taken_goes_to_no_other_value() {
    let mut vault = Vault::new(b"k");
    let taken = Vault::new(b"k").pseudonym("T", "second");
    vault.values.insert(Arc::clone(&taken), "first".into());
    let other = vault.pseudonym("T", "second");
    assert_ne!(other, taken);
    assert_eq!(vault.restore(&format!("{taken} {other}")), "first second");
}

#[test]
fn types_of_any_spelling_make_well_formed_pseudonyms() {
    for (kind, start) in [("employee-id", "<EMPLOYEE_ID_"), ("", "<X_"), ("2fa", "<X2FA_"), ("na\u{ef}ve", "<NA_VE_")] {
        let name = Vault::new(b"k").pseudonym(kind, "v");
        assert!(name.starts_with(start), "{name}");
        assert_eq!(look_alikes(&name).count(), 1);
    }
}

#[test]
fn altered_and_unknown_ones_stay() {
    let mut vault = Vault::new(b"k");
    let name = vault.pseudonym("T", "value");
    for text in [
        "<T_00000000>".to_owned(),
        name.to_lowercase(),
        name.replace('<', "< "),
        name.replace('>', ""),
        name.replace('<', ""),
        format!("{}0>", name.trim_end_matches('>')),
    ] {
        assert_eq!(vault.restore(&text), text);
    }
    assert_eq!(vault.restore(&format!("<{name}>, <<{name}<T_")), "<value>, <<value<T_");
}

#[test]
fn only_what_may_become_a_pseudonym_waits() {
    let mut vault = Vault::new(b"k");
    let name = vault.pseudonym("EMAIL_ADDRESS", "value");
    let mut restorer = Restorer::new(vault.into());
    let mut out = String::new();
    restorer.feed("if a <b or <EMAIL_ADDRESSES or <EM", &mut out);
    assert_eq!((out.as_str(), restorer.held()), ("if a <b or <EMAIL_ADDRESSES or ", 3));
    restorer.feed(&name[3..name.len() - 1], &mut out);
    assert_eq!(restorer.held(), name.len() - 1);
    restorer.feed(">!", &mut out);
    assert_eq!(out, "if a <b or <EMAIL_ADDRESSES or value!");
}

#[test]
fn look_alikes_come_back_as_they_were() {
    let mut vault = Vault::new(b"k");
    let live = vault.pseudonym("EMAIL_ADDRESS", "a@b.example");
    let text = format!("keep {live} and <PERSON_0123abcd>, mail c@d.example");
    let sent = masked(&scanner(), &text, &mut vault);
    assert!(!sent.contains(&*live) && !sent.contains("<PERSON_0123abcd>") && !sent.contains("c@d.example"), "{sent}");
    assert_eq!(vault.restore(&sent), text);
}

#[test]
fn secrets_are_not_kept() {
    let secret = "ghp_".to_owned() + &"a1".repeat(18);
    let policy = Policy { secrets: Action::Pseudonymise, ..Policy::default() };
    let mut vault = Vault::new(b"k");
    assert_eq!(masked(&Scanner::new(Rules::builtin(), &policy), &secret, &mut vault), "<SECRET>");
    assert!(vault.is_empty());
}

#[test]
fn no_value_shows_in_debug_output() {
    let mut vault = Vault::new(b"a key");
    vault.pseudonym("T", "value");
    assert_eq!(format!("{vault:?}"), "Vault { len: 1, .. }");
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z]{1,6}@[a-z]{1,6}\\.(com|org)",
        "<[A-Z]{1,3}_[0-9a-f]{8}>",
        Just("<EMAIL_ADDRESS_".to_owned()),
        Just("<LITERAL_00000000>".to_owned()),
        "[<>_a-f0-9@. \u{e9}\u{1f600}]{0,6}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_masked_comes_back_in_any_pieces(text in pieces(), size in 1..9_usize) {
        let mut vault = Vault::new(b"k");
        let sent = masked(&scanner(), &text, &mut vault);
        prop_assert_eq!(vault.restore(&sent), text.clone());
        let vault = Arc::new(vault);
        for cut in (0..=sent.len()).filter(|cut| sent.is_char_boundary(*cut)) {
            prop_assert_eq!(in_pieces(&vault, [&sent[..cut], &sent[cut..]]), text.clone());
        }
        let chars: Vec<String> = sent.chars().collect::<Vec<_>>().chunks(size).map(|c| c.iter().collect()).collect();
        prop_assert_eq!(in_pieces(&vault, chars.iter().map(String::as_str)), text);
    }
}

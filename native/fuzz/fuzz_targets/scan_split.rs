//! A text in pieces gives what the whole text gives: what passes, findings and decision.
//!
//! The first byte chooses the actions, the second how many of the next bytes are lengths of pieces; the rest is the text.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tollhouse_core::scan::{Action, Decision, Policy, Rules, Scanner};

static SCANNERS: LazyLock<Vec<Scanner>> = LazyLock::new(|| {
    let scanner = |pii, secrets, injection| {
        Scanner::new(Rules::builtin(), &Policy { pii, secrets, injection, ..Policy::default() })
    };
    vec![
        scanner(Action::Redact, Action::Redact, Action::Redact),
        scanner(Action::Block, Action::Redact, Action::Flag),
        scanner(Action::Flag, Action::Block, Action::Block),
    ]
});

fuzz_target!(|data: &[u8]| {
    let [which, count, rest @ ..] = data else {
        return;
    };
    let Some((lengths, text)) = rest.split_at_checked(usize::from(count % 16)) else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    let scanner = &SCANNERS[usize::from(*which) % SCANNERS.len()];
    let whole = scanner.scan(&text);
    let mut stream = scanner.stream();
    let mut out = String::new();
    let mut rest = &*text;
    let mut lengths = lengths.iter().cycle();
    while !rest.is_empty() {
        let length = lengths.next().map_or(1, |length| usize::from(*length));
        let (piece, after) = rest.split_at(rest.floor_char_boundary(length.min(rest.len()).max(4.min(rest.len()))));
        let _ = stream.feed(piece, &mut out);
        rest = after;
    }
    let _ = stream.finish(&mut out);
    assert_eq!(stream.decision(), whole.decision);
    assert_eq!(stream.findings(), whole.findings);
    assert_eq!(out, whole.redacted.as_deref().unwrap_or(&text));
    if whole.decision == Decision::Allowed {
        assert!(whole.redacted.is_none());
    }
});

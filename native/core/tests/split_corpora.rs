//! Texts of the corpora in pieces: what passes, the findings and the decision are those of the whole.
//!
//! `TOLLHOUSE_CORPORA=folder cargo test --release --test split_corpora`; without the folder there is nothing to cut.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::path::Path;

use tollhouse_core::scan::{Policy, Rules, Scanner};

/// Of each file so many records, evenly spread, or all with `ALL=1`.
const RECORDS: usize = 150;

#[test]
fn texts_of_the_corpora_are_redacted_alike_in_pieces() {
    let Ok(folder) = std::env::var("TOLLHOUSE_CORPORA") else {
        println!("TOLLHOUSE_CORPORA is not set: nothing to cut");
        return;
    };
    let scanner = Scanner::new(Rules::builtin(), &Policy::default());
    let mut wrong = Vec::new();
    for kind in ["benign", "evasion", "injection", "pii", "secrets"] {
        for file in std::fs::read_dir(Path::new(&folder).join(kind)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "jsonl") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let step = if std::env::var("ALL").is_ok() { 1 } else { (text.lines().count() / RECORDS).max(1) };
            for line in text.lines().step_by(step) {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                let text = record["text"].as_str().unwrap_or_default();
                if !is_alike(&scanner, text) {
                    wrong.push(format!("{}: {}", path.display(), record["id"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} texts differ: {}", wrong.len(), wrong.join(", "));
}

fn is_alike(scanner: &Scanner, text: &str) -> bool {
    let whole = scanner.scan(text);
    let expected = whole.redacted.as_deref().unwrap_or(text);
    // A generator of its own keeps the cuts the same in every run.
    let mut state = text.len() as u64 | 1;
    [1usize, 4, 9, 60].into_iter().all(|longest| {
        let mut stream = scanner.stream();
        let mut out = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let size = usize::try_from(state >> 33).unwrap() % longest + 1;
            let at = (size.min(rest.len())..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap();
            let (piece, after) = rest.split_at(at);
            let _ = stream.feed(piece, &mut out);
            rest = after;
        }
        let _ = stream.finish(&mut out);
        out == expected && stream.findings() == whole.findings && stream.decision() == whole.decision
    })
}

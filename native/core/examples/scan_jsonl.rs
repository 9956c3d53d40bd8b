//! Scans texts from standard input, one JSON object with `id` and `text` a line, and prints what was found.
//!
//! Positions are characters. Everything that is found is flagged, so overlapping findings are settled by priority alone.

use std::io::{BufRead, Write};

use tollhouse_core::scan::{Action, Policy, Rules, Scanner};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rules = Rules::builtin();
    let policy =
        Policy { pii: Action::Redact, secrets: Action::Redact, injection: Action::Redact, overrides: Vec::new() };
    let scanner = Scanner::new(rules.clone(), &policy);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let record: serde_json::Value = serde_json::from_str(&line?)?;
        let text = record["text"].as_str().unwrap_or_default();
        let characters = |at: usize| text[..at].chars().count();
        let findings: Vec<_> = scanner
            .scan(text)
            .findings
            .iter()
            .filter_map(|finding| {
                let rule = rules.get(finding.rule)?;
                Some(serde_json::json!({
                    "type": rule.kind, "rule": rule.id, "score": finding.score,
                    "start": characters(finding.start), "end": characters(finding.end),
                }))
            })
            .collect();
        writeln!(out, "{}", serde_json::json!({"id": record["id"], "findings": findings}))?;
    }
    Ok(())
}

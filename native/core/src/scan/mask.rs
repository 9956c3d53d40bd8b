//! What stands in a text instead of what was found.

use std::ops::Range;

use super::pseudonym::{Vault, look_alikes};
use super::{Action, Decision, Family, Finding, Outcome, Scanner};

/// A stretch of a text and what is to stand there.
pub(crate) type Edit = (Range<usize>, String);

impl Scanner {
    /// Looks at a whole text. With a vault, pseudonyms are reversible, and what only looks like one is escaped.
    #[must_use]
    pub fn scan_with(&self, text: &str, vault: Option<&mut Vault>) -> Outcome {
        let mut outcome = self.scan(text);
        let Some(vault) = vault.filter(|_| outcome.decision != Decision::Blocked) else {
            return outcome;
        };
        let edits = self.edits(text, &outcome.findings, Some(vault));
        if !edits.is_empty() {
            outcome.decision = Decision::Transformed;
            outcome.redacted = Some(splice(text, &edits));
        }
        outcome
    }

    /// This scanner for the way back: where requests are pseudonymised, an answer's own values are only reported, because
    /// a pseudonym for them would be undone in the same breath.
    #[must_use]
    pub fn for_answers(&self) -> Self {
        let soften = |action: &Action| if *action == Action::Pseudonymise { Action::Flag } else { *action };
        Self { rules: self.rules.clone(), actions: self.actions.iter().map(soften).collect() }
    }

    /// What replaces the findings of a text, and with a vault the look-alikes beside them, in order.
    pub(crate) fn edits(&self, text: &str, findings: &[Finding], mut vault: Option<&mut Vault>) -> Vec<Edit> {
        let mut edits: Vec<Edit> = Vec::new();
        for finding in findings {
            if let Some(value) = text.get(finding.start..finding.end)
                && let Some(mask) = self.mask(finding, value, vault.as_deref_mut())
            {
                edits.push((finding.start..finding.end, mask));
            }
        }
        if let Some(vault) = vault {
            let masked = edits.len();
            for place in look_alikes(text) {
                let found = &edits[..masked];
                let next = found.partition_point(|(range, _)| range.end <= place.start);
                if found.get(next).is_none_or(|(range, _)| range.start >= place.end) {
                    let mask = vault.escape(&text[place.clone()]);
                    edits.push((place, (*mask).to_owned()));
                }
            }
            edits.sort_by_key(|(range, _)| range.start);
        }
        edits
    }

    /// What stands instead of a value; None if it stays. Secrets are never kept for restoring.
    fn mask(&self, finding: &Finding, value: &str, vault: Option<&mut Vault>) -> Option<String> {
        let (kind, family) =
            self.rules.get(finding.rule).map_or(("", Family::Secrets), |rule| (rule.kind.as_str(), rule.family));
        match (finding.action, vault) {
            (Action::Allow | Action::Flag, _) => None,
            (Action::Pseudonymise, Some(vault)) if family != Family::Secrets => {
                Some((*vault.pseudonym(kind, value)).to_owned())
            }
            _ => Some(format!("<{kind}>")),
        }
    }
}

/// A text with edits that are in order and do not overlap.
pub(crate) fn splice(text: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(text.len() + edits.iter().map(|(_, mask)| mask.len()).sum::<usize>());
    let mut from = 0;
    for (range, mask) in edits {
        out.push_str(&text[from..range.start]);
        out.push_str(mask);
        from = range.end;
    }
    out.push_str(&text[from..]);
    out
}

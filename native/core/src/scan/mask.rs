//! What stands in a text instead of what was found.

use super::pseudonym::{Vault, look_alikes};
use super::{Action, Family, Finding, Scanner};

/// A stretch of a text of which something is to be said or done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hit {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// None for a pseudonym, ours or not.
    pub(crate) finding: Option<Finding>,
    /// What is to stand there, if it changes.
    pub(crate) text: Option<String>,
}

impl Hit {
    /// What was found, where this stands: the stretch may have been read from JSON within the text.
    pub(crate) fn placed(&self) -> Option<Finding> {
        self.finding.map(|finding| Finding { start: self.start, end: self.end, ..finding })
    }
}

/// Which way a text goes.
#[derive(Debug)]
pub(crate) enum Way<'a> {
    /// To a model: values get pseudonyms.
    Out(Option<&'a mut Vault>),
    /// To the caller: pseudonyms get their values.
    Back(Option<&'a Vault>),
}

impl Scanner {
    /// This scanner for the way back: where requests are pseudonymised, an answer's own values are only reported, because
    /// a pseudonym for them would be undone in the same breath.
    #[must_use]
    pub fn for_answers(&self) -> Self {
        let soften = |action: &Action| if *action == Action::Pseudonymise { Action::Flag } else { *action };
        Self { actions: self.actions.iter().map(soften).collect(), ..self.clone() }
    }

    /// The findings of a text and the pseudonyms beside them, by start.
    pub(crate) fn hits(&self, text: &str, findings: &[Finding], way: &mut Way<'_>) -> Vec<Hit> {
        let mut hits: Vec<Hit> = Vec::with_capacity(findings.len());
        for finding in findings {
            let Finding { start, end, .. } = *finding;
            let mask = text.get(start..end).and_then(|value| self.mask(finding, value, way));
            hits.push(Hit { start, end, finding: Some(*finding), text: mask });
        }
        let found = hits.len();
        let mut place = |start: usize, end: usize, text: &mut dyn FnMut() -> String| {
            let next = hits[..found].partition_point(|hit| hit.end <= start);
            if !hits[next..found].iter().take_while(|hit| hit.start < end).any(|hit| hit.text.is_some()) {
                hits.push(Hit { start, end, finding: None, text: Some(text()) });
            }
        };
        match way {
            Way::Out(Some(vault)) => {
                for range in look_alikes(text) {
                    place(range.start, range.end, &mut || (*vault.escape(&text[range.clone()])).to_owned());
                }
            }
            Way::Back(Some(vault)) => {
                for (range, value) in vault.places(text) {
                    place(range.start, range.end, &mut || value.to_owned());
                }
            }
            _ => {}
        }
        if hits.len() > found {
            hits.sort_by_key(|hit| hit.start);
        }
        hits
    }

    /// What stands instead of a value; None if it stays. Secrets are never kept for restoring.
    fn mask(&self, finding: &Finding, value: &str, way: &mut Way<'_>) -> Option<String> {
        let (kind, family) =
            self.rules.get(finding.rule).map_or(("", Family::Secrets), |rule| (rule.kind.as_str(), rule.family));
        match (finding.action, way) {
            (Action::Allow | Action::Flag, _) => None,
            (Action::Pseudonymise, Way::Out(Some(vault))) if family != Family::Secrets => {
                Some((*vault.pseudonym(kind, value)).to_owned())
            }
            _ => Some(format!("<{kind}>")),
        }
    }
}

/// A text with its hits carried out; those that change something do not overlap.
pub(crate) fn splice(text: &str, hits: &[Hit]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for hit in hits {
        if let Some(mask) = &hit.text {
            out.push_str(&text[from..hit.start]);
            out.push_str(mask);
            from = hit.end;
        }
    }
    out.push_str(&text[from..]);
    out
}

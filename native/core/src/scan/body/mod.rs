//! Whole bodies: every decoded string that a model or a user can read or write, redacted where it stands.
//!
//! The body is spliced, never written anew: key order and every byte beside a finding stay as they came.

mod answer;
mod leaves;
mod media;
mod redactor;

use std::collections::BTreeMap;

use super::mask::{Hit, Way};
use super::pseudonym::Vault;
use super::{Decision, Finding, Scanner};
use crate::request::{Form, Segment, SegmentKind, View};
use answer::Dropped;
pub(crate) use answer::answer_kind;
use redactor::decoded;
pub(crate) use redactor::{Redactor, escaped};

/// Something that was found in a body; never the value itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BodyFinding {
    /// Which string of the body, counted in the order of the scan: for requests, the index in [`View::segments`].
    pub segment: usize,
    /// What that string is.
    pub kind: SegmentKind,
    /// What was found, in places of the decoded string.
    pub finding: Finding,
}

/// What became of a body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BodyOutcome {
    /// Whether it passes.
    pub decision: Decision,
    /// The body that passes; None if it passes byte for byte, or does not pass.
    pub body: Option<Vec<u8>>,
    /// What was found, in the order of the body.
    pub findings: Vec<BodyFinding>,
}

/// Types and actions, and how often there was each.
pub type Counts = Vec<(String, &'static str, usize)>;

/// How often each type was found, and what was done.
#[must_use]
pub fn counted<'f>(scanner: &Scanner, findings: impl Iterator<Item = &'f Finding>) -> Counts {
    let mut counts: BTreeMap<(&str, &'static str), usize> = BTreeMap::new();
    for finding in findings {
        let kind = scanner.rules().get(finding.rule).map_or("", |rule| rule.kind.as_str());
        *counts.entry((kind, finding.action.name())).or_default() += 1;
    }
    counts.into_iter().map(|((kind, action), count)| (kind.to_owned(), action, count)).collect()
}

/// Looks at every text of a request and redacts what the policy says.
///
/// `view` is what [`View::parse`] made of the same `body`: nothing is parsed twice but JSON inside strings. With a vault,
/// the action "pseudonymise" is reversible, and placeholders that the caller wrote are escaped so that they come back as
/// they are; without one it redacts.
#[must_use]
pub fn redact_request(scanner: &Scanner, body: &[u8], view: &View, vault: Option<&mut Vault>) -> BodyOutcome {
    let mut redactor = Redactor::new(scanner, Way::Out(vault));
    let mut pass = Pass::default();
    pass.segments(&mut redactor, body, &view.segments);
    pass.outcome(body)
}

/// Looks at every text of an answer that is not streamed, redacts what the policy says, and restores the pseudonyms of the
/// request's vault, inside tool arguments too. `logprobs` of an answer that changes are taken out: they repeat the text.
///
/// An answer that is no JSON is taken for one text. With a vault, the action "pseudonymise" only reports here: the answer's
/// own values would be pseudonymised and restored in the same breath.
#[must_use]
pub fn redact_response(scanner: &Scanner, body: &[u8], vault: Option<&Vault>) -> BodyOutcome {
    let softened = vault.map(|_| scanner.for_answers());
    let mut redactor = Redactor::new(softened.as_ref().unwrap_or(scanner), Way::Back(vault));
    redact_answer(&mut redactor, body)
}

/// What is no JSON, or too deep or too much of it to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

/// Looks at every string, key and number of a JSON text of any shape, as [`redact_request`] does.
///
/// # Errors
/// [`NotJson`]: nothing was looked at.
pub fn redact_json(scanner: &Scanner, body: &[u8], vault: Option<&mut Vault>) -> Result<BodyOutcome, NotJson> {
    let leaves::Leaves::Whole(segments) = leaves::read(body) else { return Err(NotJson) };
    let mut redactor = Redactor::new(scanner, Way::Out(vault));
    let mut pass = Pass::default();
    pass.segments(&mut redactor, body, &segments);
    Ok(pass.outcome(body))
}

fn redact_answer(redactor: &mut Redactor<'_>, body: &[u8]) -> BodyOutcome {
    let mut pass = Pass::default();
    if !pass.answer(redactor, body, &|_| true) {
        let mut hits = redactor.text(&decoded(body), SegmentKind::Text);
        pass.note(redactor, 0, SegmentKind::Text, &hits);
        hits.retain(|hit| hit.text.is_some());
        pass.edits.append(&mut hits);
    }
    pass.outcome(body)
}

/// What is found in the strings of a JSON answer that `wanted` accepts, and what changes where.
pub(crate) fn answer_hits(
    redactor: &mut Redactor<'_>,
    body: &[u8],
    wanted: &dyn Fn(&Segment) -> bool,
) -> (Vec<BodyFinding>, Vec<Hit>) {
    let mut pass = Pass::default();
    pass.answer(redactor, body, wanted);
    (pass.findings, pass.edits)
}

/// One pass over a body.
#[derive(Debug, Default)]
struct Pass {
    findings: Vec<BodyFinding>,
    /// What changes in the body, as it is to stand there.
    edits: Vec<Hit>,
    blocked: bool,
}

impl Pass {
    /// False if the body is no JSON.
    fn answer(&mut self, redactor: &mut Redactor<'_>, body: &[u8], wanted: &dyn Fn(&Segment) -> bool) -> bool {
        let Ok((mut segments, dropped)) = answer::read(body) else {
            return false;
        };
        segments.retain(wanted);
        self.segments(redactor, body, &segments);
        self.drop_all(&dropped);
        true
    }

    fn segments(&mut self, redactor: &mut Redactor<'_>, body: &[u8], segments: &[Segment]) {
        for (index, segment) in segments.iter().enumerate() {
            let mut hits = redactor.segment(body, segment, 0);
            if hits.is_empty() {
                continue;
            }
            self.note(redactor, index, segment.kind, &hits);
            hits.retain(|hit| hit.text.is_some());
            redactor::lift(body, segment, &mut hits);
            self.edits.append(&mut hits);
        }
    }

    fn note(&mut self, redactor: &Redactor<'_>, segment: usize, kind: SegmentKind, hits: &[Hit]) {
        self.blocked |= redactor.blocked;
        let found = hits.iter().filter_map(Hit::placed);
        self.findings.extend(found.map(|finding| BodyFinding { segment, kind, finding }));
    }

    /// Takes `logprobs` out of objects that change.
    fn drop_all(&mut self, dropped: &[Dropped]) {
        let changed: Vec<usize> = self.edits.iter().map(|edit| edit.start).collect();
        for Dropped { value, inside, empty } in dropped {
            let first = changed.partition_point(|start| *start < inside.start);
            if changed.get(first).is_some_and(|start| *start < inside.end) {
                let text = Some((*empty).to_owned());
                self.edits.push(Hit { start: value.start, end: value.end, finding: None, text });
            }
        }
        self.edits.sort_by_key(|edit| edit.start);
    }

    fn outcome(self, body: &[u8]) -> BodyOutcome {
        let Self { findings, edits, blocked } = self;
        if blocked {
            return BodyOutcome { decision: Decision::Blocked, body: None, findings };
        }
        if edits.is_empty() {
            return BodyOutcome { decision: Decision::Allowed, body: None, findings };
        }
        BodyOutcome { decision: Decision::Transformed, body: Some(splice_bytes(body, &edits)), findings }
    }
}

/// Bytes with edits that are in order and do not overlap.
pub(crate) fn splice_bytes(bytes: &[u8], edits: &[Hit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut from = 0;
    for edit in edits {
        if let Some(text) = &edit.text {
            out.extend_from_slice(&bytes[from..edit.start]);
            out.extend_from_slice(text.as_bytes());
            from = edit.end;
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out
}

/// Whether a segment is a string whose content is replaced inside its quotes.
pub(crate) fn is_quoted(segment: &Segment) -> bool {
    segment.form != Form::Number
}

#[cfg(test)]
pub(crate) mod tests;

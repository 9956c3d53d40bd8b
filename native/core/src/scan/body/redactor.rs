//! Scanning a string where it stands: decoded, with its key, and once more inside if it holds JSON.

use std::borrow::Cow;
use std::collections::HashMap;

use super::is_quoted;
use super::leaves::{self, Leaves};
use super::media::{self, File};
use crate::json;
use crate::request::{Form, Segment, SegmentKind, key_may_hide};
use crate::scan::mask::{Hit, Way, splice};
use crate::scan::{Action, Channel, Decision, Finding, Outcome, Scanner};

/// How many times JSON inside a string is read.
const NESTED: u8 = 2;
/// Values up to this length are looked at together with their key: longer ones are no passwords.
const NAMED_MAX: usize = 4096;

/// Finds and replaces in the strings of one body.
#[derive(Debug)]
pub(crate) struct Redactor<'a> {
    scanner: &'a Scanner,
    /// The same for what tools wrote, once there is some.
    for_tools: Option<Scanner>,
    /// The present text is of that kind.
    from_tool: bool,
    way: Way<'a>,
    /// Texts are not read as JSON, whatever they look like.
    pub(crate) flat: bool,
    /// Something was found that must not pass.
    pub(crate) blocked: bool,
    /// Keys that were made, and what of: two different ones must not become the same.
    keys: HashMap<String, Vec<String>>,
}

impl<'a> Redactor<'a> {
    pub(crate) fn new(scanner: &'a Scanner, way: Way<'a>) -> Self {
        Self { scanner, for_tools: None, from_tool: false, way, flat: false, blocked: false, keys: HashMap::new() }
    }

    /// What is in a segment of `doc`, in places of its decoded text.
    pub(crate) fn segment(&mut self, doc: &[u8], segment: &Segment, depth: u8) -> Vec<Hit> {
        if depth == 0 {
            self.from_tool = segment.from_tool;
        }
        let raw = &doc[segment.string.start..segment.string.end];
        let key = segment.key.map(|key| decode(doc, key));
        match (segment.form, segment.kind) {
            (Form::Key, _) => self.key(&decode(doc, segment.string)),
            (Form::Number, _) => self.number(&decoded(raw), key.as_deref()),
            (Form::String, SegmentKind::Media) if media::is_opaque(raw) => Vec::new(),
            (Form::String, SegmentKind::Media) => self.media(&decode(doc, segment.string), depth),
            (Form::String, SegmentKind::Other) if is_word(raw, key.as_deref()) => Vec::new(),
            (Form::String, SegmentKind::ToolArguments | SegmentKind::Other) => {
                self.value(&decode(doc, segment.string), key.as_deref(), segment.kind, depth)
            }
            (Form::String, _) => self.value(&decode(doc, segment.string), None, segment.kind, depth),
        }
    }

    /// What is in a text by itself.
    pub(crate) fn text(&mut self, text: &str, kind: SegmentKind) -> Vec<Hit> {
        self.value(text, None, kind, 0)
    }

    fn value(&mut self, text: &str, key: Option<&str>, kind: SegmentKind, depth: u8) -> Vec<Hit> {
        let is_call = kind == SegmentKind::ToolArguments && depth == 0;
        let may_be_json =
            depth < NESTED && (is_call || depth > 0 || !self.flat) && text.trim_ascii_start().starts_with(['{', '[']);
        if may_be_json {
            match leaves::read(text.as_bytes()) {
                Leaves::Whole(found) => return self.inside(text, &found, depth),
                // An answer may be cut in the middle of its call. Prose is no JSON for beginning with a bracket.
                Leaves::Broken(found) if is_call => return self.inside(text, &found, depth),
                Leaves::Broken(_) => {}
            }
        }
        match key.filter(|_| text.len() <= NAMED_MAX && !text.is_empty()) {
            Some(key) => self.named(key, text, "\""),
            None => self.plain(text),
        }
    }

    /// Where media stand there may be encoded text, or a link.
    fn media(&mut self, value: &str, depth: u8) -> Vec<Hit> {
        let Some(file) = File::read(value) else { return self.value(value, None, SegmentKind::Media, depth) };
        let hits = self.value(&decoded(&file.bytes), None, SegmentKind::Text, depth + 1);
        file.carried(hits)
    }

    fn inside(&mut self, text: &str, found: &[Segment], depth: u8) -> Vec<Hit> {
        let mut all = Vec::new();
        for leaf in found {
            let mut hits = self.segment(text.as_bytes(), leaf, depth + 1);
            lift(text.as_bytes(), leaf, &mut hits);
            all.append(&mut hits);
        }
        all
    }

    fn plain(&mut self, text: &str) -> Vec<Hit> {
        let findings = self.scan(text).findings;
        self.hits(text, &findings)
    }

    /// A value as it would stand in JSON or source code: its key is context.
    fn named(&mut self, key: &str, text: &str, quote: &str) -> Vec<Hit> {
        let named = [key, "\": ", quote, text, quote].concat();
        let before = key.len() + 3 + quote.len();
        let clip = |finding: Finding| {
            let start = finding.start.saturating_sub(before);
            let end = finding.end.saturating_sub(before).min(text.len());
            Finding { start, end, ..finding }
        };
        let outcome = self.scan(&named);
        let found = outcome.findings.into_iter().map(clip);
        let findings: Vec<_> = found.filter(|finding| finding.start < finding.end).collect();
        if outcome.decision == Decision::Blocked && findings.iter().all(|finding| finding.action != Action::Block) {
            // The key stopped the scan. Its own name may be harmless without the value, the value was not looked at.
            return self.plain(text);
        }
        self.hits(text, &findings)
    }

    fn scan(&mut self, text: &str) -> Outcome {
        if self.from_tool {
            self.for_tools.get_or_insert_with(|| self.scanner.for_channel(Channel::Tool)).scan(text)
        } else {
            self.scanner.scan(text)
        }
    }

    fn hits(&mut self, text: &str, findings: &[Finding]) -> Vec<Hit> {
        self.blocked |= findings.iter().any(|finding| finding.action == Action::Block);
        self.scanner.hits(text, findings, &mut self.way)
    }

    /// A number with something in it becomes a string.
    fn number(&mut self, number: &str, key: Option<&str>) -> Vec<Hit> {
        let mut hits = self.named(key.unwrap_or_default(), number, "");
        if hits.iter().any(|hit| hit.text.is_some()) {
            let text = Some(quoted(&splice(number, &hits)));
            hits.truncate(1);
            for hit in &mut hits {
                *hit = Hit { start: 0, end: number.len(), text: text.clone(), ..hit.clone() };
            }
        }
        hits
    }

    fn key(&mut self, key: &str) -> Vec<Hit> {
        let mut hits = self.plain(key);
        if let Some(last) = hits.iter().rposition(|hit| hit.text.is_some()) {
            let made = self.keys.entry(splice(key, &hits)).or_default();
            let nth = made.iter().position(|other| other == key).unwrap_or(made.len());
            if nth == made.len() {
                made.push(key.to_owned());
            }
            if nth > 0
                && let Some(text) = &mut hits[last].text
            {
                text.extend(["_", &(nth + 1).to_string()]);
            }
        }
        hits
    }
}

/// Carries hits from the decoded text of a segment over to the document that it stands in.
pub(crate) fn lift(doc: &[u8], segment: &Segment, hits: &mut [Hit]) {
    let string = segment.string;
    if string.escaped {
        let mut places: Vec<&mut usize> = hits.iter_mut().flat_map(|hit| [&mut hit.start, &mut hit.end]).collect();
        places.sort();
        json::raw_places(&doc[string.start..string.end], places.into_iter());
    }
    for hit in hits {
        hit.start += string.start;
        hit.end += string.start;
        if is_quoted(segment) {
            escape(hit);
        }
    }
}

/// Whether a value is one of the words that APIs have for roles and types.
fn is_word(raw: &[u8], key: Option<&str>) -> bool {
    matches!(key, None | Some("type" | "role" | "format" | "detail" | "object" | "status")) && !key_may_hide(raw)
}

fn escape(hit: &mut Hit) {
    if let Some(text) = hit.text.as_mut().filter(|text| needs_escape(text)) {
        *text = escaped(text);
    }
}

fn needs_escape(text: &str) -> bool {
    text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\'))
}

/// A text as it stands in a JSON string.
pub(crate) fn escaped(text: &str) -> String {
    if !needs_escape(text) {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len() + 8);
    json::write::escape(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// The decoded text of a string of a document.
fn decode(doc: &[u8], string: json::Str) -> Cow<'_, str> {
    let raw = &doc[string.start..string.end];
    if string.escaped { decoded_owned(json::unescape(raw).into_owned()).into() } else { decoded(raw) }
}

/// Bytes as text. What is no UTF-8 stands as one control character per byte, so that all places stay what they are.
pub(crate) fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => decoded_owned(bytes.to_vec()).into(),
    }
}

fn decoded_owned(mut bytes: Vec<u8>) -> String {
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&bytes[from..]) {
        from += error.valid_up_to();
        let length = error.error_len().unwrap_or(bytes.len() - from);
        bytes[from..from + length].fill(0x1a);
        from += length;
    }
    String::from_utf8(bytes).unwrap_or_default()
}

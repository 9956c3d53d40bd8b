//! What reads differently once it is decoded, put together or freed of marks: the rules are run on that as well.

use super::decode::{self, MIN_TOKEN, decode_token, is_split, joined_run, may_start_run, without_marks};
use super::machine::{Found, Machine};
use super::normalise::{Normalised, normalise};
use super::prefilter::run_start;
use super::window::{CONTEXT, LOOKBACK, Window};
use super::{Scanner, injection};

/// Views of views of views are not made.
pub(crate) const DEPTH: u8 = 2;
/// Of a text of this length most does not depend on the last byte, in bytes.
const SHARED_MIN: usize = 512;
/// An encoded token is decoded up to this length, in bytes.
const TOKEN_MAX: usize = 16 << 10;

/// A way to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// A long token, which may be base64 or hexadecimal.
    Encoded,
    /// Single characters with separators between them.
    Spelled,
    /// A token with marks of emphasis or code in it.
    Marked,
}

/// What a view says of a position.
pub(crate) enum Seen {
    No,
    More,
    /// What was found, by where it stands in the window, and where the view ends.
    Found {
        found: Vec<Found>,
        end: usize,
    },
}

/// Looks at a position of the window through a view.
pub(crate) fn look(scanner: &Scanner, window: &Window<'_>, at: usize, view: View, depth: u8) -> Seen {
    match view {
        View::Encoded => encoded(scanner, window, at, depth),
        View::Spelled => {
            if window.text[at].is_ascii_alphanumeric() && !may_start_run(window.text, at) && !window.unknown(at + 8) {
                return Seen::No;
            }
            through(scanner, window, joined_run(window.text, at, window.at_end), depth, true)
        }
        View::Marked => {
            if !is_split(window.text, at) {
                return Seen::No;
            }
            // A stream has let what stands before the run of the mark pass, and keeps a little of it.
            let least = run_start(window.text, at);
            let kept = least.saturating_sub(LOOKBACK - CONTEXT);
            match through(scanner, window, without_marks(window.text, at, kept, window.at_end), depth, false) {
                Seen::Found { mut found, end } => {
                    found.retain(|found| found.start >= least);
                    Seen::Found { found, end }
                }
                other => other,
            }
        }
    }
}

fn encoded(scanner: &Scanner, window: &Window<'_>, at: usize, depth: u8) -> Seen {
    let (end, open) = window.token_run(at, TOKEN_MAX);
    if open {
        return Seen::More;
    }
    let run = &window.text[at..end];
    // A sentence may end behind it.
    let run = run.strip_suffix(b".").unwrap_or(run);
    // It may be the value of `name=token`; what follows the last equals sign but the padding.
    let until = run.len();
    let unpadded = until - run.iter().rev().take_while(|byte| **byte == b'=').count();
    let from = memchr::memrchr(b'=', &run[..unpadded]).map_or(0, |equals| equals + 1);
    let token = &run[from..];
    let mut decoded = Vec::new();
    if token.len() < MIN_TOKEN || !decode_token(token, &mut decoded) {
        return Seen::No;
    }
    let text = String::from_utf8_lossy(&decoded);
    let mut normal = Normalised::new();
    let bytes = if normalise(&text, &mut normal) { normal.bytes() } else { text.as_bytes() };
    let found = nested(scanner, window.context(at + from), bytes, depth);
    // Whatever part of it was found, the token is replaced as one.
    let whole = |found: Found| Found { start: at + from, end: at + until, ..found };
    Seen::Found { found: found.into_iter().map(whole).collect(), end }
}

fn through(scanner: &Scanner, window: &Window<'_>, verdict: decode::Verdict, depth: u8, words: bool) -> Seen {
    let view = match verdict {
        decode::Verdict::No => return Seen::No,
        decode::Verdict::More => return Seen::More,
        decode::Verdict::Run(view) => view,
    };
    let context = window.context(view.start());
    let mut found = Vec::new();
    let mut add = |view: &decode::View, within: Vec<Found>| {
        found.extend(within.into_iter().map(|found| {
            let span = view.span(found.start..found.end);
            Found { start: span.start, end: span.end, ..found }
        }));
    };
    if words {
        // A word of one letter beside spelled-out words reads like a part of them.
        let [whole, but_last] = with_and_without_last(scanner, context, view.bytes(), depth);
        add(&view, whole);
        add(&view, but_last);
        let rest = view.trimmed(1, 0);
        let within = nested(scanner, context, rest.bytes(), depth);
        add(&rest, within);
    } else {
        add(&view, nested(scanner, context, view.bytes(), depth));
    }
    Seen::Found { found, end: view.end() }
}

/// What is found in a text that stands for a stretch of another; positions are of the text itself.
fn nested(scanner: &Scanner, context: &[u8], text: &[u8], depth: u8) -> Vec<Found> {
    let mut settled = Vec::new();
    let all = [context, text].concat();
    Machine::of_view(depth + 1, context.len()).advance(scanner, &Window { text: &all, at_end: true }, 0, &mut settled);
    within(scanner, settled, context.len(), text)
}

/// The same for a text and for the text without its last byte. What does not depend on that byte is looked for once, as in
/// a stream that is still to say whether the byte comes.
fn with_and_without_last(scanner: &Scanner, context: &[u8], text: &[u8], depth: u8) -> [Vec<Found>; 2] {
    let Some((_, shorter)) = text.split_last() else { return [Vec::new(), Vec::new()] };
    if text.len() < SHARED_MIN {
        return [nested(scanner, context, text, depth), nested(scanner, context, shorter, depth)];
    }
    let all = [context, text].concat();
    let (mut machine, mut settled) = (Machine::of_view(depth + 1, context.len()), Vec::new());
    let known = all.get(..all.len() - 1).unwrap_or_default();
    machine.advance(scanner, &Window { text: known, at_end: false }, 0, &mut settled);
    let (mut other, mut settled_without) = (machine.clone(), settled.clone());
    machine.advance(scanner, &Window { text: &all, at_end: true }, 0, &mut settled);
    other.advance(scanner, &Window { text: known, at_end: true }, 0, &mut settled_without);
    [within(scanner, settled, context.len(), text), within(scanner, settled_without, context.len(), shorter)]
}

/// Of what was found in a context and the text behind it, what begins in the text; and what the text is as a whole.
fn within(scanner: &Scanner, mut settled: Vec<Found>, before: usize, text: &[u8]) -> Vec<Found> {
    if let Some(found) = scanner.injection(text) {
        settled.push(Found { start: found.start + before, end: found.end + before, ..found });
    }
    settled.retain(|found| found.start >= before);
    for found in &mut settled {
        found.start -= before;
        found.end -= before;
    }
    settled
}

impl Scanner {
    /// Whether a text as a whole tries to steer a model. The finding is all of it: what counts stands all over it.
    pub(crate) fn injection(&self, text: &[u8]) -> Option<Found> {
        let rule = self.document?;
        let verdict = injection::shared().score(text, self.channel, 0);
        verdict.hit.then_some(Found { start: 0, end: text.len(), rule, score: verdict.score })
    }
}

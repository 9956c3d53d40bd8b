//! A text that is all there: what a stream with one piece would say, without its copies.

use std::cell::RefCell;

use super::machine::{Found, Machine};
use super::normalise::{Normalised, boundary, identity_len, normalise};
use super::policy::Action;
use super::window::Window;
use super::writer::Writer;
use super::{Outcome, Scanner};

/// What a scan needs and the next one can use again: most texts are short and hold nothing.
#[derive(Default)]
struct Scratch {
    machine: Machine,
    settled: Vec<Found>,
    normal: Normalised,
}

/// The scratch of a longer text is let go of, in bytes.
const KEPT: usize = 64 << 10;

/// A longer text that is normalised is taken in pieces, in bytes: for each character that another stands for, the way back
/// takes several times its size.
const PIECE: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Looks at a whole text.
pub(super) fn scan(scanner: &Scanner, text: &str) -> Outcome {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => {
            scratch.machine.reset();
            scratch.settled.clear();
            let outcome = scan_with(scanner, text, &mut scratch);
            if text.len() > KEPT {
                *scratch = Scratch::default();
            }
            outcome
        }
        // Text within text, as in an encoded token.
        Err(_) => scan_with(scanner, text, &mut Scratch::default()),
    })
}

fn scan_with(scanner: &Scanner, text: &str, scratch: &mut Scratch) -> Outcome {
    if text.len() > PIECE && identity_len(text) < text.len() {
        return scan_in_pieces(scanner, text);
    }
    let Scratch { machine, settled, normal } = scratch;
    let injection = if normalise(text, normal) {
        machine.advance(scanner, &Window { text: normal.bytes(), at_end: true }, 0, settled);
        for found in settled.iter_mut() {
            *found = found.in_raw(normal);
        }
        scanner.injection(normal.bytes()).map(|found| Found { end: text.len(), ..found })
    } else {
        machine.advance(scanner, &Window { text: text.as_bytes(), at_end: true }, 0, settled);
        scanner.injection(text.as_bytes())
    };
    if settled.is_empty() && injection.is_none() {
        Outcome::default()
    } else {
        write(scanner, text, settled, injection)
    }
}

fn scan_in_pieces(scanner: &Scanner, text: &str) -> Outcome {
    let (mut stream, mut out) = (scanner.stream(), String::with_capacity(text.len()));
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(boundary(rest, PIECE));
        // What blocks is told at the end, with what is found behind it.
        let _ = stream.feed(piece, &mut out);
        rest = after;
    }
    let _ = stream.finish(&mut out);
    stream.into_outcome(out)
}

fn write(scanner: &Scanner, text: &str, settled: &[Found], injection: Option<Found>) -> Outcome {
    let changes = settled.iter().any(|found| scanner.action(found.rule) > Action::Flag);
    let mut out = String::with_capacity(if changes { text.len() } else { 0 });
    let mut writer = Writer::default();
    for found in settled {
        writer.take(scanner, *found, text, 0, &mut out);
    }
    if changes {
        writer.pass(text.len(), text, 0, &mut out);
    }
    if let Some(found) = injection {
        writer.note(scanner, found);
    }
    Outcome { decision: writer.decision, findings: writer.findings, redacted: changes.then_some(out) }
}

//! A text that is all there: what a stream with one piece would say, without its copies.

use std::cell::RefCell;

use super::machine::{Found, Machine};
use super::normalise::{Normalised, Normaliser, identity_len};
use super::policy::Action;
use super::window::Window;
use super::writer::Writer;
use super::{Outcome, Scanner};

thread_local! {
    /// Most texts are short and hold nothing: what they need is made once.
    static SCRATCH: RefCell<(Machine, Vec<Found>)> = RefCell::default();
}

/// Looks at a whole text.
pub(super) fn scan(scanner: &Scanner, text: &str) -> Outcome {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => {
            let (machine, settled) = &mut *scratch;
            machine.reset();
            settled.clear();
            scan_with(scanner, text, machine, settled)
        }
        // Text within text, as in an encoded token.
        Err(_) => scan_with(scanner, text, &mut Machine::default(), &mut Vec::new()),
    })
}

fn scan_with(scanner: &Scanner, text: &str, machine: &mut Machine, settled: &mut Vec<Found>) -> Outcome {
    let injection = if identity_len(text) == text.len() {
        machine.advance(scanner, &Window { text: text.as_bytes(), at_end: true }, 0, settled);
        scanner.injection(text.as_bytes())
    } else {
        let mut normal = Normalised::new();
        let mut normaliser = Normaliser::new();
        normaliser.feed(text, &mut normal);
        normaliser.finish(&mut normal);
        machine.advance(scanner, &Window { text: normal.bytes(), at_end: true }, 0, settled);
        for found in settled.iter_mut() {
            *found = found.in_raw(&normal);
        }
        scanner.injection(normal.bytes()).map(|found| Found { end: text.len(), ..found })
    };
    if settled.is_empty() && injection.is_none() {
        Outcome::default()
    } else {
        write(scanner, text, settled, injection)
    }
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

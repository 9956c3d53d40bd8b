//! What Anthropic demands of thoughts, in a body that goes to it as it is.

use memchr::memmem;
use serde_json::{Map, Value, json};

use crate::json::{self, Event, Limits, Mode, Reader, Span};

/// What is replaced, and what stands there then.
type Edit = (Span, Vec<u8>);
/// Where a message's content stands, and the blocks that are left of it.
type Left = (Span, Vec<Vec<u8>>);

/// The least budget that the API takes.
pub(crate) const LEAST: u64 = 1024;

const LIMITS: Limits = Limits { max_depth: 256, max_nodes: usize::MAX };

/// A budget in tokens for thoughts of an answer of at most `most`: something must be left for the answer. None: there is
/// no room for any.
pub(crate) fn budget(wanted: u64, most: u64) -> Option<u64> {
    let budget = wanted.min(most.saturating_sub(LEAST.min(most / 2))).max(LEAST);
    (budget < most).then_some(budget)
}

/// The value of `thinking` for an answer of at most `most` tokens where `asked` were asked for; None: it stays.
///
/// A budget that was not below that bound already is none of a single answer (interleaved thinking), and stays.
pub(super) fn lowered(thinking: &[u8], asked: Option<u64>, most: u64) -> Option<Vec<u8>> {
    let mut thinking: Map<String, Value> = serde_json::from_slice(thinking).ok()?;
    let wanted = thinking.get("budget_tokens")?.as_u64()?;
    if wanted < most || asked.is_some_and(|asked| wanted >= asked) {
        return None;
    }
    let lowered = match budget(wanted, most) {
        Some(budget) => {
            thinking.insert("budget_tokens".to_owned(), json!(budget));
            Value::Object(thinking)
        }
        None => json!({"type": "disabled"}),
    };
    Some(lowered.to_string().into_bytes())
}

/// The value of `messages` without thoughts that nobody has signed, and where it stood; None: there are none.
///
/// A conversation has them where another provider's model has thought in it. Anthropic refuses the whole request then.
pub(super) fn proven(body: &[u8]) -> Option<Edit> {
    if !memmem::find_iter(body, b"\"signature\"").any(|at| is_empty(&body[at + b"\"signature\"".len()..])) {
        return None;
    }
    let mut reader = Reader::new(body, LIMITS, Mode::Lenient);
    // The view has parsed it before.
    messages(body, &mut reader).ok().flatten()
}

/// Behind a key: a colon and an empty string.
fn is_empty(rest: &[u8]) -> bool {
    rest.trim_ascii_start().strip_prefix(b":").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\"\""))
}

fn messages(body: &[u8], reader: &mut Reader<'_>) -> Result<Option<Edit>, json::Error> {
    if !enter(reader, b"messages")? || reader.next()? != Event::ArrayStart {
        return Ok(None);
    }
    let start = reader.event_start();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut is_changed = false;
    while reader.next()? == Event::ObjectStart {
        let from = reader.event_start();
        let mut content = None;
        while let Event::Key(key) = reader.next()? {
            if reader.raw(key) == b"content" {
                content = blocks(body, reader)?;
            } else {
                reader.skip_value()?;
            }
        }
        let message = &body[from..reader.position()];
        let Some((span, left)) = content else {
            kept.push(message.to_vec());
            continue;
        };
        is_changed = true;
        if !left.is_empty() {
            let (before, behind) = (&message[..span.start - from], &message[span.end - from..]);
            kept.push([before, b"[", &left.join(&b','), b"]", behind].concat());
        }
    }
    let span = Span { start, end: reader.position() };
    Ok(is_changed.then(|| (span, [b"[", &kept.join(&b',')[..], b"]"].concat())))
}

/// Read up to the value of a member of the object that comes next.
fn enter(reader: &mut Reader<'_>, name: &[u8]) -> Result<bool, json::Error> {
    if reader.next()? != Event::ObjectStart {
        return Ok(false);
    }
    while let Event::Key(key) = reader.next()? {
        if reader.raw(key) == name {
            return Ok(true);
        }
        reader.skip_value()?;
    }
    Ok(false)
}

/// The content of a message; None: it stays.
fn blocks(body: &[u8], reader: &mut Reader<'_>) -> Result<Option<Left>, json::Error> {
    if reader.next()? != Event::ArrayStart {
        return Ok(None);
    }
    let start = reader.event_start();
    let (mut left, mut count) = (Vec::new(), 0_usize);
    loop {
        match reader.next()? {
            Event::ObjectStart => {}
            Event::ArrayEnd => break,
            // No block: whatever it is, the provider is the one to say so.
            _ => {
                while reader.depth() > 3 {
                    reader.next()?;
                }
                return Ok(None);
            }
        }
        let from = reader.event_start();
        let (mut is_thought, mut is_unproven) = (false, false);
        while let Event::Key(key) = reader.next()? {
            let value = reader.skip_value()?;
            let value = reader.bytes(value).trim_ascii();
            match reader.raw(key) {
                b"type" => is_thought = value == b"\"thinking\"",
                b"signature" => is_unproven = value == b"\"\"",
                _ => {}
            }
        }
        count += 1;
        if !(is_thought && is_unproven) {
            left.push(body[from..reader.position()].to_vec());
        }
    }
    let span = Span { start, end: reader.position() };
    Ok((left.len() < count).then_some((span, left)))
}

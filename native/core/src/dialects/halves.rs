//! Characters whose halves come in two events: `"\ud83d"`, then `"\ude00"`. No Rust string can hold a half.

use std::borrow::Cow;

use super::reply::Event;

/// Where halves stand for the time of reading: the last plane for private use, which nobody else has a use for.
const PRIVATE: u32 = 0x10_F800;
const FIRST: u32 = 0xD800;
const FIRST_LOW: u32 = 0xDC00;

/// The JSON with halves that stand alone as private characters and without bytes that are no UTF-8; None: nothing was
/// wrong with it in that way.
pub(crate) fn mended(json: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(json);
    let was_invalid = matches!(text, Cow::Owned(_));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut found) = (0, false);
    while let Some(step) = memchr::memchr(b'\\', &bytes[at..]) {
        let start = at + step;
        out.extend_from_slice(&bytes[at..start]);
        let first = escape(bytes, start);
        let (length, half) = match first {
            Some(unit) if is_high(unit) && escape(bytes, start + 6).is_some_and(is_low) => (12, None),
            Some(unit) if is_high(unit) || is_low(unit) => (6, char::from_u32(unit - FIRST + PRIVATE)),
            _ => (2, None),
        };
        let end = bytes.len().min(start + length);
        if let Some(half) = half {
            found = true;
            out.extend_from_slice(half.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            out.extend_from_slice(&bytes[start..end]);
        }
        at = end;
    }
    out.extend_from_slice(&bytes[at..]);
    (found || was_invalid).then_some(out)
}

/// The unit of the `\uXXXX` that begins here.
fn escape(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn is_high(unit: u32) -> bool {
    (FIRST..FIRST_LOW).contains(&unit)
}

fn is_low(unit: u32) -> bool {
    (FIRST_LOW..0xE000).contains(&unit)
}

/// Joins halves over the events of an answer.
#[derive(Debug, Default)]
pub(crate) struct Halves {
    /// First halves that wait, by the text that they belong to.
    held: Vec<(Place, u32)>,
    active: bool,
}

/// Which text of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Text(u32),
    Thinking(u32),
    Refusal(u32),
    Arguments(u32, u32),
}

impl Halves {
    /// An event had to be mended: from now on texts are looked through.
    pub(crate) fn watch(&mut self) {
        self.active = true;
    }

    /// Join what can be joined; a half whose other half does not come is no character.
    pub(crate) fn join(&mut self, events: &mut Vec<Event>) {
        if !self.active {
            return;
        }
        events.retain_mut(|event| {
            let (place, text) = match event {
                Event::Text { choice, text } => (Place::Text(*choice), text),
                Event::Thinking { choice, text } => (Place::Thinking(*choice), text),
                Event::Refusal { choice, text } => (Place::Refusal(*choice), text),
                Event::Arguments { choice, call, json } => (Place::Arguments(*choice, *call), json),
                _ => return true,
            };
            let held = self.held.iter().position(|(of, _)| *of == place).map(|at| self.held.swap_remove(at).1);
            let (joined, open) = joined(held, text);
            *text = joined;
            self.held.extend(open.map(|half| (place, half)));
            !text.is_empty()
        });
    }
}

/// The text with its halves joined, and the first half at its end.
fn joined(mut open: Option<u32>, text: &str) -> (String, Option<u32>) {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let unit = u32::from(c).checked_sub(PRIVATE).map(|unit| unit + FIRST);
        match (open.take(), unit) {
            (Some(high), Some(low)) if is_low(low) => {
                let code = 0x1_0000 + ((high - FIRST) << 10) + (low - FIRST_LOW);
                out.extend(char::from_u32(code));
                continue;
            }
            (Some(_), _) => out.push(char::REPLACEMENT_CHARACTER),
            (None, _) => {}
        }
        match unit {
            Some(unit) if is_high(unit) => open = Some(unit),
            Some(_) => out.push(char::REPLACEMENT_CHARACTER),
            None => out.push(c),
        }
    }
    (out, open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Event {
        Event::Text { choice: 0, text: text.to_owned() }
    }

    fn read(json: &str) -> Event {
        let mended = mended(json.as_bytes()).unwrap();
        text(&serde_json::from_slice::<String>(&mended).unwrap())
    }

    #[test]
    fn two_halves_in_two_events_are_one_character() {
        let mut halves = Halves::default();
        halves.watch();
        let mut first = vec![read(r#""a\ud83d""#)];
        halves.join(&mut first);
        assert_eq!(first, [text("a")]);
        let mut between = vec![Event::Ping];
        halves.join(&mut between);
        let mut second = vec![read(r#""\uDE00b""#)];
        halves.join(&mut second);
        assert_eq!(second, [text("😀b")]);
    }

    #[test]
    fn a_half_alone_is_a_replacement_and_a_pair_is_left_alone() {
        let mut halves = Halves::default();
        halves.watch();
        let mut events = vec![read(r#""\ude00\ud83d\ude00\\ud83d\ud83dx""#)];
        halves.join(&mut events);
        assert_eq!(events, [text("\u{fffd}😀\\ud83d\u{fffd}x")]);
    }

    #[test]
    fn what_is_well_formed_is_not_mended() {
        assert_eq!(mended(r#"{"a":"\ud83d\ude00 \\ud83d \n é"}"#.as_bytes()), None);
        assert_eq!(mended(b"\"a\xffb\"").unwrap(), "\"a\u{fffd}b\"".as_bytes());
    }
}

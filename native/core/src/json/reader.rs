//! The reader itself.

use std::collections::HashSet;

use super::error::{Error, ErrorKind};
use super::text::{hex4, unescape};

/// A range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A string's body: offsets without the quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Str {
    /// First byte after the opening quote.
    pub start: usize,
    /// The closing quote.
    pub end: usize,
    /// Holds a backslash, so it must be decoded before it is read.
    pub escaped: bool,
}

/// What the reader finds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `{`
    ObjectStart,
    /// `}`
    ObjectEnd,
    /// `[`
    ArrayStart,
    /// `]`
    ArrayEnd,
    /// A key; its value follows.
    Key(Str),
    /// A string value.
    String(Str),
    /// A number, in its own spelling.
    Number(Span),
    /// `true` or `false`
    Bool(bool),
    /// `null`
    Null,
    /// The text is complete.
    End,
}

/// Bounds on a text.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Levels of nesting.
    pub max_depth: usize,
    /// Values of all kinds, containers included.
    pub max_nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_depth: 64, max_nodes: 100_000 }
    }
}

/// How much is forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// RFC 8259, and nothing that two parsers could read differently.
    Strict,
    /// Invalid UTF-8 and control characters in strings, lone surrogates and repeated keys pass.
    Lenient,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    FirstKeyOrEnd,
    CommaOrEnd,
    FirstValueOrEnd,
    Nothing,
}

/// Keys of the objects that are open; small objects are compared one by one, larger ones by hash.
#[derive(Default)]
struct Keys {
    seen: Vec<Str>,
    /// Where the keys of each open object begin in `seen`; None for arrays.
    starts: Vec<Option<usize>>,
    large: Vec<(usize, HashSet<Vec<u8>>)>,
}

const LARGE_OBJECT: usize = 16;

/// Reads one JSON text. After an error or `Event::End` there is nothing more to read.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    limits: Limits,
    mode: Mode,
    /// One bit per open container would do; a byte is simpler: true for an object.
    stack: Vec<bool>,
    expect: Expect,
    nodes: usize,
    keys: Keys,
    started_at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`. In strict mode the caller has checked nothing yet; see `Reader::check_utf8`.
    #[must_use]
    pub fn new(bytes: &'a [u8], limits: Limits, mode: Mode) -> Self {
        Self {
            bytes,
            at: 0,
            limits,
            mode,
            stack: Vec::with_capacity(16),
            expect: Expect::Value,
            nodes: 0,
            keys: Keys::default(),
            started_at: 0,
        }
    }

    /// Refuse a text that is not UTF-8 or begins with a byte order mark.
    ///
    /// # Errors
    /// `ErrorKind::Utf8` with the offset of the first bad byte.
    pub fn check_utf8(bytes: &[u8]) -> Result<(), Error> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(Error::new(ErrorKind::Utf8, 0));
        }
        if let Err(error) = simdutf8::compat::from_utf8(bytes) {
            return Err(Error::new(ErrorKind::Utf8, error.valid_up_to()));
        }
        Ok(())
    }

    /// The bytes of a string's body.
    #[must_use]
    pub fn raw(&self, string: Str) -> &'a [u8] {
        &self.bytes[string.start..string.end]
    }

    /// The bytes of a value.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &'a [u8] {
        &self.bytes[span.start..span.end]
    }

    /// A number as a whole one, if it is one.
    #[must_use]
    pub fn integer(&self, number: Span) -> Option<u64> {
        std::str::from_utf8(&self.bytes[number.start..number.end]).ok()?.parse().ok()
    }

    /// Open containers.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.stack.len()
    }

    /// Where the last event began (a string's or key's opening quote, a container's bracket).
    #[must_use]
    pub fn event_start(&self) -> usize {
        self.started_at
    }

    /// Where the last event ended.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next event.
    ///
    /// # Errors
    /// The first defect of the text.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot return errors and End this plainly")]
    pub fn next(&mut self) -> Result<Event, Error> {
        self.skip_space();
        let Some(&byte) = self.bytes.get(self.at) else {
            return if self.expect == Expect::Nothing {
                self.started_at = self.at;
                Ok(Event::End)
            } else {
                Err(self.error(ErrorKind::UnexpectedEnd))
            };
        };
        match self.expect {
            Expect::Value => self.value(byte),
            Expect::CommaOrEnd => self.comma_or_end(byte),
            Expect::FirstKeyOrEnd if byte == b'}' => Ok(self.close()),
            Expect::FirstKeyOrEnd => self.key(byte),
            Expect::FirstValueOrEnd if byte == b']' => Ok(self.close()),
            Expect::FirstValueOrEnd => self.value(byte),
            Expect::Nothing => Err(self.error(ErrorKind::TrailingBytes)),
        }
    }

    /// Pass over the value that comes next, whatever it is.
    ///
    /// # Errors
    /// The first defect of the text.
    pub fn skip_value(&mut self) -> Result<Span, Error> {
        let depth = self.stack.len();
        let first = self.next()?;
        let start = self.started_at;
        if matches!(first, Event::ObjectStart | Event::ArrayStart) {
            while self.stack.len() > depth {
                self.next()?;
            }
        }
        Ok(Span { start, end: self.at })
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, self.at)
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn comma_or_end(&mut self, byte: u8) -> Result<Event, Error> {
        let in_object = self.stack.last() == Some(&true);
        match byte {
            b',' => {
                self.at += 1;
                self.skip_space();
                let Some(&next) = self.bytes.get(self.at) else {
                    return Err(self.error(ErrorKind::UnexpectedEnd));
                };
                if in_object { self.key(next) } else { self.value(next) }
            }
            b'}' if in_object => Ok(self.close()),
            b']' if !in_object => Ok(self.close()),
            _ => Err(self.error(ErrorKind::Syntax)),
        }
    }

    fn close(&mut self) -> Event {
        self.started_at = self.at;
        self.at += 1;
        let was_object = self.stack.pop() == Some(true);
        if self.mode == Mode::Strict {
            self.keys.leave();
        }
        self.after_value();
        if was_object { Event::ObjectEnd } else { Event::ArrayEnd }
    }

    fn after_value(&mut self) {
        self.expect = if self.stack.is_empty() { Expect::Nothing } else { Expect::CommaOrEnd };
    }

    fn key(&mut self, byte: u8) -> Result<Event, Error> {
        if byte != b'"' {
            return Err(self.error(ErrorKind::Syntax));
        }
        let start = self.at;
        let key = self.string()?;
        if self.mode == Mode::Strict && !self.keys.insert(self.bytes, key) {
            return Err(Error::new(ErrorKind::DuplicateKey, start));
        }
        self.skip_space();
        match self.bytes.get(self.at) {
            Some(b':') => self.at += 1,
            Some(_) => return Err(self.error(ErrorKind::Syntax)),
            None => return Err(self.error(ErrorKind::UnexpectedEnd)),
        }
        self.started_at = start;
        self.expect = Expect::Value;
        Ok(Event::Key(key))
    }

    fn value(&mut self, byte: u8) -> Result<Event, Error> {
        self.nodes += 1;
        if self.nodes > self.limits.max_nodes {
            return Err(self.error(ErrorKind::TooManyValues));
        }
        self.started_at = self.at;
        match byte {
            b'"' => {
                let string = self.string()?;
                self.after_value();
                Ok(Event::String(string))
            }
            b'{' => self.open(true),
            b'[' => self.open(false),
            b'-' | b'0'..=b'9' => {
                let number = self.number()?;
                self.after_value();
                Ok(Event::Number(number))
            }
            b't' => self.word(b"true", Event::Bool(true)),
            b'f' => self.word(b"false", Event::Bool(false)),
            b'n' => self.word(b"null", Event::Null),
            b'N' | b'I' => Err(self.error(ErrorKind::NotANumber)),
            _ => Err(self.error(ErrorKind::Syntax)),
        }
    }

    fn open(&mut self, object: bool) -> Result<Event, Error> {
        if self.stack.len() >= self.limits.max_depth {
            return Err(self.error(ErrorKind::TooDeep));
        }
        self.at += 1;
        self.stack.push(object);
        if self.mode == Mode::Strict {
            self.keys.enter(object);
        }
        self.expect = if object { Expect::FirstKeyOrEnd } else { Expect::FirstValueOrEnd };
        Ok(if object { Event::ObjectStart } else { Event::ArrayStart })
    }

    fn word(&mut self, word: &[u8], event: Event) -> Result<Event, Error> {
        if !self.bytes[self.at..].starts_with(word) {
            let rest = &self.bytes[self.at..];
            let kind = if word.starts_with(rest) { ErrorKind::UnexpectedEnd } else { ErrorKind::Syntax };
            return Err(self.error(kind));
        }
        self.at += word.len();
        self.after_value();
        Ok(event)
    }

    fn number(&mut self) -> Result<Span, Error> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            Some(b'I') => return Err(self.error(ErrorKind::NotANumber)),
            Some(_) => return Err(self.error(ErrorKind::Syntax)),
            None => return Err(self.error(ErrorKind::UnexpectedEnd)),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Span { start, end: self.at })
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        if self.at == start {
            let kind = if self.at == self.bytes.len() { ErrorKind::UnexpectedEnd } else { ErrorKind::Syntax };
            return Err(self.error(kind));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Str, Error> {
        let start = self.at + 1;
        let mut escaped = false;
        let mut from = start;
        loop {
            let rest = self.bytes.get(from..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.bytes.len();
                return Err(self.error(ErrorKind::UnexpectedEnd));
            };
            if self.mode == Mode::Strict
                && let Some(control) = first_control(&rest[..found])
            {
                return Err(Error::new(ErrorKind::ControlCharacter, from + control));
            }
            let end = from + found;
            if self.bytes[end] == b'"' {
                self.at = end + 1;
                return Ok(Str { start, end, escaped });
            }
            escaped = true;
            from = self.escape(end)?;
        }
    }

    /// Check the escape whose backslash is at `at`; returns where the text goes on.
    fn escape(&self, at: usize) -> Result<usize, Error> {
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => self.unicode_escape(at),
            Some(_) => Err(Error::new(ErrorKind::Syntax, at)),
            None => Err(Error::new(ErrorKind::UnexpectedEnd, at)),
        }
    }

    fn unicode_escape(&self, at: usize) -> Result<usize, Error> {
        let Some(unit) = hex4(self.bytes, at + 2) else {
            let kind = if self.bytes.len() < at + 6 { ErrorKind::UnexpectedEnd } else { ErrorKind::Syntax };
            return Err(Error::new(kind, at));
        };
        if self.mode == Mode::Lenient || !(0xD800..0xE000).contains(&unit) {
            return Ok(at + 6);
        }
        let low = if self.bytes.get(at + 6..at + 8) == Some(b"\\u") { hex4(self.bytes, at + 8) } else { None };
        match low {
            Some(low) if unit < 0xDC00 && (0xDC00..0xE000).contains(&low) => Ok(at + 12),
            _ => Err(Error::new(ErrorKind::LoneSurrogate, at)),
        }
    }
}

impl Keys {
    fn enter(&mut self, object: bool) {
        self.starts.push(object.then_some(self.seen.len()));
    }

    fn leave(&mut self) {
        if let Some(Some(start)) = self.starts.pop() {
            self.seen.truncate(start);
            if self.large.last().is_some_and(|(owner, _)| *owner == start) {
                self.large.pop();
            }
        }
    }

    /// False if the innermost object has this key already.
    fn insert(&mut self, bytes: &[u8], key: Str) -> bool {
        let Some(Some(start)) = self.starts.last().copied() else {
            return true;
        };
        let raw = &bytes[key.start..key.end];
        if let Some((_, set)) = self.large.last_mut().filter(|(owner, _)| *owner == start) {
            return set.insert(decoded(raw, key.escaped).into_owned());
        }
        let mine = &self.seen[start..];
        if mine.len() >= LARGE_OBJECT {
            let mut set: HashSet<Vec<u8>> = HashSet::with_capacity(mine.len() * 4);
            set.extend(mine.iter().map(|k| decoded(&bytes[k.start..k.end], k.escaped).into_owned()));
            let is_new = set.insert(decoded(raw, key.escaped).into_owned());
            self.large.push((start, set));
            return is_new;
        }
        let repeated = mine.iter().any(|k| {
            let other = &bytes[k.start..k.end];
            if key.escaped || k.escaped { decoded(raw, key.escaped) == decoded(other, k.escaped) } else { raw == other }
        });
        self.seen.push(key);
        !repeated
    }
}

fn decoded(raw: &[u8], escaped: bool) -> std::borrow::Cow<'_, [u8]> {
    if escaped { unescape(raw) } else { raw.into() }
}

/// Offset of the first byte below 0x20. The least byte is found first, because that compiles to wide compares.
fn first_control(text: &[u8]) -> Option<usize> {
    let least = text.iter().fold(u8::MAX, |least, byte| least.min(*byte));
    if least < 0x20 { text.iter().position(|byte| *byte < 0x20) } else { None }
}

#[cfg(test)]
mod tests;

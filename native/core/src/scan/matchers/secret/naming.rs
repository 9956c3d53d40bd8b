//! What the text before a value says of it: `api_key = "..."`, `the new token is ...`, `sha256: ...`.

use super::words::{FILLERS, PUBLIC_WORDS, SECRET_WORDS, TAILS, WEAK_WORDS};
use crate::scan::window::Window;

/// How closely a word for a secret belongs to the value that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Naming {
    /// Not at all, or the value has another name.
    None,
    /// It stands in the same sentence.
    Mentioned,
    /// It stands directly before the value, or one word such as "is" stands between.
    Adjacent,
    /// The value is assigned to it.
    Assigned,
}

const NAME_MAX: usize = 48;
const GAP_MAX: usize = 16;
const DASHES_MAX: usize = 3;

/// Reads the text before a value backwards.
pub(super) fn naming(window: &Window<'_>, at: usize) -> Naming {
    let context = window.context(at);
    let Some(gap) = gap(context) else { return Naming::None };
    let before = &context[..context.len() - gap.len];
    let name = last_name(before);
    if name.is_empty() {
        return Naming::None;
    }
    let parts = Parts::of(name);
    match parts.kind() {
        Kind::Public => return Naming::None,
        Kind::Secret if is_public_thing(before, name) => return Naming::None,
        Kind::Secret if gap.sign != Sign::None => return Naming::Assigned,
        Kind::Secret if gap.lines == 0 => return Naming::Adjacent,
        Kind::Secret => return Naming::Mentioned,
        Kind::Other => {}
    }
    // `other = value` has a name, and it is not that of a secret.
    let compound = name.iter().any(|byte| matches!(byte, b'_' | b'.')) || parts.count > 1;
    let named = gap.sign == Sign::Equals || (compound && matches!(gap.sign, Sign::Colon | Sign::Arrow));
    if gap.lines > 1 || named {
        return Naming::None;
    }
    mention(before, name.len())
}

/// `public key`, `primary key`: the word before the name makes the difference.
fn is_public_thing(before: &[u8], name: &[u8]) -> bool {
    let rest = &before[..before.len() - name.len()];
    let rest = rest.strip_suffix(b" ").unwrap_or_default();
    is_one_of(
        last_name(rest),
        &["public", "primary", "foreign", "partition", "sort", "cache", "object", "idempotency", "ssh"],
    )
}

/// Whether the name that ends at a position is that of a secret.
pub(super) fn names_secret(window: &Window<'_>, end: usize) -> bool {
    let name = last_name(window.context(end));
    !name.is_empty() && is_secret_name(name)
}

/// Whether a name is that of a secret: `buildToken`, `API_KEY`, `Ed25519PrivateKey`.
pub(super) fn is_secret_name(name: &[u8]) -> bool {
    matches!(Parts::of(name).kind(), Kind::Secret)
}

/// Goes on over the words before the one beside the value.
fn mention(before: &[u8], skip: usize) -> Naming {
    let mut rest = &before[..before.len() - skip];
    let mut direct = FILLERS.iter().any(|filler| before[before.len() - skip..].eq_ignore_ascii_case(filler.as_bytes()));
    loop {
        let end = rest.iter().rposition(|byte| is_name(*byte));
        let Some(end) = end else { return Naming::None };
        if rest[end + 1..].windows(2).any(|pair| pair == b"\n\n") {
            return Naming::None;
        }
        rest = &rest[..=end];
        let name = last_name(rest);
        if name.is_empty() {
            return Naming::None;
        }
        let parts = Parts::of(name);
        match parts.kind() {
            Kind::Public => return Naming::None,
            Kind::Secret if is_public_thing(rest, name) => return Naming::None,
            Kind::Secret if direct => return Naming::Adjacent,
            Kind::Secret if !WEAK_WORDS.iter().any(|word| name.eq_ignore_ascii_case(word.as_bytes())) => {
                return Naming::Mentioned;
            }
            _ => {}
        }
        direct = direct && FILLERS.iter().any(|filler| name.eq_ignore_ascii_case(filler.as_bytes()));
        rest = &rest[..rest.len() - name.len()];
    }
}

/// What joins a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// Blanks and quotes.
    None,
    /// `=`.
    Equals,
    /// `:`.
    Colon,
    /// `->`, `=>`.
    Arrow,
    /// A bracket or a comma: the value is an argument or an element.
    Opens,
}

struct Gap {
    len: usize,
    sign: Sign,
    lines: usize,
}

/// What stands between a name and its value: quotes, blanks, and what assigns.
fn gap(context: &[u8]) -> Option<Gap> {
    let mut gap = Gap { len: 0, sign: Sign::None, lines: 0 };
    let mut dashes = 0;
    for byte in context.iter().rev() {
        match byte {
            b' ' | b'\t' | b'"' | b'\'' | b'`' | b'\\' | b'*' | b'\r' => {}
            b'-' if dashes < DASHES_MAX => dashes += 1,
            b'\n' => gap.lines += 1,
            b'=' if gap.sign == Sign::None => gap.sign = Sign::Equals,
            b':' if gap.sign == Sign::None => gap.sign = Sign::Colon,
            // A path in a programming language: `Secrets::Value`.
            b':' if gap.len > 0 && context.get(context.len() - gap.len) == Some(&b':') => return None,
            b'=' | b':' => {}
            b'>' => gap.sign = Sign::Arrow,
            b',' | b'(' | b'[' | b'{' | b'|' => gap.sign = Sign::Opens,
            b']' | b')' if gap.sign != Sign::None => {}
            b'@' if gap.len > 0 => {}
            _ => break,
        }
        gap.len += 1;
        if gap.len > GAP_MAX {
            return None;
        }
    }
    (gap.len > 0).then_some(gap)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn last_name(text: &[u8]) -> &[u8] {
    let least = text.len().saturating_sub(NAME_MAX);
    let mut start = text.len();
    while start > least && is_name(text[start - 1]) {
        start -= 1;
    }
    &text[start..]
}

enum Kind {
    Secret,
    Public,
    Other,
}

/// The words that a name is made of: `awsSecretKey`, `API-TOKEN`, `x.access_token`.
struct Parts<'a> {
    /// The last four, the last one first.
    last: [&'a [u8]; 4],
    count: usize,
}

impl<'a> Parts<'a> {
    fn of(name: &'a [u8]) -> Self {
        let mut parts = Self { last: [b""; 4], count: 0 };
        let mut end = name.len();
        for start in (0..name.len()).rev() {
            let byte = name[start];
            if !byte.is_ascii_alphanumeric() {
                parts.push(&name[start + 1..end]);
                end = start;
                continue;
            }
            let hump = start > 0 && byte.is_ascii_uppercase() && name[start - 1].is_ascii_lowercase();
            if hump {
                parts.push(&name[start..end]);
                end = start;
            }
        }
        parts.push(&name[..end]);
        parts
    }

    fn push(&mut self, part: &'a [u8]) {
        let digits = part.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let bare = if digits < part.len() && digits < 3 && !is_one_of(part, PUBLIC_WORDS) {
            &part[..part.len() - digits]
        } else {
            part
        };
        if bare.is_empty() || bare.iter().all(u8::is_ascii_digit) {
            return;
        }
        if let Some(slot) = self.last.get_mut(self.count) {
            *slot = bare;
        }
        self.count += 1;
    }

    fn kind(&self) -> Kind {
        let mut known = self.last.iter().take(self.count.min(4)).skip_while(|part| is_one_of(part, TAILS)).take(2);
        let Some(last) = known.next() else { return Kind::Other };
        if is_one_of(last, PUBLIC_WORDS) {
            return Kind::Public;
        }
        let before = known.next().copied().unwrap_or_default();
        let secret = is_one_of(last, SECRET_WORDS)
            || ends_with_secret(last)
            || is_one_of(before, &["token", "secret", "password", "passwd"]);
        if secret && is_one_of(before, PUBLIC_WORDS) && !is_one_of(last, &["secret", "password", "token"]) {
            return Kind::Public;
        }
        if secret { Kind::Secret } else { Kind::Other }
    }
}

/// Names that are written in one: `geocodifytoken`, `adminpassword`, `OPENAIKEY`.
fn ends_with_secret(part: &[u8]) -> bool {
    ["token", "secret", "access", "apikey", "secretkey", "accesskey", "privatekey", "password", "passwd"]
        .iter()
        .any(|word| part.len() > word.len() && part[part.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes()))
}

fn is_one_of(part: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| part.eq_ignore_ascii_case(word.as_bytes()))
}

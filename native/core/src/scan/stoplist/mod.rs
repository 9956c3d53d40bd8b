//! What looks like a secret and is none: placeholders, and identifiers that are made to be public.

pub(super) mod randomness;

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Words that people write where the secret belongs. A value that holds one of them is documentation.
const PLACEHOLDER_WORDS: &[&str] = &[
    "example",
    "changeme",
    "change_me",
    "change-me",
    "placeholder",
    "redacted",
    "your_",
    "your-",
    "yourkey",
    "yourtoken",
    "yourapi",
    "yoursecret",
    "yourpass",
    "my_secret",
    "mysecret",
    "my-secret",
    "my_pass",
    "mypass",
    "my-pass",
    "mytoken",
    "my_token",
    "my-token",
    "mykey",
    "my_key",
    "my-key",
    "my_api",
    "myapi",
    "password",
    "passwd",
    "dummy",
    "insert",
    "replace",
    "_here",
    "-here",
    "todo",
    "fixme",
    "undefined",
    "foobar",
    "lorem",
    "secret_key",
    "secretkey",
    "access_token",
    "accesstoken",
    "api_key",
    "apikey",
    "api_token",
    // The first bytes of test vectors.
    "00010203",
    "00112233",
];

/// Sequences that people type instead of a value: they say something of short values only.
const SEQUENCES: &[&str] = &["abcdef", "123456", "012345", "qwerty", "deadbeef"];
const SHORT: usize = 20;
/// A value that is longer than this holds any word by chance.
const LONG: usize = 200;

/// Starts of values that are public by design: digests of packages, keys that are meant to be shared, encoded pictures.
const PUBLIC_STARTS: &[&[u8]] = &[
    b"sha1-",
    b"sha256-",
    b"sha384-",
    b"sha512-",
    b"sha256:",
    b"sha512:",
    b"md5:",
    b"h1:",
    b"AAAAB3NzaC1yc2E",
    b"AAAAC3NzaC1lZDI1",
    b"AAAAE2VjZHNh",
    b"iVBORw0KGgo",
    b"/9j/4AAQ",
    b"R0lGODlh",
    b"R0lGODdh",
    b"PHN2Zy",
    b"UklGR",
    b"data:",
    b"http://",
    b"https://",
    b"arn:",
    b"urn:",
    b"ssh-",
    b"ecdsa-",
    b"application/",
    b"multipart/",
    b"refs/",
];

/// What they begin with.
const IS_PUBLIC_FIRST: [bool; 256] = {
    let mut table = [false; 256];
    let mut start = 0;
    while start < PUBLIC_STARTS.len() {
        table[PUBLIC_STARTS[start][0] as usize] = true;
        start += 1;
    }
    table
};

/// Whether a value is a placeholder or public by design.
#[must_use]
pub(super) fn is_placeholder(value: &[u8]) -> bool {
    value.len() < 2
        || is_template(value)
        || is_monotonous(value)
        || (IS_PUBLIC_FIRST[value[0] as usize] && PUBLIC_STARTS.iter().any(|start| value.starts_with(start)))
        || (value.len() <= LONG && holds_placeholder(value))
        || (value.len() <= SHORT && SEQUENCES.iter().any(|word| holds(value, word.as_bytes())))
}

fn holds_placeholder(value: &[u8]) -> bool {
    static WORDS: LazyLock<Option<AhoCorasick>> =
        LazyLock::new(|| AhoCorasick::builder().ascii_case_insensitive(true).build(PLACEHOLDER_WORDS).ok());
    WORDS.as_ref().is_some_and(|words| words.is_match(value))
}

/// Whether the text before a value says that it is the digest of something, or a picture: `h1:`, `sha256:`, `package.tgz#`.
#[must_use]
pub(super) fn is_digest_mark(before: &[u8]) -> bool {
    const MARKS: &[&[u8]] = &[
        b"h1:",
        b"sha1:",
        b"sha256:",
        b"sha384:",
        b"sha512:",
        b"md5:",
        b"sha1-",
        b"sha256-",
        b"sha384-",
        b"sha512-",
        b"sha1=",
        b"sha256=",
        b"sha512=",
        b"md5=",
        b";base64,",
        b".git#",
        b".tgz#",
        b"ssh-rsa ",
        b"ssh-ed25519 ",
        b"commit ",
        b"/commit/",
        b"/blob/",
        b"/tree/",
    ];
    MARKS
        .iter()
        .any(|mark| before.len() >= mark.len() && before[before.len() - mark.len()..].eq_ignore_ascii_case(mark))
}

/// Whether a value could be a password that somebody chose: letters and digits or marks, and none of the usual stand-ins.
#[must_use]
pub(super) fn is_plausible_password(value: &[u8]) -> bool {
    const STAND_INS: &[&str] = &["pass", "user", "test", "admin", "secret", "token", "key"];
    let shape = randomness::Shape::of(value);
    let mixed = shape.letters > 0 && (shape.digits > 0 || shape.marks > 0);
    mixed && !is_template(value) && !STAND_INS.iter().any(|word| holds(value, word.as_bytes()))
}

/// `${VAR}`, `{{ value }}`, `<value>`, `%(name)s`, `$(command)`, `#{value}`.
#[must_use]
pub(super) fn is_template(value: &[u8]) -> bool {
    if !value.iter().any(|byte| matches!(byte, b'$' | b'{' | b'%' | b'#' | b'<' | b'.')) {
        return false;
    }
    let opened =
        value.windows(2).any(|pair| matches!(pair, b"${" | b"{{" | b"$(" | b"%(" | b"#{" | b"<%" | b"{%" | b"$["));
    opened
        || (value.first() == Some(&b'<') && value.last() == Some(&b'>'))
        || (value.first() == Some(&b'{') && value.last() == Some(&b'}'))
        || (value.first() == Some(&b'%') && value.last() == Some(&b'%'))
        || (value.len() <= LONG && value.windows(3).any(|three| three == b"..."))
}

/// One character over and over (`xxxx`, `****`), or a sequence (`abcd`, `1234`), for the greater part of the value.
fn is_monotonous(value: &[u8]) -> bool {
    let (mut same, mut step, mut longest) = (0usize, 0usize, 0usize);
    let mut run = 1usize;
    for pair in value.windows(2) {
        same += usize::from(pair[0] == pair[1]);
        step += usize::from(pair[0].is_ascii_alphanumeric() && pair[1] == pair[0].wrapping_add(1));
        run = if pair[0] == pair[1] { run + 1 } else { 1 };
        longest = longest.max(run);
    }
    let pairs = value.len() - 1;
    2 * same >= pairs.max(1) || (pairs >= 5 && 2 * step >= pairs) || (longest >= 8 && 3 * longest >= value.len())
}

/// Whether a text holds a word in lower case, ignoring the case of its ASCII letters.
#[must_use]
pub(super) fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests;

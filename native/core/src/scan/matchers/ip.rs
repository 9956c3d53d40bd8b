//! Addresses of the Internet protocol (RFC 791, RFC 4291).

use crate::scan::rules::zone;
use crate::scan::validators;
use crate::scan::window::{Match, Verdict, Window, is_word};

const V4_MAX: usize = 15;
const V6_MAX: usize = 45;

/// Words after which four numbers are something else.
const VERSIONS: [&[u8]; 11] = [
    b"version",
    b"release",
    b"firmware",
    b"section",
    b"chapter",
    b"build",
    b"oid",
    b"clause",
    b"paragraph",
    b"revision",
    "§".as_bytes(),
];

/// Four numbers with dots, the first of which starts here.
pub(super) fn ipv4(window: &Window<'_>, at: usize) -> Verdict {
    let joined = |byte: u8| is_word(byte) || matches!(byte, b'.' | b':' | b'+');
    if window.before(at).is_some_and(|byte| joined(byte) && byte != b':')
        || (window.before(at) == Some(b':') && at >= 2 && window.get(at - 2).is_some_and(|byte| byte == b':'))
        || (window.before(at) == Some(b'-') && at >= 2 && window.get(at - 2).is_some_and(is_word))
    {
        return Verdict::No;
    }
    let (mut end, open) = window.run(at, V4_MAX + 2, |byte| byte.is_ascii_digit() || byte == b'.');
    if open {
        return Verdict::More;
    }
    if end > at && window.text[end - 1] == b'.' {
        end -= 1;
    }
    let value = &window.text[at..end];
    if value.len() > V4_MAX || !validators::by_name("ipv4").is_some_and(|check| check(value)) {
        return Verdict::No;
    }
    let label = zone(window, at).to_ascii_lowercase();
    let label = &label[label.len().saturating_sub(16)..];
    if VERSIONS.iter().any(|word| label.windows(word.len()).any(|part| part == *word)) {
        return Verdict::No;
    }
    network(window, at, end)
}

/// The length of a prefix belongs to an address: `192.0.2.0/24`; the path of a URL does not.
fn network(window: &Window<'_>, start: usize, end: usize) -> Verdict {
    let plain = Verdict::Match(Match { start, end, score: 0.9 });
    if window.unknown(end) {
        return Verdict::More;
    }
    if window.get(end) != Some(b'/') || window.before(start) == Some(b'/') {
        return plain;
    }
    let (last, open) = window.run(end + 1, 4, |byte| byte.is_ascii_digit());
    if open || window.unknown(last) {
        return Verdict::More;
    }
    let whole =
        (1..=3).contains(&(last - end - 1)) && !window.get(last).is_some_and(|byte| is_word(byte) || byte == b'/');
    if whole { Verdict::Match(Match { start, end: last, score: 0.9 }) } else { plain }
}

/// Groups of hexadecimal digits with colons; the first colon stands here.
pub(super) fn ipv6(window: &Window<'_>, at: usize) -> Verdict {
    let text = window.text;
    let mut start = at;
    while start > 0 && at - start <= 4 && text[start - 1].is_ascii_hexdigit() {
        start -= 1;
    }
    if window.before(start).is_some_and(|byte| is_word(byte) || matches!(byte, b':' | b'.')) || at - start > 4 {
        return Verdict::No;
    }
    let (end, open) = window.run(start, V6_MAX + 1, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    if open {
        return Verdict::More;
    }
    let mut value = &text[start..end];
    while let Some((last, rest)) = value.split_last() {
        let trailing = *last == b'.' || (*last == b':' && !rest.ends_with(b":"));
        if !trailing {
            break;
        }
        value = rest;
    }
    let Some(groups) = groups(value) else { return Verdict::No };
    if groups == 0 && !labelled(window, start) {
        return Verdict::No;
    }
    if window.get(start + value.len()).is_some_and(is_word) {
        return Verdict::No;
    }
    let long = value.iter().position(|byte| *byte == b':').is_some_and(|first| first >= 3)
        && value.iter().any(u8::is_ascii_digit);
    // Slices (`[::2]`, `1::2`) and paths of names (`Ace::Bad`) have the shape of short addresses.
    let likely = groups >= 4 || value.contains(&b'.') || (groups >= 2 && long) || labelled(window, start);
    match network(window, start, start + value.len()) {
        // The length of a prefix tells an address, too: `::1/128`.
        Verdict::Match(found) if !likely && found.end == start + value.len() => Verdict::No,
        verdict => verdict,
    }
}

fn labelled(window: &Window<'_>, start: usize) -> bool {
    let zone = zone(window, start).to_ascii_lowercase();
    let before = window.context(start);
    let before = &before[..before.len() - before.iter().rev().take_while(|byte| b" :=(\"".contains(byte)).count()];
    before.len() >= 4 && before[before.len() - 4..].eq_ignore_ascii_case(b"ipv6")
        || zone.windows(2).enumerate().any(|(i, part)| {
            part == b"ip" && !i.checked_sub(1).is_some_and(|before| zone[before].is_ascii_alphabetic())
        })
}

/// How many groups an address has that are written out. None: it is no address.
fn groups(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value).ok()?;
    text.parse::<std::net::Ipv6Addr>().ok()?;
    let written = text.split(':').filter(|group| !group.is_empty()).count();
    let pairs = text.split(':').all(|group| group.len() == 2);
    (!pairs).then_some(written)
}

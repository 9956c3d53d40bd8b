//! Telephone numbers: E.164, the ways in which people group national numbers, and anything that a word calls a number.

use super::phone_words::{Label, follows_international, label, named_behind};
use crate::scan::rules::alone;
use crate::scan::window::{Match, Verdict, Window, is_word};

/// Digits of an international number (E.164).
const DIGITS_MAX: usize = 15;
/// Digits of the shortest number that a word can name.
const DIGITS_MIN: usize = 6;
/// Bytes of a number with its separators and extension.
const SPAN_MAX: usize = 40;
/// The digits of a number, in groups as they are written.
#[derive(Default)]
struct Number {
    digits: [u8; DIGITS_MAX],
    count: usize,
    groups: [u8; 8],
    separators: [u8; 8],
    parts: usize,
    end: usize,
}

impl Number {
    fn groups(&self) -> &[u8] {
        &self.groups[..self.parts]
    }

    fn separators(&self) -> &[u8] {
        &self.separators[1..self.parts]
    }

    fn separated_by(&self, byte: u8) -> bool {
        self.separators().iter().all(|separator| *separator == byte)
    }
}

/// The number of which a run of digits starts here; a `+` or `(` may stand before it.
pub(super) fn phone(window: &Window<'_>, at: usize) -> Verdict {
    let text = window.text;
    if !text.get(at).is_some_and(u8::is_ascii_digit) {
        return Verdict::No;
    }
    let mut start = at;
    let bracket = window.before(start) == Some(b'(');
    start -= usize::from(bracket);
    let plus = window.before(start) == Some(b'+');
    start -= usize::from(plus);
    // A bracket breaks runs, so a value cannot begin at it (see `super::Matcher`).
    let value = if bracket && !plus { at } else { start };
    if !plus && continues(window, start, bracket) {
        return Verdict::No;
    }
    if plus && window.before(start).is_some_and(is_word) {
        return Verdict::No;
    }
    // `(+34) 612 345 678`: the code of the country in brackets.
    let enclosed = plus && window.before(start) == Some(b'(');
    let number = match read(window, at, bracket || enclosed, plus) {
        Ok(number) => number,
        Err(verdict) => return verdict,
    };
    // The words before it are read last: most numbers are no telephone number whatever they say.
    if number.count < DIGITS_MIN || (!plus && (looks_like_date(&number) || looks_like_fraction(&number))) {
        return Verdict::No;
    }
    match is_among_bytes(window, start, &number) {
        Some(false) => {}
        Some(true) => return Verdict::No,
        None => return Verdict::More,
    }
    let Some(alone) = alone(window, start, number.end) else { return Verdict::More };
    let label = match label(window, start) {
        Label::None if alone && plausible(&number) => Label::Strong,
        Label::None if text[at] == b'0' && number.count >= 9 && follows_international(window, start) => Label::Strong,
        label => label,
    };
    if let Some(score) =
        if plus { international(&number, &label) } else { national(&number, bracket, &label, text[at] == b'0') }
    {
        return Verdict::Match(Match { start: value, end: number.end, score });
    }
    if plus || !(7..=13).contains(&number.count) || number.parts < 2 {
        return Verdict::No;
    }
    match named_behind(window, number.end) {
        None => Verdict::More,
        Some(false) => Verdict::No,
        Some(true) => Verdict::Match(Match { start: value, end: number.end, score: 0.6 }),
    }
}

/// Whether what starts here is the middle of something longer.
fn continues(window: &Window<'_>, start: usize, bracket: bool) -> bool {
    let Some(before) = window.before(start) else { return false };
    let earlier = start.checked_sub(2).and_then(|at| window.get(at));
    match before {
        b' ' | b'\t' => {
            let back = &window.text[start.saturating_sub(6)..start - 1];
            let digits = back.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            let head = back.len() - digits;
            let code = head > 0 && back[head - 1] == b'+';
            // `+1 (212) ...`, `212 555 ...`, but not `Suite 9 (212) ...`.
            digits > 0 && (code || !bracket) || (earlier == Some(b')') && window.text[..start - 2].ends_with(b"0"))
        }
        b'-' | b'.' | b'/' | b')' => {
            earlier.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b')' | b'/'))
        }
        b':' | b'=' => earlier.is_some_and(|byte| byte.is_ascii_digit()),
        b'$' | b'#' | b'%' | b'@' | b'&' | b'?' | b'*' | b'~' | b'^' | b'+' | b'\\' => true,
        b',' => {
            earlier.is_some_and(|byte| byte.is_ascii_digit())
                && start >= 4
                && window.text[start - 4..start - 1].iter().all(u8::is_ascii_digit)
                && !bracket
                && window.text[..start - 4].last().is_some_and(|byte| matches!(byte, b' ' | b'$'))
        }
        byte => is_word(byte),
    }
}

/// Reads digits and what separates them. Err: no number, or it depends on what follows.
fn read(window: &Window<'_>, at: usize, bracket: bool, plus: bool) -> Result<Number, Verdict> {
    let mut number = Number { parts: 1, ..Number::default() };
    let mut open = bracket;
    let mut i = at;
    let longest = if plus && window.get(at) == Some(b'1') { 11 } else { DIGITS_MAX };
    loop {
        if i - at > SPAN_MAX {
            return Err(Verdict::No);
        }
        let Some(byte) = window.get(i) else {
            if window.at_end {
                break;
            }
            return Err(Verdict::More);
        };
        if byte.is_ascii_digit() {
            if number.count == DIGITS_MAX {
                return Err(Verdict::No);
            }
            number.digits[number.count] = byte;
            number.count += 1;
            number.groups[number.parts - 1] += 1;
            i += 1;
            number.end = i;
            continue;
        }
        if is_word(byte) {
            break;
        }
        if number.count >= longest || number.parts == 8 {
            break;
        }
        // One separator, or a bracket with a blank or a hyphen beside it; marks of emphasis may stand around it.
        let Some(mut next) = past_mark(window, i) else { return Err(Verdict::More) };
        if window.unknown(next) {
            return Err(Verdict::More);
        }
        let byte = window.get(next).unwrap_or_default();
        let mut separator = byte;
        if byte == b')' && open {
            open = false;
            separator = b')';
            let Some(behind) = past_mark(window, next + 1) else { return Err(Verdict::More) };
            next = behind;
            if matches!(window.get(next), Some(b' ' | b'-' | b'.' | b'/')) {
                next += 1;
            }
        } else if matches!(byte, b' ' | b'-' | b'.' | b'/') {
            next += 1;
            if window.get(next) == Some(b'(') && !open && number.parts <= 2 {
                open = true;
                next += 1;
            }
        } else if byte == b'(' && !open && number.parts == 1 {
            open = true;
            next += 1;
        } else {
            break;
        }
        let Some(next) = past_mark(window, next) else { return Err(Verdict::More) };
        if window.unknown(next) {
            return Err(Verdict::More);
        }
        if !window.get(next).is_some_and(|byte| byte.is_ascii_digit()) {
            break;
        }
        number.separators[number.parts] = separator;
        number.parts += 1;
        i = next;
    }
    finish(window, number)
}

/// Behind the mark of emphasis or code at a position, if one stands there. None: it has not come whole yet.
fn past_mark(window: &Window<'_>, at: usize) -> Option<usize> {
    match window.get(at) {
        Some(b'`') => Some(at + 1),
        Some(byte @ (b'*' | b'~')) if window.get(at + 1) == Some(byte) => Some(at + 2),
        Some(b'*' | b'~') if window.unknown(at + 1) => None,
        _ => Some(at),
    }
}

/// An extension belongs to a number; a letter, or more of something else, makes it none.
fn finish(window: &Window<'_>, mut number: Number) -> Result<Number, Verdict> {
    let end = number.end;
    if window.unknown(end + 1) {
        return Err(Verdict::More);
    }
    if window.get(end) == Some(b'x') && window.get(end + 1).is_some_and(|byte| byte.is_ascii_digit()) {
        let (stop, open) = window.run(end + 1, 6, |byte| byte.is_ascii_digit());
        if open || window.unknown(stop) {
            return Err(Verdict::More);
        }
        number.end = stop;
    }
    let next = window.get(number.end);
    if window.unknown(number.end + 1) {
        return Err(Verdict::More);
    }
    let after = window.get(number.end + 1);
    let goes_on = match next {
        Some(byte) if is_word(byte) => true,
        Some(b'.' | b',' | b'-' | b'/' | b':') => {
            after.is_some_and(|byte| byte.is_ascii_digit()) && next != Some(b',')
                || (matches!(next, Some(b'-' | b'/' | b'.')) && after.is_some_and(is_word))
        }
        Some(b'%' | b'@' | b'=') => true,
        _ => false,
    };
    if goes_on { Err(Verdict::No) } else { Ok(number) }
}

/// How sure an international number is. None: it is none.
fn international(number: &Number, label: &Label) -> Option<f32> {
    let least = if number.parts > 1 || *label == Label::Strong { 8 } else { 10 };
    let uniform = number.digits[1..number.count].iter().all(|digit| *digit == number.digits[1]);
    (number.count >= least && number.digits[0] != b'0' && !uniform).then_some(0.95)
}

/// How sure a national number is. None: it is none.
fn national(number: &Number, bracket: bool, label: &Label, zero: bool) -> Option<f32> {
    let groups = number.groups();
    let digits = &number.digits[..number.count];
    let (head, tail) =
        if groups[0] == 1 && digits[0] == b'1' && number.count == 11 { (1, &groups[1..]) } else { (0, groups) };
    let north_american = tail == [3, 3, 4];
    let assigned = north_american && digits[head] >= b'2' && digits[head + 3] >= b'2';
    let bracketed = bracket || number.separators[..number.parts].contains(&b')');
    let even = number.separated_by(b'-') || number.separated_by(b'.') || bracketed;
    // What is written as only telephone numbers are.
    let written = (assigned && even)
        || (bracketed
            && (7..=12).contains(&number.count)
            && groups.len() >= 2
            && (2..=5).contains(&groups[0])
            && groups[1] >= 3)
        || (zero && groups == [2, 2, 2, 2, 2] && (digits[1] > b'5' || (digits[1] > b'0' && digits[2] > b'0')))
        || (zero && number.separated_by(b'-') && matches!(groups, [2..=3, 4, 4] | [3, 3, 4] | [4, 2, 4] | [4, 3, 3]))
        || (number.count >= 11
            && digits.starts_with(b"00")
            && digits[2] != b'0'
            && groups.len() >= 3
            && !is_pairs(groups));
    if written {
        return Some(if *label == Label::None { 0.75 } else { 0.95 });
    }
    let grouped = groups.len() > 1;
    let serial = matches!(groups, [3, 2, 4] | [4, 4, 4, 4] | [4, 6, 5]);
    match label {
        Label::Strong if (7..=15).contains(&number.count) && !serial => Some(0.85),
        Label::Strong if number.count == 6 && grouped => Some(0.6),
        Label::Weak if grouped && (7..=13).contains(&number.count) && !serial && (zero || north_american) => Some(0.7),
        Label::Weak if !grouped && cellular(digits) => Some(0.6),
        _ => None,
    }
}

/// Whether digits without separators are what several countries give to mobile telephones.
fn cellular(digits: &[u8]) -> bool {
    match digits {
        [b'1', b'3'..=b'9', rest @ ..] => rest.len() == 9,
        [b'0', b'5'..=b'9', rest @ ..] => rest.len() == 9 || rest.len() == 8,
        [b'2'..=b'9', _, _, b'2'..=b'9', rest @ ..] => rest.len() == 6,
        _ => false,
    }
}

/// Whether a number of this length and beginning could be dialled somewhere.
fn plausible(number: &Number) -> bool {
    let grouped = number.parts > 1;
    !(grouped && number.groups[0] > 5)
        && matches!(
            (number.digits[0], number.digits[1], number.count),
            (b'0', b'2'..=b'9', 10 | 11) | (b'2'..=b'9', _, 10)
        )
}

/// Numbers with a decimal point, alone or in a row: `0.5772156`, `353207.547`, `0 0.27 0.22`, `3.0.19 27`.
fn looks_like_fraction(number: &Number) -> bool {
    let separators = number.separators();
    if !separators.contains(&b'.') {
        return false;
    }
    // Behind the code of a country or an area there may be something else.
    let (first, rest) = separators.split_first().map_or((b'.', separators), |(first, rest)| (*first, rest));
    let all = rest.iter().all(|separator| matches!(separator, b'.' | b')'));
    match number.groups() {
        [head, tail] if first == b'.' => {
            let area = number.digits[0] == b'0' && (2..=5).contains(head);
            !(area || (*head, *tail) == (3, 4))
        }
        groups => !all || (first != b'.' && groups[1] < 2),
    }
}

/// Whether what reads like groups of two digits stands in a dump of bytes: `0c 04 31 32 33 34`. None: it depends on what follows.
fn is_among_bytes(window: &Window<'_>, start: usize, number: &Number) -> Option<bool> {
    if number.parts < 2 || !is_pairs(number.groups()) || !number.separated_by(b' ') {
        return Some(false);
    }
    let is_byte = |pair: &[u8]| pair.iter().all(u8::is_ascii_hexdigit) && pair.iter().any(u8::is_ascii_alphabetic);
    let text = window.text;
    let before = start.checked_sub(3).is_some_and(|from| {
        text[start - 1] == b' ' && is_byte(&text[from..start - 1]) && !window.before(from).is_some_and(is_word)
    });
    let (last, open) = window.run(number.end + 1, 3, is_word);
    if before || window.get(number.end) != Some(b' ') {
        return Some(before);
    }
    if open { None } else { Some(last == number.end + 3 && is_byte(&text[last - 2..last])) }
}

fn is_pairs(groups: &[u8]) -> bool {
    groups.iter().all(|group| *group == 2)
}

/// Days and times in digits: `2024-05-06`, `6.5.2024`, `2024-05-06 12`, `20240506`.
fn looks_like_date(number: &Number) -> bool {
    let value = |digits: &[u8]| digits.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let digits = &number.digits[..number.count];
    let year = |from: usize| digits.get(from..from + 4).is_some_and(|year| matches!(value(year), 1900..=2099));
    match number.groups() {
        [4, 1..=2, 1..=2, ..] | [4, 4] => year(0) && (number.parts > 2 || year(4)),
        [a @ 1..=2, b @ 1..=2, 4, ..] => {
            let month = usize::from(*a);
            let last = month + usize::from(*b);
            year(last) && value(&digits[..month]) <= 31 && value(&digits[month..last]) <= 31
        }
        [8] => year(0) && value(&digits[4..6]) <= 12 && value(&digits[6..8]) <= 31,
        _ => false,
    }
}

//! Chooses between the two readings of a shape that passes for a letter and for a digit, by what stands beside it.

use super::tables;

/// The first and the last code of `tables` that has two readings.
pub(super) const FIRST: u8 = 0x10;
pub(super) const LAST: u8 = 0x16;

const L: u8 = 0x10;
const CAPITAL_O: u8 = 0x11;
const SMALL_O: u8 = 0x12;
const CAPITAL_I: u8 = 0x13;

/// The two readings of a code. Where there is no letter, the character stays as it is.
const READINGS: [(Option<u8>, u8); 7] = [
    (Some(b'l'), b'1'),
    (Some(b'O'), b'0'),
    (Some(b'o'), b'0'),
    (Some(b'I'), b'1'),
    (None, b'3'),
    (None, b'4'),
    (None, b'6'),
];

/// How many bytes of the output are looked at.
pub(super) const LOOK_BACK: usize = 8;

/// Whether a digit stands among the last bytes with nothing behind it that a hexadecimal number could not hold.
fn within_number(output: &[u8], across_spaces: bool) -> bool {
    for byte in output.iter().rev().take(LOOK_BACK) {
        match byte {
            b'0'..=b'9' => return true,
            b'a'..=b'f' | b'A'..=b'F' => {}
            b' ' if across_spaces => {}
            b'-' | b'.' | b':' | b'_' | b'(' | b')' => {}
            _ => return false,
        }
    }
    false
}

/// The reading of a code between the output so far and the next character; `None`: the character stays.
pub(super) fn read(code: u8, output: &[u8], after: Option<char>) -> Option<u8> {
    let &(letter, digit) = READINGS.get(usize::from(code.wrapping_sub(FIRST)))?;
    let previous = output.last().copied().unwrap_or(u8::MAX);
    let next = after.map_or(0, reading);
    // The most common of them by far in ordinary text.
    if code == SMALL_O {
        return if previous.is_ascii_digit() && next.is_ascii_digit() { Some(digit) } else { letter };
    }
    let beside = previous.is_ascii_digit() || previous == b'+' || next.is_ascii_digit();
    let within = within_number(output, (FIRST..=LAST).contains(&next));
    let number = match code {
        L => {
            let capitals = previous.is_ascii_uppercase() && !next.is_ascii_lowercase() && next != L
                || next.is_ascii_uppercase() && !previous.is_ascii_lowercase();
            beside || within || capitals
        }
        // A capital within small letters is rarer than a digit there.
        CAPITAL_O => beside || within || previous.is_ascii_lowercase() || previous == b'_',
        CAPITAL_I => beside || within,
        _ => beside,
    };
    // A version is a number: `v1_`.
    let version = matches!(previous, b'v' | b'V') && !next.is_ascii_alphabetic();
    if number || version && (code == L || code == CAPITAL_O) { Some(digit) } else { letter }
}

/// What a character beside may count as: its ASCII or its code.
fn reading(character: char) -> u8 {
    match u8::try_from(character) {
        Ok(byte) if byte.is_ascii() => byte,
        _ => tables::code(u32::from(character)),
    }
}

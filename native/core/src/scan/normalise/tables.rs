//! The code of a character: what becomes of it.
//!
//! Printable ASCII and the line feed stand for themselves, codes from `FIRST_STRING` on for one of `STRINGS`, those
//! that `ambiguous` knows for a choice.

pub(super) use data::{FIRST_STRING, STRINGS};

mod data;

/// The character stays.
pub(super) const KEEP: u8 = 0;
/// The character goes.
pub(super) const REMOVE: u8 = 1;
/// A combining mark, which goes after ASCII.
pub(super) const MARK: u8 = 2;

/// The code of a character. Escaped ASCII has one too: it stays.
#[inline]
pub(super) fn code(character: char) -> u8 {
    let point = character as usize;
    let Some(&block) = data::BLOCKS.get(point / data::BLOCK) else { return supplementary(character) };
    data::CODES.get(usize::from(block) * data::BLOCK + point % data::BLOCK).copied().unwrap_or(KEEP)
}

/// Tag characters mirror ASCII; they and the variation selectors are all that matters beyond the table.
fn supplementary(character: char) -> u8 {
    match character {
        '\u{E0020}'..='\u{E007E}' => (character as u32 & 0x7F) as u8,
        '\u{E0000}'..='\u{E0FFF}' => REMOVE,
        _ => KEEP,
    }
}

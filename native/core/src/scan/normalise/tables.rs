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

/// The code of a code point. ASCII has one too: it stays.
#[inline]
pub(super) fn code(point: u32) -> u8 {
    let at = point as usize;
    let Some(&block) = data::BLOCKS.get(at / data::BLOCK) else { return supplementary(point) };
    data::CODES.get(usize::from(block) * data::BLOCK + at % data::BLOCK).copied().unwrap_or(KEEP)
}

/// Tag characters mirror ASCII; they and the variation selectors are all that matters beyond the table.
fn supplementary(point: u32) -> u8 {
    match point {
        0xE_0020..=0xE_007E => point.to_le_bytes()[0],
        0xE_0000..=0xE_0FFF => REMOVE,
        _ => KEEP,
    }
}

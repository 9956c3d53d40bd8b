//! What characters are, as far as splitting asks.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// Uppercase and titlecase letters.
pub(super) const UPPER: u8 = 1;
/// Lowercase letters.
pub(super) const LOWER: u8 = 2;
/// Letters of neither case.
pub(super) const CASELESS: u8 = 4;
/// Marks.
pub(super) const MARK: u8 = 8;
/// Numbers.
pub(super) const NUMBER: u8 = 16;
/// White space.
pub(super) const SPACE: u8 = 32;
/// All letters.
pub(super) const LETTER: u8 = UPPER | LOWER | CASELESS;

const PAGE: usize = 256;
const PAGES: usize = (char::MAX as usize + 1) / PAGE;

/// A byte for each character, in pages of which equal ones are kept once.
struct Table {
    pages: Vec<u16>,
    bytes: Vec<u8>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut flat = vec![0_u8; PAGES * PAGE];
    for (pattern, class) in [
        (r"[\p{Lu}\p{Lt}]", UPPER),
        (r"\p{Ll}", LOWER),
        (r"[\p{Lm}\p{Lo}]", CASELESS),
        (r"\p{M}", MARK),
        (r"\p{N}", NUMBER),
        // White_Space without its Unicode tables: the standard library has them.
    ] {
        let parsed = regex_syntax::Parser::new().parse(pattern);
        let Ok(HirKind::Class(Class::Unicode(ranges))) = parsed.map(regex_syntax::hir::Hir::into_kind) else {
            unreachable!("a class of characters");
        };
        for range in ranges.ranges() {
            flat[range.start() as usize..=range.end() as usize].iter_mut().for_each(|byte| *byte |= class);
        }
    }
    for character in '\0'..=char::MAX {
        if character.is_whitespace() {
            flat[character as usize] |= SPACE;
        }
    }
    let mut table = Table { pages: Vec::with_capacity(PAGES), bytes: Vec::new() };
    let mut known: std::collections::HashMap<&[u8], u16> = std::collections::HashMap::new();
    for page in flat.chunks(PAGE) {
        let next = u16::try_from(table.bytes.len() / PAGE).unwrap_or(0);
        let index = *known.entry(page).or_insert(next);
        if index == next {
            table.bytes.extend_from_slice(page);
        }
        table.pages.push(index);
    }
    table
});

/// The class of a character; 0 for whatever else there is.
pub(super) fn of(character: char) -> u8 {
    let code = character as usize;
    TABLE.bytes[usize::from(TABLE.pages[code / PAGE]) * PAGE + code % PAGE]
}

//! Whether a short text is English, told by its commonest words: what the gate knows of attacks is mostly English.

/// Four letters, or three and a space, with which common words of English begin and hardly one of another language: `is`,
/// `of` and `to` are Dutch or Polish, too, `have` is Danish.
const BEGINNINGS: [u32; 10] = [
    u32::from_le_bytes(*b"the "),
    u32::from_le_bytes(*b"and "),
    u32::from_le_bytes(*b"you "),
    u32::from_le_bytes(*b"your"),
    u32::from_le_bytes(*b"that"),
    u32::from_le_bytes(*b"this"),
    u32::from_le_bytes(*b"with"),
    u32::from_le_bytes(*b"what"),
    u32::from_le_bytes(*b"they"),
    u32::from_le_bytes(*b"from"),
];

/// What turns ASCII capitals into small letters, and a space into itself.
const SMALL: u32 = 0x2020_2020;

/// Whether any word behind a space is one of them.
pub(super) fn is_english(text: &[u8]) -> bool {
    memchr::memchr_iter(b' ', text).any(|space| {
        let word = text.get(space + 1..).and_then(|rest| rest.first_chunk::<4>());
        word.is_some_and(|word| BEGINNINGS.contains(&(u32::from_le_bytes(*word) | SMALL)))
    })
}

//! Whether a short text is English, told by its commonest words: what the gate knows of attacks is mostly English.

use memchr::memmem::Finder;

/// The words of which most English texts have one begin with these letters, and go on in one of these ways: in other languages
/// words do so as well, but hardly in these.
const COMMONEST: &[u8] = b" th";
const GOING_ON: [&[u8; 2]; 8] = [b"e ", b"at", b"is", b"ey", b"er", b"en", b"em", b"in"];
/// Words of which most others have one. `is` and `of` are Dutch, too; where `to` is Polish there are marks as well.
const OTHERS: [&[u8]; 7] = [b" you", b" and ", b" to ", b" what", b" with ", b" are ", b" can "];

/// Looks for the words.
#[derive(Debug)]
pub(super) struct English {
    commonest: Finder<'static>,
    others: [Finder<'static>; OTHERS.len()],
}

impl English {
    pub(super) fn new() -> Self {
        Self { commonest: Finder::new(COMMONEST), others: OTHERS.map(Finder::new) }
    }

    /// Whether any of them stands in the text in small letters.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        let goes_on = |at: usize| {
            let rest = text.get(at + COMMONEST.len()..).and_then(|rest| rest.first_chunk());
            rest.is_some_and(|rest| GOING_ON.contains(&rest))
        };
        self.commonest.find_iter(text).any(goes_on) || self.others.iter().any(|word| word.find(text).is_some())
    }
}

//! Literals, and the rules that start at them: a bit for the first three bytes answers almost every question.

/// The shortest literal, in bytes.
pub(crate) const HEAD: usize = 3;

/// Literals, and the rules that start at them.
#[derive(Debug)]
pub(crate) struct Literals {
    /// One bit for each value of a hash of the first three bytes, letters in either case.
    bits: Box<[u64; 1024]>,
    entries: Vec<Entry>,
}

/// One literal of one rule.
#[derive(Debug)]
struct Entry {
    head: u32,
    text: Box<[u8]>,
    /// Letters count in either case.
    folded: bool,
    rule: u16,
}

/// Three bytes with the bit set that tells small letters from capitals; other bytes may fall together.
fn head(bytes: [u8; HEAD]) -> u32 {
    u32::from_le_bytes([bytes[0] | 0x20, bytes[1] | 0x20, bytes[2] | 0x20, 0])
}

fn bit(head: u32) -> (usize, u64) {
    let hash = head.wrapping_mul(0x9e37_79b1) >> 16;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

impl Default for Literals {
    fn default() -> Self {
        Self { bits: Box::new([0; 1024]), entries: Vec::new() }
    }
}

impl Literals {
    /// Adds a literal of at least [`HEAD`] bytes.
    pub(super) fn add(&mut self, text: &str, rule: u16, folded: bool) {
        if let Some(first) = text.as_bytes().first_chunk() {
            let head = head(*first);
            let (word, mask) = bit(head);
            self.bits[word] |= mask;
            self.entries.push(Entry { head, text: text.as_bytes().into(), folded, rule });
        }
    }

    pub(super) fn sort(&mut self) {
        self.entries.sort_by(|a, b| (a.head, &a.text, a.rule).cmp(&(b.head, &b.text, b.rule)));
    }

    /// The first bytes of all literals, letters in either case.
    pub(crate) fn heads(&self) -> impl Iterator<Item = [u8; HEAD]> {
        self.entries.iter().map(|entry| {
            let [first, second, third, _] = entry.head.to_le_bytes();
            [first, second, third]
        })
    }

    /// Calls back for every rule with a literal at a position.
    #[inline]
    pub(crate) fn each(&self, text: &[u8], at: usize, found: &mut impl FnMut(u16)) {
        let Some(first) = text.get(at..).and_then(<[u8]>::first_chunk) else { return };
        let head = head(*first);
        let (word, mask) = bit(head);
        if self.bits[word] & mask != 0 {
            self.each_of(head, &text[at..], found);
        }
    }

    fn each_of(&self, head: u32, text: &[u8], found: &mut impl FnMut(u16)) {
        let from = self.entries.partition_point(|entry| entry.head < head);
        for entry in self.entries[from..].iter().take_while(|entry| entry.head == head) {
            let same = text.get(..entry.text.len()).is_some_and(|there| {
                if entry.folded { there.eq_ignore_ascii_case(&entry.text) } else { *there == *entry.text }
            });
            if same {
                found(entry.rule);
            }
        }
    }
}

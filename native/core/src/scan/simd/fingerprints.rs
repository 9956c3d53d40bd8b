//! What a text must have at a place for one of many literals to stand there.

/// The most bytes that are looked at.
pub(crate) const FINGERPRINT_MAX: usize = 6;
/// Groups of fingerprints: a bit of a byte for each.
const GROUPS: usize = 8;

/// Fingerprints of `N` bytes in eight groups: one can stand at a place if a group admits all of its bytes.
///
/// In the wide form a byte of ASCII is looked up as it is. In the narrow form it is judged by its halves, so that sixteen
/// entries are a table, and a group admits more. Literals are ASCII; bytes beyond it may be taken for others.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprints<const N: usize> {
    pub(super) wide: [[u8; 128]; N],
    pub(super) low: [[u8; 16]; N],
    pub(super) high: [[u8; 16]; N],
}

/// The bytes that can stand at a place of a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Byte(u8),
    /// A small letter or its capital.
    Letter(u8),
    Any,
}

impl Place {
    /// A byte of a literal in which case counts or does not.
    pub(crate) fn of(byte: u8, folded: bool) -> Self {
        if folded && byte.is_ascii_alphabetic() { Self::Letter(byte.to_ascii_lowercase()) } else { Self::Byte(byte) }
    }

    fn admits(self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => byte == own,
            Self::Letter(own) => byte.to_ascii_lowercase() == own,
            Self::Any => true,
        }
    }
}

impl<const N: usize> Fingerprints<N> {
    pub(crate) fn new(prints: impl Iterator<Item = [Place; N]>) -> Self {
        let mut all: Vec<_> = prints.collect();
        // Those that begin alike share a group.
        all.sort_unstable();
        all.dedup();
        const { assert!(N <= FINGERPRINT_MAX) };
        let mut made = Self { wide: [[0; 128]; N], low: [[0; 16]; N], high: [[0; 16]; N] };
        let size = all.len().div_ceil(GROUPS).max(1);
        for (i, print) in all.iter().enumerate() {
            let group = 1 << (i / size);
            for (place, wanted) in print.iter().enumerate() {
                for byte in (0..128u8).filter(|byte| wanted.admits(*byte)) {
                    made.wide[place][usize::from(byte)] |= group;
                    made.low[place][usize::from(byte & 15)] |= group;
                    made.high[place][usize::from(byte >> 4)] |= group;
                }
                if *wanted == Place::Any {
                    made.high[place].iter_mut().for_each(|groups| *groups |= group);
                }
            }
        }
        made
    }
}

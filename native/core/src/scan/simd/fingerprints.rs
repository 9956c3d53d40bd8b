//! What a text must have at a place for one of many literals to stand there.

/// The most bytes that are looked at.
pub(crate) const FINGERPRINT_MAX: usize = 6;
/// Groups of fingerprints: a bit of a byte for each.
const GROUPS: usize = 8;

/// Fingerprints of `N` bytes in eight groups: one can stand at a place if a group admits all of its bytes.
///
/// In the wide form a byte is looked up by its lower six bits: digits and signs are taken for letters that plain text
/// rarely has in their place. In the narrow form five bits are left, so that two tables of sixteen entries hold them: small
/// letters are taken for capitals as well, but for the first byte, which is judged by its upper half, too. In the lower one
/// four are left, which one table holds: letters are taken for others. Literals are ASCII; bytes beyond it may be taken for
/// others. All literals have `SURE` bytes at least.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprints<const N: usize, const SURE: usize> {
    pub(super) exact: [[u8; 128]; N],
    pub(super) wide: [[u8; 64]; N],
    pub(super) narrow: [[u8; 32]; N],
    pub(super) upper: [u8; 16],
    pub(super) lower: [[u8; 16]; N],
    /// Groups that admit bytes beyond ASCII.
    pub(super) open: [u8; N],
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
}

impl<const N: usize, const SURE: usize> Fingerprints<N, SURE> {
    pub(crate) fn new(prints: impl Iterator<Item = [Place; N]>) -> Self {
        Self::of(grouped(prints.collect()))
    }

    /// Of many that begin alike one after the other: each group has a share of them as they come, which takes no time to
    /// choose.
    pub(crate) fn in_order(prints: &[[Place; N]]) -> Self {
        let each = prints.len().div_ceil(GROUPS).max(1);
        let groups = prints.chunks(each).enumerate();
        Self::of(groups.flat_map(|(number, group)| group.iter().map(move |print| (*print, number))))
    }

    fn of(grouped: impl IntoIterator<Item = ([Place; N], usize)>) -> Self {
        const { assert!(N <= FINGERPRINT_MAX && SURE <= N) };
        let mut made = Self {
            exact: [[0; 128]; N],
            wide: [[0; 64]; N],
            narrow: [[0; 32]; N],
            upper: [0; 16],
            lower: [[0; 16]; N],
            open: [0; N],
        };
        for (print, number) in grouped {
            let bit = 1 << number;
            for (place, wanted) in print.iter().enumerate() {
                let mut admit = |byte: u8| {
                    made.exact[place][usize::from(byte)] |= bit;
                    made.wide[place][usize::from(byte & 63)] |= bit;
                    made.narrow[place][usize::from(byte & 31)] |= bit;
                    made.lower[place][usize::from(byte & 15)] |= bit;
                    if place == 0 {
                        made.upper[usize::from(byte >> 4)] |= bit;
                    }
                };
                match *wanted {
                    Place::Byte(byte) if byte.is_ascii() => admit(byte),
                    Place::Byte(_) => {}
                    Place::Letter(letter) => [letter, letter.to_ascii_uppercase()].into_iter().for_each(admit),
                    Place::Any => {
                        debug_assert!(place >= SURE, "no literal ends there");
                        (0..128).for_each(admit);
                        made.open[place] |= bit;
                        if place == 0 {
                            made.upper.iter_mut().for_each(|groups| *groups |= bit);
                        }
                    }
                }
            }
        }
        made
    }
}

/// Puts fingerprints into groups such that a group admits little more than its own: the commonest choose first, and may
/// choose again when all have.
fn grouped<const N: usize>(mut all: Vec<[Place; N]>) -> Vec<([Place; N], usize)> {
    all.sort_unstable();
    all.dedup();
    let own = |print: [Place; N]| (Group::default().with(&print).share(), print);
    let mut all: Vec<(f32, [Place; N])> = all.into_iter().map(own).collect();
    all.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut groups = [Group::<N>::default(); GROUPS];
    let mut chosen: Vec<([Place; N], usize)> = Vec::with_capacity(all.len());
    let cheapest = |groups: &[Group<N>; GROUPS], print: &[Place; N]| {
        let costs = groups.iter().map(|group| group.with(print).share() - group.share()).enumerate();
        costs.min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(number, _)| number)
    };
    for (_, print) in all {
        let number = cheapest(&groups, &print);
        groups[number] = groups[number].with(&print);
        chosen.push((print, number));
    }
    for i in 0..chosen.len() {
        let (print, before) = chosen[i];
        let others = chosen.iter().enumerate().filter(|(j, (_, number))| *j != i && *number == before);
        groups[before] = others.fold(Group::default(), |group, (_, (print, _))| group.with(print));
        let number = cheapest(&groups, &print);
        groups[number] = groups[number].with(&print);
        chosen[i].1 = number;
    }
    chosen
}

/// What the fingerprints of a group admit: a bit for each byte of ASCII, and how much of plain text has one of them.
#[derive(Clone, Copy)]
struct Group<const N: usize> {
    admitted: [u128; N],
    shares: [f32; N],
}

impl<const N: usize> Default for Group<N> {
    fn default() -> Self {
        Self { admitted: [0; N], shares: [0.0; N] }
    }
}

impl<const N: usize> Group<N> {
    fn with(mut self, print: &[Place; N]) -> Self {
        for ((admitted, share), wanted) in self.admitted.iter_mut().zip(&mut self.shares).zip(print) {
            let bytes = match wanted {
                Place::Byte(byte) => [*byte, *byte],
                Place::Letter(byte) => [*byte, byte.to_ascii_uppercase()],
                Place::Any => {
                    (*admitted, *share) = (u128::MAX, 1.0);
                    continue;
                }
            };
            for byte in bytes {
                if *admitted >> (byte & 127) & 1 == 0 {
                    *admitted |= 1 << (byte & 127);
                    *share += share_of(byte);
                }
            }
        }
        self
    }

    /// The share of the places of a plain text at which the group admits everything.
    fn share(&self) -> f32 {
        self.shares.iter().product()
    }
}

/// The share of a byte in plain text, about.
pub(crate) fn share_of(byte: u8) -> f32 {
    const PER_MILLE: [u8; 26] =
        [64, 12, 22, 34, 100, 18, 16, 48, 55, 1, 7, 33, 20, 55, 60, 15, 1, 47, 50, 73, 23, 8, 19, 1, 16, 1];
    match byte {
        b'a'..=b'z' => f32::from(PER_MILLE[usize::from(byte - b'a')]) / 1000.0,
        b' ' => 0.18,
        b'A'..=b'Z' => 0.001,
        _ => 0.002,
    }
}

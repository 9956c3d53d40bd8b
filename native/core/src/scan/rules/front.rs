//! Which of many rules the next bytes admit: a few table look-ups instead of an automaton for each.
//!
//! For each rule it is known which bytes can stand at each of its first places, whatever stands at the others. A rule that
//! does not admit what stands there has no match; one that does is still to be asked.

use regex_syntax::hir::{Class, Hir, HirKind};

use super::spec::Boundary;
use crate::scan::window::{Window, is_word};

/// Places that are looked at.
const PLACES: usize = 16;
/// A bit for each of so many rules in a row.
pub(super) type Bits = [u64; 4];
/// Rules that have a bit in one of these.
pub(super) const ROW: usize = 256;
/// Places that are looked at before it is asked whether any rule is left.
const STEP: usize = 4;
/// A set of bytes.
type Bytes = [u64; 4];
const ALL: Bytes = [u64::MAX; 4];

fn insert(set: &mut Bytes, byte: u8) {
    set[usize::from(byte >> 6)] |= 1 << (byte & 63);
}

fn contains(set: &Bytes, byte: u8) -> bool {
    set[usize::from(byte >> 6)] >> (byte & 63) & 1 != 0
}

/// What can stand at the first places of a rule's matches, and at the places behind a match that is shorter.
#[derive(Clone, Debug)]
pub(super) struct Front {
    bytes: [Bytes; PLACES],
    /// Places at which the text may be at its end, a bit for each.
    ends: u32,
}

impl Front {
    /// Of the matches of expressions that follow each other. A boundary is one behind the last of them.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a Hir>, boundary: Boundary) -> Self {
        let mut front = Self { bytes: [[0; 4]; PLACES], ends: 0 };
        let ends = parts.into_iter().fold(1, |from, part| front.follow(part, from));
        for place in (0..PLACES).filter(|place| ends >> place & 1 != 0) {
            if boundary == Boundary::None {
                front.open(place);
            } else {
                for byte in (0..=255).filter(|byte| !is_word(*byte)) {
                    insert(&mut front.bytes[place], byte);
                }
                front.ends |= 1 << place;
                front.open(place + 1);
            }
        }
        front
    }

    /// From a place on nothing is known.
    fn open(&mut self, place: usize) {
        for bytes in self.bytes.iter_mut().skip(place) {
            *bytes = ALL;
        }
        self.ends |= u32::MAX << place;
    }

    /// Adds what an expression admits that begins at one of the places in a set; says where it can end.
    fn follow(&mut self, hir: &Hir, from: u32) -> u32 {
        if from == 0 {
            return 0;
        }
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => from,
            HirKind::Literal(literal) => {
                literal.0.iter().fold(from, |from, byte| self.byte(from, |set| insert(set, *byte)))
            }
            HirKind::Class(Class::Bytes(class)) => self.byte(from, |set| {
                for range in class.iter() {
                    (range.start()..=range.end()).for_each(|byte| insert(set, byte));
                }
            }),
            HirKind::Class(Class::Unicode(_)) => {
                let first = from.trailing_zeros() as usize;
                self.open(first);
                0
            }
            HirKind::Repetition(repetition) => {
                let mut now = from;
                // Once another time adds no place, none does: there are few places, however often and deep it repeats.
                for _ in 0..repetition.min {
                    let next = self.follow(&repetition.sub, now);
                    if next == now {
                        break;
                    }
                    now = next;
                }
                let mut all = now;
                for _ in repetition.min..repetition.max.unwrap_or(u32::MAX) {
                    now = self.follow(&repetition.sub, now);
                    if now & !all == 0 {
                        break;
                    }
                    all |= now;
                }
                all
            }
            HirKind::Capture(capture) => self.follow(&capture.sub, from),
            HirKind::Concat(parts) => parts.iter().fold(from, |from, part| self.follow(part, from)),
            HirKind::Alternation(parts) => parts.iter().fold(0, |all, part| all | self.follow(part, from)),
        }
    }

    fn byte(&mut self, from: u32, add: impl Fn(&mut Bytes)) -> u32 {
        for place in (0..PLACES).filter(|place| from >> place & 1 != 0) {
            add(&mut self.bytes[place]);
        }
        from << 1 & ((1 << PLACES) - 1)
    }
}

/// The fronts of rules, a bit for each in tables by place and byte.
#[derive(Debug)]
pub(crate) struct Fronts {
    rules: Vec<u16>,
    /// Bytes that no rule tells apart are of one class; the last class is the end of the text.
    classes: Box<[u8; 256]>,
    count: usize,
    /// By rows of rules, place and class.
    table: Vec<Bits>,
}

impl Fronts {
    pub(super) fn new(rules: Vec<(u16, Front)>) -> Self {
        let mut kinds: Vec<Vec<u32>> = Vec::new();
        let mut classes = Box::new([0; 256]);
        for byte in 0..=255u8 {
            let kind: Vec<u32> = rules
                .iter()
                .map(|(_, front)| {
                    let at = |place: usize| u32::from(contains(&front.bytes[place], byte)) << place;
                    (0..PLACES).fold(0, |all, place| all | at(place))
                })
                .collect();
            let known = kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
                kinds.push(kind);
                kinds.len() - 1
            });
            // There are no more classes than bytes.
            classes[usize::from(byte)] = u8::try_from(known).unwrap_or(u8::MAX);
        }
        kinds.push(rules.iter().map(|(_, front)| front.ends).collect());
        let count = kinds.len();
        let mut table = vec![[0; 4]; rules.len().div_ceil(ROW) * PLACES * count];
        for (class, kind) in kinds.iter().enumerate() {
            for (rule, places) in kind.iter().enumerate() {
                for place in (0..PLACES).filter(|place| places >> place & 1 != 0) {
                    let (row, bit) = (rule / ROW, rule % ROW);
                    table[(row * PLACES + place) * count + class][bit / 64] |= 1 << (bit % 64);
                }
            }
        }
        Self { rules: rules.into_iter().map(|(rule, _)| rule).collect(), classes, count, table }
    }

    /// The rules of a row that bits stand for.
    pub(crate) fn rules(&self, row: usize, bits: Bits) -> impl Iterator<Item = u16> {
        let rules = self.rules.chunks(ROW).nth(row).unwrap_or_default();
        bits.into_iter().enumerate().flat_map(move |(word, mut bits)| {
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
                bits &= bits - 1;
                rules.get(word * 64 + bit).copied()
            })
        })
    }

    /// Calls back with every row in which a rule admits what stands at a position, or may yet come.
    #[inline]
    pub(crate) fn each(&self, window: &Window<'_>, at: usize, mut found: impl FnMut(usize, Bits)) {
        let rest = window.text.get(at..).unwrap_or_default();
        let class = |byte: u8| usize::from(self.classes[usize::from(byte)]);
        let (classes, known): ([usize; PLACES], _) = if let Some(bytes) = rest.first_chunk() {
            (bytes.map(class), PLACES)
        } else {
            let end = self.count - 1;
            let classes = std::array::from_fn(|place| rest.get(place).map_or(end, |byte| class(*byte)));
            (classes, if window.at_end { PLACES } else { rest.len() })
        };
        for (row, table) in self.table.chunks_exact(PLACES * self.count).enumerate() {
            let mut bits = [u64::MAX; 4];
            // Values are longer than words of prose: what stands last tells most.
            let is_left = (0..PLACES).step_by(STEP).rev().all(|step| {
                for place in step..(step + STEP).min(known) {
                    let admitted = &table[place * self.count + classes[place]];
                    bits.iter_mut().zip(admitted).for_each(|(bits, admitted)| *bits &= admitted);
                }
                bits != [0; 4]
            });
            if is_left {
                found(row, bits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use regex_automata::util::syntax;

    use super::*;

    fn admits(pattern: &str, boundary: Boundary, text: &str, at_end: bool) -> bool {
        let config = syntax::Config::new().unicode(false).utf8(false);
        let hir = syntax::parse_with(pattern, &config).expect("a pattern");
        let fronts = Fronts::new(vec![(7, Front::of([&hir], boundary))]);
        let mut seen = false;
        fronts.each(&Window { text: text.as_bytes(), at_end }, 0, |row, bits| {
            seen |= fronts.rules(row, bits).eq([7]);
        });
        seen
    }

    #[test]
    fn matches_are_admitted_and_most_else_is_not() {
        for (pattern, yes, no) in [
            ("[0-9]{3}-[0-9]{2}-[0-9]{4}", "123-45-6789", "123-456-789"),
            ("[A-Z]{2}[0-9]{6}", "AB123456, ", "AB12345 "),
            ("a(?:bc|d)*e", "abcdde", "acb"),
            ("x{2,}y?", "xxxxxxxxxxxxxxxxxxxxxxxxxy", "xy"),
            ("(?:)*a", "a", "b"),
            ("[0-9a-f]{32}", "0123456789abcdef0123", "0123456789abcde-"),
        ] {
            assert!(admits(pattern, Boundary::Word, yes, true), "{pattern} {yes}");
            assert!(!admits(pattern, Boundary::Word, no, true), "{pattern} {no}");
        }
    }

    #[test]
    fn repetitions_of_repetitions_are_followed_as_far_as_they_add_something() {
        for sub in ["", "a?", "a"] {
            let pattern = format!("{}{sub}{}b", "(?:".repeat(60), ")*".repeat(60));
            assert!(admits(&pattern, Boundary::Word, "b", true), "{sub}");
            assert!(!admits(&pattern, Boundary::Word, "c", true), "{sub}");
        }
        assert!(admits("(?:a?){4000000000}b", Boundary::Word, "aab", true));
    }

    #[test]
    fn behind_a_match_stands_what_its_boundary_admits() {
        assert!(admits("[0-9]{4}", Boundary::Word, "1234", true));
        assert!(admits("[0-9]{4}", Boundary::Word, "1234 abc", true));
        assert!(!admits("[0-9]{4}", Boundary::Word, "12345", true));
        assert!(admits("[0-9]{4}", Boundary::None, "12345", true));
    }

    #[test]
    fn of_more_rules_than_a_row_holds_each_is_told_from_the_others() {
        let config = syntax::Config::new().unicode(false).utf8(false);
        let of = |number: u16| {
            let hir = syntax::parse_with(&format!("[0-9]{{2}}{number:04}"), &config).expect("a pattern");
            (number, Front::of([&hir], Boundary::Word))
        };
        let fronts = Fronts::new((0..600).map(of).collect());
        for number in [0, 63, 64, 255, 256, 511, 512, 599] {
            let (text, mut seen) = (format!("12{number:04}"), Vec::new());
            fronts.each(&Window { text: text.as_bytes(), at_end: true }, 0, |row, bits| {
                seen.extend(fronts.rules(row, bits));
            });
            assert_eq!(seen, [number]);
        }
    }

    #[test]
    fn what_has_not_come_may_be_anything() {
        assert!(admits("[0-9]{6}", Boundary::Word, "123", false));
        assert!(!admits("[0-9]{6}", Boundary::Word, "123", true));
        assert!(!admits("[0-9]{6}", Boundary::Word, "12a", false));
    }
}

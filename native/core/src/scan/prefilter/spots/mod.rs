//! From rare bytes to candidates.
//!
//! A number is asked about when sixteen bytes from one of its runs of digits on hold five digits, or four of an
//! alphanumeric run of eight or of a dotted quad; and when what follows it, as far as it reads like one number, holds five
//! digits (or four and three dots). The four letters before it are asked about as well: `NL 91 ABNA ...`.

mod spelled;

use std::cell::{Cell, OnceCell};

use super::{AHEAD, Candidate, breaks, run_start, sign_start};
use crate::scan::bytes::ByteSet;
use crate::scan::decode::{is_split, may_be_text};
use crate::scan::rules::NEAR as NEAR_START;
use crate::scan::rules::Rules;
use crate::scan::rules::shape::is_token;
use crate::scan::simd::{BLOCK, find, first};
use crate::scan::views::View;
use crate::scan::window::{REACH, Window, is_word};

/// The shortest dotted quad.
pub(super) const QUAD_MIN: u32 = 7;
/// So many digits near each other could be those of a number.
pub(super) const MANY: u32 = 5;
/// The shortest token that rules are asked about.
const TOKEN_MIN: usize = 8;
const TOKEN_PLAIN: usize = 20;
const NEAR: usize = 16;
/// These bytes of a block.
pub(super) const NEARBY: u64 = (1 << NEAR) - 1;
const RUN_MAX: usize = AHEAD;
const SPAN_MAX: usize = 64;
/// The name of a secret stands so near before its value.
const NAME_MAX: usize = 64;
/// A long run is looked at in steps.
const RUN_STEP: usize = 4096;
/// A literal shows in so many bytes.
const PRINT_MAX: usize = 8;

pub(super) struct Spots<'a> {
    window: Window<'a>,
    from: usize,
    pub(super) frontier: usize,
    /// From here on it depends on what follows.
    settled: usize,
    last_number: Option<usize>,
    /// The alphanumeric run that was looked at last.
    run: (usize, usize),
    /// The run of tokens' bytes that was looked at last, as far as it was.
    pub(super) token: (usize, usize),
    /// The last place where something spelled out goes on, and where it begins.
    chain: (usize, usize),
    /// Up to here what is spelled out has been put together.
    spelled: &'a Cell<usize>,
    /// Rules with literals that long tokens are searched for, and up to where that is done.
    rules: &'a Rules,
    searched: usize,
    /// The last letter before what was read for it.
    letter: Option<usize>,
    read: usize,
    /// The last colon in the blocks that were looked at, and that before `from`, once it was looked for.
    colon: Option<usize>,
    colon_before: OnceCell<Option<usize>>,
}

/// What may stand within a number, beside letters and digits.
fn is_inner(byte: u8) -> bool {
    matches!(byte, b'.' | b' ' | b'/' | b'(' | b')' | b'+' | b'_' | b'-' | b'`' | b'*' | b'~')
}

fn is_alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// How many digits stand in the next [`NEAR`] bytes, of which each has a bit.
#[inline]
pub(super) fn near(digits: u64) -> u32 {
    (digits & NEARBY).count_ones()
}

/// What a token goes on from.
static NAME: ByteSet = ByteSet::of(b"-_").alphanumeric();

/// What a host, a domain or the port that replaces it begins with.
static BEGINS_HOST: ByteSet = ByteSet::of(b".-_:[").alphanumeric().beyond_ascii();

/// Whether digits alone stand where a literal that begins in a block would show.
fn is_numeric(text: &[u8], block: usize) -> bool {
    let stop = text.len().min(block + BLOCK + NEAR_START);
    // Without a way out half-way, as that is done for many at a time.
    text.get(block).is_some_and(u8::is_ascii_digit)
        && text[block..stop].iter().fold(true, |all, byte| all & byte.is_ascii_digit())
}

impl<'a> Spots<'a> {
    pub(super) fn new(
        rules: &'a Rules,
        window: &Window<'a>,
        from: usize,
        frontier: usize,
        token: (usize, usize),
        spelled: &'a Cell<usize>,
    ) -> Self {
        Self {
            window: *window,
            from,
            frontier,
            settled: frontier,
            last_number: None,
            run: (0, 0),
            token,
            chain: (0, 0),
            spelled,
            rules,
            searched: 0,
            letter: None,
            read: 0,
            colon: None,
            colon_before: OnceCell::new(),
        }
    }

    /// From here on a number may still grow with what follows.
    pub(super) fn edge(&self) -> usize {
        if self.window.at_end { usize::MAX } else { self.window.text.len().saturating_sub(NEAR) }
    }

    /// Whether anything can still be settled.
    pub(super) fn is_open(&self) -> bool {
        self.settled == self.frontier
    }

    pub(super) fn settled(self) -> usize {
        if self.window.at_end {
            return self.settled;
        }
        // What could be the beginning of a number is asked about again when the number has come.
        let text = self.window.text;
        // Of a run that is too long to wait for, the alphanumeric run that is cut could be a number, and a token that is
        // still short one with a digit in it.
        let number = self.back(self.settled, RUN_MAX, is_alnum);
        // It goes on before that with what joins letters and digits.
        let token = self.back(number, TOKEN_PLAIN.saturating_sub(self.settled - number), is_token);
        let is_short = self.settled - token < TOKEN_PLAIN;
        let mut at = sign_start(text, if is_short { token.min(number) } else { number });
        at = self.short_word_before(at).unwrap_or(at);
        at = self.spelled_before(at);
        at.max(self.from)
    }

    pub(super) fn single(&mut self, candidate: Candidate, found: &mut impl FnMut(Candidate)) {
        let (Candidate::At(at) | Candidate::Colon(at)) = candidate else { return };
        if at < self.settled {
            found(candidate);
        }
    }

    /// A mark of emphasis or code stands here.
    pub(super) fn mark(&self, at: usize, found: &mut impl FnMut(Candidate)) {
        if at < self.settled && is_split(self.window.text, at) {
            found(Candidate::View(at, View::Marked));
        }
    }

    /// An `@` stands here: of interest with a name before it and what begins a host or a domain behind it. If another one
    /// follows before a domain can end (`crowded`), only a password could stand before it, and a colon before that (`colon` is the last
    /// one in the same block).
    pub(super) fn at_sign(
        &mut self,
        at: usize,
        crowded: bool,
        colon: Option<usize>,
        found: &mut impl FnMut(Candidate),
    ) {
        let next = self.window.get(at + 1);
        let host = next.map_or(!self.window.at_end, |byte| BEGINS_HOST.has(byte));
        let name = self.window.before(at).is_some_and(|byte| !breaks(byte));
        if host && name && (!crowded || self.is_behind_colon(at, colon)) {
            self.single(Candidate::At(at), found);
        }
    }

    /// Whether a colon stands so near before a position that a match may reach back to it.
    fn is_behind_colon(&self, at: usize, colon: Option<usize>) -> bool {
        let colon = colon.or(self.colon).or_else(|| {
            // What stands before `from` is in no mask; it is read once.
            *self.colon_before.get_or_init(|| {
                let least = self.from.saturating_sub(REACH);
                memchr::memrchr(b':', &self.window.text[least..self.from]).map(|colon| least + colon)
            })
        });
        colon.is_some_and(|colon| colon + REACH >= at)
    }

    /// A colon with another one near stands here: of interest with at most four hexadecimal digits before it that go on from
    /// nothing.
    pub(super) fn colon(&mut self, at: usize, found: &mut impl FnMut(Candidate)) {
        let start = self.back(at, 5, |byte| byte.is_ascii_hexdigit());
        let first = !self.window.before(start).is_some_and(|byte| is_word(byte) || matches!(byte, b':' | b'.'));
        if first && at - start <= 4 {
            self.single(Candidate::Colon(at), found);
        }
    }

    /// The last colon of a block stands here.
    pub(super) fn last_colon(&mut self, at: usize) {
        self.colon = Some(at);
        // Whether another one follows can be a matter of bytes that are not there yet.
        if self.window.unknown(at + 5) {
            self.wait(at);
        }
    }

    /// From the run on that a position belongs to: what comes later in it may reach back to its start.
    fn wait(&mut self, at: usize) {
        self.settled = self.settled.min(run_start(self.window.text, at).max(self.from));
    }

    /// A run of digits starts here: five stand in the next [`NEAR`] bytes, or the token around has [`QUAD_MIN`] bytes or
    /// `around`. `digits` and `alnum` have a bit for each digit, and each letter or digit, of the next [`AHEAD`].
    pub(super) fn digits(
        &mut self,
        at: usize,
        digits: u64,
        around: u32,
        alnum: u64,
        found: &mut impl FnMut(Candidate),
    ) {
        if at >= self.settled {
            return;
        }
        let text = self.window.text;
        if self.window.unknown(at + NEAR) {
            // Near the end of what has come: the run, and the short word before it, may be the beginning of something.
            let start = self.back(at, RUN_MAX, is_alnum);
            self.wait(self.short_word_before(start).unwrap_or(start));
            return;
        }
        let sparse = alnum & alnum >> 1 == 0;
        if sparse && !self.rules.sparse && !self.window.unknown(at + AHEAD) && self.is_link(at) {
            self.token(at, found);
            return;
        }
        if at >= self.run.1 {
            self.run = (self.back(at, RUN_MAX, is_alnum), at + alnum.trailing_ones() as usize);
        }
        let (start, end) = self.run;
        // Where it does not there are too few digits.
        let goes_on = end - start >= 5 || self.window.get(end).is_some_and(is_inner);
        let near = near(digits);
        let dotted = || memchr::memchr_iter(b'.', &text[at..text.len().min(at + NEAR)]).count() >= 3;
        if goes_on && (near >= 5 || (near >= 4 && (end - start >= 8 || dotted())) || end - start >= 24) {
            self.number(start, end, found);
        }
        if around as usize >= TOKEN_MIN {
            self.token(at, found);
        }
    }

    /// Whether digits of a block that starts here may be passed over: what follows each of them is known.
    pub(super) fn may_chain(&self, block: usize) -> bool {
        !self.rules.sparse && !self.window.unknown(block + BLOCK + AHEAD)
    }

    /// Whether a digit amid others, without letters near, is a link (see [`Spots::is_link`]) of a token that was looked at,
    /// or of none.
    pub(super) fn is_passed_over(&self, at: usize) -> bool {
        let [.., first, joint] = self.window.text[..at] else { return false };
        let next = self.window.get(at + 1);
        let (token, known) = self.token;
        first.is_ascii_digit()
            && match joint {
                b'-' | b'.' => (token..known).contains(&at),
                b'/' => next != Some(b'.') && (token..known).contains(&at),
                b' ' | b'\t' => matches!(next, Some(b' ' | b'\t')),
                _ => false,
            }
    }

    /// Whether a digit goes on from another one, and nothing can begin with it if single digits and letters follow: no
    /// telephone number, no dotted quad, nothing that hangs on a name.
    fn is_link(&mut self, at: usize) -> bool {
        let text = self.window.text;
        let [.., first, joint] = text[..at] else { return false };
        let is_between = match joint {
            b'-' | b'.' => true,
            b' ' | b'\t' | b'/' => text.get(at + 1) != Some(&b'.'),
            _ => false,
        };
        if !is_between || !first.is_ascii_digit() {
            return false;
        }
        // Neither of these two is a letter.
        let from = self.read.max(at.saturating_sub(NAME_MAX));
        if let Some(letter) = text[..at - 2].get(from..).and_then(|part| part.iter().rposition(u8::is_ascii_alphabetic))
        {
            self.letter = Some(from + letter);
        }
        self.read = at;
        self.letter.is_none_or(|letter| letter + NAME_MAX < at)
    }

    /// A run of tokens' bytes goes on from here for [`LONG_TOKEN`] bytes at least. `token` has a bit for each such byte of the
    /// next [`BLOCK`].
    pub(super) fn long_token(&mut self, at: usize, token: u64, found: &mut impl FnMut(Candidate)) {
        let starts = !self.window.before(at).is_some_and(is_token);
        if at < self.searched && !starts && at > self.from {
            return;
        }
        let ahead = token.trailing_ones() as usize;
        let end = (ahead < BLOCK).then(|| self.window.text.len().min(at + ahead));
        if at >= self.searched {
            let limit = RUN_STEP.min(self.frontier.saturating_sub(at));
            self.searched = end.map_or_else(|| self.window.token_run(at, limit).0, |end| end.min(at + limit));
            self.literals(at, found);
        }
        if at < self.frontier && starts && end.is_none_or(|end| self.may_be_encoded(at, end)) {
            found(Candidate::View(at, View::Encoded));
        }
        if at >= self.settled || (at > self.from && !starts) {
            return;
        }
        let (end, open) = match end {
            Some(end) => (end, self.window.unknown(end)),
            None => self.window.run(at, TOKEN_PLAIN, is_token),
        };
        if end - at >= TOKEN_PLAIN {
            self.token(at, found);
        } else if open {
            self.wait(at);
        }
    }

    /// Whether a run of tokens' bytes may stand for a text: few words look like the beginning of one.
    fn may_be_encoded(&self, at: usize, end: usize) -> bool {
        let run = &self.window.text[at..end];
        self.window.unknown(end) || memchr::memchr(b'=', run).is_some() || may_be_text(run)
    }

    /// Asks about every literal from here to the end of what is searched.
    fn literals(&self, from: usize, found: &mut impl FnMut(Candidate)) {
        let text = &self.window.text[..self.window.text.len().min(self.searched + PRINT_MAX)];
        let (rest, prints) = (text.get(from..).unwrap_or_default(), &self.rules.inner_prints);
        let (one, mut many);
        let places = if self.searched - from.min(self.searched) <= BLOCK {
            one = [first(std::slice::from_ref(prints), rest)];
            &one[..]
        } else {
            many = [0; RUN_STEP / BLOCK + 1];
            find(prints, rest, &mut many);
            &many[..]
        };
        for (start, mut bits) in (from..self.searched).step_by(BLOCK).zip(places.iter().copied()) {
            if bits != 0 && self.rules.inner_shows && is_numeric(text, start) {
                continue;
            }
            while bits != 0 {
                let at = start + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if at < self.searched {
                    self.rules.inner.each(self.window.text, at, &mut |rule| found(Candidate::Literal(at, rule)));
                }
            }
        }
    }

    /// Asks about a number that starts with the alphanumeric run here, and about a short word before it.
    fn number(&mut self, start: usize, end: usize, found: &mut impl FnMut(Candidate)) {
        if self.last_number.is_some_and(|last| last >= start) || self.window.before(start).is_some_and(is_alnum) {
            return;
        }
        self.last_number = Some(start);
        let word = self.short_word_before(start);
        match self.span(start, end) {
            Some(true) => {
                for at in word.into_iter().chain([start]).filter(|at| *at >= self.from) {
                    found(Candidate::Number(at));
                }
            }
            Some(false) => {}
            None => self.wait(word.unwrap_or(start)),
        }
    }

    /// Whether what reads like one number from here on, an alphanumeric run first, has enough digits. None: it depends on what follows.
    fn span(&self, start: usize, end: usize) -> Option<bool> {
        let text = self.window.text;
        // A run of letters and digits by itself: few digits in eight bytes, or fewer in a long one, as base58 has them.
        let end = end.min(start + RUN_MAX);
        let open = end < start + RUN_MAX && self.window.unknown(end);
        let digits = text[start..end].iter().filter(|byte| byte.is_ascii_digit()).count();
        if (end - start >= 8 && digits >= 4) || end - start >= 24 {
            return Some(true);
        }
        if open {
            return None;
        }
        if digits < 5 && !self.window.get(end).is_some_and(is_inner) {
            return Some(false);
        }
        let stop = start + SPAN_MAX;
        let (mut digits, mut dots, mut gap, mut at) = (0, 0, 0, start);
        while at < stop {
            let Some(byte) = text.get(at) else {
                return self.window.at_end.then_some(false);
            };
            match byte {
                b'0'..=b'9' => {
                    digits += 1;
                    gap = 0;
                }
                b'A'..=b'Z' | b'a'..=b'z' => gap = 0,
                b'.' => {
                    dots += 1;
                    gap += 1;
                }
                b' ' | b'/' | b'(' | b')' | b'+' | b'_' | b'-' => gap += 1,
                // Marks of emphasis or code between the groups of a number.
                b'`' | b'*' | b'~' => {}
                _ => break,
            }
            if gap > 2 {
                break;
            }
            if digits >= 5 || (digits >= 4 && dots >= 3) {
                return Some(true);
            }
            at += 1;
        }
        Some(false)
    }

    /// Asks about every token that starts in the first [`REACH`] bytes of the run of tokens' bytes around a position.
    #[inline]
    fn token(&mut self, at: usize, found: &mut impl FnMut(Candidate)) {
        let (first, known) = self.token;
        // A long token may be asked about after a number behind it.
        if !(first..known).contains(&at) {
            self.tokens(at, found);
        }
    }

    fn tokens(&mut self, at: usize, found: &mut impl FnMut(Candidate)) {
        let text = self.window.text;
        let (first, known) = self.token;
        let goes_on = (first + 1..=at).contains(&known) && self.window.token_run(known, at - known).0 == at;
        let first = if goes_on { first } else { self.back(at, REACH + 1, is_token) };
        if at - first > REACH {
            self.token = (first, self.window.token_run(at, RUN_STEP).0);
            return;
        }
        // As far as the last of them must go on.
        let (end, open) = self.window.token_run(at, REACH + TOKEN_MIN);
        self.token = (first, end);
        if end - first < TOKEN_MIN {
            if open {
                self.wait(first);
            }
            return;
        }
        let stop = (end + 1 - TOKEN_MIN).min(first + REACH).min(self.frontier);
        let from = first.max(self.from);
        let mut joined = self.window.before(from).is_some_and(|byte| NAME.has(byte));
        for (start, byte) in text.iter().enumerate().take(stop).skip(from) {
            if !joined && is_alnum(*byte) {
                found(Candidate::Token(start));
            }
            joined = NAME.has(*byte);
        }
    }

    fn back(&self, at: usize, limit: usize, accept: impl Fn(u8) -> bool) -> usize {
        let mut start = at;
        while start > at.saturating_sub(limit) && accept(self.window.text[start - 1]) {
            start -= 1;
        }
        start
    }

    /// Where a word of at most four letters starts that stands before a position, one separator between.
    fn short_word_before(&self, at: usize) -> Option<usize> {
        let text = self.window.text;
        let end = at.checked_sub(1).filter(|end| matches!(text[*end], b' ' | b'-' | b'.' | b'/' | b'_'))?;
        let start = self.back(end, 5, |byte| byte.is_ascii_alphabetic());
        let whole = (1..=4).contains(&(end - start)) && !self.window.before(start).is_some_and(is_alnum);
        whole.then_some(start)
    }
}

const _: () = assert!(breaks(b' ') && !breaks(b'.'), "words before numbers are found over a separator");

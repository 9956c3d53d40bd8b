//! An expression, matched from a fixed position in one pass.

use std::sync::OnceLock;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::start;
use regex_automata::util::syntax;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Hir;

use crate::scan::window::Window;

/// What one automaton may take, in bytes: a rule that needs more is refused.
const SIZE_LIMIT: usize = 2 << 20;

/// What an expression says of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// No match.
    No,
    /// Depends on what follows.
    More,
    /// The longest match ends here.
    End(usize),
}

/// An expression that is compiled when it is first needed: most of three hundred never are.
#[derive(Debug)]
pub(crate) struct Expression {
    pattern: String,
    ignore_case: bool,
    automaton: OnceLock<Option<dense::DFA<Vec<u32>>>>,
}

impl Expression {
    /// Parses the pattern, so that a mistake shows at start; the automaton is built later.
    pub(crate) fn new(pattern: &str, ignore_case: bool) -> Result<(Self, Hir), String> {
        let hir = syntax::parse_with(pattern, &syntax(ignore_case)).map_err(|error| one_line(&error.to_string()))?;
        Ok((Self { pattern: pattern.to_owned(), ignore_case, automaton: OnceLock::new() }, hir))
    }

    /// Builds the automaton now, and says why that cannot be done.
    pub(crate) fn compile(&self) -> Result<(), String> {
        let built = self.build()?;
        let _ = self.automaton.set(Some(built));
        Ok(())
    }

    fn build(&self) -> Result<dense::DFA<Vec<u32>>, String> {
        dense::Builder::new()
            .syntax(syntax(self.ignore_case))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(SIZE_LIMIT)))
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Anchored)
                    .match_kind(MatchKind::All)
                    .accelerate(false)
                    .dfa_size_limit(Some(SIZE_LIMIT))
                    .determinize_size_limit(Some(SIZE_LIMIT * 4)),
            )
            .build(&self.pattern)
            .map_err(|error| one_line(&error.to_string()))
    }

    /// The longest match from a position, of at most `limit` bytes.
    pub(crate) fn extent(&self, window: &Window<'_>, at: usize, limit: usize) -> Extent {
        let Some(dfa) = self.automaton.get_or_init(|| self.build().ok()) else { return Extent::No };
        // Few expressions look at what stands before them.
        let start = dfa.universal_start_state(Anchored::Yes).or_else(|| {
            let config = start::Config::new().anchored(Anchored::Yes).look_behind(window.before(at));
            dfa.start_state(&config).ok()
        });
        let Some(mut state) = start else { return Extent::No };
        let mut found = Extent::No;
        let stop = at.saturating_add(limit);
        let mut i = at;
        loop {
            // A match shows one byte after its end, so the byte at `stop` is still looked at.
            let next = window.get(i);
            state = match next {
                Some(byte) => dfa.next_state(state, byte),
                None if window.at_end => dfa.next_eoi_state(state),
                None => return Extent::More,
            };
            if dfa.is_special_state(state) {
                if dfa.is_match_state(state) {
                    found = Extent::End(i);
                } else if dfa.is_dead_state(state) || dfa.is_quit_state(state) {
                    return found;
                }
            }
            if next.is_none() || i >= stop {
                return found;
            }
            i += 1;
        }
    }
}

fn syntax(ignore_case: bool) -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false).case_insensitive(ignore_case).nest_limit(64)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

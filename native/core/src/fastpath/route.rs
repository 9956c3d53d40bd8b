//! What holds for every plain request of a key to a model, and how one is charged and written for its upstream.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use memchr::memmem::Finder;

use super::answer::Facts;
use super::guard::Guard;
use super::line::{detail, duration};
use super::refusal::{Bound, Gate, Noted, Refusal, What};
use super::tally::Tally;
use crate::cost::Price;
use crate::json::Limits;
use crate::json::write::number;
use crate::quota::{Admission, Denial, Plan, Request, Store};
use crate::request::{Changes, Edits, Kind, Model, Quote, View};

/// Room for what a request's head says of itself, but for its id.
const OWN: usize = 64;

/// Which requests it is for.
#[derive(Clone, Debug)]
pub struct Known {
    /// The path.
    pub path: String,
    /// Of the body.
    pub kind: Kind,
    /// What the caller calls the model.
    pub model: String,
    /// The largest body; the same for all routes, as are the limits of its JSON.
    pub max_bytes: usize,
    /// Those.
    pub limits: Limits,
    /// Milliseconds since the epoch from which on prices may be others.
    pub until_ms: u64,
}

/// How the upstream is asked.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// What it calls the model.
    pub model: String,
    /// The request's head, up to what is this request's own.
    pub head: Vec<u8>,
    /// The member that bounds the answer there.
    pub limit: String,
}

/// What is charged, and on whom.
#[derive(Debug)]
pub struct Account {
    /// Bounds the prices of all who may answer; None: unpriced.
    pub price: Option<Arc<Price>>,
    /// What the one who does costs.
    pub actual: Option<Arc<Price>>,
    /// Of the model, for bounds.
    pub model: Model,
    /// There is a budget among the meters.
    pub has_budget: bool,
    /// And one that must not be guessed at.
    pub has_hard: bool,
    /// Milliseconds until a hold that nobody has ended is charged in full.
    pub expires_in_ms: u64,
    /// The meters of the plan.
    pub bounds: Vec<Bound>,
    /// The record of a hold, and that of its end, behind the id of the request: JSON from the comma on.
    pub meta: Vec<u8>,
    /// Up to the counts of tokens.
    pub entry: Vec<u8>,
}

/// What was reserved for a request, and what goes to its upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// To be settled or released.
    pub hold: u64,
    /// Nano-USD.
    pub granted: u64,
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// Of each meter of the plan: what is left, and milliseconds until it is full.
    pub meters: Vec<(i64, u64)>,
    /// Lines that tell the caller of them.
    pub lines: Vec<u8>,
    /// The head for the upstream.
    pub head: Vec<u8>,
    /// What changes in the body for it.
    pub edits: Option<Edits>,
    /// Bytes of that body.
    pub length: usize,
}

/// A request to the store, but for who asks and when.
struct Asking {
    quote: Quote,
    request: Request<'static>,
}

/// What is known of requests that are alike.
#[derive(Debug)]
pub struct Route {
    /// Which those are.
    pub known: Known,
    /// Whom they go to.
    pub upstream: Upstream,
    /// Who pays.
    pub account: Account,
    /// What their callers and the log are told.
    pub facts: Facts,
    /// What was counted of those that were allowed, and of those that were transformed.
    pub tallies: [Arc<Tally>; 2],
    /// Who looks at what they say, if anybody.
    pub guard: Option<Arc<Guard>>,
    /// For their pseudonyms; None: there are none.
    pub pseudonym_key: Option<Vec<u8>>,
    /// What is told where a limit refuses.
    pub limited: Noted,
    /// And where the upstream's queue is full; None: somebody else might be asked then.
    pub busy: Option<Refusal>,
    /// What is noted of one whose client went while it waited for a place.
    pub gone: Noted,
    /// What became of the last one.
    pub gate: Gate,
}

impl Route {
    /// The view of a body that is for this model and has the usual price.
    #[must_use]
    pub fn read(&self, body: &[u8]) -> Option<View> {
        let known = &self.known;
        if body.len() > known.max_bytes {
            return None;
        }
        let view = View::parse(body, known.kind, known.limits).ok()?;
        (view.service_tier().is_none() && view.model.as_ref() == Some(&known.model)).then_some(view)
    }

    /// Whether an answer to it is whole, as all are that go this way.
    #[must_use]
    pub fn is_plain(view: &View) -> bool {
        !view.stream && !view.include_usage
    }

    /// Whether it can be gone by at this time, in milliseconds since the epoch.
    #[must_use]
    pub fn holds(&self, wall_ms: u64) -> bool {
        wall_ms < self.known.until_ms && !self.gate.is_shut()
    }

    /// Reserve what it may come to, on everything or nothing, and write it for the upstream. None: it cannot be, and
    /// whoever is to say why asks again.
    #[must_use]
    pub fn reserve(&self, store: &Store, plan: &Plan, id: &str, view: &View, body: &[u8]) -> Option<Reserved> {
        let account = &self.account;
        let times = store.times();
        let asking = self.asking(view, body.len())?;
        let meta = detail(id, &account.meta);
        let expires_at = times.now.saturating_add(account.expires_in_ms);
        let request = Request { now: times.now, wall: times.wall, expires_at, meta: &meta, ..asking.request };
        let Asking { quote, .. } = asking;
        let want = request.want;
        let (hold, granted) = match store.admit(plan, request) {
            Ok(Admission::Admitted(hold, granted)) => (hold, granted),
            Ok(Admission::Denied(denial)) if self.tells(denial) => {
                self.gate.limit();
                return None;
            }
            _ => {
                self.gate.shut();
                return None;
            }
        };
        let mut meters = Vec::with_capacity(plan.len());
        store.standings(plan, times, |standing| meters.push((standing.remaining, standing.reset)));
        let most = match &account.price {
            Some(price) if account.has_budget && (quote.must_limit || granted < want) => {
                // The prompt was within bounds a moment ago.
                Some(quote.affordable(price, granted).unwrap_or(0))
            }
            _ => None,
        };
        let upstream = &self.upstream;
        let changes = Changes {
            model: Some(&upstream.model),
            max_tokens: most.map(|most| (most, &*upstream.limit)),
            ..Changes::default()
        };
        let edits = view.edits(body, changes);
        let length = edits.as_ref().map_or(body.len(), |edits| edits.length(body));
        let lines = standing(&account.bounds, &meters);
        let mut head = Vec::with_capacity(upstream.head.len() + id.len() + OWN);
        head.extend_from_slice(&upstream.head);
        head.extend_from_slice(b"x-request-id: ");
        head.extend_from_slice(id.as_bytes());
        head.extend_from_slice(b"\r\ncontent-length: ");
        number(&mut head, length);
        head.extend_from_slice(b"\r\n\r\n");
        Some(Reserved { hold, granted, at_ms: times.wall, meters, lines, head, edits, length })
    }

    /// The limit that would refuse this request as it came, where one has refused the last. None: none would now.
    #[must_use]
    pub fn denial(&self, store: &Store, plan: &Plan, view: &View, size: usize) -> Option<Denial> {
        let times = store.times();
        let asking = self.asking(view, size)?;
        let found = store.denial(plan, &Request { now: times.now, wall: times.wall, ..asking.request });
        match found {
            Some(denial) if self.tells(denial) => return found,
            Some(_) => self.gate.shut(),
            None => self.gate.open(),
        }
        None
    }

    fn tells(&self, denial: Denial) -> bool {
        let bound = self.account.bounds.get(denial.meter).filter(|bound| bound.said.is_some());
        match bound.map(|bound| bound.what) {
            Some(What::Requests | What::Tokens) => denial.wait.is_some(),
            Some(What::Parallel) => denial.wait.is_none(),
            _ => false,
        }
    }

    /// What a request of this size may come to. None: nobody can say.
    fn asking(&self, view: &View, size: usize) -> Option<Asking> {
        let account = &self.account;
        let quote = Quote::of(view, size, account.model);
        let (want, minimum) = match &account.price {
            _ if !account.has_budget => (0, 0),
            Some(price) => quote.bounds(price).ok()?,
            None if account.has_hard => return None,
            None => (0, 0),
        };
        let request = Request { id: 0, now: 0, wall: 0, expires_at: 0, tokens: quote.tokens, want, minimum, meta: b"" };
        Some(Asking { quote, request })
    }
}

/// What may be the models that a body names, before anything is parsed that would have to be parsed again.
pub fn models(body: &[u8]) -> impl Iterator<Item = &str> {
    static NAME: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"model\""));
    NAME.find_iter(body).filter_map(|at| {
        let value = body[at + 7..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
        std::str::from_utf8(&value[..memchr::memchr(b'"', value)?]).ok()
    })
}

/// Whether it looks like it, likewise.
#[must_use]
pub fn wants_stream(body: &[u8]) -> bool {
    static NAME: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\"stream\""));
    NAME.find_iter(body).any(|at| {
        let value = body[at + 8..].trim_ascii_start();
        value.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"t"))
    })
}

/// `OpenAI`'s headers for the tightest of the buckets that count requests, and of those that count tokens.
fn standing(bounds: &[Bound], meters: &[(i64, u64)]) -> Vec<u8> {
    let mut lines = String::new();
    for what in [What::Requests, What::Tokens] {
        let tightest = bounds.iter().zip(meters).filter(|(bound, _)| bound.what == what);
        if let Some((bound, (remaining, reset))) = tightest.min_by_key(|(_, (remaining, _))| *remaining) {
            let (of, limit, remaining, reset) = (what.name(), bound.limit, (*remaining).max(0), duration(*reset));
            let _ = write!(
                lines,
                "x-ratelimit-limit-{of}: {limit}\r\nx-ratelimit-remaining-{of}: {remaining}\r\n\
                 x-ratelimit-reset-{of}: {reset}\r\n"
            );
        }
    }
    lines.into_bytes()
}

//! A whole answer that says yes: what it came to, and the response with it.

use std::fmt::Write;
use std::time::Duration;

use super::line::{detail, logged, usd};
use super::route::{Reserved, Route};
use super::tally::One;
use crate::cost::Kind;
use crate::http1::encode::{Said, header_line};
use crate::json::write::{number, quote};
use crate::quota::Store;
use crate::response::Response;
use crate::scan::Decision;
use crate::usage::Tokens;

/// Room for a response's head, as long as most are.
const HEAD: usize = 1024;

/// What goes to the caller and the log, and is the same each time.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Header lines of what is allowed, and of what was transformed.
    pub lines: [Vec<u8>; 2],
    /// Names of the upstream's headers that are passed on.
    pub returned: Vec<Vec<u8>>,
    /// Members of the log's line from the method to the status.
    pub log_asked: String,
    /// And from the key to the model's.
    pub log_who: String,
}

/// What came, if it is a plain success that costs no more than was reserved for it.
#[derive(Clone, Copy, Debug)]
pub struct Success<'a> {
    /// All of it.
    pub body: &'a [u8],
    response: &'a Response,
    tokens: Tokens,
    cost: Option<u64>,
}

/// What goes out.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// That of the success, or what passes in its place.
    pub body: &'a [u8],
    /// About request and answer.
    pub decision: Decision,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    decision: Decision,
    tokens: Tokens,
    overhead: Duration,
}

impl Route {
    /// None: it is something else, for the stages to see to.
    #[must_use]
    pub fn success<'a>(&self, reserved: &Reserved, response: &'a Response) -> Option<Success<'a>> {
        let body = response.ready();
        let is_plain = response.status() == 200
            && !response.is_event_stream()
            && !response.is_translated()
            && response.error_event().is_none();
        if !is_plain || body.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let tokens = response.tokens()?;
        if tokens.completion() == 0 && response.text_bytes() > 0 {
            // The report is of the prompt alone: what the text came to is to be estimated.
            return None;
        }
        let cost = self.account.actual.as_ref().map(|price| price.cost(&tokens));
        let is_covered = !self.account.has_budget || cost.unwrap_or(0) <= reserved.granted;
        is_covered.then_some(Success { body, response, tokens, cost })
    }

    /// Settle what was reserved, and write the response. None: it could not be, and nothing was done.
    ///
    /// answer: what goes out of what came. `so_far`: since the request's head was read; upstream: of that the wait for this
    /// answer. last: the lines at the end of the head, with the one that says when, and the blank one.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "what one request consists of")]
    pub fn end(
        &self,
        store: &Store,
        id: &str,
        reserved: &Reserved,
        success: &Success<'_>,
        answer: Answer<'_>,
        (so_far, upstream): (Duration, Duration),
        last: &[u8],
    ) -> Option<(Vec<u8>, Ended)> {
        let Answer { body, decision } = answer;
        let Success { tokens, cost, .. } = *success;
        let overhead = so_far.saturating_sub(upstream);
        let mut out = Vec::with_capacity(HEAD + last.len() + body.len());
        self.head(&mut out, id, reserved, success, answer, overhead)?;
        let mut entry = detail(id, &self.account.entry);
        for count in tokens.summary() {
            entry.push(b',');
            number(&mut entry, count);
        }
        entry.push(b']');
        let total = tokens.prompt() + tokens.completion();
        store.settle(reserved.hold, cost.unwrap_or(0), total, &entry, store.times()).ok()?;
        out.extend_from_slice(last);
        out.extend_from_slice(body);
        Some((out, Ended { decision, tokens, overhead }))
    }

    fn head(
        &self,
        out: &mut Vec<u8>,
        id: &str,
        reserved: &Reserved,
        success: &Success<'_>,
        Answer { body, decision }: Answer<'_>,
        overhead: Duration,
    ) -> Option<()> {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        let mut said = Said::default();
        for (name, value) in success.response.headers() {
            if self.facts.returned.iter().any(|wanted| wanted == name) {
                header_line(out, name, value, &mut said).ok()?;
            }
        }
        out.extend_from_slice(&self.facts.lines[usize::from(decision != Decision::Allowed)]);
        out.extend_from_slice(b"x-gateway-overhead-us: ");
        number(out, overhead.as_micros());
        if let Some(cost) = success.cost {
            out.extend_from_slice(b"\r\nx-gateway-cost-usd: ");
            out.extend_from_slice(usd(i64::try_from(cost).ok()?).as_bytes());
        }
        out.extend_from_slice(b"\r\ncontent-length: ");
        number(out, body.len());
        out.extend_from_slice(b"\r\nx-request-id: ");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&reserved.lines);
        Some(())
    }

    /// Count it. duration: since the head was read.
    pub fn count(&self, ended: &Ended, duration: Duration) {
        let Ended { decision, tokens, overhead } = ended;
        let cost = self.account.actual.as_ref().map(|price| price.cost(tokens));
        self.tallies[usize::from(*decision != Decision::Allowed)].add(One {
            duration_ns: nanos(duration),
            overhead_ns: nanos(*overhead),
            tokens: [tokens.prompt(), tokens.completion(), tokens.cached(), tokens.get(Kind::Reasoning)],
            cost,
        });
    }

    /// Its line in the access log. found: how often each type. at: seconds since the epoch.
    #[must_use]
    pub fn line(&self, id: &str, ended: &Ended, found: &[(String, usize)], duration: Duration, at: f64) -> Vec<u8> {
        let Ended { decision, tokens, overhead } = ended;
        let mut line = logged(at, id, &self.facts.log_asked, duration);
        let _ = write!(
            line,
            ",{},\"overhead_us\":{},\"prompt_tokens\":{},\"completion_tokens\":{}",
            self.facts.log_who,
            overhead.as_micros(),
            tokens.prompt(),
            tokens.completion(),
        );
        let mut line = line.into_bytes();
        if !found.is_empty() {
            line.extend_from_slice(format!(",\"decision\":\"{}\",\"findings\":{{", decision.name()).as_bytes());
            for (index, (kind, count)) in found.iter().enumerate() {
                if index > 0 {
                    line.push(b',');
                }
                quote(&mut line, kind);
                line.push(b':');
                number(&mut line, *count);
            }
            line.push(b'}');
        }
        line.extend_from_slice(b"}\n");
        line
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

//! A whole answer that says yes: what it came to, and the response with it.

use std::fmt::Write;
use std::time::Duration;

use super::line::usd;
use super::route::{Reserved, Route};
use super::tally::One;
use crate::cost::Kind;
use crate::http1::encode::{Said, header_line};
use crate::quota::Store;
use crate::response::Response;
use crate::usage::Tokens;

/// What goes to the caller and the log, and is the same each time.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Header lines.
    pub lines: Vec<u8>,
    /// Names of the upstream's headers that are passed on.
    pub returned: Vec<Vec<u8>>,
    /// Members of the log's line from the method to the status.
    pub log_asked: String,
    /// And from the key to the model's.
    pub log_who: String,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    tokens: Tokens,
    overhead: Duration,
}

impl Route {
    /// Settle what was reserved, and write the response. None: this is no plain success, and nothing was done.
    ///
    /// `so_far`: since the request's head was read; upstream: of that the wait for this answer. last: the lines at the end
    /// of the head, with the one that says when, and the blank one.
    #[must_use]
    pub fn end(
        &self,
        store: &Store,
        id: &str,
        reserved: &Reserved,
        response: &Response,
        (so_far, upstream): (Duration, Duration),
        last: &[u8],
    ) -> Option<(Vec<u8>, Ended)> {
        let body = response.ready();
        let is_object = body.trim_ascii_start().first() == Some(&b'{');
        if response.status() != 200 || response.is_event_stream() || response.is_translated() || !is_object {
            return None;
        }
        let tokens = response.tokens()?;
        let cost = self.account.actual.as_ref().map(|price| price.cost(&tokens));
        let amount = cost.unwrap_or(0);
        if self.account.has_budget && amount > reserved.granted {
            return None;
        }
        let overhead = so_far.saturating_sub(upstream);
        let head = self.head(id, reserved, response, overhead, cost, body.len())?;
        let mut entry = [b"[\"", id.as_bytes(), b"\"", &self.account.entry].concat();
        for count in tokens.summary() {
            entry.extend_from_slice(format!(",{count}").as_bytes());
        }
        entry.push(b']');
        let total = tokens.prompt() + tokens.completion();
        store.settle(reserved.hold, amount, total, &entry, store.times()).ok()?;
        Some(([&*head, last, body].concat(), Ended { tokens, overhead }))
    }

    fn head(
        &self,
        id: &str,
        reserved: &Reserved,
        response: &Response,
        overhead: Duration,
        cost: Option<u64>,
        size: usize,
    ) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        let mut said = Said::default();
        for (name, value) in response.headers() {
            if self.facts.returned.iter().any(|wanted| wanted == name) {
                header_line(&mut out, name, value, &mut said).ok()?;
            }
        }
        out.extend_from_slice(&self.facts.lines);
        let mut own = format!("x-gateway-overhead-us: {}\r\n", overhead.as_micros());
        if let Some(cost) = cost {
            let _ = write!(own, "x-gateway-cost-usd: {}\r\n", usd(i64::try_from(cost).ok()?));
        }
        let _ = write!(own, "content-length: {size}\r\nx-request-id: {id}\r\n");
        out.extend_from_slice(own.as_bytes());
        out.extend_from_slice(&reserved.lines);
        Some(out)
    }

    /// Count it. duration: since the head was read.
    pub fn count(&self, ended: &Ended, duration: Duration) {
        let Ended { tokens, overhead } = ended;
        let cost = self.account.actual.as_ref().map(|price| price.cost(tokens));
        self.tally.add(One {
            duration_ns: nanos(duration),
            overhead_ns: nanos(*overhead),
            tokens: [tokens.prompt(), tokens.completion(), tokens.cached(), tokens.get(Kind::Reasoning)],
            cost,
        });
    }

    /// Its line in the access log. at: seconds since the epoch.
    #[must_use]
    pub fn line(&self, id: &str, ended: &Ended, duration: Duration, at: f64) -> Vec<u8> {
        let Ended { tokens, overhead } = ended;
        let took = (duration.as_secs_f64() * 1e6).round() / 1e3;
        format!(
            "{{\"ts\":{at:?},\"level\":\"info\",\"logger\":\"tollhouse.access\",\"msg\":\"request\",\
             \"request_id\":\"{id}\",{},\"duration_ms\":{took:?},{},\"overhead_us\":{},\
             \"prompt_tokens\":{},\"completion_tokens\":{}}}\n",
            self.facts.log_asked,
            self.facts.log_who,
            overhead.as_micros(),
            tokens.prompt(),
            tokens.completion(),
        )
        .into_bytes()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

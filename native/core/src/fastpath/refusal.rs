//! Responses that say no, written without the stages: where a limit refuses again, or there is no place for a request.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::answer::nanos;
use super::line::{duration, logged};
use super::tally::Tally;
use crate::quota::Denial;

/// Up to this many milliseconds a wait is worth while; beyond, SDKs are told not to try again by themselves.
const SOON_MS: u64 = 60_000;

/// What a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// Requests at once.
    Parallel,
    /// Money.
    Budget,
}

impl What {
    /// By its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let of = |what: &Self| what.name() == name;
        [Self::Requests, Self::Tokens, Self::Parallel, Self::Budget].into_iter().find(of)
    }

    /// As configurations and headers have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Parallel => "parallel",
            Self::Budget => "budget",
        }
    }
}

/// A meter, as callers are told of it.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Of what.
    pub what: What,
    /// How much of it.
    pub limit: u64,
    /// Whose it is and how large, as it stands in a JSON string: the beginning of the message of its refusals. None: somebody
    /// else tells them.
    pub said: Option<String>,
}

/// What the log and the metrics are told of a refusal.
#[derive(Clone, Debug)]
pub struct Noted {
    /// Members of the log's line from the method to the status.
    pub asked: String,
    /// Then from the key to the provider, if anybody has looked.
    pub who: String,
    /// The last of them.
    pub error: String,
    /// Of its labels.
    pub tally: Arc<Tally>,
}

impl Noted {
    /// Count one that has taken so long; its line in the access log. stream: what it wanted, if anybody has looked; at:
    /// seconds since the epoch.
    #[must_use]
    pub fn note(&self, id: &str, stream: Option<bool>, took: Duration, at: f64) -> Vec<u8> {
        self.tally.refused(nanos(took));
        let mut line = logged(at, id, &self.asked, took);
        if let Some(stream) = stream {
            let _ = write!(line, ",{},\"stream\":{stream}", self.who);
        }
        let _ = writeln!(line, ",{}}}", self.error);
        line.into_bytes()
    }
}

/// A refusal that is the same each time.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Status line and headers.
    pub head: Vec<u8>,
    /// What is before the request's id, and behind it, where the body has that.
    pub body: (Vec<u8>, Option<Vec<u8>>),
    /// What is told elsewhere.
    pub noted: Noted,
}

impl Refusal {
    /// last: the lines at the end of the head, with the one that says when, and the blank one.
    #[must_use]
    pub fn response(&self, id: &str, last: &[u8]) -> Vec<u8> {
        match &self.body {
            (body, None) => written(&self.head, id, last, &[body]),
            // Where Anthropic's clients look for it.
            (before, Some(behind)) => {
                let also = format!("request-id: {id}\r\n{}", String::from_utf8_lossy(last));
                written(&self.head, id, also.as_bytes(), &[before, id.as_bytes(), behind])
            }
        }
    }
}

fn written(head: &[u8], id: &str, last: &[u8], body: &[&[u8]]) -> Vec<u8> {
    let length: usize = body.iter().map(|piece| piece.len()).sum();
    let own = format!("content-length: {length}\r\nx-request-id: {id}\r\n");
    let mut out = Vec::with_capacity(head.len() + own.len() + last.len() + length);
    out.extend_from_slice(head);
    out.extend_from_slice(own.as_bytes());
    out.extend_from_slice(last);
    for piece in body {
        out.extend_from_slice(piece);
    }
    out
}

impl Bound {
    /// The response to who is refused by it. None: this is for somebody else to say (money, and what no waiting helps).
    #[must_use]
    pub fn response(&self, denial: Denial, id: &str, last: &[u8]) -> Option<Vec<u8>> {
        let said = self.said.as_ref()?;
        let (limit, left) = (self.limit, denial.remaining.max(0));
        let mut head = String::with_capacity(384);
        head.push_str("HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\n");
        let mut body = String::with_capacity(256);
        let _ = write!(body, "{{\"error\":{{\"message\":\"{said}");
        let retry = match (self.what, denial.wait) {
            (What::Requests | What::Tokens, Some(wait)) => {
                let (of, reset) = (self.what.name(), duration(wait));
                let _ = write!(
                    head,
                    "retry-after: {}\r\nretry-after-ms: {wait}\r\nx-ratelimit-limit-{of}: {limit}\r\n\
                     x-ratelimit-remaining-{of}: {left}\r\nx-ratelimit-reset-{of}: {reset}\r\n",
                    wait.div_ceil(1000).max(1),
                );
                let _ = write!(body, "; {left} are left, try again in {reset}");
                wait <= SOON_MS
            }
            (What::Parallel, None) => {
                head.push_str("retry-after: 1\r\n");
                body.push_str(" are running");
                true
            }
            _ => return None,
        };
        let _ = write!(head, "x-should-retry: {retry}\r\n");
        body.push_str("\",\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}");
        Some(written(head.as_bytes(), id, last, &[body.as_bytes()]))
    }
}

/// What has become of the last request of a route.
#[derive(Debug, Default)]
pub struct Gate(AtomicU8);

const OPEN: u8 = 0;
const LIMITED: u8 = 1;
const SHUT: u8 = 2;

impl Gate {
    /// It passed.
    pub fn open(&self) {
        self.0.store(OPEN, Ordering::Relaxed);
    }

    /// A limit refused it: it is asked before anything else is done for the next.
    pub fn limit(&self) {
        self.0.store(LIMITED, Ordering::Relaxed);
    }

    /// Something else did, that is for the stages to tell: the next is theirs, and nothing of it is done twice.
    pub fn shut(&self) {
        self.0.store(SHUT, Ordering::Relaxed);
    }

    /// Whether a limit did.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.0.load(Ordering::Relaxed) == LIMITED
    }

    /// Whether the next is for the stages.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.0.load(Ordering::Relaxed) == SHUT
    }
}

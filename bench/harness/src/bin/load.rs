//! A closed loop of requests over kept-alive connections; prints what it saw as one line of JSON.
//!
//! `load --port P --connections N --requests N --body FILE [--path /v1/chat/completions] [--seconds S]
//! [--header 'name: value']... [--chunks N] [--stagger-us N] [--cycle N] [--rate N] [--allow STATUS]... [--any yes]
//! [--leave-after N]`
//!
//! With `--chunks` every answer must be a stream of so many stamped chunks that ends in `[DONE]`, else a whole
//! completion. Anything else is an error: it is counted, its first text is shown, and the exit code is 1.
//! `--stagger-us` starts the connections one after the other, as real streams are not in step.
//! `--cycle` writes a number below N, another one for each request, over every hole in the request: twelve `@`.
//! `--rate` starts so many requests a second whatever becomes of them (an open loop), each at its time; one for which
//! no connection is free by then waits, and its time counts from when it should have been sent.
//! `--allow` names statuses that are right as well, `--any` makes every whole HTTP message right, and `--leave-after`
//! ends the connection after so many chunks of a stream, as a client that goes away does.

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use std::{cell::RefCell, fmt};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};
use tollhouse_bench::args::Args;
use tollhouse_bench::chunked::Decoder;
use tollhouse_bench::{http, stamp};

/// What `--cycle` writes over.
const HOLE: &[u8; 12] = b"@@@@@@@@@@@@";
/// A prime, so that every number below a power of ten has its turn.
const SCATTER: u64 = 2_654_435_761;

/// What all connections share.
struct Plan {
    port: u16,
    request: Vec<u8>,
    chunks: usize,
    deadline: Instant,
    holes: Vec<usize>,
    cycle: u64,
    allow: Vec<u16>,
    any: bool,
    leave_after: usize,
    pace: Option<Pace>,
}

/// When the requests of an open loop begin.
struct Pace {
    started: Instant,
    started_ns: u64,
    every_ns: u64,
}

impl Plan {
    /// The request with its number in its holes.
    fn filled(&self, number: u64) -> Vec<u8> {
        let mut request = self.request.clone();
        // Neighbours in time are none in number: what lies side by side would be found in caches.
        let digits = format!("{:012}", number.wrapping_mul(SCATTER) % self.cycle);
        for &at in &self.holes {
            request[at..at + HOLE.len()].copy_from_slice(digits.as_bytes());
        }
        request
    }
}

#[derive(Default)]
struct Seen {
    left: u64,
    begun: u64,
    requests: u64,
    allowed: u64,
    gone: u64,
    errors: u64,
    first_error: String,
    statuses: std::collections::BTreeMap<u16, u64>,
    latency: Vec<u64>,
    allowed_latency: Vec<u64>,
    first: Vec<u64>,
    delay: Vec<u64>,
}

/// Counts the events of one stream as their bytes arrive.
#[derive(Default)]
struct Events {
    text: Vec<u8>,
    at: usize,
    chunks: usize,
    done: bool,
}

impl Events {
    fn scan(&mut self, started: u64, seen: &mut Seen) {
        let now = stamp::now();
        while let Some(end) = memchr::memmem::find(&self.text[self.at..], b"\n\n") {
            let event = &self.text[self.at..self.at + end];
            self.at += end + 2;
            if let Some(sent) = stamp::find(event) {
                if self.chunks == 0 {
                    seen.first.push(now.saturating_sub(started));
                }
                self.chunks += 1;
                seen.delay.push(now.saturating_sub(sent));
            } else {
                self.done = event == b"data: [DONE]";
            }
        }
    }
}

/// One connection and its buffers.
struct Client {
    socket: TcpStream,
    buf: Vec<u8>,
}

impl Client {
    async fn fill(&mut self) -> io::Result<()> {
        if self.socket.read_buf(&mut self.buf).await? == 0 {
            return Err(io::Error::other("the server closed the connection"));
        }
        Ok(())
    }

    /// One request and its answer; true if the connection can go on. `due`: when it should have begun.
    async fn exchange(&mut self, plan: &Plan, number: u64, due: Option<u64>, seen: &RefCell<Seen>) -> io::Result<bool> {
        self.buf.clear();
        let started = due.unwrap_or_else(stamp::now);
        if plan.holes.is_empty() {
            self.socket.write_all(&plan.request).await?;
        } else {
            self.socket.write_all(&plan.filled(number)).await?;
        }
        let head = loop {
            self.fill().await?;
            if let Some(head) = http::head(&self.buf)? {
                break head;
            }
        };
        *seen.borrow_mut().statuses.entry(head.status).or_default() += 1;
        let Some(events) = self.body(&head, started, plan, seen).await? else {
            let mut seen = seen.borrow_mut();
            seen.requests += 1;
            seen.gone += 1;
            return Ok(false);
        };
        if plan.allow.contains(&head.status) || (plan.any && head.status != 200) {
            let mut seen = seen.borrow_mut();
            seen.requests += 1;
            seen.allowed += 1;
            seen.allowed_latency.push(stamp::now().saturating_sub(started));
            return Ok(!head.close);
        }
        let text = String::from_utf8_lossy(&events.text);
        let right = plan.any
            || match plan.chunks {
                0 => text.contains("\"object\":\"chat.completion\"") && text.ends_with('}'),
                chunks => events.done && events.chunks == chunks,
            };
        if head.status != 200 || !right {
            let tail = &text[text.len() - text.len().min(200)..];
            return Err(io::Error::other(format!("status {}, {} chunks: {tail}", head.status, events.chunks)));
        }
        let mut seen = seen.borrow_mut();
        seen.requests += 1;
        seen.latency.push(stamp::now().saturating_sub(started));
        Ok(!head.close)
    }

    /// What came; None if it was left in the middle.
    async fn body(
        &mut self,
        head: &http::Head,
        started: u64,
        plan: &Plan,
        seen: &RefCell<Seen>,
    ) -> io::Result<Option<Events>> {
        let mut events = Events::default();
        let mut decoder = Decoder::default();
        let mut from = head.len;
        loop {
            let complete = if head.chunked {
                decoder.feed(&self.buf[from..], &mut events.text)?
            } else {
                events.text.extend_from_slice(&self.buf[from..]);
                events.text.len() >= head.length.ok_or_else(|| io::Error::other("a body without a length"))?
            };
            events.scan(started, &mut seen.borrow_mut());
            if plan.leave_after > 0 && events.chunks >= plan.leave_after && !complete {
                return Ok(None);
            }
            if complete {
                return Ok(Some(events));
            }
            self.buf.clear();
            from = 0;
            self.fill().await?;
        }
    }
}

async fn connection(plan: &Plan, seen: &RefCell<Seen>) -> io::Result<()> {
    let mut client: Option<Client> = None;
    while Instant::now() < plan.deadline {
        let number = {
            let mut seen = seen.borrow_mut();
            if seen.left == 0 || seen.errors > 0 {
                break;
            }
            seen.left -= 1;
            seen.begun += 1;
            seen.begun - 1
        };
        let due = match &plan.pace {
            Some(pace) => {
                let after = Duration::from_nanos(pace.every_ns * number);
                if pace.started + after >= plan.deadline {
                    break;
                }
                sleep_until(pace.started + after).await;
                Some(pace.started_ns + pace.every_ns * number)
            }
            None => None,
        };
        let mut open = if let Some(open) = client.take() {
            open
        } else {
            let socket = TcpStream::connect(("127.0.0.1", plan.port)).await?;
            socket.set_nodelay(true)?;
            Client { socket, buf: Vec::with_capacity(64 << 10) }
        };
        if open.exchange(plan, number, due, seen).await? {
            client = Some(open);
        }
    }
    Ok(())
}

/// Percentiles in microseconds, as a JSON object.
struct Spread(Vec<u64>);

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(max) = self.0.last() else { return out.write_str("null") };
        let at = |percent: usize| micros(self.0[(self.0.len() - 1) * percent / 100]);
        write!(out, "{{\"p50\":{},\"p95\":{},\"p99\":{},\"max\":{}}}", at(50), at(95), at(99), micros(*max))
    }
}

impl From<&mut Vec<u64>> for Spread {
    fn from(values: &mut Vec<u64>) -> Self {
        values.sort_unstable();
        Self(std::mem::take(values))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time of days would be lost to rounding, not one of seconds")]
fn micros(ns: u64) -> f64 {
    (ns / 100) as f64 / 10.0
}

fn report(seen: &mut Seen, elapsed: Duration) -> String {
    let mut statuses = String::new();
    for (status, count) in &seen.statuses {
        let comma = if statuses.is_empty() { "" } else { "," };
        let _ = write!(statuses, "{comma}\"{status}\":{count}");
    }
    format!(
        "{{\"requests\":{},\"errors\":{},\"first_error\":{:?},\"statuses\":{{{statuses}}},\"elapsed_s\":{:.4},\
         \"allowed\":{},\"gone\":{},\"chunks\":{},\"latency_us\":{},\"allowed_us\":{},\"ttft_us\":{},\"delay_us\":{}}}",
        seen.requests,
        seen.errors,
        seen.first_error,
        elapsed.as_secs_f64(),
        seen.allowed,
        seen.gone,
        seen.delay.len(),
        Spread::from(&mut seen.latency),
        Spread::from(&mut seen.allowed_latency),
        Spread::from(&mut seen.first),
        Spread::from(&mut seen.delay),
    )
}

fn request(args: &Args) -> Result<Vec<u8>, Box<dyn Error>> {
    let body = std::fs::read(args.get("body").ok_or("--body is needed")?)?;
    let path = args.get("path").unwrap_or("/v1/chat/completions");
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n");
    for header in args.all("header") {
        write!(head, "{header}\r\n")?;
    }
    write!(head, "content-length: {}\r\n\r\n", body.len())?;
    Ok([head.into_bytes(), body].concat())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env()?;
    let started = Instant::now();
    let request = request(&args)?;
    let cycle = args.parse("cycle", 0)?;
    let rate: f64 = args.parse("rate", 0.0)?;
    let plan = Rc::new(Plan {
        port: args.parse("port", 0)?,
        holes: if cycle == 0 { Vec::new() } else { memchr::memmem::find_iter(&request, HOLE).collect() },
        request,
        chunks: args.parse("chunks", 0)?,
        deadline: started + Duration::from_secs_f64(args.parse("seconds", 60.0)?),
        cycle,
        allow: args.all("allow").map(str::parse).collect::<Result<_, _>>()?,
        any: args.get("any") == Some("yes"),
        leave_after: args.parse("leave-after", 0)?,
        pace: (rate > 0.0).then(|| Pace {
            started: Instant::now(),
            started_ns: stamp::now(),
            every_ns: Duration::from_secs_f64(1.0 / rate).as_nanos().try_into().unwrap_or(u64::MAX),
        }),
    });
    let seen = Rc::new(RefCell::new(Seen { left: args.parse("requests", 1)?, ..Seen::default() }));
    let stagger = Duration::from_micros(args.parse("stagger-us", 0)?);
    let tasks = LocalSet::new();
    for index in 0..args.parse("connections", 1_u32)? {
        let (plan, seen) = (Rc::clone(&plan), Rc::clone(&seen));
        tasks.spawn_local(async move {
            sleep(stagger * index).await;
            if let Err(error) = connection(&plan, &seen).await {
                let mut seen = seen.borrow_mut();
                seen.errors += 1;
                seen.first_error = error.to_string();
            }
        });
    }
    tasks.await;
    let mut seen = seen.borrow_mut();
    let errors = seen.errors;
    println!("{}", report(&mut seen, started.elapsed()));
    std::process::exit(i32::from(errors > 0));
}

//! What is written for people and machines: the ledger's detail, the access log's line, money and times in headers.

use std::fmt::Write;
use std::time::Duration;

const NANO: u64 = 1_000_000_000;
/// Room for a few numbers behind a detail.
const MORE: usize = 64;

/// The ledger's detail of a request, with room for what its end adds.
pub(super) fn detail(id: &str, behind: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(id.len() + behind.len() + MORE);
    out.extend_from_slice(b"[\"");
    out.extend_from_slice(id.as_bytes());
    out.push(b'"');
    out.extend_from_slice(behind);
    out
}

/// Nano-USD as dollars, without an exponent and without needless zeros.
#[must_use]
pub fn usd(nano: i64) -> String {
    let (whole, part) = (nano.unsigned_abs() / NANO, nano.unsigned_abs() % NANO);
    let part = format!("{part:09}");
    let part = part.trim_end_matches('0');
    format!("{}{whole}.{part:0<2}", if nano < 0 { "-" } else { "" })
}

/// A time as `OpenAI` writes it: 120ms, 7.66s, 6m0s, 1h2m3s.
#[must_use]
pub fn duration(ms: u64) -> String {
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    let mut seconds = (rest / 1000).to_string();
    if !rest.is_multiple_of(1000) {
        let _ = write!(seconds, ".{:03}", rest % 1000);
        seconds.truncate(seconds.trim_end_matches('0').len());
    }
    let (hours, minutes) = (minutes / 60, minutes % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// The access log's line up to how long it took. at: seconds since the epoch; asked: members from the method to the status.
pub(super) fn logged(at: f64, id: &str, asked: &str, took: Duration) -> String {
    let took = (took.as_secs_f64() * 1e6).round() / 1e3;
    format!(
        "{{\"ts\":{at:?},\"level\":\"info\",\"logger\":\"tollhouse.access\",\"msg\":\"request\",\
         \"request_id\":\"{id}\",{asked},\"duration_ms\":{took:?}"
    )
}

//! What an event of a streamed answer costs: the text of a file in deltas of four bytes, framed and tapped only, scanned as
//! a bare text, and redacted;
//! and what a request with the whole text costs.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use tollhouse_core::json::Limits;
use tollhouse_core::request::{Kind, View};
use tollhouse_core::scan::body::redact_request;
use tollhouse_core::scan::events::EventRedactor;
use tollhouse_core::scan::{Policy, Rules, Scanner};
use tollhouse_core::sse::{Framed, Framer};
use tollhouse_core::tap::{Dialect, Tap};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: stream_speed FILE")?;
    let text: String = std::fs::read_to_string(path)?.chars().filter(char::is_ascii).take(400_000).collect();
    let scanner = Scanner::new(Rules::builtin(), &Policy::default());
    let mut wire = String::new();
    let mut events = 0_u32;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(4));
        write!(
            wire,
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":\
             [{{\"index\":0,\"delta\":{{\"content\":{}}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n",
            serde_json::Value::from(piece)
        )?;
        events += 1;
        rest = after;
    }
    let tapped = best(|| {
        let (mut framer, mut tap) = (Framer::new(), Tap::new(Dialect::Chat));
        for chunk in wire.as_bytes().chunks(1460) {
            framer.push(chunk);
            while framer.next_block(&mut |framed| {
                if let Framed::Block(block) = framed {
                    black_box(block.data().map(|data| tap.event(&data, None)));
                }
            }) {}
        }
    });
    let bare = best(|| {
        let (mut stream, mut out) = (scanner.stream(), String::new());
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(4));
            out.clear();
            let _ = stream.feed(piece, &mut out);
            rest = after;
        }
    });
    let redacted = best(|| {
        let mut redactor = EventRedactor::new(&scanner, Dialect::Chat, None);
        let mut out = Vec::new();
        for chunk in wire.as_bytes().chunks(1460) {
            out.clear();
            let _ = redactor.feed(chunk, &mut out);
            black_box(&out);
        }
    });
    let each = |seconds: f64| seconds / f64::from(events) * 1e9;
    println!(
        "{events} events: framed and tapped {:.0} ns each, the text alone scanned {:.0} ns, redacted {:.0} ns",
        each(tapped),
        each(bare),
        each(redacted)
    );
    let body = serde_json::json!({"messages": [{"role": "user", "content": text}]}).to_string();
    let view = View::parse(body.as_bytes(), Kind::Chat, Limits::default()).map_err(|error| format!("{error:?}"))?;
    let parsed = best(|| drop(black_box(View::parse(body.as_bytes(), Kind::Chat, Limits::default()))));
    let redacted = best(|| drop(black_box(redact_request(&scanner, body.as_bytes(), &view, None))));
    println!("a request of {} bytes: parsed {:.0} us, redacted {:.0} us", body.len(), parsed * 1e6, redacted * 1e6);
    Ok(())
}

fn best(mut work: impl FnMut()) -> f64 {
    let time = |work: &mut dyn FnMut()| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64()
    };
    (0..5).map(|_| time(&mut work)).fold(f64::MAX, f64::min)
}

//! How fast text is normalised, by the kind of text: `normalise_speed [FILE ...]`; without a file on made-up text.

use std::hint::black_box;
use std::time::Instant;

use tollhouse_core::scan::normalise::{Normalised, Normaliser, identity_len};

const SIZE: usize = 1 << 20;
const ROUNDS: usize = 20;

fn main() {
    let files: Vec<String> = std::env::args().skip(1).collect();
    println!("{:<28} {:>9} {:>9} {:>9}   GB/s", "text", "identity", "whole", "4 KB");
    for path in &files {
        match std::fs::read_to_string(path) {
            Ok(text) => report(path, &text),
            Err(error) => println!("{path}: {error}"),
        }
    }
    if files.is_empty() {
        for (name, piece) in [
            ("ASCII", "The quick brown fox jumps over the lazy dog, twice a day. "),
            ("typographic quotes", "“It’s a fox’s day,” said the dog… and slept all the morning. "),
            ("French", "Le cœur a ses raisons, que la raison ne connaît point : déjà vu. "),
            ("Russian", "Съешь же ещё этих мягких французских булок, да выпей чаю. "),
            ("Chinese", "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。"),
            ("emoji", "🎉🚀✨👍🔥"),
            ("stroked", "t\u{336}o\u{336}k\u{336}e\u{336}n\u{336} "),
            ("tag characters", "\u{E0074}\u{E006F}\u{E006B}\u{E0065}\u{E006E}"),
            ("percent-encoded", "%74%6F%6B%65%6E%20"),
            ("entities", "&#116;&#x6f;&#107;&commat;"),
            ("JSON escapes", "\\u0074\\u006f\\u006b"),
            ("JSON in a string", "{\\\"name\\\": \\\"value of it\\\", \\\"list\\\": [1, 2, 3]}\\n"),
            ("ampersands", "&"),
            ("percent signs", "%"),
            ("%25", "%25"),
            ("backslashes", "\\"),
            ("&am", "&am"),
        ] {
            report(name, &piece.repeat(SIZE / piece.len()));
        }
    }
}

fn report(name: &str, text: &str) {
    let identity = speed(&text[..identity_len(text)], || {
        black_box(identity_len(text));
    });
    let mut out = Normalised::new();
    let whole = speed(text, || {
        out = Normalised::new();
        let mut normaliser = Normaliser::new();
        normaliser.feed(text, &mut out);
        normaliser.finish(&mut out);
        black_box(out.end());
    });
    let chunked = speed(text, || {
        let (mut normaliser, mut out) = (Normaliser::new(), Normalised::new());
        let mut from = 0;
        while from < text.len() {
            let mut to = (from + 4096).min(text.len());
            while !text.is_char_boundary(to) {
                to += 1;
            }
            normaliser.feed(&text[from..to], &mut out);
            out.discard_before(out.end().saturating_sub(256));
            from = to;
        }
        normaliser.finish(&mut out);
        black_box(out.end());
    });
    println!("{name:<28} {identity:>9.2} {whole:>9.2} {chunked:>9.2}");
}

/// The best of the rounds, in bytes per nanosecond.
#[expect(clippy::cast_precision_loss, reason = "sizes and times are far below 2^52")]
fn speed(text: &str, mut work: impl FnMut()) -> f64 {
    let best = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_nanos().max(1)
    });
    text.len() as f64 / best.min().unwrap_or(1) as f64
}

//! How fast texts are scanned: a file is cut at line ends into pieces of the given sizes, and streamed in small deltas;
//! with a size, only that is done, as often as is said.

use std::hint::black_box;
use std::time::Instant;

use tollhouse_core::scan::{Policy, Rules, Scanner};

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: scan_speed FILE [SIZE [TIMES]]")?;
    let text = std::fs::read_to_string(path)?;
    let begun = Instant::now();
    let rules = Rules::load(Vec::new()).map_err(|errors| format!("{errors:?}"))?;
    println!("{} rules loaded in {:.1} ms", rules.len(), begun.elapsed().as_secs_f64() * 1e3);
    let scanner = Scanner::new(rules, &Policy::default());
    let only = std::env::args().nth(2).map(|size| size.parse()).transpose()?;
    let times = std::env::args().nth(3).map_or(Ok(7), |times| times.parse())?;
    for size in only.map_or(vec![text.len(), 65_536, 4096, 1024], |size: usize| vec![size]) {
        let pieces = cut(&text, size);
        let mut best = f64::MAX;
        let mut findings = 0;
        for _ in 0..times {
            let begun = Instant::now();
            findings = pieces.iter().map(|piece| black_box(scanner.scan(piece)).findings.len()).sum();
            best = best.min(begun.elapsed().as_secs_f64());
        }
        let each = best / pieces.len() as f64;
        println!(
            "{size:>9} bytes: {:.3} GB/s, {:.2} us each, {findings} findings",
            text.len() as f64 / best / 1e9,
            each * 1e6
        );
    }
    if only.is_some() {
        return Ok(());
    }
    let deltas = cut(cut(&text, 400_000)[0], 4);
    let mut best = f64::MAX;
    let mut held = vec![0u32; 4096];
    for _ in 0..3 {
        held.fill(0);
        let mut stream = scanner.stream();
        let mut out = String::new();
        let begun = Instant::now();
        for delta in &deltas {
            out.clear();
            if stream.feed(delta, &mut out).is_err() {
                break;
            }
            held[stream.held().min(4095)] += 1;
        }
        best = best.min(begun.elapsed().as_secs_f64());
    }
    let mut left = deltas.len() / 100;
    let p99 = (0..held.len()).rev().find(|n| {
        left = left.saturating_sub(held[*n] as usize);
        left == 0
    });
    println!(
        "{} deltas of 4 bytes: {:.0} ns each, p99 hold {p99:?} bytes",
        deltas.len(),
        best / deltas.len() as f64 * 1e9
    );
    Ok(())
}

fn cut(text: &str, size: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = (size.min(rest.len())..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(at);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

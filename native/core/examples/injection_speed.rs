//! Measures the injection detector on the lines of a file: `injection_speed FILE [bytes per call]`.
//!
//! Without a size each line is a call; with one the file is cut into pieces of that size.

use std::time::Instant;
use std::{env, fs};

use tollhouse_core::scan::injection::{Channel, Detector};

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn main() {
    let mut arguments = env::args().skip(1);
    let Some(text) = arguments.next().and_then(|path| fs::read_to_string(path).ok()) else {
        eprintln!("usage: injection_speed FILE [bytes per call]");
        return;
    };
    let pieces: Vec<&str> = match arguments.next().and_then(|size| size.parse::<usize>().ok()) {
        Some(size) => cut(&text, size.max(4)),
        None => text.lines().collect(),
    };
    let started = Instant::now();
    let detector = Detector::new();
    let built = started.elapsed();
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    let (mut best, mut hits) = (f64::INFINITY, 0);
    for _ in 0..7 {
        let started = Instant::now();
        hits = pieces.iter().filter(|piece| detector.score(piece, Channel::User, 0).hit).count();
        best = best.min(started.elapsed().as_secs_f64());
    }
    let open = pieces
        .iter()
        .filter(|piece| detector.explain(piece.as_bytes()).modelled)
        .map(|piece| piece.len())
        .sum::<usize>();
    println!(
        "{} calls, {bytes} bytes: {:.3} GB/s, {:.0} ns a call; gate open for {:.1} % of the bytes, {hits} hits; built in {built:?}",
        pieces.len(),
        bytes as f64 / best / 1e9,
        best * 1e9 / pieces.len() as f64,
        open as f64 * 100.0 / bytes as f64,
    );
}

/// Cuts `text` into pieces of about `size` bytes, between characters.
fn cut(mut text: &str, size: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let end = (size..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        let (piece, rest) = text.split_at(end);
        pieces.push(piece);
        text = rest;
    }
    pieces
}

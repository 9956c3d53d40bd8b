//! What a slow scanner would dread, at a size and at twice the size: `adversarial [BYTES] [NAME]`.
//!
//! The size is the given one (5 MB) or, for what takes long, the largest that a sixteenth of a second suffices for.
//! Whole, and as a stream in pieces of 64 bytes for an eighth of the size. The ratio of the times says whether they are
//! linear; both sizes are measured in turns, so that a busy machine slows both.

#[expect(dead_code, reason = "others use the rest")]
mod texts;

use std::hint::black_box;
use std::time::Instant;

use tollhouse_core::scan::{Policy, Rules, Scanner};

const ROUNDS: usize = 3;
const PIECE: usize = 64;
const SMALLEST: usize = 16 << 10;
const PATIENCE: f64 = 1.0 / 16.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let size = arguments.first().and_then(|size| size.parse().ok()).unwrap_or(5 << 20);
    let scanner = Scanner::new(Rules::builtin(), &Policy::default());
    println!("{:<28} {:>10} {:>10} {:>6}   {:>10} {:>6}", "input", "KB", "MB/s", "x2", "stream", "x2");
    for (i, (name, single)) in texts::adversarial(size).into_iter().enumerate() {
        if arguments.get(1).is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        let whole = |text: &str| {
            black_box(scanner.scan(text));
        };
        let mut used = size.min(SMALLEST);
        while used < size && seconds(whole, texts::cut(&single, used)[0]) < PATIENCE {
            used = size.min(4 * used);
        }
        let texts = (texts::adversarial(used).into_iter().nth(i), texts::adversarial(2 * used).into_iter().nth(i));
        let (Some((_, single)), Some((_, double))) = texts else { continue };
        let streamed = |text: &str| {
            let (mut stream, mut out) = (scanner.stream(), String::new());
            for delta in texts::cut(texts::cut(text, text.len() / 8)[0], PIECE) {
                out.clear();
                black_box(stream.feed(delta, &mut out).is_ok());
            }
            black_box(stream.finish(&mut out).is_ok());
        };
        let (speed, ratio) = compare(&single, &double, whole);
        let (streamed_speed, streamed_ratio) = compare(&single, &double, streamed);
        println!(
            "{name:<28} {:>10} {speed:>10.2} {ratio:>6.2}   {:>10.2} {streamed_ratio:>6.2}",
            (2 * used) >> 10,
            streamed_speed / 8.0
        );
    }
}

fn seconds(work: impl Fn(&str), text: &str) -> f64 {
    let begun = Instant::now();
    work(text);
    begun.elapsed().as_secs_f64()
}

/// MB/s of the longer text, and how many times longer it takes.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn compare(single: &str, double: &str, work: impl Fn(&str)) -> (f64, f64) {
    let (mut one, mut two) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        for (text, best) in [(single, &mut one), (double, &mut two)] {
            *best = best.min(seconds(&work, text));
        }
    }
    (double.len() as f64 / two / 1e6, two / one)
}

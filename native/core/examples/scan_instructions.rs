//! Work whose instructions `bench/detection/instructions.py` counts: each case in a thread of its own, which callgrind
//! tells apart. Prints a line for each, in the order of the threads: how many units it worked on, and its name.

#[expect(dead_code, reason = "others use the rest")]
#[path = "../benches/texts/mod.rs"]
mod texts;

use std::hint::black_box;
use std::sync::{Arc, Barrier};

use tollhouse_core::scan::{Policy, Rules, Scanner};

type Case = (&'static str, usize, Box<dyn FnOnce() + Send>);

const REPEATS: usize = 16;
const ADVERSARIAL: usize = 8 << 10;

fn main() {
    #[cfg(target_arch = "x86_64")]
    if !std::arch::is_x86_feature_detected!("avx2") {
        println!("no AVX2");
        return;
    }
    let scanner = Scanner::new(Rules::builtin(), &Policy::default());
    let benign = texts::synthetic(REPEATS * 4096);
    let busy = "Call +1 (212) 555-0142 or write to jo@example.com, card 4111 1111 1111 1111, from 192.0.2.17; token=";
    let busy: String = texts::cut(&benign, 400).iter().flat_map(|piece| [*piece, " ", busy, "\n"]).collect();
    // What is made once in a process is not counted.
    black_box((scanner.scan(&benign), scanner.scan(&busy), scanner.stream().feed(&busy, &mut String::new()).is_ok()));
    for (_, text) in texts::adversarial(1024) {
        black_box(scanner.scan(&text));
    }
    let mut cases: Vec<Case> = vec![(
        "loading all rules",
        1,
        Box::new(|| {
            black_box(Rules::load(Vec::new()).is_ok());
        }),
    )];
    cases.push(whole(&scanner, "benign, 4 KB", texts::cut(&benign, 4096)));
    cases.push(whole(&scanner, "benign, 256 bytes", texts::cut(&benign, 256)));
    cases.push(whole(&scanner, "with findings, 4 KB", texts::cut(&busy, 4096)));
    let text = benign.clone();
    let feeding = scanner.clone();
    cases.push((
        "streamed, 4 bytes each",
        text.len(),
        Box::new(move || {
            let (mut stream, mut out) = (feeding.stream(), String::new());
            for delta in texts::cut(&text, 4) {
                out.clear();
                black_box(stream.feed(delta, &mut out).is_ok());
            }
        }),
    ));
    let pairs = texts::adversarial(ADVERSARIAL).into_iter().zip(texts::adversarial(2 * ADVERSARIAL));
    for ((name, single), (_, double)) in pairs {
        cases.push(whole(&scanner, name, vec![&single]));
        cases.push(whole(&scanner, name, vec![&double]));
    }
    // A thread's number is given again once it has ended, so all live until the last has worked; one works at a time, so
    // that what is made on first use is always made by the same one.
    let end = Arc::new(Barrier::new(cases.len()));
    let mut threads = Vec::new();
    for (name, units, work) in cases {
        println!("{units}\t{name}");
        let end = Arc::clone(&end);
        let (done, is_done) = std::sync::mpsc::channel();
        threads.push(std::thread::spawn(move || {
            work();
            let told = done.send(());
            end.wait();
            told
        }));
        if is_done.recv().is_err() {
            println!("failed");
            std::process::exit(1);
        }
    }
    for thread in threads {
        if !matches!(thread.join(), Ok(Ok(()))) {
            println!("failed");
        }
    }
}

/// Scans each piece; a unit is a byte.
fn whole(scanner: &Scanner, name: &'static str, pieces: Vec<&str>) -> Case {
    let scanner = scanner.clone();
    let pieces: Vec<String> = pieces.into_iter().map(str::to_owned).collect();
    let units = pieces.iter().map(String::len).sum();
    let work = move || {
        for piece in &pieces {
            black_box(scanner.scan(piece));
        }
    };
    (name, units, Box::new(work))
}

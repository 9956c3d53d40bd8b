//! How many of the disguised values of the corpora read plainly once a text is normalised and its views are made.
//!
//! `TOLLHOUSE_CORPORA=folder cargo test --release --test evasion_corpora -- --nocapture` prints the rates; without the
//! folder there is nothing to measure. The records that are kept from tuning are counted apart.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tollhouse_core::scan::decode::{
    MIN_TOKEN, Verdict, decode_token, is_split, joined_run, may_start_run, without_marks,
};
use tollhouse_core::scan::normalise::{Normalised, Normaliser};

const FILES: [&str; 4] =
    ["pii_evasion.jsonl", "secret_evasion.jsonl", "injection_evasion.jsonl", "benign_encoded_controls.jsonl"];
/// Folded where phrases are looked for, not here.
const ELSEWHERE: [&str; 2] = ["leet", "random_case"];

#[test]
fn disguised_values_read_plainly() {
    let Some(folder) = std::env::var_os("TOLLHOUSE_CORPORA") else {
        eprintln!("skipped: TOLLHOUSE_CORPORA names no folder");
        return;
    };
    let mut rates: BTreeMap<(bool, i64, String), (usize, usize)> = BTreeMap::new();
    for file in FILES {
        let text = std::fs::read_to_string(Path::new(&folder).join("evasion").join(file)).unwrap();
        for line in text.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let (id, technique) = (record["id"].as_str().unwrap(), record["technique"].as_str().unwrap());
            let tier = record["tier"].as_i64().unwrap();
            if tier > 2 || ELSEWHERE.contains(&technique) {
                continue;
            }
            let plain = reads_plainly(&record, tier);
            let (found, all) = rates.entry((is_kept(id), tier, technique.to_owned())).or_default();
            *found += usize::from(plain);
            *all += 1;
            if !plain && !is_kept(id) && std::env::var_os("SHOW").is_some() {
                eprintln!("{id} {technique}");
            }
        }
    }
    for ((kept, tier, technique), (found, all)) in &rates {
        println!("{} tier {tier} {technique:<16} {found:>4} of {all:>4}", if *kept { "held out" } else { "dev     " });
        // Of some shapes only the neighbours tell whether they are a letter or a digit.
        let bar = if technique == "homoglyph" { 85 } else { 95 };
        assert!(*all < 20 || found * 100 >= all * bar, "{technique}");
    }
}

fn reads_plainly(record: &Value, tier: i64) -> bool {
    let text = record["text"].as_str().unwrap();
    let plain = normalise(record["plain"].as_str().unwrap()).0;
    let (normal, map) = normalise(text);
    if tier == 2 {
        // A joined run ends before a separator, be it a full stop, and keeps each space between its words.
        let plain = single_spaces(plain.trim_end_matches(['.', ' ']));
        return views(normal.as_bytes(), 0).iter().any(|view| single_spaces(view).contains(&plain));
    }
    let Some(span) = record["spans"].get(0) else {
        return normal.trim_end() == plain.trim_end() || normal.contains(&plain);
    };
    let byte = |key: &str| {
        let count = usize::try_from(span[key].as_u64().unwrap()).unwrap();
        text.char_indices().nth(count).map_or(text.len(), |(at, _)| at)
    };
    // What the value is read from lies within the marked span, and is not less than its characters that are seen.
    normal.match_indices(&plain).any(|(at, _)| {
        let (start, end) = (map.to_raw_start(at), map.to_raw_end(at + plain.len()));
        start >= byte("start") && end <= byte("end") && normalise(&text[start..end]).0 == plain
    })
}

fn normalise(text: &str) -> (String, Normalised) {
    let (mut normaliser, mut out) = (Normaliser::new(), Normalised::new());
    normaliser.feed(text, &mut out);
    normaliser.finish(&mut out);
    (String::from_utf8(out.bytes().to_vec()).unwrap(), out)
}

fn single_spaces(text: &str) -> String {
    text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Every view of a text, normalised, as the engine makes them.
fn views(text: &[u8], depth: usize) -> Vec<String> {
    let mut views = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let mut end = at + 1;
        if (may_start_run(text, at) || !text[at].is_ascii())
            && let Verdict::Run(view) = joined_run(text, at, true)
        {
            views.push(String::from_utf8_lossy(view.bytes()).into_owned());
            end = view.end();
        }
        if is_split(text, at)
            && let Verdict::Run(view) = without_marks(text, at, 0, true)
        {
            views.push(String::from_utf8_lossy(view.bytes()).into_owned());
            end = view.end().max(end);
        }
        at = end;
    }
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte);
    for run in text.split(|byte| !of_token(byte)) {
        // A token may be the value of `name=token`.
        let value = run.iter().rev().skip_while(|&&byte| byte == b'=').position(|&byte| byte == b'=');
        let padding = run.iter().rev().take_while(|&&byte| byte == b'=').count();
        let from = value.map_or(0, |at| run.len() - padding - at);
        let mut out = Vec::new();
        if run.len() - from >= MIN_TOKEN && decode_token(&run[from..], &mut out) {
            if depth < 2 {
                views.extend(self::views(&out, depth + 1));
            }
            views.push(String::from_utf8(out).unwrap());
        }
    }
    views.into_iter().map(|view| normalise(&view).0).collect()
}

/// Whether a record is kept from tuning: by the SHA-1 of its id, modulo 5.
fn is_kept(id: &str) -> bool {
    sha1(id.as_bytes()).iter().fold(0, |rest, &word| ((u64::from(rest) << 32 | u64::from(word)) % 5) as u32) == 0
}

#[expect(clippy::many_single_char_names, reason = "the names of FIPS 180-4")]
fn sha1(message: &[u8]) -> [u32; 5] {
    let mut state: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks(64) {
        let mut words: Vec<u32> = block.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
        for at in 16..80 {
            words.push((words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (round, word) in words.iter().enumerate() {
            let (mix, constant) = match round {
                0..20 => (b & c | !b & d, 0x5A82_7999),
                20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
                40..60 => (b & c | b & d | c & d, 0x8F1B_BCDC),
                _ => (b ^ c ^ d, 0xCA62_C1D6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (total, part) in state.iter_mut().zip([a, b, c, d, e]) {
            *total = total.wrapping_add(part);
        }
    }
    state
}

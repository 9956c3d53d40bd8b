use std::time::Instant;

use super::*;

/// Counts of tiktoken 0.14 with the published vocabularies: text, `cl100k_base`, `o200k_base`.
const VECTORS: &[(&str, u64, u64)] = &[
    ("", 0, 0),
    ("a", 1, 1),
    ("hello world", 2, 2),
    ("Hello, World!", 4, 4),
    (" leading", 1, 1),
    ("trailing ", 3, 3),
    ("  two  spaces  ", 5, 5),
    ("\n", 1, 1),
    ("\n\n", 1, 1),
    ("a\n\nb", 3, 3),
    ("a \n b", 3, 3),
    ("tab\tbed", 3, 3),
    ("\r\n\r\n x", 2, 2),
    ("end  \n  ", 3, 3),
    ("   ", 1, 1),
    ("I'm you're THEY'LL we'd it's don'T 'S", 15, 11),
    ("x'\u{17f}", 4, 3),
    ("12345678", 3, 3),
    ("1,234.56", 5, 5),
    ("\u{ff13}\u{ff14}\u{ff15}", 3, 3),
    ("naïve café", 4, 4),
    ("ÀÉÎ", 3, 3),
    ("你好,世界", 6, 3),
    ("こんにちは世界", 4, 2),
    ("안녕하세요 세계", 9, 3),
    ("Привет, мир!", 7, 5),
    ("مرحبا بالعالم", 10, 4),
    ("שלום עולם", 10, 2),
    ("नमस\u{94d}त\u{947} द\u{941}न\u{93f}य\u{93e}", 13, 5),
    ("สว\u{e31}สด\u{e35}ชาวโลก", 13, 7),
    ("\u{1f600}\u{1f603}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466}\u{1f1e9}\u{1f1ea}", 28, 18),
    ("e\u{301}a\u{300}", 4, 4),
    ("\u{301}abc", 2, 2),
    ("<|endoftext|>", 7, 7),
    ("def f(x):\n    return x**2  # square\n", 13, 13),
    ("{\"a\": [1, 2, {\"b\": null}]}", 15, 15),
    ("https://example.com/a/b?c=d&e=f#g", 12, 12),
    ("camelCaseWords HTTPServer XMLHttpRequest", 6, 7),
    ("\u{1c5}ungla \u{2b0}i \u{aa}b", 11, 11),
    ("日本ABC日本abc", 6, 4),
    ("AあBいC", 5, 5),
    ("\u{a0}\u{2003}wide\u{3000}space", 6, 5),
    ("$$$///\n\n///", 3, 4),
    ("'''quoted'''", 3, 3),
    ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 13, 13),
    (
        "abababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababababab",
        100,
        50,
    ),
    (
        "=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-",
        10,
        10,
    ),
    ("\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\tx", 4, 4),
    ("0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000", 34, 34),
    ("\u{20ac}\u{a3}\u{a5} \u{2211}\u{220f}\u{222b} \u{2190}\u{2192}", 11, 11),
    (
        "The quick brown fox jumps over the lazy dog.The quick brown fox jumps over the lazy dog.The quick brown fox jumps over the lazy dog.The quick brown fox jumps over the lazy dog.The quick brown fox jumps over the lazy dog.",
        46,
        46,
    ),
    (
        "DonaudampfschifffahrtsgesellschaftskapitänDonaudampfschifffahrtsgesellschaftskapitänDonaudampfschifffahrtsgesellschaftskapitänDonaudampfschifffahrtsgesellschaftskapitän",
        68,
        52,
    ),
];

#[test]
fn counts_are_tiktokens() {
    for (text, cl100k, o200k) in VECTORS {
        assert_eq!(Encoding::Cl100kBase.count(text), *cl100k, "cl100k_base {text:?}");
        assert_eq!(Encoding::O200kBase.count(text), *o200k, "o200k_base {text:?}");
    }
}

/// Counts of the same: a text, how often, `cl100k_base`, `o200k_base`.
const LONG: &[(&str, usize, u64, u64)] = &[
    ("a", 1_000_000, 125_000, 125_000),
    (" ", 1_000_000, 7813, 7813),
    ("0", 1_000_000, 333_334, 333_334),
    ("\n", 1_000_000, 31_250, 62_500),
    ("=-", 500_000, 62_500, 62_500),
    ("ab ", 333_333, 333_334, 333_334),
];

#[test]
fn megabytes_of_one_thing_are_counted_right_and_in_time() {
    for (text, times, cl100k, o200k) in LONG {
        let text = text.repeat(*times);
        let begun = Instant::now();
        assert_eq!(Encoding::Cl100kBase.count(&text), *cl100k, "{:?}", &text[..4]);
        assert_eq!(Encoding::O200kBase.count(&text), *o200k, "{:?}", &text[..4]);
        // A quadratic way takes hours.
        assert!(begun.elapsed().as_secs() < 60);
    }
}

#[test]
fn a_piece_that_is_cut_counts_hardly_more() {
    let text = "a".repeat(3 << 20);
    assert_eq!(Encoding::Cl100kBase.count(&text), 3 << 17);
}

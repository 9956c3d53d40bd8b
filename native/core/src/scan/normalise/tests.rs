use super::{MAX_HELD, Normalised, Normaliser, identity_len};

/// A text normalised in one piece.
fn whole(raw: &str) -> Normalised {
    let (mut normaliser, mut out) = (Normaliser::new(), Normalised::new());
    normaliser.feed(raw, &mut out);
    normaliser.finish(&mut out);
    out
}

fn text(out: &Normalised) -> String {
    String::from_utf8(out.bytes().to_vec()).unwrap()
}

fn normal(raw: &str) -> String {
    text(&whole(raw))
}

/// The raw text of what normalises to `wanted`.
fn source<'a>(raw: &'a str, wanted: &str) -> &'a str {
    let out = whole(raw);
    let start = text(&out).find(wanted).unwrap();
    &raw[out.to_raw_start(start)..out.to_raw_end(start + wanted.len())]
}

#[test]
fn every_disguise_is_undone() {
    let cases = [
        // Invisible characters: joiners, soft hyphens, selectors, byte order marks, fillers, bidirectional controls.
        ("to\u{200B}k\u{200C}e\u{200D}n\u{2060}-\u{FEFF}4\u{AD}2", "token-42"),
        ("\u{202E}to\u{2066}ken\u{2069}\u{202C}", "token"),
        ("a\u{FE0F}b\u{E0101}c\u{34F}d\u{3164}e\u{180E}f", "abcdef"),
        // Tag characters.
        ("\u{E0001}\u{E0054}\u{E006F}\u{E006B}\u{E007F}", "Tok"),
        // Strokes and marks.
        ("t\u{336}o\u{336}k\u{337}e\u{301}n\u{20D2} \u{336}4\u{20E3}", "token 4"),
        // Widths and fonts.
        ("\u{FF54}\u{FF4F}\u{FF4B}\u{FF20}\u{FF0D}\u{FF14}", "tok@-4"),
        ("𝐭𝑜𝓴𝔢𝕟 𝖳𝗢𝘒𝙀𝙽 𝟎𝟙𝟤𝟯𝟺 ℂ𝚤", "token TOKEN 01234 Ci"),
        ("ⓣⓞⓚ ⒯⒪⒦ 🄣🄾🅺 🅣🅞🅚 ①⑴⒈❶➀➊⓵ ⑩⒂", "tok tok TOK TOK 1111111 1015"),
        ("x² ₃ ᵗᵒᵏ ﬁ Ⅷ …", "x2 3 tok fi VIII ..."),
        ("ᴛᴏᴋᴇɴ ɡıȷ", "token gij"),
        // Digits of other scripts.
        ("٠١٢٣٤٥٦٧٨٩ ۰۱۲ ०१२ ๐๑๒ 𑁦", "0123456789 012 012 012 0"),
        // Spaces and dashes.
        ("1\u{A0}2\u{2009}3\u{3000}4\u{2011}5\u{2010}6\u{2013}7\u{2212}8\u{FE63}9", "1 2 3 4-5-6-7-8-9"),
        ("“a” ‘b’ a．b。c․d", "\"a\" 'b' a.b.c.d"),
        // Look-alike letters.
        ("раsswоrd Сору", "password Copy"),
        ("Τοκεη αρι", "Token api"),
        ("ցհոս ᎪᏢᎥ ꓮꓑꓲ", "ghnu APi API"),
        // Escapes.
        ("&#x74;&#111;k&#X65n &#116 &commat;&period;&nbsp;&lt;", "token t @. <"),
        ("%74%6F%6b%65n%40a%E2%80%8B.b", "token@a.b"),
        ("\\u0074\\u006F\\x6b\\u{65}\\U0000006e \\ud835\\udc2d", "token t"),
        ("&#x440;%D0%B0\\u0441", "pac"),
        ("\\\"key\\\": \\\"v\\/w\\\"\\ntoken", "\"key\": \"v/w\"\ntoken"),
        // Escaped twice.
        ("%2540 %252540 &amp;#64; &amp;commat; \\\\u0040", "@ @ @ @ @"),
    ];
    for (raw, wanted) in cases {
        assert_eq!(normal(raw), wanted, "{raw:?}");
    }
}

#[test]
fn what_looks_like_an_escape_stays() {
    for raw in [
        "100% of 5 %zz %",
        "50%of",
        "AT&T R&D a && b & c; &unknown; &amp",
        "&#; &#x; &#xZZ; &#1114112; &#000000000065;",
        "\\d+\\w* \\u12 \\u{} \\u{1234567} \\ud800 \\ud800\\u0041 \\xg",
        "%C3(%80%FF",
        "\\\\\\\\\\n",
    ] {
        let out = whole(raw);
        if raw.starts_with('\\') && raw.ends_with('n') {
            // More backslashes than any nesting that is undone; the last four are one escape.
            assert_eq!(text(&out), "\\\n");
        } else if !raw.contains("&#") && !raw.contains("\\ud800\\u") {
            assert_eq!(text(&out), raw);
            assert_eq!(out.kept().1, 0, "{raw}");
        }
    }
    assert_eq!(normal("\\ud800\\u0041"), "\\ud800A");
}

#[test]
fn ordinary_text_of_any_script_stays() {
    for raw in [
        "plain text, 4 + 4 = 8",
        "Müller, François, Øre, Łódź, São, naïve, İstanbul",
        "東京は日本の首都です 한국어 सीधी हिन्दी ภาษาไทย العربية",
        "🎉 ✨ 🚀",
    ] {
        let out = whole(raw);
        assert_eq!(text(&out), raw);
        assert_eq!(out.kept().1, 0, "{raw}");
        assert_eq!(identity_len(raw), raw.len());
        assert_eq!(out.to_raw_start(5), 5);
        assert_eq!(out.to_raw_end(out.end()), raw.len());
    }
    assert_eq!(identity_len("Größe: 4\u{200B}2"), "Größe: 4".len());
    assert_eq!(identity_len("東京 %41"), "東京 ".len());
}

#[test]
fn shapes_with_two_readings_follow_their_neighbours() {
    let cases = [
        // U+217C is an l within words and a 1 within numbers, hexadecimal or of capitals.
        ("sk_\u{217C}ive", "sk_live"),
        ("+\u{217C} (73\u{217C}) 5\u{217C}\u{217C}-0\u{217C}42", "+1 (731) 511-0142"),
        ("7fa\u{217C}c4e\u{217C}b", "7fa1c4e1b"),
        ("KEY-A\u{217C}B", "KEY-A1B"),
        ("A\u{217C}\u{217C} the mai\u{217C}", "All the mail"),
        // The Cyrillic O.
        ("\u{41E}pen \u{41E}VER N\u{41E}", "Open OVER NO"),
        ("(7\u{41E}\u{41E}) 4\u{41E}-\u{41E}9", "(700) 40-09"),
        ("q\u{41E}z", "q0z"),
        ("5\u{43E}5 \u{43E}n", "505 on"),
        ("key_v\u{217C}_a x_\u{41E}c", "key_v1_a x_0c"),
        ("1\u{417}5 \u{417}\u{430}", "135 \u{417}a"),
    ];
    for (raw, wanted) in cases {
        assert_eq!(normal(raw), wanted, "{raw:?}");
    }
}

#[test]
fn spans_cover_what_they_were_made_of_and_nothing_beside() {
    assert_eq!(source("x \u{200B}t\u{200B}ok\u{200B} y", "tok"), "t\u{200B}ok");
    assert_eq!(source("mail a%40b.c now", "a@b.c"), "a%40b.c");
    assert_eq!(source("mail a%40b.c now", "@"), "%40");
    assert_eq!(source("a…b", "."), "…");
    assert_eq!(source("a…b", ".b"), "…b");
    assert_eq!(source("\u{E0041}\u{E0042} c", "AB"), "\u{E0041}\u{E0042}");
    assert_eq!(source("a &#x41;&#66; c", "AB c"), "&#x41;&#66; c");
    let out = whole("a\u{200B}");
    assert_eq!((out.to_raw_start(1), out.to_raw_end(1), out.end()), (1, 1, 1));
}

#[test]
fn an_undecided_end_is_held_back() {
    let (mut normaliser, mut out) = (Normaliser::new(), Normalised::new());
    normaliser.feed("a &am", &mut out);
    assert_eq!((text(&out).as_str(), normaliser.held.len()), ("a ", 3));
    normaliser.feed("p", &mut out);
    assert_eq!(normaliser.held.len(), 4);
    normaliser.feed(";#6", &mut out);
    normaliser.feed("4; R&D 5%", &mut out);
    assert_eq!((text(&out).as_str(), normaliser.held.len()), ("a @ R&D 5", 1));
    normaliser.finish(&mut out);
    assert_eq!((text(&out).as_str(), normaliser.held.len()), ("a @ R&D 5%", 0));
}

#[test]
fn given_up_text_leaves_the_rest_mapped() {
    let (mut normaliser, mut out) = (Normaliser::new(), Normalised::new());
    let mut end = 0;
    for _ in 0..10_000 {
        normaliser.feed("t\u{200B}ok %41", &mut out);
        end = out.end();
        out.discard_before(end - 3);
    }
    assert_eq!(end, 50_000);
    assert_eq!(out.start(), end - 3);
    let (bytes, pieces) = out.kept();
    assert!(bytes <= 8192 + 8 && pieces < 16384, "{bytes} {pieces}");
    assert_eq!(out.to_raw_end(end), 100_000);
    assert_eq!(out.to_raw_start(end - 1), 100_000 - 3);
    assert_eq!(out.to_raw_start(end - 3), 100_000 - 5);
}

#[test]
fn escapes_are_found_at_every_offset() {
    for offset in 0..200 {
        for escape in ["\u{200b}", "%41", "&#64;", "&amp;", "\\u0041"] {
            assert_eq!(identity_len(&format!("{}{escape} ", "x".repeat(offset))), offset, "{escape}");
        }
        for no in ["é", "% ", "%4x", "& ", "&& ", "\\d"] {
            assert_eq!(identity_len(&format!("{}{no} ", "x".repeat(offset))), offset + no.len() + 1, "{no}");
        }
    }
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    /// Text of pieces that begin, end, interrupt and are escapes, and of characters of every kind.
    fn text(&mut self, pieces: usize) -> String {
        const PIECES: [&str; 56] = [
            "a",
            "1",
            "F",
            "l",
            " ",
            ".",
            "-",
            "x",
            "é",
            "東",
            "🎉",
            "ß",
            "%",
            "%4",
            "%41",
            "%25",
            "%C3",
            "%A9",
            "%E2%80%8B",
            "%F0%9F%8E%89",
            "2541",
            "&",
            "&#",
            "&#x",
            "41",
            ";",
            "&#64;",
            "&amp;",
            "&amp",
            "amp;",
            "#64;",
            "commat;",
            "\\",
            "\\u",
            "\\u0041",
            "\\ud83c",
            "\\udf89",
            "\\x4",
            "\\u{",
            "}",
            "\\n",
            "\\\"",
            "\u{200B}",
            "\u{AD}",
            "\u{301}",
            "\u{336}",
            "\u{93F}",
            "\u{217C}",
            "О",
            "о",
            "З",
            "б",
            "…",
            "Ⅷ",
            "\u{E0041}",
            "\0",
        ];
        (0..pieces).map(|_| PIECES[self.roll(PIECES.len())]).collect()
    }
}

#[test]
fn every_split_gives_the_same_text_and_map() {
    let mut dice = Dice(0x5EED);
    for round in 0..3000 {
        let count = 1 + dice.roll(if round % 10 == 0 { 120 } else { 14 });
        let raw = dice.text(count);
        let expected = whole(&raw);
        let maps = |out: &Normalised| -> Vec<(usize, usize)> {
            (0..=out.end()).map(|at| (out.to_raw_start(at), out.to_raw_end(at))).collect()
        };
        for way in 0..8 {
            let (mut normaliser, mut out) = (Normaliser::new(), Normalised::new());
            let mut from = 0;
            while from < raw.len() {
                let step = if way == 0 { 1 } else { 1 + dice.roll(12) };
                let mut to = (from + step).min(raw.len());
                while !raw.is_char_boundary(to) {
                    to += 1;
                }
                normaliser.feed(&raw[from..to], &mut out);
                from = to;
                assert!(normaliser.held.len() <= MAX_HELD);
                assert_eq!(normaliser.raw + normaliser.held.len(), from);
                assert!(expected.bytes().starts_with(out.bytes()));
            }
            normaliser.finish(&mut out);
            assert_eq!(text(&out), text(&expected), "{raw:?}");
            assert_eq!(maps(&out), maps(&expected), "{raw:?}");
            assert_eq!((normaliser.raw, normaliser.held.len()), (raw.len(), 0));
        }
    }
}

#[test]
fn the_map_is_monotonic_and_copies_are_exact() {
    let mut dice = Dice(0xC0DE);
    for _ in 0..3000 {
        let count = 1 + dice.roll(40);
        let raw = dice.text(count);
        let out = whole(&raw);
        let mut before = 0;
        for at in 0..out.end() {
            let (start, end) = (out.to_raw_start(at), out.to_raw_end(at + 1));
            assert!(start < end && end <= raw.len() && before <= end, "{raw:?}");
            assert!(raw.is_char_boundary(start) || out.bytes()[at] == raw.as_bytes()[start]);
            if end - start == 1 {
                assert_eq!(out.bytes()[at], raw.as_bytes()[start], "{raw:?}");
            }
            before = start;
        }
        let unchanged = identity_len(&raw);
        assert!(out.bytes().starts_with(&raw.as_bytes()[..unchanged]), "{raw:?}");
        if text(&out) == raw {
            assert_eq!(out.kept().1, 0, "{raw:?}");
        }
        if !raw.contains(|c: char| !c.is_ascii() || matches!(c, '%' | '&' | '\\')) {
            assert_eq!(unchanged, raw.len());
        }
    }
}

use super::token::MAX_TOKEN;
use super::{Verdict, View, decode_token, is_split, joined_run, may_be_text, may_start_run, without_marks};

fn decoded(token: &str) -> Option<String> {
    let mut out = b"before".to_vec();
    let is_text = decode_token(token.as_bytes(), &mut out);
    assert!(out.starts_with(b"before"));
    assert!(is_text || out.len() == 6, "{token}");
    assert!(!is_text || may_be_text(token.as_bytes()), "{token}");
    is_text.then(|| String::from_utf8(out.split_off(6)).unwrap())
}

fn base64(bytes: &[u8], alphabet: [char; 2], pad: bool) -> String {
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let mut bits = 0_u32;
        for place in 0..3 {
            bits = bits << 8 | u32::from(group.get(place).copied().unwrap_or(0));
        }
        for place in 0..4 {
            let value = bits >> (18 - 6 * place) & 63;
            let letter = |base: u8, from: u32| char::from(base + u8::try_from(value - from).unwrap());
            out.push(match value {
                _ if place > group.len() && pad => '=',
                _ if place > group.len() => break,
                0..26 => letter(b'A', 0),
                26..52 => letter(b'a', 26),
                52..62 => letter(b'0', 52),
                62 => alphabet[0],
                _ => alphabet[1],
            });
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap();
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[test]
fn encoded_text_is_decoded() {
    for text in ["jane.doe", "555-01-2345", "token-0123456789?>~", "¿Qué hay? どうも 🎉", "line\nline\tend of it"]
    {
        let encodings = [
            base64(text.as_bytes(), ['+', '/'], true),
            base64(text.as_bytes(), ['-', '_'], false),
            hex(text.as_bytes()),
            hex(text.as_bytes()).to_uppercase(),
        ];
        for token in encodings {
            if token.len() >= super::MIN_TOKEN {
                assert_eq!(decoded(&token), Some(text.to_owned()), "{token}");
            }
        }
    }
}

#[test]
fn tokens_of_other_kinds_are_left_alone() {
    for token in [
        "internationalisation",
        "getElementsByClassName",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "550e8400-e29b-41d4-a716-446655440000",
        "/usr/local/share/applications",
        "123456789012345678",
        "YWJjZGVmZ2g==",
        "YWJjZGVmZ2h=",
        "YWJjZGVmZ2hpa",
        "short",
        "============",
        "YWJj ZGVmZ2hp",
    ] {
        assert_eq!(decoded(token), None, "{token}");
    }
    assert_eq!(decoded(&"QUFB".repeat(MAX_TOKEN / 4 + 1)), None);
}

#[test]
fn the_first_bytes_of_most_words_show_that_they_stand_for_no_text() {
    for word in ["self.assertEqual", "__init__.py", "calculate_area", "os.path.join(name)", "response.status_code"] {
        assert!(!may_be_text(word.as_bytes()), "{word}");
    }
    for short in ["", "a", "abc"] {
        assert!(may_be_text(short.as_bytes()), "{short}");
    }
}

/// The view at a position, with the text it stands for.
fn run(verdict: Verdict, text: &str) -> Option<(String, &str)> {
    match verdict {
        Verdict::Run(view) => {
            exact(&view, text.as_bytes());
            Some((String::from_utf8(view.bytes().to_vec()).unwrap(), &text[view.start()..view.end()]))
        }
        _ => None,
    }
}

/// Each byte of a view is the byte of the text where its span says.
fn exact(view: &View, text: &[u8]) {
    let mut before = view.start();
    for (at, &byte) in view.bytes().iter().enumerate() {
        let span = view.span(at..at + 1);
        assert!(span.start >= before && span.end == span.start + 1 && span.end <= view.end());
        assert_eq!(text[span.start], byte);
        before = span.end;
    }
    let all = view.span(0..view.bytes().len());
    assert!(view.start() <= all.start && all.end == view.end());
}

#[test]
fn spelled_out_words_are_joined() {
    let cases = [
        ("Say t o k e n - 4 2 x now", 4, "token-42x"),
        ("j a n e . d o e @ e x a m p l e . o r g. Bye", 0, "jane.doe@example.org"),
        ("w i t h   s p a c e s   i n side", 0, "with spaces in"),
        ("d.o.t.t.e.d. .w.o.r.d.s.. So", 0, "dotted words"),
        ("1.9.2...0...2...1.4.", 0, "192.0.2.14"),
        ("a-b-c-d-e-f-g-h-i", 0, "abcdefghi"),
        ("s_p_e_l_l_e_d_o_u_t", 0, "spelledout"),
        ("s|p|e|l|l|e|d|o|u|t", 0, "spelledout"),
        ("+ 1   ( 5 5 5 )   0 1 0 - 0 0 0 0", 0, "+1 (555) 010-0000"),
        ("请.你.找.出.此.段.代.码.的.错", 0, "请你找出此段代码的错"),
        ("\"k e y _ 1 2 3 4 5 6\"", 1, "key_123456"),
    ];
    for (text, at, wanted) in cases {
        let (joined, _) = run(joined_run(text.as_bytes(), at, true), text).unwrap();
        // A separator before a quote or the like is a character of the run.
        assert_eq!(joined.trim_end_matches('"'), wanted, "{text}");
        assert!(may_start_run(text.as_bytes(), at) || !text.is_ascii(), "{text}");
    }
}

#[test]
fn a_view_is_trimmed_with_its_offsets() {
    let text = "is a t o k e n 1 2 3 a day";
    let Verdict::Run(view) = joined_run(text.as_bytes(), 3, true) else { panic!("{text}") };
    assert_eq!(view.bytes(), b"atoken123a");
    let inner = view.trimmed(1, 1);
    exact(&inner, text.as_bytes());
    assert_eq!((inner.bytes(), &text[inner.start()..inner.end()]), (&b"token123"[..], "t o k e n 1 2 3"));
    assert_eq!(inner.span(0..1), 5..6);
    assert_eq!(view.trimmed(9, 9).bytes(), b"");
}

#[test]
fn ordinary_text_is_no_run() {
    for text in [
        "I am a man of few words and b is c",
        "a b c",
        "- - - - - - - - - - - -",
        "| | | | | | | | | |",
        ". . . . . . . . .",
        "_________________",
        "U.S.A. and U.K.",
        "x                    y",
        "version 1.2.3",
        "a, b, c, d, e, f, g, h, i",
    ] {
        for at in 0..text.len() {
            assert_eq!(joined_run(text.as_bytes(), at, true), Verdict::No, "{text} {at}");
        }
    }
}

#[test]
fn tokens_cut_by_marks_are_mended() {
    let cases = [
        ("IBAN XX0012345**6789012345** ok", "XX00123456789012345", 14),
        ("key `tok-ABCD`efgh5678 and", "tok-ABCDefgh5678", 13),
        ("ssn `555-0`1-2345,", "555-01-2345", 10),
        ("tel `+1 (555)` 010-0000 now", "+1 (555) 010-0000", 13),
        ("tel +1 (555)** 010-0000** now", "+1 (555) 010-0000", 12),
        ("tok__en-12__34", "token-1234", 3),
    ];
    for (text, wanted, at) in cases {
        assert!(is_split(text.as_bytes(), at), "{text}");
        let (mended, _) = run(without_marks(text.as_bytes(), at, 0, true), text).unwrap();
        assert_eq!(mended, wanted, "{text}");
    }
    for text in [
        "a **bold** word",
        "use `code` here",
        "**Note**: this",
        "`a` `b`",
        "x ** y",
        "***",
        "` `",
        "**",
        "a.__init__(b)",
        "is `it`.",
    ] {
        for at in 0..text.len() {
            assert_eq!(without_marks(text.as_bytes(), at, 0, true), Verdict::No, "{text} {at}");
        }
    }
}

#[test]
fn a_verdict_on_a_part_is_the_verdict_on_the_whole() {
    for text in [
        "Say t o k e n - 4 2 x now",
        "d.o.t.t.e.d. .w.o.r.d.s.. So",
        "a b c d e f",
        "请.你.找.出.此.段.代.码.的.错",
        "key `tok-ABCD`efgh5678 and",
        "tel `+1 (555)` 010-0000 now",
        "tel +1 (555)** 010-0000**",
        "2`s 04 31 32 33 34 **6",
        "2`s04 31 32 33 34 **6",
        "a **bold** word `b`",
    ] {
        let bytes = text.as_bytes();
        let marks = |text: &[u8], at: usize, at_end: bool| without_marks(text, at, 0, at_end);
        for look in [joined_run, marks] {
            for at in 0..bytes.len() {
                let whole = look(bytes, at, true);
                for end in at..bytes.len() {
                    let part = look(&bytes[..end], at, false);
                    assert!(part == Verdict::More || part == whole, "{text} {at} {end}: {part:?} {whole:?}");
                }
            }
        }
    }
}

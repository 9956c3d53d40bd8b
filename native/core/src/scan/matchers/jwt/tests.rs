use super::ends_with_brace;
use crate::base64::{decode, encode};
use crate::scan::{Policy, Rules, Scanner};

fn redacted(text: &str) -> Option<String> {
    Scanner::new(Rules::builtin(), &Policy::default()).scan(text).redacted
}

/// `{"alg":"HS256"}` and `{"sub":"1234567"}`, and a signature of nothing.
fn token(signature: &str) -> String {
    ["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3In0", signature].join(".")
}

#[test]
fn a_signed_token_is_found_to_its_end() {
    let text = format!("decode {}, please.", token("q7Rk-2mVx_9Lt0ZwB3nY"));
    assert_eq!(redacted(&text).as_deref(), Some("decode <SECRET>, please."));
}

#[test]
fn an_unsigned_token_needs_a_header_that_parses() {
    assert_eq!(redacted(&format!("[{}]", token(""))).as_deref(), Some("[<SECRET>]"));
    assert_eq!(redacted("eyJxxxxxxxxxx.abcdefghijkl."), None);
}

#[test]
fn a_header_alone_is_no_token() {
    assert_eq!(redacted("the header eyJhbGciOiJIUzI1NiJ9 says HS256"), None);
}

#[test]
fn the_last_digits_say_whether_a_brace_ends_it() {
    for length in 2..9 {
        for last in 0..=255u8 {
            let mut plain = vec![b'x'; length];
            plain.push(last);
            let mut text = Vec::new();
            encode(&plain, &mut text);
            let bare = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
            assert_eq!(decode(&text[..bare]), Some(plain));
            assert_eq!(ends_with_brace(&text[..bare]), last == b'}', "{length} {last}");
        }
    }
}

#[test]
fn a_short_header_counts_if_it_names_its_algorithm() {
    // `{"alg"}` is no JSON, but names it.
    let payload = "eyJzdWIiOiIxMjM0NTY3In0";
    assert_eq!(redacted(&format!("see eyJhbGcifQ.{payload}.q7Rk2mVx9Lt0")).as_deref(), Some("see <SECRET>"));
    assert_eq!(redacted(&format!("see eyJhbGciOi.{payload}.q7Rk2mVx9Lt0")), None);
}

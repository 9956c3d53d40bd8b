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

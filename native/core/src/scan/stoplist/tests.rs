use super::*;

#[test]
fn stand_ins_are_refused() {
    for text in [
        "xxxxxxxxxxxxxxxx",
        "your_api_key_here",
        "${API_KEY}",
        "{{ vault.token }}",
        "<token>",
        "%(password)s",
        "AKIAIOSFODNN7EXAMPLE",
        "changeme",
        "1234567890",
        "abcdefghijklmnop",
        "sha256-0aYxVQ9FJ2rD",
        "********",
        "data:image/png",
    ] {
        assert!(is_placeholder(text.as_bytes()), "{text}");
    }
}

#[test]
fn generated_values_are_not_refused() {
    for text in ["k3v9QzT0pLx7", "9f2b7c1e4d8a6035", "Qx7-Lm2!vB9#"] {
        assert!(!is_placeholder(text.as_bytes()), "{text}");
    }
}

#[test]
fn what_follows_a_digest_mark_is_public() {
    assert!(is_digest_mark(b"v1.2.0 h1:"));
    assert!(is_digest_mark(b"image@SHA256:"));
    assert!(!is_digest_mark(b"token:"));
}

#[test]
fn passwords_of_documentation_are_no_passwords() {
    assert!(is_plausible_password(b"gr8-Lake42"));
    for text in ["user:pass", "test1234", "$PASSWORD", "{{ user }}1", "swordfish"] {
        assert!(!is_plausible_password(text.as_bytes()), "{text}");
    }
}

use super::*;

#[test]
fn words_and_names_of_programs_are_not_random() {
    for text in [
        "characteristically",
        "getMasterUserPassword",
        "secret_length",
        "PdfEncryptionKeySize",
        "2024-01-02",
        "version-1.2.3",
    ] {
        assert!(!is_random(text.as_bytes()), "{text} {:?}", Shape::of(text.as_bytes()));
    }
}

#[test]
fn generated_tokens_are_random() {
    for text in ["k3v9qzt0plx7", "Vq8Zt2LmXw4Rb7Nc", "9f2b7c1e4d8a6035"] {
        assert!(is_random(text.as_bytes()), "{text} {:?}", Shape::of(text.as_bytes()));
    }
}

#[test]
fn groups_of_a_uuid_are_recognised() {
    assert!(is_uuid(b"9f2b7c1e-4d8a-6035-9b1c-2e7f40d6a813"));
    assert!(!is_uuid(b"9f2b7c1e-4d8a-6035-9b1c-2e7f40d6a81"));
    assert!(!is_uuid(b"abcdefgh-abcd-abcd-abcd-abcdefghijkl"));
}

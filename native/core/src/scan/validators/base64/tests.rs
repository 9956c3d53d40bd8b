use super::*;

#[test]
fn both_alphabets_decode_with_and_without_padding() {
    assert_eq!(decode(b"TWE=").as_deref(), Some(&b"Ma"[..]));
    assert_eq!(decode(b"TWE").as_deref(), Some(&b"Ma"[..]));
    assert_eq!(decode(b"-_-_"), decode(b"+/+/"));
    assert_eq!(decode(b"TWFuT"), None);
    assert_eq!(decode(b"TW!u"), None);
}

#[test]
fn a_user_and_a_password_are_basic_credentials() {
    // joe:tiger-42
    assert!(basic_credentials(b"am9lOnRpZ2VyLTQy"));
    assert!(!basic_credentials(b"am9ldGlnZXI"));
}

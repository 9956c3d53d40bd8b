use super::*;

#[test]
fn patterns_match_as_they_read() {
    for (pattern, name, wanted) in [
        ("gpt-4o*", "gpt-4o-mini", true),
        ("gpt-4o*", "my-gpt-4o", false),
        ("*haiku*", "us.claude-haiku-x", true),
        ("*-lite", "flash-lite", true),
        ("*-lite", "flash-lite-2", false),
        ("a-########", "a-20250101", true),
        ("a-########", "a-2025010", false),
        ("a-########", "a-2025010x", false),
        ("pro* !*-tts !*-tts-*", "pro-1", true),
        ("pro* !*-tts !*-tts-*", "pro-tts", false),
        ("pro* !*-tts !*-tts-*", "pro-tts-1", false),
        ("*ab*ab", "abaab", true),
        ("*ab*ab", "ab", false),
        ("A*", "abc", true),
    ] {
        assert_eq!(Pattern::new(pattern).matches(name.as_bytes()), wanted, "{pattern} {name}");
    }
}

#[test]
fn dates_are_cut_off_and_put_into_dashes() {
    for (name, rest, with_dashes) in [
        ("gpt-4o-2024-08-06", Some("gpt-4o"), None),
        ("gpt-4o-20240806", Some("gpt-4o"), Some("gpt-4o-2024-08-06")),
        ("claude@20240806", Some("claude"), Some("claude-2024-08-06")),
        ("gpt-4o", None, None),
        ("x-12345678", None, None),
        ("x-2024-8-061", None, None),
        ("é2024-08-06", None, None),
        ("", None, None),
    ] {
        assert_eq!(undated(name), rest, "{name}");
        assert_eq!(dashed(name).as_deref(), with_dashes, "{name}");
    }
}

use proptest::prelude::*;

use super::*;

fn pieces(text: &str, piece: fn(&str, usize) -> usize) -> Vec<&str> {
    let mut at = 0;
    let mut found = Vec::new();
    while at < text.len() {
        let end = piece(text, at);
        found.push(&text[at..end]);
        at = end;
    }
    found
}

#[test]
fn words_take_a_sign_before_them_and_o200k_a_contraction_behind() {
    assert_eq!(pieces("I'm (here)", cl100k), ["I", "'m", " (", "here", ")"]);
    assert_eq!(pieces("I'm (here)", o200k), ["I'm", " (", "here", ")"]);
    assert_eq!(pieces("a-b\tc", cl100k), ["a", "-b", "\tc"]);
}

#[test]
fn o200k_splits_words_where_their_case_changes() {
    assert_eq!(pieces("camelCaseHTTPServer", o200k), ["camel", "Case", "HTTPServer"]);
    assert_eq!(pieces("camelCaseHTTPServer", cl100k), ["camelCaseHTTPServer"]);
    // A letter without case ends a word if only capitals follow it.
    assert_eq!(pieces("AあBB", o200k), ["Aあ", "BB"]);
    assert_eq!(pieces("\u{301}a", o200k), ["\u{301}a"]);
    assert_eq!(pieces("\u{301}1", o200k), ["\u{301}", "1"]);
}

#[test]
fn white_space_leaves_its_last_for_the_next_word() {
    assert_eq!(pieces("a   b", cl100k), ["a", "  ", " b"]);
    assert_eq!(pieces("a \n  b", cl100k), ["a", " \n", " ", " b"]);
    assert_eq!(pieces("a\n  ", cl100k), ["a", "\n  "]);
    assert_eq!(pieces("a\n  ", o200k), ["a", "\n", "  "]);
    assert_eq!(pieces("!\n/\n", o200k), ["!\n/\n"]);
    assert_eq!(pieces("!\n/\n", cl100k), ["!\n", "/\n"]);
}

#[test]
fn digits_come_in_threes() {
    assert_eq!(pieces("1234567", cl100k), ["123", "456", "7"]);
    assert_eq!(pieces(" 12", o200k), [" ", "12"]);
}

proptest! {
    #[test]
    fn pieces_are_the_text_and_never_empty(text in "[a-cA-C あ\u{301}'sſ1\n\r\t/!.é\u{3000}]{0,40}|\\PC{0,40}") {
        for piece in [cl100k, o200k] {
            let found = pieces(&text, piece);
            prop_assert!(found.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(found.concat(), text.clone());
        }
    }
}

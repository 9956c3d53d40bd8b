use super::*;
use crate::scan::rules::Rules;

fn found(text: &str) -> Vec<Candidate> {
    let mut seen = Vec::new();
    let window = Window { text: text.as_bytes(), at_end: true };
    candidates(&Rules::builtin(), &window, 0, 0, &mut Scratch::default(), &Cell::new(0), |candidate| {
        seen.push(candidate);
    });
    seen.retain(|candidate| !matches!(candidate, Candidate::Literal(..) | Candidate::View(..)));
    seen
}

#[test]
fn prose_has_no_candidates() {
    assert_eq!(found("In 2020, 12 people met at 9:30 in room 4; it took 3.5 hours. Characteristically!"), []);
}

#[test]
fn numbers_tokens_and_marks_are_found() {
    assert_eq!(
        found("call 555-010-9999 now"),
        [Candidate::Number(0), Candidate::Number(5), Candidate::Token(5), Candidate::Number(9)]
    );
    assert_eq!(found("NL 91 0417"), [Candidate::Number(0), Candidate::Number(3)]);
    assert_eq!(found("x@y"), [Candidate::At(1)]);
    assert_eq!(found("::1"), [Candidate::Colon(0)]);
    assert_eq!(found("at 1.2.3.4!"), [Candidate::Number(0), Candidate::Number(3)]);
}

#[test]
fn single_digits_go_on_from_each_other_and_begin_nothing() {
    // Within the blocks that are looked at one by one, and beyond.
    for links in [50, 250] {
        assert_eq!(found(&"1-".repeat(links)), [Candidate::Number(0), Candidate::Token(0)]);
        // Where letters or digits stand side by side again, something may begin.
        let end = 2 * links;
        assert!(found(&("1-".repeat(links) + "4111")).contains(&Candidate::Number(end - 2)));
        assert!(found(&("1 ".repeat(links) + "1.1.1.1")).contains(&Candidate::Number(end)));
        assert!(found(&("1 ".repeat(links) + "1+1+1+1+1+1")).contains(&Candidate::Token(end + 2)), "{links}");
        assert!(found(&("1-".repeat(links) + "no-" + &"1-".repeat(links))).contains(&Candidate::Number(end + 3)));
    }
}

#[test]
fn signs_and_colons_alone_are_no_candidates() {
    assert_eq!(found(&"@".repeat(99)), []);
    assert_eq!(found(&":".repeat(99)), [Candidate::Colon(0)]);
    assert_eq!(found("a@ b, @c"), []);
    assert_eq!(found(&"00:1a:".repeat(9)), [Candidate::Colon(2)]);
}

#[test]
fn an_at_sign_before_another_one_needs_a_colon() {
    assert_eq!(found("a@b@c"), [Candidate::At(3)]);
    assert_eq!(found("x:a@b@c"), [Candidate::At(3), Candidate::At(5)]);
    assert_eq!(found("a@b.co@c"), [Candidate::At(1), Candidate::At(6)]);
}

#[test]
fn tokens_are_found_over_the_border_of_two_pieces() {
    for before in PIECE * BLOCK - 9..PIECE * BLOCK + 2 {
        assert_eq!(found(&(" ".repeat(before) + "abcdefg1h")), [Candidate::Token(before)], "{before}");
    }
}

#[test]
fn the_last_token_that_a_match_reaches_is_found_from_the_first_one() {
    for before in [200, 248, 255, 256] {
        let text = "a".repeat(before - 1) + "=" + &"12".repeat(40);
        assert_eq!(found(&text).contains(&Candidate::Token(before)), before < REACH, "{before}");
    }
}

#[test]
fn a_long_token_is_found_before_a_number() {
    let token = "abcdefghijklmnopqrstuvwx";
    assert!(found(&format!("{token} on 2/27/1965")).contains(&Candidate::Token(0)));
}

#[test]
fn what_is_spelled_out_begins_with_what_a_value_begins_with() {
    let begins = |text: &str| {
        let window = Window { text: text.as_bytes(), at_end: true };
        let mut first = None;
        candidates(&Rules::builtin(), &window, 0, 0, &mut Scratch::default(), &Cell::new(0), |candidate| {
            if let Candidate::View(at, View::Spelled) = candidate {
                first = first.or(Some(at));
            }
        });
        first
    };
    for (text, at) in [
        ("a b c d", Some(0)),
        ("| a b c d", Some(2)),
        ("+ 1 ( 5 5 5", Some(0)),
        (". . , a b c", Some(6)),
        ("a b", None),
        ("ab cd ef", None),
    ] {
        assert_eq!(begins(text), at, "{text}");
    }
}

#[test]
fn the_bits_of_runs_are_those_of_seven_and_more() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    for round in 0..2000 {
        let [before, block, next] = std::array::from_fn(|_| {
            // More ones than zeros, as in text.
            std::iter::repeat_with(|| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed
            })
            .take(1 + round % 4)
            .fold(0, |all, bits| all | bits)
        });
        let bit = |at: i32| match at {
            ..0 => before >> (64 + at) & 1 != 0,
            0..64 => block >> at & 1 != 0,
            _ => next >> (at - 64) & 1 != 0,
        };
        let run = |at: i32| {
            let ahead = (at..128).take_while(|at| bit(*at)).count();
            ahead + (-64..at).rev().take_while(|at| bit(*at)).count() * usize::from(ahead > 0)
        };
        let expected = (0..64).filter(|at| run(*at) >= 7).fold(0u64, |all, at| all | 1 << at);
        assert_eq!(in_runs(before, block, next), expected, "{before:x} {block:x} {next:x}");
    }
}

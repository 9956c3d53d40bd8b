use crate::scan::{Policy, Rules, Scanner};

fn redacted(text: &str) -> Option<String> {
    Scanner::new(Rules::builtin(), &Policy::default()).scan(text).redacted
}

#[test]
fn marks_in_the_middle_and_at_the_end_are_enough() {
    let random = "k3V9qzT0pLx7Mw2Rb8Nc5Yd1Hf6Jg4Sa0Et9Uv3Wi7Xo2Zp8Qr5Bk1Cl6Dm4Fn0Gh9";
    for value in [
        format!("ab1{}Q~{}", 8, &random[..31]),
        format!("{}.atlasv1.{}", &random[..14], &random[..60]),
        format!("{}_{}_mmk", &random[..6], &random[..29]),
        format!("sk-{}T3BlbkFJ{}", &random[..20], &random[20..44]),
        format!("{}-us12", "9f2b7c1e4d8a60350b1c2e7f40d6a813"),
    ] {
        for (before, after) in [("", ""), ("\"", "\""), ("Use `", "` there."), ("It is ", ".")] {
            let text = format!("{before}{value}{after}");
            assert_eq!(redacted(&text), Some(format!("{before}<SECRET>{after}")), "{text}");
        }
    }
}

#[test]
fn marks_in_words_are_not() {
    for text in ["see .atlasv1. there", "file_mmk", "shape 1Q~ of a curve", "in us-east-us1", "the word T3BlbkFJ"] {
        assert_eq!(redacted(text), None, "{text}");
    }
}

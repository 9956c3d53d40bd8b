use super::*;

fn words_of(text: &str) -> Vec<&str> {
    of(text.as_bytes(), |tokens| tokens.iter().map(|token| &text[token.start as usize..token.end as usize]).collect())
}

#[test]
fn words_signs_and_characters_of_scripts_without_spaces_are_tokens() {
    assert_eq!(
        words_of("Don't (ever) share it: l'été, 2-3 x"),
        ["Don't", "(", "ever", ")", "share", "it", ":", "l'été", ",", "2", "-", "3", "x"]
    );
    assert_eq!(words_of("你好 world's"), ["你", "好", "world's"]);
}

#[test]
fn tokens_do_not_depend_on_where_the_words_stand() {
    let words = [
        "a",
        "word",
        "seventh",
        "eightlet",
        "ninelette",
        "fifteenletterss",
        "sixteenlettersss",
        "seventeenlettersX",
        "Don't",
        "'tis",
        "n0t",
        "2024",
        "été",
        "größer",
        "слово",
        "世界",
        "—",
        "🙂",
        "\u{200d}",
        ".",
        "...",
        "[INST]",
        "it's,",
        "a_b",
        "\n",
        "\t",
        "",
    ];
    let mut seed = 7u32;
    let mut random = |most: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % most
    };
    for _ in 0..4000 {
        let mut text = String::new();
        for _ in 0..random(40) {
            text.push_str(words[random(words.len())]);
            text.push_str([" ", "", "  ", "\r\n"][random(4)]);
        }
        let mut text = text.into_bytes();
        if random(4) == 0 && !text.is_empty() {
            // Cut and malformed characters are taken as well.
            let at = random(text.len());
            text[at] = random(256).to_le_bytes()[0];
            text.truncate(text.len() - random(text.len().min(4)));
        }
        assert_eq!(of(&text, <[Token]>::to_vec), of_short(&text), "{}", text.escape_ascii());
    }
}

#[test]
fn case_does_not_count() {
    for (small, capitals) in
        [("ignore", "IGNORE"), ("instructions", "Instructions"), ("été", "ÉTÉ"), ("слово", "СЛОВО")]
    {
        let hashes =
            |text: &str| of(text.as_bytes(), |tokens| tokens.iter().map(|token| token.hash).collect::<Vec<_>>());
        assert_eq!(hashes(small), hashes(capitals));
    }
    let signs = |text: &[u8]| of(text, |tokens| tokens[0].hash);
    assert_ne!(signs(b"["), signs(b"{"));
}

#[test]
fn tokens_that_begin_in_a_stretch_are_left_out() {
    let text = b"one two three four five";
    let left = of(text, |tokens| beside(tokens, &[(0, 3), (5, 9)]));
    let places: Vec<_> = left.iter().map(|token| token.start).collect();
    assert_eq!(places, [4, 14, 19]);
}

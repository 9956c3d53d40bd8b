use super::*;

fn tokens(json: &str) -> Option<Tokens> {
    Usage::find(json.as_bytes()).tokens()
}

fn of(counts: &[(Kind, u64)]) -> Tokens {
    counts.iter().fold(Tokens::default(), |tokens, (kind, count)| tokens.with(*kind, *count))
}

#[test]
fn every_token_is_of_one_kind() {
    let chat = r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
        "prompt_tokens_details":{"cached_tokens":40,"audio_tokens":10,"cached_tokens_details":{"audio_tokens":4}},
        "completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":5}}"#;
    let wanted = of(&[
        (Kind::Input, 54),
        (Kind::Cached, 36),
        (Kind::AudioInput, 6),
        (Kind::CachedAudio, 4),
        (Kind::Output, 25),
        (Kind::Reasoning, 20),
        (Kind::AudioOutput, 5),
    ]);
    assert_eq!(tokens(chat), Some(wanted));
    assert_eq!((wanted.prompt(), wanted.completion(), wanted.cached()), (100, 50, 40));
}

#[test]
fn parts_are_apart_where_the_provider_counts_them_apart() {
    let cases = [
        // Anthropic
        (
            r#"{"input_tokens":10,"cache_read_input_tokens":4,"cache_creation_input_tokens":7,"output_tokens":3,
                "cache_creation":{"ephemeral_5m_input_tokens":2,"ephemeral_1h_input_tokens":5}}"#,
            [10, 4, 2, 5, 3, 0],
        ),
        // The Responses API has the same words without a cache's
        (
            r#"{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":8,
                "output_tokens_details":{"reasoning_tokens":6},"total_tokens":18}"#,
            [6, 4, 0, 0, 2, 6],
        ),
        // A proxy that speaks OpenAI's dialect and names Anthropic's parts beside the whole
        (
            r#"{"prompt_tokens":21,"cache_read_input_tokens":4,"cache_creation_input_tokens":7,
                "completion_tokens":3,"total_tokens":24}"#,
            [10, 4, 7, 0, 3, 0],
        ),
        // Bedrock
        (
            r#"{"inputTokens":10,"outputTokens":3,"totalTokens":24,"cacheReadInputTokens":4,
                "cacheWriteInputTokens":7,"cacheDetails":[{"ttl":"1h","inputTokens":5},{"inputTokens":2,"ttl":"5m"}]}"#,
            [10, 4, 2, 5, 3, 0],
        ),
        // Gemini
        (
            r#"{"promptTokenCount":14,"cachedContentTokenCount":4,"candidatesTokenCount":3,"thoughtsTokenCount":9,
                "totalTokenCount":26}"#,
            [10, 4, 0, 0, 3, 9],
        ),
        // xAI
        (
            r#"{"prompt_tokens":10,"completion_tokens":3,"total_tokens":22,
                "completion_tokens_details":{"reasoning_tokens":9}}"#,
            [10, 0, 0, 0, 3, 9],
        ),
        // Gemini in OpenAI's dialect does not even name them
        (r#"{"prompt_tokens":10,"completion_tokens":3,"total_tokens":22}"#, [10, 0, 0, 0, 3, 9]),
        // DeepSeek
        (
            r#"{"prompt_tokens":10,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2,"completion_tokens":3,
                "total_tokens":13}"#,
            [2, 8, 0, 0, 3, 0],
        ),
        // Ollama
        (r#"{"model":"m","done":true,"prompt_eval_count":10,"eval_count":3}"#, [10, 0, 0, 0, 3, 0]),
    ];
    for (json, [input, cached, write, hour, output, reasoning]) in cases {
        let wanted = of(&[
            (Kind::Input, input),
            (Kind::Cached, cached),
            (Kind::CacheWrite, write),
            (Kind::CacheWriteHour, hour),
            (Kind::Output, output),
            (Kind::Reasoning, reasoning),
        ]);
        assert_eq!(tokens(json), Some(wanted), "{json}");
    }
}

#[test]
fn gemini_tells_modalities_in_lists() {
    let json = r#"{"usageMetadata":{"promptTokenCount":30,"candidatesTokenCount":12,"toolUsePromptTokenCount":5,
        "promptTokensDetails":[{"modality":"TEXT","tokenCount":4},{"tokenCount":16,"modality":"AUDIO"},
            {"modality":"IMAGE","tokenCount":10}],
        "cachedContentTokenCount":8,"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":8}],
        "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":11}],"totalTokenCount":47}}"#;
    let wanted = of(&[
        (Kind::Input, 9),
        (Kind::AudioInput, 8),
        (Kind::CachedAudio, 8),
        (Kind::ImageInput, 10),
        (Kind::Output, 1),
        (Kind::ImageOutput, 11),
    ]);
    assert_eq!(tokens(json), Some(wanted));
}

#[test]
fn a_count_that_cannot_be_is_no_usage() {
    for count in ["-1", "1e30", "1.5", "\"7\"", "true", "[]", "{}", "18446744073709551616", "1000000001"] {
        for json in [
            format!(r#"{{"prompt_tokens":{count},"completion_tokens":1}}"#),
            format!(r#"{{"input_tokens":1,"output_tokens":{count}}}"#),
            format!(r#"{{"prompt_tokens":5,"prompt_tokens_details":{{"cached_tokens":{count}}}}}"#),
            format!(r#"{{"promptTokenCount":5,"promptTokensDetails":[{{"tokenCount":{count}}}]}}"#),
        ] {
            assert_eq!(tokens(&json), None, "{json}");
        }
    }
    for json in ["", "{", "[]", "null", "7", "{}", r#"{"usage":null}"#, r#"{"usage":{"total_tokens":4}}"#] {
        assert_eq!(tokens(json), None, "{json}");
    }
    assert_eq!(tokens(r#"{"prompt_tokens":7.0,"completion_tokens":null}"#), Some(of(&[(Kind::Input, 7)])));
    let most = r#"{"prompt_tokens":1000000000,"completion_tokens":1000000000,"total_tokens":1000000000}"#;
    assert_eq!(tokens(most), Some(of(&[(Kind::Input, MOST_TOKENS), (Kind::Output, MOST_TOKENS)])));
    // Parts that add up to more than there can be
    let sum = r#"{"input_tokens":1000000000,"cache_read_input_tokens":1,"output_tokens":1}"#;
    assert_eq!(tokens(sum), None);
}

#[test]
fn what_was_told_later_replaces_what_it_mentions() {
    let mut usage = Usage::default();
    for json in [
        r#"{"input_tokens":10,"cache_read_input_tokens":4,"output_tokens":1}"#,
        r#"{"output_tokens":5}"#,
        r#"{"output_tokens":9,"input_tokens":null}"#,
    ] {
        assert_eq!(usage.read(&mut Reader::new(json.as_bytes(), LIMITS, Mode::Lenient)), Ok(true));
    }
    assert_eq!(usage.tokens(), Some(of(&[(Kind::Input, 10), (Kind::Cached, 4), (Kind::Output, 9)])));
}

#[test]
fn parts_never_make_tokens_vanish() {
    for (json, sum) in [
        (r#"{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":9},"completion_tokens":1}"#, 15),
        (r#"{"prompt_tokens":5,"prompt_tokens_details":{"audio_tokens":9,"image_tokens":9}}"#, 5),
        (r#"{"prompt_tokens":5,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":6}}"#, 13),
        (r#"{"prompt_tokens":5,"completion_tokens":2,"completion_tokens_details":{"audio_tokens":6}}"#, 7),
    ] {
        assert_eq!(tokens(json).map(|tokens| tokens.prompt() + tokens.completion()), Some(sum), "{json}");
    }
}

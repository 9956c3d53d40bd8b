use serde_json::{Value, json};

use super::*;
use crate::dialects::Warnings;

fn calls(body: &Value, dialect: Dialect) -> (Vec<Value>, Vec<String>) {
    let mut warnings = Warnings::default();
    let calls = write_calls(body.to_string().as_bytes(), dialect, &mut warnings).unwrap();
    let bodies = calls.bodies.iter().map(|(body, _)| serde_json::from_slice(body).unwrap()).collect();
    (bodies, warnings.names().to_vec())
}

#[test]
fn each_family_is_asked_in_its_own_words() {
    let body = json!({"model": "m", "input": ["a", "b\u{e9}"], "dimensions": 256, "user": "me"});
    for (dialect, wanted) in [
        (Dialect::Titan, json!([{"dimensions": 256, "inputText": "a"}, {"dimensions": 256, "inputText": "b\u{e9}"}])),
        (
            Dialect::Cohere,
            json!([{"input_type": "search_document", "output_dimension": 256, "texts": ["a", "b\u{e9}"]}]),
        ),
        (
            Dialect::Vertex,
            json!([{"instances": [{"content": "a"}, {"content": "b\u{e9}"}],
                    "parameters": {"autoTruncate": false, "outputDimensionality": 256}}]),
        ),
        (
            Dialect::VertexSingle,
            json!([
                {"instances": [{"content": "a"}], "parameters": {"autoTruncate": false, "outputDimensionality": 256}},
                {"instances": [{"content": "b\u{e9}"}], "parameters": {"autoTruncate": false, "outputDimensionality": 256}},
            ]),
        ),
    ] {
        let (bodies, lost) = calls(&body, dialect);
        assert_eq!(Value::Array(bodies), wanted);
        assert_eq!(lost, ["user"]);
    }
    let (bodies, lost) = calls(&json!({"input": "a", "encoding_format": "base64"}), Dialect::Nova);
    assert_eq!(
        Value::Array(bodies),
        json!([{"schemaVersion": "nova-multimodal-embed-v1", "taskType": "SINGLE_EMBEDDING",
                "singleEmbeddingParams": {"embeddingPurpose": "GENERIC_INDEX",
                                          "text": {"truncationMode": "NONE", "value": "a"}}}])
    );
    assert!(lost.is_empty());
}

#[test]
fn members_of_a_family_reach_it() {
    let cohere = json!({"input": ["a"], "input_type": "search_query", "truncate": "END"});
    assert_eq!(calls(&cohere, Dialect::Cohere).0[0]["input_type"], "search_query");
    assert_eq!(calls(&cohere, Dialect::TitanV1).1, ["input_type", "truncate"]);
    let google = json!({"input": "a", "task_type": "RETRIEVAL_QUERY", "title": "t", "auto_truncate": true});
    let (bodies, lost) = calls(&google, Dialect::Vertex);
    assert_eq!(bodies[0]["instances"][0], json!({"content": "a", "task_type": "RETRIEVAL_QUERY", "title": "t"}));
    assert_eq!(bodies[0]["parameters"]["autoTruncate"], true);
    assert!(lost.is_empty());
}

#[test]
fn no_call_has_more_texts_than_it_has_room_for() {
    let sizes = |dialect, texts: &[String]| {
        let body = json!({"input": texts}).to_string();
        let calls = write_calls(body.as_bytes(), dialect, &mut Warnings::default()).unwrap();
        calls.bodies.iter().map(|(_, texts)| *texts).collect::<Vec<_>>()
    };
    let short = vec!["a".to_owned(); 200];
    assert_eq!(sizes(Dialect::Cohere, &short), [96, 96, 8]);
    assert_eq!(sizes(Dialect::Vertex, &vec!["a".to_owned(); 300]), [250, 50]);
    let long = ["a".repeat(15_000), "b".repeat(5_000), "c".repeat(30_000), "d".to_owned()];
    assert_eq!(sizes(Dialect::Vertex, &long), [2, 1, 1]);
    assert_eq!(sizes(Dialect::TitanV1, &short[..3]), [1, 1, 1]);
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    for (body, dialect, param, code) in [
        (json!({"input": [1, 2]}), Dialect::Cohere, "input", "unsupported_value"),
        (json!({"input": [[1, 2]]}), Dialect::Vertex, "input", "unsupported_value"),
        (json!({"input": []}), Dialect::Titan, "input", "invalid_value"),
        (json!({"input": vec!["a"; 2049]}), Dialect::Titan, "input", "invalid_value"),
        (json!({"input": 7}), Dialect::Titan, "input", "invalid_type"),
        (json!({"input": ["a", {}]}), Dialect::Titan, "input", "invalid_type"),
        (json!({"input": null}), Dialect::Titan, "input", "missing_required_parameter"),
        (json!({"input": "a", "dimensions": 5}), Dialect::TitanV1, "dimensions", "unsupported_value"),
        (json!({"input": "a", "dimensions": "5"}), Dialect::Titan, "dimensions", "invalid_type"),
        (json!({"input": "a", "encoding_format": "x"}), Dialect::Titan, "encoding_format", "invalid_value"),
    ] {
        let error = write_calls(body.to_string().as_bytes(), dialect, &mut Warnings::default()).unwrap_err();
        assert_eq!((error.param(), error.code()), (Some(param), code), "{body}");
    }
}

fn part(body: &str, texts: usize, tokens: Option<u64>) -> Part<'_> {
    Part { body: body.as_bytes(), texts, tokens }
}

#[test]
fn answers_of_all_families_are_one_list() {
    for (dialect, parts, tokens) in [
        (
            Dialect::Titan,
            vec![
                part(r#"{"embedding":[0.5,-1e-3],"inputTextTokenCount":3}"#, 1, Some(9)),
                part(r#"{"embedding":[1,2],"inputTextTokenCount":4}"#, 1, None),
            ],
            Some(7),
        ),
        (
            Dialect::Cohere,
            vec![part(r#"{"embeddings":[[0.5,-1e-3],[1,2]],"response_type":"embeddings_floats"}"#, 2, Some(11))],
            Some(11),
        ),
        (
            Dialect::Cohere,
            vec![
                part(r#"{"embeddings":{"float":[[0.5,-1e-3]]}}"#, 1, Some(11)),
                part(r#"{"embeddings":{"float":[[1,2]]}}"#, 1, None),
            ],
            None,
        ),
        (
            Dialect::Nova,
            vec![
                part(r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[0.5,-1e-3]}]}"#, 1, Some(1)),
                part(r#"{"embeddings":[{"embedding":[1,2]}]}"#, 1, Some(1)),
            ],
            Some(2),
        ),
        (
            Dialect::Vertex,
            vec![part(
                r#"{"predictions":[
                    {"embeddings":{"values":[0.5,-1e-3],"statistics":{"truncated":false,"token_count":6}}},
                    {"embeddings":{"values":[1,2],"statistics":{"token_count":2.0}}}]}"#,
                2,
                None,
            )],
            Some(8),
        ),
    ] {
        let written = write_answer(&parts, dialect, "m\"1", false).unwrap();
        let text = String::from_utf8(written).unwrap();
        assert!(text.contains(r#""index":0,"embedding":[0.5,-1e-3]}"#), "as it was written: {text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((answer["object"].as_str(), answer["model"].as_str()), (Some("list"), Some("m\"1")));
        assert_eq!(answer["data"][1], json!({"object": "embedding", "index": 1, "embedding": [1, 2]}));
        assert_eq!(answer["usage"]["prompt_tokens"].as_u64(), tokens);
        assert_eq!(answer["usage"]["total_tokens"].as_u64(), tokens);
    }
}

#[test]
fn base64_is_floats_of_four_bytes() {
    let parts = [part(r#"{"embedding":[0.5,-2,0.1],"inputTextTokenCount":3}"#, 1, None)];
    let answer: Value = serde_json::from_slice(&write_answer(&parts, Dialect::Titan, "m", true).unwrap()).unwrap();
    let bytes = crate::base64::decode(answer["data"][0]["embedding"].as_str().unwrap().as_bytes()).unwrap();
    let numbers: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(numbers, [0.5, -2.0, 0.1]);
    for (bytes, text) in
        [(&b""[..], ""), (b"a", "YQ=="), (b"ab", "YWI="), (b"abc", "YWJj"), (b"\xff\xfe\xfd\xfc", "//79/A==")]
    {
        let mut out = Vec::new();
        crate::base64::encode(bytes, &mut out);
        assert_eq!(out, text.as_bytes());
        assert_eq!(crate::base64::decode(text.as_bytes()).unwrap(), bytes);
    }
}

#[test]
fn an_answer_that_is_not_as_documented_is_none() {
    for (body, dialect) in [
        ("", Dialect::Titan),
        ("{}", Dialect::Titan),
        (r#"{"embedding":["x"]}"#, Dialect::Titan),
        (r#"{"embedding":[null]}"#, Dialect::Titan),
        (r#"{"embeddings":[[1],[2]]}"#, Dialect::Cohere),
        (r#"{"embeddings":{"int8":[[1]]}}"#, Dialect::Cohere),
        (r#"{"embeddings":[]}"#, Dialect::Nova),
        (r#"{"predictions":[{}]}"#, Dialect::Vertex),
    ] {
        for is_base64 in [false, true] {
            assert_eq!(write_answer(&[part(body, 1, None)], dialect, "m", is_base64), None, "{body}");
        }
    }
}

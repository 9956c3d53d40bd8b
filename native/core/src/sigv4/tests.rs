use super::{Request, Signer, encoded};

const DATE: &str = "20150830T123600Z";
const ACCESS: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn signature(service: &str, region: &str, request: &Request<'_>) -> (String, String) {
    let signer = Signer { access_key: ACCESS, secret_key: SECRET, region, service };
    let value = signer.authorization(request);
    let scope = format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/{region}/{service}/aws4_request, ");
    let rest = value.strip_prefix(&scope).unwrap();
    let (names, signature) = rest.strip_prefix("SignedHeaders=").unwrap().split_once(", Signature=").unwrap();
    (names.into(), signature.into())
}

fn get<'a>(query: &'a str, headers: &'a [(&'a str, &'a str)]) -> Request<'a> {
    Request { method: "GET", path: "/", query, headers, body: b"", date: DATE }
}

const HOST: &[(&str, &str)] = &[("host", "example.amazonaws.com"), ("x-amz-date", DATE)];

#[test]
fn the_test_suite_of_aws_is_met() {
    // get-vanilla, post-vanilla, get-vanilla-query-order-key-case
    let known = [
        (get("", HOST), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            Request { method: "POST", ..get("", HOST) },
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (get("Param2=value2&Param1=value1", HOST), "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ];
    for (request, expected) in known {
        assert_eq!(signature("service", "us-east-1", &request), ("host;x-amz-date".into(), expected.into()));
    }
}

#[test]
fn the_example_of_the_manual_is_met() {
    let headers = [
        ("x-amz-date", DATE),
        ("host", "iam.amazonaws.com"),
        ("content-type", "application/x-www-form-urlencoded;   charset=utf-8 "),
    ];
    assert_eq!(
        signature("iam", "us-east-1", &get("Action=ListUsers&Version=2010-05-08", &headers)),
        (
            "content-type;host;x-amz-date".into(),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7".into()
        )
    );
}

/// The other values are what botocore 1.44 signs the same requests with.
#[test]
fn a_colon_in_the_model_is_encoded_once_on_the_wire_and_twice_in_the_signature() {
    let path = format!("/model/{}/converse", "us.anthropic.claude-haiku-4-5-20251001-v1%3A0");
    assert!(encoded(&path).contains("v1%253A0"));
    let headers = [
        ("host", "bedrock-runtime.us-east-1.amazonaws.com"),
        ("content-type", "application/json"),
        ("x-amz-date", DATE),
        ("x-amz-security-token", "session/token=="),
    ];
    let request =
        Request { method: "POST", path: &path, query: "", headers: &headers, body: br#"{"messages":[]}"#, date: DATE };
    assert_eq!(
        signature("bedrock", "us-east-1", &request),
        (
            "content-type;host;x-amz-date;x-amz-security-token".into(),
            "a07e5c4df8a3d9ed2f70de436237ca4b41bbf57c5ba9df47530714b7709fe009".into()
        )
    );
}

#[test]
fn the_slash_of_an_arn_stays_encoded() {
    let arn = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Aapplication-inference-profile%2Fabc123";
    let path = format!("/model/{arn}/converse-stream");
    let headers = [
        ("host", "bedrock-runtime.eu-west-1.amazonaws.com"),
        ("content-type", "application/json"),
        ("x-amz-date", DATE),
    ];
    let request =
        Request { method: "POST", path: &path, query: "", headers: &headers, body: br#"{"messages":[]}"#, date: DATE };
    assert_eq!(
        signature("bedrock", "eu-west-1", &request).1,
        "f31861178832a5e83fd2bc5bc5292948819329e75f295acc293ecd8d78a84d0e"
    );
}

//! Every rule for a distinctive shape finds random values of that shape, wherever people put them.
//!
//! The values are made at run time: no token stands in the repository.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a pattern that is not understood fails the test")]

mod sampler;

use sampler::{Random, sample};
use tollhouse_core::scan::rules::parse_pack;
use tollhouse_core::scan::{Family, Policy, RuleSpec, Rules, Scanner};

const DISTINCTIVE: &str = include_str!("../../../../config/rules/secrets-distinctive.toml");
const KEYWORD: &str = include_str!("../../../../config/rules/secrets-keyword.toml");
const CONTEXTS: &[(&str, &str)] = &[
    ("", ""),
    ("\"", "\""),
    ("{\"value\": \"", "\", \"n\": 1}"),
    ("It is ", "."),
    ("Use `", "` for it"),
    ("https://api.example.org/items?limit=1&x=", "&y=2"),
    ("(", ")"),
    ("x = '", "';"),
    ("one\n", "\ntwo"),
    ("{\\\"value\\\": \\\"", "\\\"}"),
];

fn scanner() -> Scanner {
    Scanner::new(Rules::builtin(), &Policy::default())
}

/// Whether a finding of the family covers a part of a text.
fn covered(scanner: &Scanner, text: &str, start: usize, end: usize) -> bool {
    scanner.scan(text).findings.iter().any(|finding| {
        let family = scanner.rules().get(finding.rule).map(|rule| rule.family);
        family == Some(Family::Secrets) && finding.start <= start && finding.end >= end
    })
}

fn value(spec: &RuleSpec, random: &mut Random) -> (String, String) {
    let lead = spec.lead.as_deref().map(|lead| sample(lead, random)).unwrap_or_default();
    (lead, sample(spec.regex.as_deref().unwrap_or_default(), random))
}

#[test]
fn distinctive_values_are_found_in_every_context() {
    let scanner = scanner();
    let mut wrong = Vec::new();
    for (i, spec) in parse_pack("distinctive", DISTINCTIVE).unwrap().iter().enumerate() {
        let mut random = Random::new(i as u64 + 1);
        for (before, after) in CONTEXTS {
            let (lead, value) = value(spec, &mut random);
            let start = before.len() + lead.len();
            let text = format!("{before}{lead}{value}{after}");
            if !covered(&scanner, &text, start, start + value.len()) {
                wrong.push(format!("{}: {text}", spec.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{} are missed:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn values_are_found_where_their_service_is_named() {
    let scanner = scanner();
    let (mut wrong, mut all) = (Vec::new(), 0);
    for (i, spec) in parse_pack("keyword", KEYWORD).unwrap().iter().enumerate().filter(|(_, spec)| spec.regex.is_some())
    {
        let mut random = Random::new(i as u64 + 1);
        for frame in
            ["the W key is V and it fails", "W_token: V", "auth ok for W with V at 12:04", "const WSecret = 'V';"]
        {
            let (_, value) = value(spec, &mut random);
            let text = frame.replace('W', &spec.context[0]);
            let start = text.find('V').unwrap();
            let text = text.replace('V', &value);
            all += 1;
            if !covered(&scanner, &text, start, start + value.len()) {
                wrong.push(format!("{}: {text}", spec.id));
            }
        }
    }
    // A random value can be a word by chance, the short ones above all.
    assert!(50 * wrong.len() < all, "{} of {all} are missed:\n{}", wrong.len(), wrong.join("\n"));
}

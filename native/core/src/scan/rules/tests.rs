use crate::scan::{Policy, Rules, Scanner};

#[test]
fn built_in_rules_find_their_examples_and_nothing_in_their_counter_examples() {
    let rules = Rules::builtin();
    let scanner = Scanner::new(rules.clone(), &Policy::default());
    let mut wrong = Vec::new();
    for spec in super::builtin_specs() {
        let found = |text: &str| {
            scanner
                .scan(text)
                .findings
                .iter()
                .any(|finding| rules.get(finding.rule).is_some_and(|rule| rule.id == spec.id))
        };
        wrong.extend(spec.examples.iter().filter(|text| !found(text)).map(|text| format!("{} misses {text}", spec.id)));
        wrong.extend(
            spec.counter_examples.iter().filter(|text| found(text)).map(|text| format!("{} finds {text}", spec.id)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

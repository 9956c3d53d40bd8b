//! A policy as Python gives it: `{"pii": "redact", "types": {"EMAIL_ADDRESS": "allow"}, "rules": {"github-pat": "flag"}}`.

use pyo3::prelude::*;
use pyo3::types::PyMapping;
use tollhouse_core::scan::{Action, Policy, Rules};

/// The policy, or everything that is wrong with it. What is not named keeps its default.
pub(super) fn parse(given: Option<&Bound<'_, PyAny>>, rules: &Rules) -> Result<Policy, Vec<String>> {
    let mut policy = Policy::default();
    let Some(given) = given else { return Ok(policy) };
    let mut problems = Vec::new();
    for (key, value) in items(given, "the policy", &mut problems) {
        match key.as_str() {
            "pii" => assign(&mut policy.pii, &key, &value, &mut problems),
            "secrets" => assign(&mut policy.secrets, &key, &value, &mut problems),
            "injection" => assign(&mut policy.injection, &key, &value, &mut problems),
            "types" | "rules" => {
                let is_known = |name: &str| match key.as_str() {
                    "types" => rules.iter().any(|rule| rule.kind == name),
                    _ => rules.iter().any(|rule| rule.id == name),
                };
                for (name, value) in items(&value, &key, &mut problems) {
                    if !is_known(&name) {
                        problems.push(format!("{key}.{name}: there is none of this name"));
                    }
                    let mut action = Action::Block;
                    assign(&mut action, &format!("{key}.{name}"), &value, &mut problems);
                    policy.overrides.push((name, action));
                }
            }
            _ => problems.push(format!("{key}: is not one of pii, secrets, injection, types, rules")),
        }
    }
    if problems.is_empty() { Ok(policy) } else { Err(problems) }
}

fn items<'py>(given: &Bound<'py, PyAny>, place: &str, problems: &mut Vec<String>) -> Vec<(String, Bound<'py, PyAny>)> {
    let pairs = given.cast::<PyMapping>().ok().and_then(|mapping| mapping.items().ok());
    let pairs: Option<Vec<(String, Bound<'py, PyAny>)>> = pairs.and_then(|pairs| pairs.extract().ok());
    pairs.unwrap_or_else(|| {
        problems.push(format!("{place}: must be a mapping from names"));
        Vec::new()
    })
}

fn assign(slot: &mut Action, place: &str, value: &Bound<'_, PyAny>, problems: &mut Vec<String>) {
    let name: Option<String> = value.extract().ok();
    match name.as_deref().and_then(Action::from_name) {
        Some(action) => *slot = action,
        None => problems.push(format!("{place}: must be allow, flag, redact, pseudonymise or block")),
    }
}

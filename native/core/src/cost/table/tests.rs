use super::*;

const TABLE: &str = r#"{"version": "v", "aliases": {"gemini": "google"}, "fallbacks": {"azure": ["openai"]},
"models": [
{"provider": "openai", "model": "gpt-4o", "names": ["gpt-4o-2024-11-20"], "context": 128000, "max_output": 16384,
 "price": {"input": 10, "output": 20}, "variants": {"batch": {"price": {"input": 5, "output": 10}}}},
{"provider": "openai", "model": "gpt-4o-mini", "names": ["gpt-4o-mini*"], "price": {"input": 1, "output": 2}},
{"provider": "openai", "model": "gpt", "names": ["gpt-*"], "price": {"input": 7}},
{"provider": "openai", "model": "new", "price": {"input": 1}, "later": [
  {"from": "2027-01-01", "price": {"input": 2}}, {"from": "2027-02-01", "price": {"input": 3}}]},
{"provider": "google", "model": "flash", "price": {"input": 3}, "above": [{"tokens": 9, "price": {"input": 4}}]},
{"provider": "azure", "model": "own", "price": {"input": 99}}]}"#;

fn table(overrides: &[(&str, Entry)], day: &str) -> Table {
    let overrides = overrides.iter().map(|(name, entry)| ((*name).to_owned(), entry.clone())).collect();
    Table::new(TABLE.as_bytes(), overrides, day).unwrap()
}

fn prices(input: u64) -> Entry {
    Entry::Prices(BTreeMap::from([("input".to_owned(), input)]), BTreeMap::new())
}

fn input(table: &Table, provider: &str, model: &str) -> Option<u64> {
    table.find(provider, model).map(|price| price.rate(crate::cost::Kind::Input, 0))
}

#[test]
fn the_most_telling_name_wins() {
    let table = table(&[], "");
    for (provider, model, wanted) in [
        ("openai", "gpt-4o", Some(10)),
        ("openai", "GPT-4o-2024-11-20", Some(10)),
        ("openai", "gpt-4o-20241120", Some(10)),
        ("openai", "gpt-4o-mini-2024-07-18", Some(1)),
        ("openai", "gpt-4o-2031-01-01", Some(10)),
        ("openai", "gpt-9", Some(7)),
        ("openai", "new-2031-01-01", Some(1)),
        ("gemini", "flash", Some(3)),
        ("azure", "own", Some(99)),
        ("azure", "gpt-4o", Some(10)),
        ("openai", "own", None),
        ("vllm", "gpt-4o", None),
        ("openai", "", None),
    ] {
        assert_eq!(input(&table, provider, model), wanted, "{provider}/{model}");
    }
    assert_eq!(table.version(), "v");
}

#[test]
fn later_prices_hold_from_their_day_on() {
    for (day, wanted) in [("", 1), ("2026-12-31", 1), ("2027-01-01", 2), ("2027-01-31", 2), ("2031-01-01", 3)] {
        assert_eq!(input(&table(&[], day), "openai", "new"), Some(wanted), "{day}");
    }
}

#[test]
fn the_operators_word_comes_first_and_keeps_what_the_model_can_do() {
    let table = table(
        &[
            ("openai/gpt-4o", prices(0)),
            ("OpenAI/GPT-4o-Mini", prices(4)),
            ("ollama/*", prices(0)),
            ("ollama/big*", prices(8)),
            ("azure/mine", Entry::SameAs("openai/gpt-4o-mini".into())),
            ("azure/round", Entry::SameAs("azure/about".into())),
            ("azure/about", Entry::SameAs("azure/round".into())),
            ("azure/bad", Entry::SameAs("nothing".into())),
        ],
        "",
    );
    for (provider, model, wanted) in [
        ("openai", "gpt-4o", Some(0)),
        ("openai", "gpt-4o-2024-11-20", Some(10)),
        ("openai", "gpt-4o-mini", Some(4)),
        ("ollama", "anything", Some(0)),
        ("ollama", "bigger", Some(8)),
        ("azure", "mine", Some(4)),
        ("azure", "round", None),
        ("azure", "bad", None),
    ] {
        assert_eq!(input(&table, provider, model), wanted, "{provider}/{model}");
    }
    let own = table.find("openai", "gpt-4o").unwrap();
    assert!(own.is_free());
    assert_eq!((own.max_output, own.context), (Some(16384), Some(128_000)));
    assert!(own.variant("batch").is_none());
}

#[test]
fn other_ways_of_processing_have_prices_of_their_own() {
    let price = table(&[], "").find("openai", "gpt-4o").unwrap();
    assert_eq!(price.variant("batch").map(|batch| batch.rate(crate::cost::Kind::Output, 0)), Some(10));
    assert!(price.variant("flex").is_none());
}

#[test]
fn malformed_tables_are_refused_with_a_reason() {
    for (json, part) in [
        ("", "prices: "),
        ("{}", "version"),
        (r#"{"version":"v","models":[{"provider":"p","model":"m","price":{}}]}"#, "p/m: the price of input is missing"),
        (r#"{"version":"v","models":[{"provider":"p","model":"m","price":{"input":-1}}]}"#, "prices: "),
        (r#"{"version":"v","models":[{"provider":"p","model":"m","price":{"input":1,"x":1}}]}"#, "x is no kind"),
    ] {
        let error = Table::new(json.as_bytes(), BTreeMap::new(), "").unwrap_err();
        assert!(error.to_string().contains(part), "{json}: {error}");
    }
    let overrides = BTreeMap::from([("a/b".to_owned(), Entry::Prices(BTreeMap::new(), BTreeMap::new()))]);
    assert!(Table::new(TABLE.as_bytes(), overrides, "").is_err());
}

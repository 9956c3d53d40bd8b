use proptest::prelude::*;

use super::*;

fn rates(above: u64, named: &[(&str, u64)]) -> Rates {
    Rates::new(above, &named.iter().map(|(name, price)| ((*name).to_owned(), *price)).collect()).unwrap()
}

fn price(named: &[(&str, u64)]) -> Price {
    Price::new(vec![rates(0, named)]).unwrap()
}

#[test]
fn a_cost_is_rounded_up_once() {
    let price = price(&[("input", 1), ("output", 1)]);
    let one_each = Tokens::default().with(Kind::Input, 1).with(Kind::Output, 1).with(Kind::Reasoning, 1);
    assert_eq!(price.cost(&Tokens::default()), 0);
    assert_eq!(price.cost(&one_each), 1);
    assert_eq!(price.cost(&Tokens::default().with(Kind::Input, 1_000_001)), 2);
}

#[test]
fn a_kind_without_a_price_costs_what_the_wider_one_does() {
    type Case = (&'static [(&'static str, u64)], Kind, u64);
    let cases: [Case; 11] = [
        (&[("input", 5)], Kind::Cached, 5),
        (&[("input", 5)], Kind::CacheWriteHour, 5),
        (&[("input", 5)], Kind::Output, 5),
        (&[("input", 5), ("cache_write", 6)], Kind::CacheWriteHour, 6),
        (&[("input", 5), ("cached", 1)], Kind::CachedAudio, 1),
        (&[("input", 5), ("cached", 1), ("audio_input", 9)], Kind::CachedAudio, 9),
        (&[("input", 5), ("audio_cached", 3)], Kind::CachedAudio, 3),
        (&[("input", 5), ("output", 7)], Kind::Reasoning, 7),
        (&[("input", 5), ("output", 7)], Kind::ImageOutput, 7),
        (&[("input", 5), ("output", 7), ("reasoning", 3)], Kind::Reasoning, 3),
        (&[("input", 5), ("output", 0)], Kind::Reasoning, 0),
    ];
    for (named, kind, wanted) in cases {
        assert_eq!(price(named).rate(kind, 0), wanted, "{named:?} {kind:?}");
    }
}

#[test]
fn a_long_prompt_changes_the_price_of_the_whole_request() {
    let price = Price::new(vec![
        rates(200, &[("input", 2_000_000), ("output", 10_000_000)]),
        rates(0, &[("input", 1_000_000), ("output", 5_000_000)]),
    ])
    .unwrap();
    let at =
        |prompt: u64| Tokens::default().with(Kind::Cached, 100).with(Kind::Input, prompt - 100).with(Kind::Output, 10);
    assert_eq!(price.cost(&at(200)), 250);
    assert_eq!(price.cost(&at(201)), 502);
    assert_eq!((price.bound(200, 10), price.bound(201, 10)), (Ok(250), Ok(502)));
    assert_eq!(price.affordable_output(201, 501, 1), Ok(Some(9)));
}

#[test]
fn a_request_may_have_a_price_of_its_own() {
    let price = price(&[("input", 1_000_000), ("output", 1_000_000), ("request", 50)]);
    assert_eq!(price.cost(&Tokens::default().with(Kind::Input, 7)), 57);
    assert_eq!(price.bound(7, 3), Ok(60));
    assert_eq!(price.affordable_output(7, 56, 1), Ok(None));
    assert_eq!(price.affordable_output(7, 57, 1), Ok(Some(0)));
    assert!(!price.is_free());
}

#[test]
fn free_is_affordable_without_end() {
    let price = price(&[("input", 0), ("output", 0)]);
    assert!(price.is_free());
    assert_eq!(price.affordable_output(1000, 0, 4), Ok(Some(MOST_TOKENS / 4)));
    assert_eq!(price.bound(MOST_TOKENS, MOST_TOKENS), Ok(0));
}

#[test]
fn what_no_model_reads_is_refused() {
    let price = price(&[("input", DEAREST), ("output", DEAREST), ("request", DEAREST_REQUEST)]);
    assert!(price.bound(MOST_TOKENS + 1, 0).unwrap_err().is_range());
    assert!(price.bound(0, u64::MAX).unwrap_err().is_range());
    assert!(price.affordable_output(u64::MAX, u64::MAX, 1).unwrap_err().is_range());
    let most = Tokens::default().with(Kind::Input, MOST_TOKENS).with(Kind::Output, MOST_TOKENS);
    assert_eq!(price.cost(&most), 4_001_000_000_000_000);
    assert!(price.cost(&most) < MOST);
    assert_eq!(price.affordable_output(0, u64::MAX, 0), Ok(Some(MOST_TOKENS)));
}

#[test]
fn prices_that_make_no_sense_are_refused() {
    let refused = |named: &[(&str, u64)]| {
        Rates::new(0, &named.iter().map(|(name, price)| ((*name).to_owned(), *price)).collect()).is_err()
    };
    assert!(refused(&[("output", 1)]));
    assert!(refused(&[("input", 1), ("inptu", 1)]));
    assert!(refused(&[("input", DEAREST + 1)]));
    assert!(refused(&[("input", 1), ("request", u64::MAX)]));
    assert!(Price::new(vec![]).is_err());
    assert!(Price::new(vec![rates(5, &[("input", 1)])]).is_err());
    assert!(Price::new(vec![rates(0, &[("input", 1)]), rates(0, &[("input", 2)])]).is_err());
}

prop_compose! {
    fn any_price()(
        base in prop::collection::vec(0..=DEAREST, Kind::ALL.len()),
        long in prop::collection::vec(0..=DEAREST, Kind::ALL.len()),
        above in 1..2_000_000_u64,
        request in 0..=DEAREST_REQUEST,
    ) -> Price {
        let of = |above, prices: &[u64]| {
            let mut named: BTreeMap<String, u64> =
                Kind::ALL.iter().zip(prices).map(|(kind, price)| (kind.name().to_owned(), *price)).collect();
            named.insert("request".into(), request);
            Rates::new(above, &named).unwrap()
        };
        Price::new(vec![of(0, &base), of(above, &long)]).unwrap()
    }
}

proptest! {
    #[test]
    fn no_split_of_fewer_tokens_costs_more_than_the_bound(
        price in any_price(),
        counts in prop::collection::vec(0..300_000_u64, Kind::ALL.len()),
        more in (0..1000_u64, 0..1000_u64),
    ) {
        let tokens =
            Kind::ALL.into_iter().zip(counts).fold(Tokens::default(), |tokens, (kind, count)| tokens.with(kind, count));
        let bound = price.bound(tokens.prompt() + more.0, tokens.completion() + more.1).unwrap();
        prop_assert!(price.cost(&tokens) <= bound);
    }

    #[test]
    fn what_is_affordable_is_the_most_that_is(
        price in any_price(), prompt in 0..3_000_000_u64, most in 0..=MOST, choices in 1..8_u64,
    ) {
        match price.affordable_output(prompt, most, choices).unwrap() {
            None => prop_assert!(price.bound(prompt, 0).unwrap() > most),
            Some(each) => {
                prop_assert!(price.bound(prompt, each * choices).unwrap() <= most);
                if (each + 1) * choices <= MOST_TOKENS {
                    prop_assert!(price.bound(prompt, (each + 1) * choices).unwrap() > most);
                }
            }
        }
    }
}

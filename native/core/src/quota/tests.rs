//! The rules of the engine, one by one, and as properties over random histories.

use proptest::prelude::*;

use super::engine::{Decision, Denial, Engine, Memory, Outcome, Request, Standing};
use super::{Account, Bucket, Budget, Kind, Meter, Plan, Refill};

const REMEMBERED: Memory = Memory { finished: u64::MAX, expired: u64::MAX };
const NOW: u64 = 1_000_000;

fn requests(name: &str, capacity: u64) -> Meter {
    let bucket = Bucket::new(capacity, capacity, 60_000, Refill::Interval, false).unwrap();
    Meter::new(name, Kind::Bucket(bucket)).unwrap()
}

fn tokens(name: &str, capacity: u64) -> Meter {
    let bucket = Bucket::new(capacity, capacity, 60_000, Refill::Continuous, true).unwrap();
    Meter::new(name, Kind::Bucket(bucket)).unwrap()
}

fn parallel(name: &str, capacity: u64) -> Meter {
    Meter::new(name, Kind::Parallel(capacity)).unwrap()
}

fn budget(name: &str, cap: u64) -> Meter {
    window(name, cap, 0, 0)
}

fn window(name: &str, cap: u64, start: u64, end: u64) -> Meter {
    Meter::new(name, Kind::Budget(Budget { cap, start, end })).unwrap()
}

fn ask(id: u64) -> Request<'static> {
    let expires_at = NOW + 1_000;
    Request { id, now: NOW, wall: NOW, expires_at, tokens: 10, want: 100, minimum: 20, meta: b"" }
}

fn standings(engine: &mut Engine, plan: &Plan) -> Vec<i64> {
    let mut found = Vec::new();
    engine.standings(plan, NOW, NOW, |_, Standing { remaining, .. }| found.push(remaining));
    found
}

fn everything(engine: &mut Engine) -> Plan {
    engine.plan(vec![requests("r", 3), tokens("t", 100), parallel("p", 2), budget("b", 250), budget("c", 1_000)])
}

#[test]
fn an_admission_takes_from_every_meter() {
    let mut engine = Engine::new(REMEMBERED);
    let plan = everything(&mut engine);
    let before = standings(&mut engine, &plan);
    assert_eq!(engine.decide(&plan, &ask(1)), Decision::Admitted(100));
    assert_eq!((standings(&mut engine, &plan), engine.open_count()), (before, 0), "a question takes nothing");
    assert_eq!(engine.admit(&plan, &ask(1)), Decision::Admitted(100));
    assert_eq!(standings(&mut engine, &plan), [2, 90, 1, 150, 900]);
}

#[test]
fn a_denial_takes_nothing_and_names_the_first_meter_that_refuses() {
    let mut engine = Engine::new(REMEMBERED);
    let plan = everything(&mut engine);
    for id in [1, 2] {
        assert_eq!(engine.admit(&plan, &ask(id)), Decision::Admitted(100));
    }
    let before = standings(&mut engine, &plan);
    let denied = Decision::Denied(Denial { meter: 2, wait: None, remaining: 0 });
    assert_eq!(engine.decide(&plan, &ask(3)), denied);
    assert_eq!(engine.admit(&plan, &ask(3)), denied);
    let large = Request { tokens: 90, ..ask(3) };
    assert_eq!(engine.admit(&plan, &large), Decision::Denied(Denial { meter: 1, wait: Some(6_000), remaining: 80 }));
    assert_eq!(standings(&mut engine, &plan), before);
    assert_eq!(engine.open_count(), 2);
}

#[test]
fn a_grant_is_what_the_tightest_budget_has_left_unless_that_is_of_no_use() {
    let mut engine = Engine::new(REMEMBERED);
    let plan = engine.plan(vec![budget("wide", 1_000), budget("tight", 130)]);
    assert_eq!(engine.admit(&plan, &ask(1)), Decision::Admitted(100));
    assert_eq!(engine.admit(&plan, &ask(2)), Decision::Admitted(30));
    assert_eq!(engine.admit(&plan, &ask(3)), Decision::Denied(Denial { meter: 1, wait: None, remaining: 0 }));
    let free = Request { want: 0, minimum: 0, ..ask(4) };
    assert_eq!(engine.admit(&plan, &free), Decision::Admitted(0));
}

#[test]
fn a_budget_whose_window_is_not_now_is_stale_before_anything_else() {
    let mut engine = Engine::new(REMEMBERED);
    let plan = engine.plan(vec![parallel("p", 1), window("b", 100, NOW - 10, NOW)]);
    assert_eq!(engine.admit(&plan, &ask(1)), Decision::Stale);
    let plan = engine.plan(vec![parallel("p", 1), window("b", 10, NOW, NOW + 500)]);
    let denial = Denial { meter: 1, wait: Some(500), remaining: 10 };
    assert_eq!(engine.admit(&plan, &ask(1)), Decision::Denied(denial));
}

#[test]
fn a_settlement_charges_what_it_came_to_and_gives_the_rest_back() {
    let mut engine = Engine::new(REMEMBERED);
    let plan = everything(&mut engine);
    engine.admit(&plan, &ask(1));
    assert_eq!(engine.settle(1, 40, 4, NOW), Outcome::Settled(40));
    assert_eq!(standings(&mut engine, &plan), [2, 96, 2, 210, 960]);
    for outcome in [engine.settle(1, 40, 4, NOW), engine.release(1, NOW), engine.expire(1, NOW + 5_000)] {
        assert_eq!(outcome, Outcome::Duplicate);
    }
    assert_eq!(engine.admit(&plan, &ask(1)), Decision::Finished);
}

#[test]
fn more_than_was_granted_is_charged_all_the_same() {
    let mut engine = Engine::new(REMEMBERED);
    let plan = engine.plan(vec![tokens("t", 100), budget("b", 100)]);
    engine.admit(&plan, &ask(1));
    assert_eq!(engine.settle(1, 130, 500, NOW), Outcome::Settled(130));
    assert_eq!(standings(&mut engine, &plan), [-400, -30]);
}

#[test]
fn a_repeated_admission_has_the_same_grant_and_takes_nothing() {
    let mut engine = Engine::new(REMEMBERED);
    let plan = everything(&mut engine);
    engine.admit(&plan, &ask(1));
    let before = standings(&mut engine, &plan);
    assert_eq!(engine.admit(&plan, &Request { want: 7, minimum: 7, ..ask(1) }), Decision::Repeated(100));
    assert_eq!(standings(&mut engine, &plan), before);
}

#[test]
fn a_release_leaves_no_trace() {
    let mut engine = Engine::new(REMEMBERED);
    let plan = everything(&mut engine);
    let before = standings(&mut engine, &plan);
    engine.admit(&plan, &ask(1));
    assert_eq!(engine.release(1, NOW), Outcome::Released);
    assert_eq!(standings(&mut engine, &plan), before);
}

#[test]
fn what_expires_is_charged_in_full_and_corrected_by_a_late_settlement() {
    let mut engine = Engine::new(REMEMBERED);
    let plan = everything(&mut engine);
    engine.admit(&plan, &ask(1));
    assert_eq!(engine.due(NOW + 999), None);
    assert_eq!(engine.expire(1, NOW + 999), Outcome::Early);
    assert_eq!(engine.due(NOW + 1_000), Some(1));
    assert_eq!(engine.expire(1, NOW + 1_000), Outcome::Expired(100));
    assert_eq!(standings(&mut engine, &plan), [2, 90, 2, 150, 900]);
    assert_eq!(engine.release(1, NOW + 1_001), Outcome::Duplicate);
    assert_eq!(engine.settle(1, 30, 3, NOW + 1_001), Outcome::Late(-70));
    assert_eq!(engine.settle(1, 30, 3, NOW + 1_001), Outcome::Duplicate);
    assert_eq!(standings(&mut engine, &plan), [2, 90, 2, 220, 970]);
}

#[test]
fn a_settlement_hits_the_window_of_its_admission() {
    let mut engine = Engine::new(REMEMBERED);
    let old = engine.plan(vec![window("b", 100, 0, NOW + 1)]);
    engine.admit(&old, &ask(1));
    let new = engine.plan(vec![window("b", 100, NOW + 1, NOW + 100)]);
    engine.admit(&new, &Request { wall: NOW + 1, ..ask(2) });
    engine.settle(1, 60, 0, NOW + 50);
    let accounts: Vec<_> = engine.accounts().map(|(_, start, account)| (start, account)).collect();
    let expected = [(0, Account { posted: 60, reserved: 0 }), (NOW + 1, Account { posted: 0, reserved: 100 })];
    assert_eq!(accounts, expected);
}

#[test]
fn sweeping_drops_budgets_that_are_over_and_keeps_those_with_open_holds() {
    let mut engine = Engine::new(REMEMBERED);
    let held = engine.plan(vec![window("held", 100, 0, NOW + 1)]);
    engine.admit(&held, &ask(1));
    engine.plan(vec![window("idle", 100, 0, NOW + 1), budget("total", 100)]);
    engine.sweep(NOW + 2);
    let names: Vec<_> = engine.accounts().map(|(name, ..)| name.to_owned()).collect();
    assert_eq!(names, ["held", "total"]);
    // A plan made before still finds its meter, and a new one takes the freed place.
    let again = engine.plan(vec![window("other", 5, 0, 0)]);
    assert_eq!(engine.settle(1, 50, 0, NOW + 2), Outcome::Settled(50));
    assert_eq!(standings(&mut engine, &held), [50]);
    assert_eq!(standings(&mut engine, &again), [5]);
}

#[test]
fn holds_are_forgotten_after_their_time() {
    let mut engine = Engine::new(Memory { finished: 100, expired: 1_000 });
    let plan = engine.plan(vec![parallel("p", 10)]);
    engine.admit(&plan, &ask(1));
    engine.admit(&plan, &Request { expires_at: NOW, ..ask(2) });
    engine.settle(1, 0, 0, NOW);
    engine.expire(2, NOW);
    engine.admit(&plan, &Request { now: NOW + 101, ..ask(3) });
    assert_eq!(engine.settle(1, 0, 0, NOW + 101), Outcome::Unknown);
    assert_eq!(engine.settle(2, 0, 0, NOW + 101), Outcome::Late(-100));
}

#[derive(Clone, Debug)]
enum Step {
    Admit { plan: usize, tokens: u64, want: u64, minimum: u64, lasts: u64 },
    Settle { hold: usize, amount: u64, tokens: u64 },
    Release { hold: usize },
    Expire,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, 0..60_u64, 0..60_u64, 0..60_u64, 1..500_u64)
            .prop_map(|(plan, tokens, want, minimum, lasts)| Step::Admit { plan, tokens, want, minimum, lasts }),
        3 => (0..40_usize, 0..60_u64, 0..90_u64).prop_map(|(hold, amount, tokens)| Step::Settle { hold, amount, tokens }),
        1 => (0..40_usize).prop_map(|hold| Step::Release { hold }),
        1 => Just(Step::Expire),
        2 => (0..400_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(super::cases()))]

    /// B1, B13 over histories in which nothing comes to more than its grant.
    #[test]
    fn posted_and_reserved_stay_below_the_cap_and_add_up(steps in prop::collection::vec(step(), 1..80)) {
        let mut engine = Engine::new(REMEMBERED);
        let caps = [("a", 150_u64), ("b", 90), ("c", 400)];
        let meters = |names: &[usize]| -> Vec<Meter> {
            let mut all: Vec<Meter> = names.iter().map(|at| budget(caps[*at].0, caps[*at].1)).collect();
            all.extend([requests("r", 12), tokens("t", 300), parallel("p", 5)]);
            all
        };
        let plans = [meters(&[0, 1]), meters(&[1, 2]), meters(&[2])].map(|meters| engine.plan(meters));
        let mut posted = std::collections::HashMap::new();
        let mut holds: Vec<(u64, usize, u64)> = Vec::new();
        let mut now = NOW;
        for (index, step) in steps.into_iter().enumerate() {
            let charged = match step {
                Step::Admit { plan, tokens, want, minimum, lasts } => {
                    let id = index as u64 + 1;
                    let minimum = minimum.min(want);
                    let request = Request { id, now, wall: now, expires_at: now + lasts, tokens, want, minimum, meta: b"" };
                    if let Decision::Admitted(grant) = engine.admit(&plans[plan], &request) {
                        prop_assert!(grant <= want && grant >= minimum);
                        holds.push((id, plan, grant));
                    }
                    None
                }
                Step::Settle { hold, amount, tokens } => holds.get(hold).and_then(|&(id, plan, grant)| {
                    match engine.settle(id, amount.min(grant), tokens, now) {
                        Outcome::Settled(amount) | Outcome::Late(amount) => Some((plan, amount)),
                        _ => None,
                    }
                }),
                Step::Release { hold } => {
                    if let Some((id, ..)) = holds.get(hold) {
                        engine.release(*id, now);
                    }
                    None
                }
                Step::Expire => engine.due(now).and_then(|id| {
                    let Outcome::Expired(amount) = engine.expire(id, now) else { return None };
                    holds.iter().find(|(known, ..)| *known == id).map(|(_, plan, _)| (*plan, amount))
                }),
                Step::Wait(passed) => {
                    now += passed;
                    None
                }
            };
            if let Some((plan, amount)) = charged {
                for meter in plans[plan].iter().filter(|meter| matches!(meter.kind(), Kind::Budget(_))) {
                    *posted.entry(meter.name().to_owned()).or_insert(0_i64) += amount;
                }
            }
            for (name, _, account) in engine.accounts() {
                let cap = caps.iter().find(|(known, _)| *known == name).unwrap().1;
                prop_assert!(account.left(cap) >= 0, "{name} {account:?}");
                prop_assert_eq!(account.posted, posted.get(name).copied().unwrap_or(0));
            }
        }
        let open = i64::try_from(engine.open_count()).unwrap();
        prop_assert_eq!(standings(&mut engine, &plans[0])[4], 5 - open);
        // At rest nothing is held.
        while let Some(id) = engine.due(u64::MAX) {
            engine.expire(id, u64::MAX);
        }
        prop_assert!(engine.accounts().all(|(_, _, account)| account.reserved == 0));
    }
}

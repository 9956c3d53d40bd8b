//! Walks through every order in which two nodes can lease parts of a budget and of places, give them away, report, lose
//! reports and answers, repeat them, crash, come back late and expire, beside a request that is decided without a lease.
//! What a node has given away may expire as well, and be settled after that, or after the lease is gone.
//!
//! What is walked through is the protocol of `middlewares/stores/redis/lease.lua` with small numbers; that the script does
//! the same is what the differential tests beside it show. `QUOTA_LONG=1` walks further. Four broken protocols have to be
//! found out, so the walk is known to be able to.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod world;

use std::collections::HashSet;

use world::{Protocol, Size, World};

const SMALL: Size = Size {
    requests: [1, 0],
    reports: [2, 1],
    unlucky: 1,
    amounts: &[0, 2],
    mishaps: 1,
    latest: 2,
    with_another: false,
    may_expire: false,
};
const LARGE: Size = Size { requests: [1, 1], amounts: &[0, 1, 2], with_another: true, ..SMALL };
const LATE: Size = Size { amounts: &[0, 1, 2], mishaps: 0, may_expire: true, ..SMALL };
const LATE_LARGE: Size = Size { mishaps: 1, ..LATE };

struct Walk {
    transitions: u64,
    states: usize,
    violation: Option<(&'static str, Vec<&'static str>)>,
}

fn walk(size: Size, protocol: Protocol) -> Walk {
    let first = World::default();
    let mut seen = HashSet::from([first]);
    let mut stack = vec![first];
    let mut transitions = 0;
    let mut violation = None;
    while let Some(world) = stack.pop() {
        world.successors(size, protocol, |next, _| {
            transitions += 1;
            if violation.is_none() && seen.insert(next) {
                violation = next.violation(protocol).map(|what| (what, next));
                stack.push(next);
            }
        });
        if let Some((what, bad)) = violation {
            let path = path_to(bad, size, protocol);
            return Walk { transitions, states: seen.len(), violation: Some((what, path)) };
        }
    }
    Walk { transitions, states: seen.len(), violation: None }
}

/// The shortest way to a state, found anew, so that the walk itself need not remember ways.
fn path_to(goal: World, size: Size, protocol: Protocol) -> Vec<&'static str> {
    let mut steps: Vec<(World, usize, &'static str)> = vec![(World::default(), 0, "")];
    let mut seen = HashSet::from([World::default()]);
    let mut at = 0;
    while at < steps.len() && steps[at].0 != goal {
        let world = steps[at].0;
        world.successors(size, protocol, |next, what| {
            if seen.insert(next) {
                steps.push((next, at, what));
            }
        });
        at += 1;
    }
    let mut path = Vec::new();
    while at > 0 && at < steps.len() {
        path.push(steps[at].2);
        at = steps[at].1;
    }
    path.reverse();
    path
}

fn finds_nothing(size: Size) {
    let walk = walk(size, Protocol::Real);
    eprintln!("{} transitions between {} states", walk.transitions, walk.states);
    assert_eq!(walk.violation, None);
    assert!(walk.transitions > 10_000, "{}", walk.transitions);
}

fn is_long() -> bool {
    std::env::var_os("QUOTA_LONG").is_some()
}

#[test]
fn no_order_of_reports_crashes_and_expiries_overspends_or_miscounts() {
    finds_nothing(if is_long() { LARGE } else { SMALL });
}

#[test]
fn no_order_in_which_requests_expire_and_are_settled_late_overspends_or_miscounts() {
    finds_nothing(if is_long() { LATE_LARGE } else { LATE });
}

#[test]
fn a_store_that_gives_back_what_a_crashed_node_had_is_found_out() {
    let walk = walk(SMALL, Protocol::RefundsTheGone);
    let (violation, path) = walk.violation.expect("the walk must see that money is missing");
    eprintln!("{violation} after {path:?} ({} transitions)", walk.transitions);
}

#[test]
fn a_store_that_does_a_report_twice_is_found_out() {
    let walk = walk(SMALL, Protocol::CountsRepeats);
    let (violation, path) = walk.violation.expect("the walk must see that money was counted twice");
    eprintln!("{violation} after {path:?} ({} transitions)", walk.transitions);
}

#[test]
fn a_store_that_corrects_by_what_a_node_knew_before_its_lease_expired_is_found_out() {
    let walk = walk(SMALL, Protocol::TrustsTheUnaware);
    let (violation, path) = walk.violation.expect("the walk must see that money is missing");
    eprintln!("{violation} after {path:?} ({} transitions)", walk.transitions);
}

#[test]
fn a_node_that_forgets_what_is_settled_after_its_lease_is_gone_is_found_out() {
    let walk = walk(LATE, Protocol::ForgetsTheLate);
    let (violation, path) = walk.violation.expect("the walk must see that too much is charged");
    eprintln!("{violation} after {path:?} ({} transitions)", walk.transitions);
}

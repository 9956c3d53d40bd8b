//! Walks through every order in which a few requests can be admitted, sent, billed, settled, lost, repeated and
//! expired, with crashes of the gateway in between, and holds the real engine against what the upstream has billed.
//!
//! The walk is exhaustive for its size: two requests, or with `QUOTA_LONG=1` three, which takes minutes in a release
//! build and gigabytes. Two broken protocols have to be found out, so the walk is known to be able to.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use tollhouse_core::quota::{Budget, Decision, Engine, Kind, Memory, Meter, Outcome, Plan, Request};

/// Two requests fit under the first cap at their full price, and a third with what is left.
const CAPS: [u64; 2] = [24, 34];
const WANT: u64 = 10;
const MINIMUM: u64 = 4;
const EXPIRES_IN: u64 = 1;

/// How large a world is walked through.
#[derive(Clone, Copy)]
struct Size {
    requests: usize,
    /// What an upstream may bill of a grant, as fractions.
    bills: &'static [(u64, u64)],
    /// The last moment; a hold is due after one.
    latest: u64,
}

const SMALL: Size = Size { requests: 2, bills: &[(0, 1), (1, 2), (1, 1)], latest: 3 };

const LARGE: Size = Size { requests: 3, bills: &[(0, 1), (1, 2), (1, 1)], latest: 2 };

/// A store as the gateway sees it.
trait Protocol: Clone {
    fn engine(&mut self) -> &mut Engine;
    fn settle(&mut self, id: u64, amount: u64, now: u64) -> Outcome {
        self.engine().settle(id, amount, 0, now)
    }
    fn expire(&mut self, id: u64, now: u64) -> Outcome {
        self.engine().expire(id, now)
    }
}

#[derive(Clone)]
struct Real(Engine);

impl Protocol for Real {
    fn engine(&mut self) -> &mut Engine {
        &mut self.0
    }
}

/// Gives the money of a hold back that nobody has ended, though the upstream may have worked for it.
#[derive(Clone)]
struct RefundsOrphans(Engine);

impl Protocol for RefundsOrphans {
    fn engine(&mut self) -> &mut Engine {
        &mut self.0
    }

    fn expire(&mut self, id: u64, now: u64) -> Outcome {
        let due = self.0.due(now) == Some(id);
        if due { self.0.release(id, now) } else { Outcome::Early }
    }
}

/// Takes a repeated settlement for a new one: what it posts twice, it takes out of what another hold has reserved.
#[derive(Clone)]
struct SettlesTwice(Engine, Plan);

impl Protocol for SettlesTwice {
    fn engine(&mut self) -> &mut Engine {
        &mut self.0
    }

    fn settle(&mut self, id: u64, amount: u64, now: u64) -> Outcome {
        let outcome = self.0.settle(id, amount, 0, now);
        if outcome != Outcome::Duplicate {
            return outcome;
        }
        let again =
            Request { id: id + 100, now, wall: 1, expires_at: now + 9, tokens: 0, want: 0, minimum: 0, meta: b"" };
        self.0.admit(&self.1, &again);
        self.0.settle(id + 100, amount, 0, now)
    }
}

/// Where one request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Flight {
    /// What the gateway has been granted, as far as it knows: None before, and after a crash.
    granted: Option<u64>,
    was_tried: bool,
    was_sent: bool,
    /// Of the grant that was sent along.
    bound: u64,
    billed: Option<u64>,
    /// Settlements on their way, which may come twice, late, or not at all.
    messages: u8,
    /// How many were put on the way.
    sent_messages: u8,
}

#[derive(Clone)]
struct World<P> {
    store: P,
    flights: Vec<Flight>,
    /// What the ledger says.
    ledger: i64,
    now: u64,
    crashes: u8,
    size: Size,
}

impl<P: Protocol> World<P> {
    fn digest(&mut self) -> u128 {
        let mut halves = [0_u64; 2];
        for (salt, half) in halves.iter_mut().enumerate() {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            self.store.engine().hash_state(&mut hasher);
            (&self.flights, self.ledger, self.now, self.crashes).hash(&mut hasher);
            *half = hasher.finish();
        }
        u128::from(halves[0]) << 64 | u128::from(halves[1])
    }

    /// The promises (B1, B13, and that nobody is billed beyond the cap).
    fn violation(&mut self) -> Option<String> {
        let billed: u64 = self.flights.iter().filter_map(|flight| flight.billed).sum();
        let engine = self.store.engine();
        let open: u64 = engine.open().map(|(_, grant)| grant).sum();
        for ((name, _, account), cap) in engine.accounts().zip(CAPS) {
            let posted = account.posted;
            if account.left(cap) < 0 || posted < 0 {
                return Some(format!("{name}: posted {posted} and reserved {} of {cap}", account.reserved));
            }
            if account.reserved != open {
                return Some(format!("{name}: {} reserved, {open} held", account.reserved));
            }
            if posted != self.ledger {
                return Some(format!("{name}: {posted} posted, {} in the ledger", self.ledger));
            }
            if billed > cap {
                return Some(format!("{name}: {billed} billed of {cap}"));
            }
        }
        None
    }

    /// After the last settlement has come, and all that is left has expired: posted covers what was billed.
    fn rest(&mut self) -> Option<String> {
        let mut world = Self { store: self.store.clone(), flights: self.flights.clone(), ..*self };
        world.now = self.size.latest + EXPIRES_IN;
        while let Some(id) = world.store.engine().due(world.now) {
            world.expire(id);
        }
        let billed: u64 = world.flights.iter().filter_map(|flight| flight.billed).sum();
        let posted = world.store.engine().accounts().next().map_or(0, |(_, _, account)| account.posted);
        (posted < i64::try_from(billed).unwrap()).then(|| format!("{billed} billed, {posted} posted at rest"))
    }

    fn expire(&mut self, id: u64) {
        if let Outcome::Expired(amount) = self.store.expire(id, self.now) {
            self.ledger += amount;
        }
    }

    fn admit(&mut self, plan: &Plan, index: usize) {
        let now = self.now;
        let request = Request {
            id: index as u64 + 1,
            now,
            wall: 1,
            expires_at: now + EXPIRES_IN,
            tokens: 0,
            want: WANT,
            minimum: MINIMUM,
            meta: b"",
        };
        self.flights[index].was_tried = true;
        if let Decision::Admitted(grant) | Decision::Repeated(grant) = self.store.engine().admit(plan, &request) {
            self.flights[index].granted = Some(grant);
        }
    }

    /// Everything that can happen next.
    fn successors(&self, plan: &Plan, mut each: impl FnMut(Self, &'static str)) {
        let mut step = |what: &'static str, change: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            change(&mut next);
            each(next, what);
        };
        for (index, flight) in self.flights.iter().enumerate() {
            let id = index as u64 + 1;
            // A first try, or a retry of which the first answer was lost.
            if !flight.was_tried || (flight.granted.is_none() && self.crashes == 0) {
                step("admit", &|world| world.admit(plan, index));
            }
            if let (Some(granted), false) = (flight.granted, flight.was_sent) {
                step("send", &|world| {
                    world.flights[index].was_sent = true;
                    world.flights[index].bound = granted;
                });
                step("release", &|world| {
                    world.store.engine().release(id, world.now);
                    world.flights[index].granted = None;
                });
            }
            if flight.was_sent && flight.billed.is_none() {
                for &(part, of) in self.size.bills {
                    step("bill", &|world| world.flights[index].billed = Some(flight.bound * part / of));
                }
            }
            // A settlement and its retry, by a gateway that has seen the usage.
            if flight.granted.is_some() && flight.billed.is_some() && flight.sent_messages < 2 {
                step("settle", &|world| {
                    world.flights[index].messages += 1;
                    world.flights[index].sent_messages += 1;
                });
            }
            if flight.messages > 0 {
                step("arrive", &|world| {
                    let billed = world.flights[index].billed.unwrap_or(0);
                    world.flights[index].messages -= 1;
                    match world.store.settle(id, billed, world.now) {
                        Outcome::Settled(amount) | Outcome::Late(amount) => world.ledger += amount,
                        _ => {}
                    }
                });
                step("lose", &|world| world.flights[index].messages -= 1);
            }
        }
        if let Some(id) = self.store.clone().engine().due(self.now) {
            step("expire", &|world| world.expire(id));
        }
        if self.now < self.size.latest {
            step("tick", &|world| world.now += 1);
        }
        // What was known of requests that are under way is lost; settlements on their way are not.
        if self.crashes == 0 && self.flights.iter().any(|flight| flight.granted.is_some()) {
            step("crash", &|world| {
                world.crashes += 1;
                for flight in &mut world.flights {
                    flight.granted = None;
                }
            });
        }
    }
}

struct Walk {
    transitions: u64,
    states: usize,
    /// What was wrong, and how it came to it.
    violation: Option<(String, Vec<&'static str>)>,
}

fn plan_of(engine: &mut Engine) -> Plan {
    let budgets = CAPS.iter().enumerate().map(|(index, cap)| {
        Meter::new(&format!("budget {index}"), Kind::Budget(Budget { cap: *cap, start: 0, end: 0 })).unwrap()
    });
    engine.plan(budgets.collect())
}

fn walk<P: Protocol>(size: Size, make: impl Fn(Engine, Plan) -> P) -> Walk {
    let mut engine = Engine::new(Memory { finished: u64::MAX, expired: u64::MAX });
    let plan = plan_of(&mut engine);
    let first = World {
        store: make(engine, plan.clone()),
        flights: vec![Flight::default(); size.requests],
        ledger: 0,
        now: 0,
        crashes: 0,
        size,
    };
    let mut seen = HashSet::new();
    let mut stack = vec![(first, Vec::new())];
    let mut transitions = 0;
    while let Some((world, path)) = stack.pop() {
        let mut found = None;
        world.successors(&plan, |mut next, what| {
            transitions += 1;
            if found.is_some() || !seen.insert(next.digest()) {
                return;
            }
            let mut path = path.clone();
            path.push(what);
            if let Some(violation) = next.violation().or_else(|| next.rest()) {
                found = Some((violation, path));
                return;
            }
            stack.push((next, path));
        });
        if found.is_some() {
            return Walk { transitions, states: seen.len(), violation: found };
        }
    }
    Walk { transitions, states: seen.len(), violation: None }
}

#[test]
fn no_order_of_events_overspends_or_miscounts() {
    let walk = walk(if std::env::var_os("QUOTA_LONG").is_some() { LARGE } else { SMALL }, |engine, _| Real(engine));
    eprintln!("{} transitions between {} states", walk.transitions, walk.states);
    assert_eq!(walk.violation, None);
    assert!(walk.transitions > 10_000, "{}", walk.transitions);
}

#[test]
fn a_store_that_gives_orphans_their_money_back_is_found_out() {
    let walk = walk(SMALL, |engine, _| RefundsOrphans(engine));
    let (violation, path) = walk.violation.expect("the walk must see that money is missing");
    eprintln!("{violation} after {path:?} ({} transitions)", walk.transitions);
}

#[test]
fn a_store_that_settles_twice_is_found_out() {
    let walk = walk(SMALL, SettlesTwice);
    let (violation, path) = walk.violation.expect("the walk must see that money was counted twice");
    eprintln!("{violation} after {path:?} ({} transitions)", walk.transitions);
}

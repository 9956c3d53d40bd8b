//! Redis, two nodes, and what is on its way between them: one state, what can happen to it, and what must never be true.

const CAP: i8 = 8;
const PLACES: i8 = 3;
/// What a request is granted.
const GRANT: i8 = 2;
/// Ticks that a lease lasts in Redis after the call that renewed it, and at its node after that was sent.
const LASTS: i8 = 2;
const NODE_LASTS: i8 = 1;
const NODES: usize = 2;

/// How far the walk goes.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// Of each node.
    pub(crate) requests: [i8; NODES],
    /// Of each node, two more once its lease has expired, and one for each request that is settled after it expired.
    pub(crate) reports: [i8; NODES],
    /// How many of the nodes crash and lose what they send.
    pub(crate) unlucky: usize,
    /// What a request may come to.
    pub(crate) amounts: &'static [i8],
    /// Of all nodes together: reports and answers that are lost or come twice.
    pub(crate) mishaps: i8,
    pub(crate) latest: i8,
    /// With a request that is decided by Redis alone.
    pub(crate) with_another: bool,
    /// Whether a request expires that its node has not settled.
    pub(crate) may_expire: bool,
}

/// What is wrong with the store, if anything.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Protocol {
    Real,
    /// Gives back what a node had out that did not renew its lease.
    RefundsTheGone,
    /// Does what a report says as often as it comes.
    CountsRepeats,
    /// Lets a report that was written before its node knew that the lease had expired lower what was charged.
    TrustsTheUnaware,
    /// Tells nothing any more of a lease of which everything had been told: not what is settled later.
    ForgetsTheLate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum State {
    #[default]
    None,
    Open,
    Expired,
}

/// What Redis knows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Record {
    state: State,
    number: i8,
    money: i8,
    places: i8,
    expiry: i8,
}

/// What a node tells: spent since the last report, held in open holds, and how much is to be out afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Report {
    number: i8,
    spent: i8,
    held: i8,
    goal: i8,
    busy: i8,
    places_goal: i8,
    sent_at: i8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Answer {
    number: i8,
    expired: bool,
    money: i8,
    places: i8,
}

/// What a node knows of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum Lease {
    #[default]
    Alive,
    Expired,
    /// And Redis has answered to a report that was written since then, of nothing held.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Node {
    crashed: bool,
    lease: Lease,
    number: i8,
    have: i8,
    held: i8,
    spent: i8,
    places: i8,
    busy: i8,
    deadline: i8,
    admitted: i8,
    /// Requests that have expired and are not settled; those that were.
    late: i8,
    corrected: i8,
    /// The report that has no answer yet.
    report: Option<Report>,
    /// It is on its way to Redis.
    underway: bool,
    /// An older copy of it, or of the one before, is as well.
    stray: Option<Report>,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct World {
    posted: i8,
    reserved: i8,
    used: i8,
    ledger: i8,
    records: [Record; NODES],
    nodes: [Node; NODES],
    /// A request that is decided by Redis alone: not there yet, open, ended.
    other: u8,
    billed: i8,
    now: i8,
    crashes: i8,
    mishaps: i8,
}

impl Node {
    /// What may still be billed for what it has given away.
    fn may_come(&self) -> i8 {
        self.held + self.late * GRANT
    }

    fn is_over(&self) -> bool {
        self.lease != Lease::Alive
    }

    fn reports(&self, size: Size, index: usize) -> i8 {
        size.reports[index] + 2 * i8::from(self.is_over()) + self.corrected
    }
}

impl World {
    /// What is broken of what is promised.
    pub(crate) fn violation(&self, protocol: Protocol) -> Option<&'static str> {
        let open = self.records.iter().filter(|record| record.state == State::Open);
        let money: i8 = open.clone().map(|record| record.money).sum();
        let places: i8 = open.map(|record| record.places).sum();
        let other = i8::from(self.other == 1);
        if self.posted + self.reserved > CAP {
            return Some("more is posted and reserved than the cap");
        }
        if self.billed > CAP {
            return Some("more is billed than the cap");
        }
        if self.posted != self.ledger {
            return Some("counter and ledger differ");
        }
        if self.reserved != money + other * GRANT || self.used != places + other || self.used > PLACES {
            return Some("what is taken is not what is out");
        }
        let busy: i8 = self
            .nodes
            .iter()
            .zip(&self.records)
            .filter(|(_, record)| record.state == State::Open)
            .map(|(node, _)| node.busy)
            .sum();
        if busy + other > PLACES {
            return Some("more is under way than there are places");
        }
        // Whatever becomes of the nodes, and if all that they hold is billed in full: what is charged is enough.
        let mut end = *self;
        end.now = i8::MAX;
        for index in 0..NODES {
            end.expire(index, protocol);
        }
        let may_come: i8 = self.nodes.iter().map(Node::may_come).sum();
        if end.posted < self.billed + may_come {
            return Some("less is posted than was billed");
        }
        // Once everything is told, it is exactly what was billed.
        let told = self.nodes.iter().zip(&self.records).all(|(node, record)| {
            node.report.is_none()
                && node.spent == 0
                && node.may_come() == 0
                && !node.crashed
                && (record.state != State::Expired || record.money == 0)
        });
        (told && self.posted != self.billed).then_some("what is posted at rest is not what was billed")
    }

    /// The script.
    fn arrive(&mut self, index: usize, report: Report, protocol: Protocol) -> Answer {
        let record = &mut self.records[index];
        let (number, held) = (report.number, report.held);
        if record.state == State::None {
            record.state = if number == 1 { State::Open } else { State::Expired };
        }
        let repeated = number <= record.number && protocol != Protocol::CountsRepeats;
        if record.state == State::Expired {
            if !repeated {
                // The lines, and the line that corrects what was charged. A node that does not know yet that its lease
                // has expired may give away what it has kept.
                let charged = if protocol == Protocol::TrustsTheUnaware {
                    held
                } else {
                    held.max((record.money - report.spent).min(report.goal))
                };
                self.ledger += report.spent;
                self.ledger += charged - record.money;
                self.posted += report.spent + charged - record.money;
                *record = Record { money: charged, places: 0, number, ..*record };
            }
            return Answer { number, expired: true, money: 0, places: 0 };
        }
        if !repeated {
            assert!(number <= record.number + 1, "a report is missing");
            self.posted += report.spent;
            self.ledger += report.spent;
            self.reserved -= record.money;
            let mut money = held.max((record.money - report.spent).min(report.goal));
            let left = CAP - self.posted - self.reserved - money;
            money += (report.goal - money).min(left).max(0);
            self.reserved += money;
            self.used -= record.places;
            let mut places = report.busy.max(record.places.min(report.places_goal));
            places += (report.places_goal - places).min(PLACES - self.used - places).max(0);
            self.used += places;
            *record = Record { number, money, places, expiry: self.now + LASTS, ..*record };
        }
        Answer { number, expired: false, money: record.money, places: record.places }
    }

    fn expire(&mut self, index: usize, protocol: Protocol) -> bool {
        let record = &mut self.records[index];
        if record.state != State::Open || self.now < record.expiry {
            return false;
        }
        record.state = State::Expired;
        self.reserved -= record.money;
        self.used -= record.places;
        record.places = 0;
        if protocol == Protocol::RefundsTheGone {
            record.money = 0;
        } else {
            self.posted += record.money;
            self.ledger += record.money;
        }
        true
    }

    fn report(&mut self, index: usize, more: i8) {
        let now = self.now;
        let node = &mut self.nodes[index];
        node.number += 1;
        let more = if node.is_over() { 0 } else { more };
        // A goal below what is there is given back; it must not be given away from now on.
        let (keeps, places) = if more < 0 || node.is_over() { (0, 0) } else { (node.have, node.places) };
        let more = more.max(0);
        node.report = Some(Report {
            number: node.number,
            spent: node.spent,
            held: node.held,
            goal: node.held + keeps + more,
            busy: node.busy,
            places_goal: node.busy + places + more.min(1),
            sent_at: now,
        });
        node.spent = 0;
        node.have = keeps;
        node.places = places;
        node.underway = true;
    }

    fn answered(&mut self, index: usize, answer: Answer) {
        let node = &mut self.nodes[index];
        let Some(report) = node.report else { return };
        if report.number != answer.number {
            return;
        }
        node.report = None;
        if answer.expired {
            let is_done = node.is_over() && report.held == 0;
            node.lease = if is_done { Lease::Done } else { Lease::Expired };
            node.have = 0;
            node.places = 0;
        } else {
            node.have = answer.money - node.held - node.spent;
            node.places = answer.places - node.busy;
            node.deadline = report.sent_at + NODE_LASTS;
        }
    }

    /// Everything that can happen next.
    #[expect(clippy::too_many_lines, reason = "one list of what can happen, a few lines each")]
    pub(crate) fn successors(&self, size: Size, protocol: Protocol, mut each: impl FnMut(Self, &'static str)) {
        let mut step = |what: &'static str, change: &dyn Fn(&mut Self)| {
            let mut next = *self;
            change(&mut next);
            each(next, what);
        };
        for (index, node) in self.nodes.iter().enumerate() {
            if let Some(answer) = node.answer {
                if !node.crashed {
                    step("the answer comes", &|world| {
                        world.nodes[index].answer = None;
                        world.answered(index, answer);
                    });
                }
                if self.mishaps < size.mishaps && index < size.unlucky {
                    step("the answer is lost", &|world| {
                        world.nodes[index].answer = None;
                        world.mishaps += 1;
                    });
                }
            }
            if let (Some(report), true) = (node.report, node.underway) {
                step("the report comes", &|world| {
                    let answer = world.arrive(index, report, protocol);
                    world.nodes[index].underway = false;
                    world.nodes[index].answer = Some(answer);
                });
                if self.mishaps < size.mishaps && index < size.unlucky {
                    step("the report is lost", &|world| {
                        world.nodes[index].underway = false;
                        world.mishaps += 1;
                    });
                    if node.stray.is_none() {
                        step("the report is doubled", &|world| {
                            world.nodes[index].stray = Some(report);
                            world.mishaps += 1;
                        });
                    }
                }
            }
            if let Some(report) = node.stray {
                step("a copy comes", &|world| {
                    world.nodes[index].stray = None;
                    world.arrive(index, report, protocol);
                });
            }
            if self.records[index].state == State::Open && self.now >= self.records[index].expiry {
                step("the lease expires", &|world| {
                    world.expire(index, protocol);
                });
            }
            if node.crashed {
                continue;
            }
            if node.report.is_some() && !node.underway && node.answer.is_none() {
                step("the report is repeated", &|world| world.nodes[index].underway = true);
            }
            if node.report.is_none() && node.number < node.reports(size, index) {
                step("it gives back", &|world| world.report(index, -1));
                if !node.is_over() {
                    step("it renews", &|world| world.report(index, 0));
                    step("it asks for more", &|world| world.report(index, 2 * GRANT));
                }
            }
            let may = !node.is_over() && self.now < node.deadline && node.admitted < size.requests[index];
            if may && node.have >= GRANT && node.places >= 1 {
                step("it admits", &|world| {
                    let node = &mut world.nodes[index];
                    node.have -= GRANT;
                    node.held += GRANT;
                    node.places -= 1;
                    node.busy += 1;
                    node.admitted += 1;
                });
            }
            if node.busy > 0 {
                for &amount in size.amounts {
                    step("it settles", &|world| {
                        world.billed += amount;
                        let node = &mut world.nodes[index];
                        node.held -= GRANT;
                        node.have += GRANT - amount;
                        node.spent += amount;
                        node.busy -= 1;
                        node.places += 1;
                    });
                }
            }
            if node.busy > 0 && size.may_expire {
                step("its request expires", &|world| {
                    let node = &mut world.nodes[index];
                    node.held -= GRANT;
                    node.spent += GRANT;
                    node.busy -= 1;
                    node.places += 1;
                    node.late += 1;
                });
            }
            if node.late > 0 {
                for &amount in size.amounts {
                    step("it settles late", &|world| {
                        world.billed += amount;
                        let node = &mut world.nodes[index];
                        node.late -= 1;
                        if node.lease == Lease::Done && protocol == Protocol::ForgetsTheLate {
                            return;
                        }
                        node.have += GRANT - amount;
                        node.spent += amount - GRANT;
                        node.corrected += 1;
                    });
                }
            }
            // What was under way has been worked for, or has not; reports on their way stay on their way.
            if self.crashes == 0 && node.number > 0 && index < size.unlucky {
                for billed in [0, node.may_come()] {
                    step("it crashes", &|world| {
                        world.crashes += 1;
                        world.billed += billed;
                        let node = &mut world.nodes[index];
                        node.crashed = true;
                        node.held = 0;
                        node.busy = 0;
                        node.late = 0;
                        node.answer = None;
                    });
                }
            }
        }
        if size.with_another && self.other == 0 && self.posted + self.reserved + GRANT <= CAP && self.used < PLACES {
            step("Redis admits", &|world| {
                world.other = 1;
                world.reserved += GRANT;
                world.used += 1;
            });
        }
        if self.other == 1 {
            step("Redis settles", &|world| {
                world.other = 2;
                world.reserved -= GRANT;
                world.used -= 1;
                world.posted += GRANT;
                world.ledger += GRANT;
                world.billed += GRANT;
            });
        }
        if self.now < size.latest {
            step("tick", &|world| world.now += 1);
        }
    }
}

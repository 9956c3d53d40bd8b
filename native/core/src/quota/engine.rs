//! The rules of admission and settlement, free of clocks, files and threads: what is decided here is what the
//! exhaustive explorer walks through (`tests/quota_explorer.rs`).

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, VecDeque};
use std::hash::{Hash as _, Hasher};
use std::sync::Arc;

use super::meter::{Kind, Meter, Plan};
use super::numbered::Numbered;
use super::slots::{Account, Slots, Value};

/// What somebody wants to be admitted for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Unique; a repeated one is a retry.
    pub id: u64,
    /// Milliseconds on a clock that never goes back.
    pub now: u64,
    /// Milliseconds since the epoch: which windows of budgets are open.
    pub wall: u64,
    /// When the hold is charged in full if nothing was heard of it, on the clock of `now`.
    pub expires_at: u64,
    /// For buckets that count tokens.
    pub tokens: u64,
    /// Nano-USD to reserve if the budgets have so much.
    pub want: u64,
    /// Nano-USD below which an admission is of no use.
    pub minimum: u64,
    /// Comes back with the ledger's records.
    pub meta: &'a [u8],
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// So many nano-USD are reserved.
    Admitted(u64),
    /// The hold exists already and has this grant; nothing was taken.
    Repeated(u64),
    /// The hold with this id has ended.
    Finished,
    /// A budget's window is not the present one.
    Stale,
    /// A meter refuses. Nothing was taken anywhere.
    Denied(Denial),
}

/// Which meter refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Index in the plan.
    pub meter: usize,
    /// Milliseconds until it might not; None if nobody knows or it never will.
    pub wait: Option<u64>,
    /// What it has left.
    pub remaining: i64,
}

/// What a meter of an admitted plan has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests, tokens, places or nano-USD; negative: debt or excess.
    pub remaining: i64,
    /// Milliseconds until it has all of them again; 0: it has, or nobody knows.
    pub reset: u64,
}

/// What became of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was open; the budgets were charged with this.
    Settled(i64),
    /// It had expired; this corrects what was charged then.
    Late(i64),
    /// It was open and left no trace.
    Released,
    /// It was due; its whole grant was charged.
    Expired(i64),
    /// It is not due yet.
    Early,
    /// It had ended before. Nothing was changed.
    Duplicate,
    /// It was never heard of, or is forgotten. Nothing was changed.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Open,
    Settled,
    Released,
    Expired,
}

#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) phase: Phase,
    pub(super) plan: Plan,
    pub(super) grant: u64,
    pub(super) tokens: u64,
    pub(super) expires_at: u64,
    pub(super) meta: Box<[u8]>,
}

/// How long holds are remembered that have ended, so that a repetition is known as one; milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Settled and released ones. 0 for a caller that knows by itself which ids it has given out.
    pub finished: u64,
    /// Expired ones, which a late settlement corrects.
    pub expired: u64,
}

/// All meters and holds.
#[derive(Clone, Debug)]
pub struct Engine {
    slots: Slots,
    holds: Numbered<u64, Hold>,
    due: BTreeSet<(u64, u64)>,
    /// (when, id) of ended holds, oldest first; those that expired apart, as they are remembered longer.
    finished: VecDeque<(u64, u64)>,
    expired: VecDeque<(u64, u64)>,
    memory: Memory,
}

impl Engine {
    /// Nobody has been admitted yet.
    #[must_use]
    pub fn new(memory: Memory) -> Self {
        Self {
            slots: Slots::default(),
            holds: Numbered::default(),
            due: BTreeSet::new(),
            finished: VecDeque::new(),
            expired: VecDeque::new(),
            memory,
        }
    }

    /// A plan of these meters, which finds their state quickly.
    pub fn plan(&mut self, meters: Vec<Meter>) -> Plan {
        let known = meters.into_iter().map(|meter| {
            let name = self.slots.name_of(&meter);
            let meter = meter.named(name);
            self.slots.of(&meter);
            meter
        });
        known.collect()
    }

    /// Admit on all meters of the plan, or on none.
    pub fn admit(&mut self, plan: &Plan, request: &Request<'_>) -> Decision {
        if let Some(hold) = self.holds.get(&request.id) {
            return if hold.phase == Phase::Open { Decision::Repeated(hold.grant) } else { Decision::Finished };
        }
        let decision = self.decide(plan, request);
        if let Decision::Admitted(grant) = decision {
            self.take(plan, request, grant);
        }
        decision
    }

    /// What an admission of somebody new would come to. Nothing is taken.
    pub fn decide(&mut self, plan: &Plan, request: &Request<'_>) -> Decision {
        let mut grant = request.want;
        for meter in plan.iter() {
            if let Kind::Budget(budget) = meter.kind()
                && !budget.holds(request.wall)
            {
                return Decision::Stale;
            }
        }
        for (index, meter) in plan.iter().enumerate() {
            match self.granted(meter, request) {
                Ok(most) => grant = grant.min(most),
                Err((wait, remaining)) => return Decision::Denied(Denial { meter: index, wait, remaining }),
            }
        }
        Decision::Admitted(grant)
    }

    /// The most money that a meter lets have, or how long to wait and what it has left.
    fn granted(&mut self, meter: &Meter, request: &Request<'_>) -> Result<u64, (Option<u64>, i64)> {
        let slot = self.slots.of(meter);
        match (meter.kind(), slot) {
            (Kind::Bucket(bucket), Value::Bucket(level)) => {
                let level = bucket.refilled(*level, request.now);
                let cost = bucket.cost(request.tokens);
                if level.tokens >= signed(cost) {
                    return Ok(u64::MAX);
                }
                Err((bucket.wait(level, cost, request.now), level.tokens))
            }
            (Kind::Parallel(capacity), Value::Parallel(used)) if *used < *capacity => Ok(u64::MAX),
            // Below 0 when there were more places once.
            (Kind::Parallel(capacity), Value::Parallel(used)) => Err((None, signed(*capacity) - signed(*used))),
            (Kind::Budget(budget), Value::Budget(account)) => {
                let left = account.left(budget.cap);
                let most = left.max(0).unsigned_abs();
                if most.min(request.want) >= request.minimum {
                    return Ok(most);
                }
                Err(((budget.end != 0).then(|| budget.end.saturating_sub(request.wall)), left))
            }
            // The name belongs to a meter of another kind.
            _ => Err((None, 0)),
        }
    }

    /// What an admission does, once decided. Also how it is done again from a journal.
    pub(super) fn take(&mut self, plan: &Plan, request: &Request<'_>, grant: u64) {
        for meter in plan.iter() {
            match (meter.kind(), self.slots.of(meter)) {
                (Kind::Bucket(bucket), Value::Bucket(level)) => {
                    let cost = signed(bucket.cost(request.tokens));
                    *level = bucket.changed(bucket.refilled(*level, request.now), -cost);
                }
                (Kind::Parallel(_), Value::Parallel(used)) => *used += 1,
                (Kind::Budget(_), Value::Budget(account)) => account.reserved += grant,
                _ => {}
            }
        }
        let hold = Hold {
            phase: Phase::Open,
            plan: Arc::clone(plan),
            grant,
            tokens: request.tokens,
            expires_at: request.expires_at,
            meta: request.meta.into(),
        };
        self.restore(request.id, hold);
        self.forget(request.now);
    }

    /// End a hold with what it came to: `amount` nano-USD and `tokens`.
    pub fn settle(&mut self, id: u64, amount: u64, tokens: u64, now: u64) -> Outcome {
        self.settle_for(id, amount, tokens, now).0
    }

    /// The same, and the hold's meta, if that has changed anything.
    pub(super) fn settle_for(&mut self, id: u64, amount: u64, tokens: u64, now: u64) -> (Outcome, Box<[u8]>) {
        let Some(hold) = self.holds.get(&id) else { return (Outcome::Unknown, Box::default()) };
        let grant = hold.grant;
        let amount = signed(amount);
        let outcome = match hold.phase {
            Phase::Open => {
                let refund = signed(hold.tokens).saturating_sub(signed(tokens));
                for meter in hold.plan.iter() {
                    match (meter.kind(), self.slots.of(meter)) {
                        (Kind::Bucket(bucket), Value::Bucket(level)) if bucket.counts_tokens() => {
                            *level = bucket.changed(bucket.refilled(*level, now), refund);
                        }
                        (Kind::Parallel(_), Value::Parallel(used)) => *used = used.saturating_sub(1),
                        (Kind::Budget(_), Value::Budget(account)) => {
                            account.reserved = account.reserved.saturating_sub(grant);
                            account.posted += amount;
                        }
                        _ => {}
                    }
                }
                Outcome::Settled(amount)
            }
            Phase::Expired => {
                let correction = amount - signed(grant);
                for meter in hold.plan.iter() {
                    if let (Kind::Budget(_), Value::Budget(account)) = (meter.kind(), self.slots.of(meter)) {
                        account.posted += correction;
                    }
                }
                Outcome::Late(correction)
            }
            Phase::Settled | Phase::Released => return (Outcome::Duplicate, Box::default()),
        };
        (outcome, self.end(id, Phase::Settled, now))
    }

    /// Undo an admission whose request provably never reached an upstream.
    pub fn release(&mut self, id: u64, now: u64) -> Outcome {
        let Some(hold) = self.holds.get(&id) else { return Outcome::Unknown };
        if hold.phase != Phase::Open {
            return Outcome::Duplicate;
        }
        let (grant, tokens) = (hold.grant, hold.tokens);
        for meter in hold.plan.iter() {
            match (meter.kind(), self.slots.of(meter)) {
                (Kind::Bucket(bucket), Value::Bucket(level)) => {
                    *level = bucket.changed(bucket.refilled(*level, now), signed(bucket.cost(tokens)));
                }
                (Kind::Parallel(_), Value::Parallel(used)) => *used = used.saturating_sub(1),
                (Kind::Budget(_), Value::Budget(account)) => account.reserved = account.reserved.saturating_sub(grant),
                _ => {}
            }
        }
        self.end(id, Phase::Released, now);
        Outcome::Released
    }

    /// Charge a hold that nobody has ended in time with all of its grant: the upstream may have worked for it.
    pub fn expire(&mut self, id: u64, now: u64) -> Outcome {
        let Some(hold) = self.holds.get(&id) else { return Outcome::Unknown };
        if hold.phase != Phase::Open {
            return Outcome::Duplicate;
        }
        if now < hold.expires_at {
            return Outcome::Early;
        }
        let grant = hold.grant;
        for meter in hold.plan.iter() {
            match (meter.kind(), self.slots.of(meter)) {
                (Kind::Parallel(_), Value::Parallel(used)) => *used = used.saturating_sub(1),
                (Kind::Budget(_), Value::Budget(account)) => {
                    account.reserved = account.reserved.saturating_sub(grant);
                    account.posted += signed(grant);
                }
                _ => {}
            }
        }
        self.end(id, Phase::Expired, now);
        Outcome::Expired(signed(grant))
    }

    /// The hold that is due first, if one is at `now`.
    #[must_use]
    pub fn due(&self, now: u64) -> Option<u64> {
        self.due.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// What each meter of a plan has left.
    pub fn standings(&mut self, plan: &Plan, now: u64, wall: u64, mut each: impl FnMut(&Meter, Standing)) {
        for meter in plan.iter() {
            let standing = match (meter.kind(), self.slots.of(meter)) {
                (Kind::Bucket(bucket), Value::Bucket(level)) => {
                    let level = bucket.refilled(*level, now);
                    Standing { remaining: level.tokens, reset: bucket.reset(level, now) }
                }
                (Kind::Parallel(capacity), Value::Parallel(used)) => {
                    Standing { remaining: signed(*capacity) - signed(*used), reset: 0 }
                }
                (Kind::Budget(budget), Value::Budget(account)) => {
                    Standing { remaining: account.left(budget.cap), reset: budget.end.saturating_sub(wall) }
                }
                _ => Standing { remaining: 0, reset: 0 },
            };
            each(meter, standing);
        }
    }

    /// Grants of all open holds.
    pub fn open(&self) -> impl Iterator<Item = (u64, u64)> {
        self.holds.iter().filter(|(_, hold)| hold.phase == Phase::Open).map(|(id, hold)| (*id, hold.grant))
    }

    /// How many holds are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.due.len()
    }

    /// All that decides what happens next, in an order of its own: equal states hash alike.
    pub fn hash_state(&self, hasher: &mut impl Hasher) {
        self.slots.hash(hasher);
        let mut holds: Vec<_> = self.holds.iter().collect();
        holds.sort_unstable_by_key(|(id, _)| **id);
        for (id, hold) in holds {
            (id, hold.phase, hold.grant, hold.tokens, hold.expires_at).hash(hasher);
        }
    }

    /// Money of every budget's window: name, start, account.
    pub fn accounts(&self) -> impl Iterator<Item = (&str, u64, Account)> {
        self.slots.accounts()
    }

    /// Drop the budgets whose window ended before `wall`, unless something is reserved there.
    pub fn sweep(&mut self, wall: u64) {
        self.slots.sweep(wall);
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(super) fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    pub(super) fn hold(&self, id: u64) -> Option<&Hold> {
        self.holds.get(&id)
    }

    pub(super) fn holds(&self) -> impl Iterator<Item = (u64, &Hold)> {
        self.holds.iter().map(|(id, hold)| (*id, hold))
    }

    /// Put a hold back, as it was or as it becomes now.
    pub(super) fn restore(&mut self, id: u64, hold: Hold) {
        match hold.phase {
            Phase::Open => {
                self.due.insert((hold.expires_at, id));
            }
            Phase::Expired => self.expired.push_back((hold.expires_at, id)),
            Phase::Settled | Phase::Released => return,
        }
        self.holds.insert(id, hold);
    }

    /// What was given with the admission.
    fn end(&mut self, id: u64, phase: Phase, now: u64) -> Box<[u8]> {
        let Entry::Occupied(mut entry) = self.holds.entry(id) else { return Box::default() };
        let hold = entry.get_mut();
        if hold.phase == Phase::Open {
            self.due.remove(&(hold.expires_at, id));
        }
        hold.phase = phase;
        if phase != Phase::Expired && self.memory.finished == 0 {
            return entry.remove().meta;
        }
        let ended = if phase == Phase::Expired { &mut self.expired } else { &mut self.finished };
        ended.push_back((now, id));
        hold.meta.clone()
    }

    /// Let go of a few holds that ended long ago.
    fn forget(&mut self, now: u64) {
        for (ended, keep, wanted) in [
            (&mut self.finished, self.memory.finished, None),
            (&mut self.expired, self.memory.expired, Some(Phase::Expired)),
        ] {
            for _ in 0..2 {
                let Some(&(_, id)) = ended.front().filter(|(at, _)| now.saturating_sub(*at) > keep) else { break };
                ended.pop_front();
                // One that expired and was settled late is in both lists.
                if wanted.is_none_or(|phase| self.holds.get(&id).is_some_and(|hold| hold.phase == phase)) {
                    self.holds.remove(&id);
                }
            }
        }
    }
}

/// Numbers are below 2^53 where they come in.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

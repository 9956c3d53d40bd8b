//! What each meter has, by its name and window.

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher};
use std::sync::Arc;

use super::bucket::Level;
use super::engine::signed;
use super::meter::{Key, Kind, Meter};

/// Nano-USD of a budget's window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Account {
    /// Spent. Negative for a moment if a correction comes before what it corrects.
    pub posted: i64,
    /// Reserved by open holds.
    pub reserved: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Bucket(Level),
    Parallel(u64),
    Budget(Account),
}

#[derive(Clone, Debug)]
struct Slot {
    name: Arc<str>,
    start: u64,
    /// Of a budget's window; 0: it stays.
    end: u64,
    value: Value,
}

impl Account {
    /// What a cap leaves.
    #[must_use]
    pub fn left(&self, cap: u64) -> i64 {
        signed(cap) - self.posted - signed(self.reserved)
    }
}

/// All meters' states. A meter remembers where its own was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    all: Vec<Option<Slot>>,
    free: Vec<usize>,
    by_key: HashMap<Key, usize>,
}

impl Slots {
    /// The name under which a meter's state is kept, so that two meters of one name share it.
    pub(super) fn name_of(&self, meter: &Meter) -> Arc<str> {
        match self.by_key.get(&meter.key()).and_then(|&at| self.all[at].as_ref()) {
            Some(slot) => Arc::clone(&slot.name),
            None => Arc::clone(meter.shared_name()),
        }
    }

    /// The state of a meter, made if it has none yet.
    pub(super) fn of(&mut self, meter: &Meter) -> &mut Value {
        let hint = meter.slot();
        let known = self.all.get(hint).and_then(Option::as_ref);
        let at =
            if known.is_some_and(|slot| slot.start == meter.start() && Arc::ptr_eq(&slot.name, meter.shared_name())) {
                hint
            } else {
                let at = match self.by_key.get(&meter.key()) {
                    Some(&at) => at,
                    None => self.insert(Slot {
                        name: Arc::clone(meter.shared_name()),
                        start: meter.start(),
                        end: if let Kind::Budget(budget) = meter.kind() { budget.end } else { 0 },
                        value: match meter.kind() {
                            Kind::Bucket(bucket) => Value::Bucket(bucket.full(0)),
                            Kind::Parallel(_) => Value::Parallel(0),
                            Kind::Budget(_) => Value::Budget(Account::default()),
                        },
                    }),
                };
                meter.found_at(at);
                at
            };
        match &mut self.all[at] {
            Some(slot) => &mut slot.value,
            None => unreachable!("the index has only slots that are there"),
        }
    }

    /// Money of every budget's window: name, start, account.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (&str, u64, Account)> {
        self.all.iter().flatten().filter_map(|slot| match slot.value {
            Value::Budget(account) => Some((&*slot.name, slot.start, account)),
            _ => None,
        })
    }

    /// State that a snapshot has to keep: name, start, end, value.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, u64, u64, Value)> {
        self.all.iter().flatten().map(|slot| (&*slot.name, slot.start, slot.end, slot.value))
    }

    /// Put a meter's state back.
    pub(super) fn set(&mut self, name: Arc<str>, start: u64, end: u64, value: Value) {
        match self.by_key.get(&(Arc::clone(&name), start)) {
            Some(&at) => self.all[at] = Some(Slot { name, start, end, value }),
            None => {
                self.insert(Slot { name, start, end, value });
            }
        }
    }

    /// Drop the budgets whose window ended before `wall`, unless something is reserved there.
    pub(super) fn sweep(&mut self, wall: u64) {
        for at in 0..self.all.len() {
            let Some(slot) = &self.all[at] else { continue };
            let is_over = slot.end != 0 && slot.end < wall;
            if is_over && matches!(slot.value, Value::Budget(Account { reserved: 0, .. })) {
                self.by_key.remove(&(Arc::clone(&slot.name), slot.start));
                self.all[at] = None;
                self.free.push(at);
            }
        }
    }

    pub(super) fn hash(&self, hasher: &mut impl Hasher) {
        for slot in self.all.iter().flatten() {
            slot.value.hash(hasher);
        }
    }

    fn insert(&mut self, slot: Slot) -> usize {
        let key = (Arc::clone(&slot.name), slot.start);
        let at = if let Some(at) = self.free.pop() {
            self.all[at] = Some(slot);
            at
        } else {
            self.all.push(Some(slot));
            self.all.len() - 1
        };
        self.by_key.insert(key, at);
        at
    }
}

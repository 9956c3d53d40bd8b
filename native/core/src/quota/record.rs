//! What the journal says: the effects of what was decided, in a few bytes each.

use std::sync::Arc;

use super::bucket::{Bucket, Level, Refill};
use super::engine::Phase;
use super::meter::{Budget, Kind, Meter};
use super::slots::{Account, Value};

/// One entry of a journal or a snapshot. Plans are known by the number under which this file has introduced them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record<'a> {
    /// First in a snapshot: the next id, the next number of a ledger record, the latest time.
    Head {
        next_id: u64,
        next_seq: u64,
        now: u64,
    },
    Plan {
        number: u32,
        meters: Vec<Described<'a>>,
    },
    Admit {
        id: u64,
        plan: u32,
        now: u64,
        expires_at: u64,
        grant: u64,
        tokens: u64,
        meta: &'a [u8],
    },
    Settle {
        id: u64,
        now: u64,
        wall: u64,
        seq: u64,
        amount: u64,
        tokens: u64,
        entry: &'a [u8],
    },
    Release {
        id: u64,
        now: u64,
    },
    Expire {
        id: u64,
        now: u64,
        wall: u64,
        seq: u64,
    },
    /// In a snapshot: the state of a meter.
    Value {
        name: &'a str,
        start: u64,
        end: u64,
        value: Value,
    },
    /// In a snapshot: a hold whose end is to come, or may yet be corrected.
    Hold {
        id: u64,
        plan: u32,
        is_open: bool,
        expires_at: u64,
        grant: u64,
        tokens: u64,
        meta: &'a [u8],
    },
}

/// A meter as it is written down.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Described<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
}

impl Record<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Head { next_id, next_seq, now } => numbers(out, 0, &[*next_id, *next_seq, *now]),
            Self::Plan { number, meters } => {
                numbers(out, 1, &[u64::from(*number), meters.len() as u64]);
                for meter in meters {
                    meter.write(out);
                }
            }
            Self::Admit { id, plan, now, expires_at, grant, tokens, meta } => {
                numbers(out, 2, &[*id, u64::from(*plan), *now, *expires_at, *grant, *tokens]);
                out.extend_from_slice(meta);
            }
            Self::Settle { id, now, wall, seq, amount, tokens, entry } => {
                numbers(out, 3, &[*id, *now, *wall, *seq, *amount, *tokens]);
                out.extend_from_slice(entry);
            }
            Self::Release { id, now } => numbers(out, 4, &[*id, *now]),
            Self::Expire { id, now, wall, seq } => numbers(out, 5, &[*id, *now, *wall, *seq]),
            Self::Value { name, start, end, value } => {
                let (kind, a, b, c) = match *value {
                    Value::Bucket(level) => (0, level.tokens.cast_unsigned(), level.remainder, level.at),
                    Value::Parallel(used) => (1, used, 0, 0),
                    Value::Budget(account) => (2, account.posted.cast_unsigned(), account.reserved, 0),
                };
                numbers(out, 6, &[kind, a, b, c, *start, *end]);
                out.extend_from_slice(name.as_bytes());
            }
            Self::Hold { id, plan, is_open, expires_at, grant, tokens, meta } => {
                numbers(out, 7, &[*id, u64::from(*plan), u64::from(*is_open), *expires_at, *grant, *tokens]);
                out.extend_from_slice(meta);
            }
        }
    }

    /// None: no record that this version knows.
    pub(super) fn read(payload: &[u8]) -> Option<Record<'_>> {
        let (&kind, rest) = payload.split_first()?;
        let mut input = Input(rest);
        Some(match kind {
            0 => Record::Head { next_id: input.number()?, next_seq: input.number()?, now: input.number()? },
            1 => {
                let number = input.small()?;
                let count = input.number()?;
                let mut meters = Vec::new();
                for _ in 0..count {
                    meters.push(Described::read(&mut input)?);
                }
                Record::Plan { number, meters }
            }
            2 => Record::Admit {
                id: input.number()?,
                plan: input.small()?,
                now: input.number()?,
                expires_at: input.number()?,
                grant: input.number()?,
                tokens: input.number()?,
                meta: input.0,
            },
            3 => Record::Settle {
                id: input.number()?,
                now: input.number()?,
                wall: input.number()?,
                seq: input.number()?,
                amount: input.number()?,
                tokens: input.number()?,
                entry: input.0,
            },
            4 => Record::Release { id: input.number()?, now: input.number()? },
            5 => Record::Expire {
                id: input.number()?,
                now: input.number()?,
                wall: input.number()?,
                seq: input.number()?,
            },
            6 => {
                let (kind, a, b, c) = (input.number()?, input.number()?, input.number()?, input.number()?);
                let value = match kind {
                    0 => Value::Bucket(Level { tokens: a.cast_signed(), remainder: b, at: c }),
                    1 => Value::Parallel(a),
                    2 => Value::Budget(Account { posted: a.cast_signed(), reserved: b }),
                    _ => return None,
                };
                let (start, end) = (input.number()?, input.number()?);
                Record::Value { name: std::str::from_utf8(input.0).ok()?, start, end, value }
            }
            7 => Record::Hold {
                id: input.number()?,
                plan: input.small()?,
                is_open: input.number()? == 1,
                expires_at: input.number()?,
                grant: input.number()?,
                tokens: input.number()?,
                meta: input.0,
            },
            _ => return None,
        })
    }
}

impl<'a> Described<'a> {
    pub(super) fn of(meter: &'a Meter) -> Self {
        Self { name: meter.name(), kind: meter.kind().clone() }
    }

    /// None: it was written by somebody who allows what this version does not.
    pub(super) fn meter(self) -> Option<Meter> {
        Meter::new(self.name, self.kind).ok()
    }

    fn write(&self, out: &mut Vec<u8>) {
        match &self.kind {
            Kind::Bucket(bucket) => {
                let form = u64::from(bucket.refill() == Refill::Interval) | u64::from(bucket.counts_tokens()) << 1;
                numbers(out, 0, &[bucket.capacity(), bucket.amount(), bucket.period(), form]);
            }
            Kind::Parallel(capacity) => numbers(out, 1, &[*capacity]),
            Kind::Budget(budget) => numbers(out, 2, &[budget.cap, budget.start, budget.end]),
        }
        out.extend_from_slice(&(self.name.len() as u64).to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
    }

    fn read(input: &mut Input<'a>) -> Option<Self> {
        let kind = match input.byte()? {
            0 => {
                let (capacity, amount, period, form) =
                    (input.number()?, input.number()?, input.number()?, input.number()?);
                let refill = if form & 1 == 1 { Refill::Interval } else { Refill::Continuous };
                Kind::Bucket(Bucket::new(capacity, amount, period, refill, form & 2 == 2).ok()?)
            }
            1 => Kind::Parallel(input.number()?),
            2 => Kind::Budget(Budget { cap: input.number()?, start: input.number()?, end: input.number()? }),
            _ => return None,
        };
        let length = usize::try_from(input.number()?).ok()?;
        let name = std::str::from_utf8(input.bytes(length)?).ok()?;
        Some(Self { name, kind })
    }
}

impl Phase {
    /// Whether a snapshot has to keep a hold of this phase, and whether it is open.
    pub(super) fn kept(self) -> Option<bool> {
        match self {
            Self::Open => Some(true),
            Self::Expired => Some(false),
            Self::Settled | Self::Released => None,
        }
    }
}

/// A name that outlives the bytes it was read from.
pub(super) fn owned(name: &str) -> Arc<str> {
    name.into()
}

fn numbers(out: &mut Vec<u8>, kind: u8, numbers: &[u64]) {
    out.push(kind);
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*first))
    }

    fn small(&mut self) -> Option<u32> {
        self.number().and_then(|number| u32::try_from(number).ok())
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

//! Token buckets in whole numbers: what a refill cannot give yet is carried as a remainder, so any split of time gives
//! the same tokens.

use super::{EXACT, MeterError};

/// No product of a level and a period leaves 52 bits, so that a store that calculates in doubles decides alike.
const LARGEST: u64 = 1 << 52;

/// How a bucket comes by its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refill {
    /// Evenly, a token as soon as it is due.
    Continuous,
    /// All of an interval's tokens when it has passed. An interval begins with the first request after the one before.
    Interval,
}

/// A bucket's size and pace: `amount` tokens per `period` milliseconds, at most `capacity` at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    capacity: u64,
    amount: u64,
    period: u64,
    refill: Refill,
    counts_tokens: bool,
}

/// What a bucket holds. Negative: debt, for work that turned out larger than it was announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Level {
    /// Whole tokens.
    pub tokens: i64,
    /// What a continuous refill is ahead by, in parts of a token: of `period` as the whole.
    pub remainder: u64,
    /// When it was refilled last, or (by interval) when the present interval began; milliseconds. 0: never.
    pub at: u64,
}

impl Bucket {
    /// A bucket for requests, or (`counts_tokens`) for the tokens of a model.
    ///
    /// # Errors
    /// A number is zero, or too large to be counted exactly.
    pub fn new(
        capacity: u64,
        amount: u64,
        period: u64,
        refill: Refill,
        counts_tokens: bool,
    ) -> Result<Self, MeterError> {
        if capacity == 0 || amount == 0 || period == 0 {
            return Err(MeterError("capacity, amount and period of a bucket must be at least 1"));
        }
        let divisor = if refill == Refill::Continuous { common_divisor(amount, period) } else { 1 };
        let (amount, period) = (amount / divisor, period / divisor);
        // What is multiplied with the period: tokens, or only the intervals that fill it.
        let span = if refill == Refill::Continuous { capacity.max(amount) } else { capacity.div_ceil(amount) };
        if capacity.max(amount) >= EXACT || span.checked_mul(period).is_none_or(|product| product > LARGEST) {
            return Err(MeterError("the capacity of a bucket is too large to be counted exactly"));
        }
        Ok(Self { capacity, amount, period, refill, counts_tokens })
    }

    /// The most it holds.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Tokens that come in a period; for a continuous refill in lowest terms.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Milliseconds.
    #[must_use]
    pub fn period(&self) -> u64 {
        self.period
    }

    /// How it refills.
    #[must_use]
    pub fn refill(&self) -> Refill {
        self.refill
    }

    /// Whether it counts the tokens of a model, not requests.
    #[must_use]
    pub fn counts_tokens(&self) -> bool {
        self.counts_tokens
    }

    /// What an admission with so many tokens takes.
    #[must_use]
    pub fn cost(&self, tokens: u64) -> u64 {
        if self.counts_tokens { tokens } else { 1 }
    }

    /// A bucket that has all it can hold.
    #[must_use]
    pub fn full(&self, now: u64) -> Level {
        Level { tokens: self.whole(), remainder: 0, at: now }
    }

    /// The level at `now`. A clock that has gone back stands still.
    #[must_use]
    pub fn refilled(&self, level: Level, now: u64) -> Level {
        let now = now.max(level.at);
        let full = self.whole();
        let passed = now - level.at;
        match self.refill {
            Refill::Continuous => {
                let due = u128::from(passed) * u128::from(self.amount) + u128::from(level.remainder % self.period);
                let missing = u128::from(full.saturating_sub(level.tokens).max(0).unsigned_abs());
                if due >= missing * u128::from(self.period) {
                    return self.full(now);
                }
                let (gained, remainder) = (due / u128::from(self.period), due % u128::from(self.period));
                // Both are less than what is missing, so they fit.
                Level { tokens: level.tokens + small(gained), remainder: low(remainder), at: now }
            }
            Refill::Interval => {
                if level.at == 0 {
                    return self.full(now);
                }
                let intervals = passed / self.period;
                if intervals == 0 {
                    return Level { tokens: level.tokens.min(full), remainder: 0, at: level.at };
                }
                let gained = small(u128::from(intervals) * u128::from(self.amount));
                let tokens = level.tokens.saturating_add(gained).min(full);
                let at = if tokens == full { now } else { level.at + intervals * self.period };
                Level { tokens, remainder: 0, at }
            }
        }
    }

    /// A refilled level with `tokens` more, or less if negative.
    #[must_use]
    pub fn changed(&self, level: Level, tokens: i64) -> Level {
        let deepest = -small(u128::from(LARGEST / self.period));
        let tokens = level.tokens.saturating_add(tokens).max(deepest);
        if tokens >= self.whole() {
            return Level { tokens: self.whole(), remainder: 0, at: level.at };
        }
        Level { tokens, ..level }
    }

    /// Milliseconds from `now` until a refilled level has `wanted` tokens; None if it never can.
    #[must_use]
    pub fn wait(&self, level: Level, wanted: u64, now: u64) -> Option<u64> {
        if wanted > self.capacity {
            return None;
        }
        let missing = u128::from(small(u128::from(wanted)).saturating_sub(level.tokens).max(0).unsigned_abs());
        if missing == 0 {
            return Some(0);
        }
        Some(match self.refill {
            Refill::Continuous => {
                let parts = missing * u128::from(self.period) - u128::from(level.remainder);
                ceiling(parts, self.amount)
            }
            Refill::Interval => {
                (level.at + ceiling(missing, self.amount).saturating_mul(self.period)).saturating_sub(now.max(level.at))
            }
        })
    }

    /// Milliseconds until it is full.
    #[must_use]
    pub fn reset(&self, level: Level, now: u64) -> u64 {
        self.wait(level, self.capacity, now).unwrap_or(0)
    }

    fn whole(&self) -> i64 {
        small(u128::from(self.capacity))
    }
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A quotient, rounded up. Most numbers are small, and for those there is an instruction.
fn ceiling(value: u128, by: u64) -> u64 {
    match u64::try_from(value) {
        Ok(value) => value.div_ceil(by),
        Err(_) => low(value.div_ceil(u128::from(by))),
    }
}

fn small(value: u128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn low(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Bucket, Level, Refill};

    fn bucket(capacity: u64, amount: u64, period: u64, refill: Refill) -> Bucket {
        Bucket::new(capacity, amount, period, refill, false).unwrap()
    }

    fn take(bucket: &Bucket, level: &mut Level, now: u64) -> bool {
        let refilled = bucket.refilled(*level, now);
        if refilled.tokens < 1 {
            return false;
        }
        *level = bucket.changed(refilled, -1);
        true
    }

    #[test]
    fn a_hundred_a_minute_by_interval_is_a_hundred_in_that_minute_however_long_the_loop_takes() {
        for loop_ms in [1_000_u64, 50_000, 59_999] {
            let bucket = bucket(100, 100, 60_000, Refill::Interval);
            let mut level = bucket.full(0);
            let start = 1_000_000_u64;
            let admitted = (0..200).filter(|i| take(&bucket, &mut level, start + i * loop_ms / 200)).count();
            assert_eq!(admitted, 100, "{loop_ms}");
            assert!(take(&bucket, &mut level, start + 60_000));
        }
    }

    #[test]
    fn a_continuous_bucket_gives_a_token_the_moment_it_is_due() {
        let bucket = bucket(100, 100, 60_000, Refill::Continuous);
        let mut level = bucket.full(0);
        for _ in 0..100 {
            assert!(take(&bucket, &mut level, 0));
        }
        assert_eq!(bucket.wait(level, 1, 0), Some(600));
        assert!(!take(&bucket, &mut level, 599));
        assert!(take(&bucket, &mut level, 600));
    }

    #[test]
    fn debt_is_paid_before_anything_is_admitted() {
        let bucket = bucket(10, 10, 1_000, Refill::Continuous);
        let level = bucket.changed(bucket.full(0), -25);
        assert_eq!(level.tokens, -15);
        assert_eq!(bucket.wait(level, 1, 0), Some(1_600));
        assert_eq!(bucket.refilled(level, 1_600).tokens, 1);
        let by_interval = Bucket::new(10, 10, 1_000, Refill::Interval, false).unwrap();
        let level = by_interval.changed(by_interval.full(500), -25);
        assert_eq!(by_interval.wait(level, 1, 500), Some(2_000));
        assert_eq!(by_interval.refilled(level, 2_500).tokens, 5);
    }

    #[test]
    fn more_than_fits_never_comes() {
        let bucket = bucket(10, 10, 1_000, Refill::Continuous);
        assert_eq!(bucket.wait(bucket.full(0), 11, 0), None);
    }

    #[test]
    fn what_cannot_be_counted_exactly_is_refused() {
        assert!(Bucket::new(0, 1, 1, Refill::Continuous, false).is_err());
        assert!(Bucket::new(1 << 40, 1, 60_000, Refill::Interval, false).is_err());
        assert!(Bucket::new(1 << 40, 1 << 40, 60_000, Refill::Interval, false).is_ok());
        assert!(Bucket::new(1 << 53, 1 << 53, 1, Refill::Interval, false).is_err());
        assert!(Bucket::new(1 << 40, 60_000, 60_000, Refill::Continuous, false).is_ok());
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        for refill in [Refill::Continuous, Refill::Interval] {
            let bucket = bucket(10, 10, 1_000, refill);
            let level = bucket.changed(bucket.refilled(bucket.full(0), 5_000), -10);
            assert_eq!(bucket.refilled(level, 1_000).tokens, 0);
            assert_eq!(bucket.refilled(level, 5_999).tokens, if refill == Refill::Continuous { 9 } else { 0 });
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(super::super::cases()))]

        /// L3: in how many steps time passes makes no difference, against fractions.
        #[test]
        fn any_split_of_time_gives_the_same_tokens(
            capacity in 1_u64..5_000, amount in 1_u64..5_000, period in 1_u64..100_000,
            start in -5_000_i64..5_000, steps in prop::collection::vec(0_u64..20_000, 1..20),
        ) {
            let bucket = bucket(capacity, amount, period, Refill::Continuous);
            let first = bucket.changed(Level { tokens: 0, remainder: 0, at: 0 }, start);
            let mut level = first;
            let mut now = 0;
            for step in &steps {
                now += step;
                level = bucket.refilled(level, now);
            }
            prop_assert_eq!(level, bucket.refilled(first, now));
            let due = i128::from(first.tokens) * i128::from(period) + i128::from(now) * i128::from(amount);
            let exact = due.div_euclid(i128::from(period)).min(i128::from(capacity));
            prop_assert_eq!(i128::from(level.tokens), exact);
        }

        /// L1: over any stretch of time no more is given than fits and flows in.
        #[test]
        fn no_stretch_of_time_gives_more_than_capacity_and_rate(
            capacity in 1_u64..50, amount in 1_u64..50, period in 1_u64..2_000,
            steps in prop::collection::vec(0_u64..200, 1..300),
        ) {
            let bucket = bucket(capacity, amount, period, Refill::Continuous);
            let mut level = bucket.full(0);
            let mut now = 0;
            let mut given = Vec::new();
            for step in steps {
                now += step;
                if take(&bucket, &mut level, now) {
                    given.push(now);
                }
            }
            for (i, from) in given.iter().enumerate() {
                for (j, to) in given.iter().enumerate().skip(i) {
                    let count = (j - i + 1) as u64;
                    prop_assert!(count <= capacity + ((to - from) * amount).div_ceil(period));
                }
            }
        }

        /// What `wait` says is the first moment at which there is enough.
        #[test]
        fn the_wait_is_the_shortest(
            capacity in 1_u64..500, amount in 1_u64..500, period in 1_u64..5_000, debt in 0_i64..1_000,
            wanted in 1_u64..500, after in 0_u64..5_000, interval: bool,
        ) {
            let refill = if interval { Refill::Interval } else { Refill::Continuous };
            let bucket = bucket(capacity, amount, period, refill);
            let level = bucket.refilled(bucket.changed(bucket.full(1_000), -debt), 1_000 + after);
            let now = 1_000 + after;
            if let Some(wait) = bucket.wait(level, wanted, now) {
                let wanted = i64::try_from(wanted).unwrap();
                prop_assert!(bucket.refilled(level, now + wait).tokens >= wanted);
                if wait > 0 {
                    prop_assert!(bucket.refilled(level, now + wait - 1).tokens < wanted);
                }
            } else {
                prop_assert!(wanted > capacity);
            }
        }
    }
}

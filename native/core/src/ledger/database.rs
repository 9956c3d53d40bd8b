use std::path::Path;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{
    CachedStatement, Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
    params_from_iter,
};

use super::detail::{Detail, Member};
use super::series::{Series, Statements, Status};
use super::{Error, TOKENS};
use crate::quota::{Entry, Store, Verb};

/// Records that are copied out of a store while nobody is admitted there: tens of microseconds.
const AT_ONCE: usize = 128;

/// A record of the ledger, as a store tells it.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// settled, late, estimated or unknown.
    pub status: &'a str,
    /// The hold.
    pub hold: &'a str,
    /// Of a store that several processes share: it may tell a record again.
    pub is_shared: bool,
    /// Nano-USD.
    pub amount: i64,
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// What the gateway has written of it: JSON, or nothing.
    pub detail: &'a [u8],
}

/// A connection to the ledger's file.
pub struct Database {
    db: Connection,
    series: Series,
}

impl Database {
    /// Open the file; made if need be, unless it is only read. A statement waits for others up to `busy`.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path, read_only: bool, busy: Duration) -> Result<Self, Error> {
        let access = if read_only {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
        };
        let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(busy)?;
        // Rows refer to series that are never deleted: to look each time would cost more than it finds.
        db.pragma_update(None, "foreign_keys", false)?;
        Ok(Self { db, series: Series::default() })
    }

    /// All rows of one statement.
    ///
    /// # Errors
    /// As `SQLite` says.
    pub fn execute(&self, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>, Error> {
        let mut statement = self.db.prepare(sql)?;
        let width = statement.column_count();
        let mut rows = statement.query(params_from_iter(parameters))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push((0..width).map(|i| row.get(i)).collect::<Result<_, _>>()?);
        }
        Ok(all)
    }

    /// The position of the last record of `source`.
    ///
    /// # Errors
    /// As `SQLite` says.
    pub fn last(&self, source: &str) -> Result<Option<String>, Error> {
        let mut statement = self.db.prepare_cached("SELECT last FROM positions WHERE source = ?")?;
        Ok(statement.query_row([source], |row| row.get(0)).optional()?)
    }

    /// Write charges that follow on `last(source)`, the last of which is at `position`: all or none, and durable when
    /// this returns.
    ///
    /// # Errors
    /// As `SQLite` says; a detail that cannot be read.
    pub fn append<'a>(
        &mut self,
        source: &str,
        position: &str,
        charges: impl IntoIterator<Item = Charge<'a>>,
    ) -> Result<(), Error> {
        self.write(source, |rows| {
            for charge in charges {
                rows.add(&charge)?;
            }
            Ok(position.to_owned())
        })?;
        Ok(())
    }

    /// Take at most `limit` records out of a store, in which they stay until they are durable here. Returns how many.
    ///
    /// # Errors
    /// As for `append`; the store has kept them all.
    pub fn append_from(&mut self, source: &str, store: &Store, limit: usize) -> Result<usize, Error> {
        let mut after = 0;
        if let Some(last) = self.last(source)? {
            // Between the look at this file and the opening of the store, a predecessor may have stored more.
            after = last.parse().map_err(|_| Error::Position(source.to_owned()))?;
            store.stored(after);
        }
        let mut entries = store.unstored(after, limit.min(AT_ONCE));
        if entries.is_empty() {
            return Ok(0);
        }
        let mut taken = 0;
        self.write(source, |rows| {
            while let Some(last) = entries.last() {
                after = last.seq;
                taken += entries.len();
                for entry in &entries {
                    rows.add_entry(entry)?;
                }
                entries = store.unstored(after, (limit - taken).min(AT_ONCE));
            }
            Ok(after.to_string())
        })?;
        store.stored(after);
        Ok(taken)
    }

    /// `work` says what the last position is.
    fn write(&mut self, source: &str, work: impl FnOnce(&mut Rows<'_>) -> Result<String, Error>) -> Result<(), Error> {
        let done = write(&self.db, &mut self.series, source, work);
        if done.is_err() {
            self.series.clear();
        }
        done
    }
}

fn write(
    db: &Connection,
    series: &mut Series,
    source: &str,
    work: impl FnOnce(&mut Rows<'_>) -> Result<String, Error>,
) -> Result<(), Error> {
    // Rolled back when it is dropped.
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let position = work(&mut Rows::prepare(db, series)?)?;
    db.prepare_cached("INSERT INTO positions VALUES (?, ?) ON CONFLICT DO UPDATE SET last = excluded.last")?
        .execute(params![source, position])?;
    Ok(transaction.commit()?)
}

/// What rows are written with, in one transaction.
struct Rows<'c> {
    insert: CachedStatement<'c>,
    statements: Statements<'c>,
    series: &'c mut Series,
}

impl<'c> Rows<'c> {
    fn prepare(db: &'c Connection, series: &'c mut Series) -> Result<Self, Error> {
        // A shared store that has lost its latest records in a failover may tell them again under new positions. Of one
        // hold there is at most one record that it has expired, and one of its end. An embedded store numbers its
        // records without a gap, and its holds by itself: others may have the same numbers.
        let insert = format!(
            "INSERT INTO ledger (series, at_ms, shared, hold, expired, amount, request, {}) VALUES ({}) \
             ON CONFLICT DO NOTHING",
            TOKENS.join(", "),
            vec!["?"; FIXED + TOKENS.len()].join(", "),
        );
        Ok(Self { insert: db.prepare_cached(&insert)?, statements: Statements::prepare(db)?, series })
    }

    fn add_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        self.add(&Charge {
            status: match entry.verb {
                Verb::Settle => "settled",
                Verb::Late => "late",
                Verb::Expire => "estimated",
            },
            hold: &entry.hold.to_string(),
            is_shared: false,
            amount: entry.amount,
            at_ms: i64::try_from(entry.wall).unwrap_or(i64::MAX),
            detail: if entry.entry.is_empty() { &entry.meta } else { &entry.entry },
        })
    }

    fn add(&mut self, charge: &Charge<'_>) -> Result<(), Error> {
        let bad = || Error::Detail(charge.hold.to_owned());
        let detail = Detail::read(charge.detail).ok_or_else(bad)?;
        let series = self.series.of(&mut self.statements, status(charge, &detail), &detail)?.ok_or_else(bad)?;
        let insert = &mut self.insert;
        insert.raw_bind_parameter(1, series)?;
        insert.raw_bind_parameter(2, charge.at_ms)?;
        insert.raw_bind_parameter(3, charge.is_shared)?;
        insert.raw_bind_parameter(4, charge.hold)?;
        insert.raw_bind_parameter(5, charge.status == "estimated")?;
        insert.raw_bind_parameter(6, charge.amount)?;
        insert.raw_bind_parameter(FIXED, Member::read(detail.request()).ok_or_else(bad)?)?;
        for (i, tokens) in detail.tokens().iter().enumerate() {
            let tokens = if charge.status == "late" { Member::Int(0) } else { Member::read(tokens).ok_or_else(bad)? };
            insert.raw_bind_parameter(FIXED + 1 + i, tokens)?;
        }
        insert.raw_execute()?;
        Ok(())
    }
}

/// Columns before tokens.
const FIXED: usize = 7;

/// The store's word on holds that nobody ended comes before the gateway's. An attempt is no request, also where the
/// store had lost its hold.
fn status<'a>(charge: &Charge<'a>, detail: &Detail<'a>) -> Status<'a> {
    let own = detail.status();
    if charge.status == "settled" || (charge.status == "unknown" && own == "\"attempt\"") {
        Status::Own(own)
    } else {
        Status::Store(charge.status)
    }
}

//! What a great many rows have in common is written once, as a row of `series`.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection};

use super::detail::{Detail, Member};
use super::{Error, WHO};

const KEPT: usize = 100_000;

/// Ids of series by the texts of their members.
#[derive(Default)]
pub(super) struct Series {
    ids: HashMap<Vec<u8>, i64>,
    key: Vec<u8>,
}

/// Whose word on the status counts.
#[derive(Clone, Copy)]
pub(super) enum Status<'a> {
    /// The detail's own, as JSON.
    Own(&'a str),
    /// The store's.
    Store(&'a str),
}

/// The statements that find a series and make one.
pub(super) struct Statements<'c> {
    find: CachedStatement<'c>,
    add: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(db: &'c Connection) -> Result<Self, Error> {
        let names: Vec<&str> = ["status", "priced"].into_iter().chain(WHO).collect();
        let same: Vec<String> = names.iter().map(|name| format!("{name} IS ?")).collect();
        let places = vec!["?"; names.len()].join(", ");
        let find = format!("SELECT id FROM series WHERE {}", same.join(" AND "));
        let add = format!("INSERT INTO series ({}) VALUES ({places}) RETURNING id", names.join(", "));
        Ok(Self { find: db.prepare_cached(&find)?, add: db.prepare_cached(&add)? })
    }
}

impl Series {
    /// The series of a charge; None where a member cannot be stored.
    pub(super) fn of(
        &mut self,
        statements: &mut Statements<'_>,
        status: Status<'_>,
        detail: &Detail<'_>,
    ) -> Result<Option<i64>, Error> {
        self.key.clear();
        let (whose, text) = match status {
            Status::Own(json) => (b'o', json),
            Status::Store(text) => (b's', text),
        };
        self.key.push(whose);
        // Longer than its text is no member: what follows cannot be taken for a part of it.
        self.key.extend_from_slice(&text.len().to_le_bytes());
        self.key.extend_from_slice(text.as_bytes());
        for json in detail.who().iter().chain([&detail.priced()]) {
            self.key.push(b',');
            self.key.extend_from_slice(json.as_bytes());
        }
        if let Some(id) = self.ids.get(&self.key) {
            return Ok(Some(*id));
        }
        let Some(members) = members(status, detail) else { return Ok(None) };
        let id = find(statements, &members)?;
        if self.ids.len() >= KEPT {
            self.ids.clear();
        }
        self.ids.insert(self.key.clone(), id);
        Ok(Some(id))
    }

    /// Some of them have gone with a transaction.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
    }
}

fn members<'a>(status: Status<'a>, detail: &Detail<'a>) -> Option<Vec<Member<'a>>> {
    let status = match status {
        Status::Own(json) => Member::read(json)?,
        Status::Store(text) => Member::Text(text.into()),
    };
    let rest = [detail.priced()].into_iter().chain(detail.who().iter().copied()).map(Member::read);
    [Some(status)].into_iter().chain(rest).collect()
}

fn find(statements: &mut Statements<'_>, members: &[Member<'_>]) -> Result<i64, Error> {
    for statement in [&mut statements.find, &mut statements.add] {
        let mut rows = statement.query(rusqlite::params_from_iter(members))?;
        let id = rows.next()?.map(|row| row.get(0)).transpose()?;
        if let Some(id) = id {
            // To its end, which is where an insertion is done.
            while rows.next()?.is_some() {}
            return Ok(id);
        }
    }
    Err(rusqlite::Error::QueryReturnedNoRows.into())
}

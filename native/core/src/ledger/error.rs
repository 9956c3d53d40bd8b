use std::fmt;

use rusqlite::ffi;

/// Why the ledger's file could not be read or written.
#[derive(Debug)]
pub enum Error {
    /// `SQLite`'s own.
    Sqlite(rusqlite::Error),
    /// The detail of the charge with this hold is not what a detail is.
    Detail(String),
    /// The position that is kept for this source is no number.
    Position(String),
}

/// As Python's DB-API (PEP 249) tells errors apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The file or what is in it.
    Database,
    /// A value has no place in its column.
    Data,
    /// A constraint does not hold.
    Integrity,
    /// `SQLite` is used in the wrong way.
    Interface,
    /// `SQLite`'s own fault.
    Internal,
    /// What may go otherwise another time: busy, full, read only.
    Operational,
    /// The statement and its parameters do not fit.
    Programming,
    /// No memory.
    Memory,
    /// A charge or a position, not the database.
    Value,
}

impl Error {
    /// Which of Python's exceptions it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let Self::Sqlite(error) = self else { return Kind::Value };
        match error {
            rusqlite::Error::InvalidParameterCount(..) | rusqlite::Error::MultipleStatement => Kind::Programming,
            rusqlite::Error::Utf8Error(..) | rusqlite::Error::FromSqlConversionFailure(..) => Kind::Operational,
            rusqlite::Error::NulError(_) => Kind::Programming,
            _ => self.code().map_or(Kind::Interface, kind),
        }
    }

    /// `SQLite`'s extended result code.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Sqlite(rusqlite::Error::SqlInputError { error, .. }) => Some(error.extended_code),
            Self::Sqlite(error) => error.sqlite_error().map(|error| error.extended_code),
            Self::Detail(_) | Self::Position(_) => None,
        }
    }
}

/// As `CPython`'s sqlite3 has it (Modules/_sqlite/util.c).
fn kind(extended: i32) -> Kind {
    match extended & 0xff {
        ffi::SQLITE_INTERNAL | ffi::SQLITE_NOTFOUND => Kind::Internal,
        ffi::SQLITE_NOMEM => Kind::Memory,
        ffi::SQLITE_ERROR
        | ffi::SQLITE_PERM
        | ffi::SQLITE_ABORT
        | ffi::SQLITE_BUSY
        | ffi::SQLITE_LOCKED
        | ffi::SQLITE_READONLY
        | ffi::SQLITE_INTERRUPT
        | ffi::SQLITE_IOERR
        | ffi::SQLITE_FULL
        | ffi::SQLITE_CANTOPEN
        | ffi::SQLITE_PROTOCOL
        | ffi::SQLITE_EMPTY
        | ffi::SQLITE_SCHEMA => Kind::Operational,
        ffi::SQLITE_TOOBIG => Kind::Data,
        ffi::SQLITE_CONSTRAINT | ffi::SQLITE_MISMATCH => Kind::Integrity,
        ffi::SQLITE_MISUSE | ffi::SQLITE_RANGE => Kind::Interface,
        _ => Kind::Database,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(rusqlite::Error::SqlInputError { msg, .. }) => f.write_str(msg),
            Self::Sqlite(error) => error.fmt(f),
            Self::Detail(hold) => write!(f, "the detail of the charge of hold {hold} cannot be read"),
            Self::Position(source) => write!(f, "the position of {source} is no number"),
        }
    }
}

impl std::error::Error for Error {}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

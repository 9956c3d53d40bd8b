//! What is wrong with a JSON text: a kind and a place, never the text itself.

use std::fmt;

/// Kind of a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The grammar of RFC 8259 is broken.
    Syntax,
    /// The text ends in the middle of a value.
    UnexpectedEnd,
    /// Something follows the value.
    TrailingBytes,
    /// Not valid UTF-8, or a byte order mark.
    Utf8,
    /// A `\uXXXX` escape is half of a surrogate pair.
    LoneSurrogate,
    /// A control character stands unescaped in a string.
    ControlCharacter,
    /// NaN, Infinity and the like.
    NotANumber,
    /// The same key twice in one object.
    DuplicateKey,
    /// Nested deeper than allowed.
    TooDeep,
    /// More values than allowed.
    TooManyValues,
}

impl ErrorKind {
    /// A stable word for the `code` of an error body.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Utf8 => "invalid_utf8",
            Self::LoneSurrogate => "lone_surrogate",
            Self::DuplicateKey => "duplicate_key",
            Self::TooDeep => "too_deep",
            Self::TooManyValues => "too_many_values",
            _ => "invalid_json",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Syntax => "the JSON is malformed",
            Self::UnexpectedEnd => "the JSON ends too early",
            Self::TrailingBytes => "something follows the JSON value",
            Self::Utf8 => "the JSON is not valid UTF-8 without a byte order mark",
            Self::LoneSurrogate => "a \\u escape is half of a surrogate pair",
            Self::ControlCharacter => "a control character stands unescaped in a string",
            Self::NotANumber => "NaN and Infinity are not JSON",
            Self::DuplicateKey => "a key stands twice in one object",
            Self::TooDeep => "the JSON is nested too deeply",
            Self::TooManyValues => "the JSON holds too many values",
        }
    }
}

/// A defect and the byte offset where it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    offset: usize,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Where it is, in bytes from the start.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.kind.text(), self.offset)
    }
}

impl std::error::Error for Error {}

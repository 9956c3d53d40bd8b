//! HTTP/1.1 messages, decoded incrementally (RFC 9112): bytes in, a head and pieces of the body out.

use std::ops::Range;

pub mod encode;
pub mod request;
pub mod response;

/// Bounds on a message's framing.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the status line and headers together; also of chunk extensions and trailers together.
    pub max_head: usize,
    /// Number of headers; at most `HARD_MAX_HEADERS`.
    pub max_headers: usize,
}

/// The size of the table that headers are parsed into.
pub const HARD_MAX_HEADERS: usize = 128;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The grammar is broken, or two readers could frame the message differently.
    Malformed(&'static str),
    /// The head or the framing of the body is larger than allowed.
    TooLarge,
    /// A `Content-Encoding` although none was asked for.
    Encoded,
}

/// One step of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// The head is known now.
    Head,
    /// A piece of the body: a range of the bytes that were given.
    Body(Range<usize>),
    /// The message is complete.
    End,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Chunk {
    Size { value: u64, digits: u8 },
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
}

/// What is left of a message's body.
#[derive(Debug)]
pub(crate) enum Body {
    Length(u64),
    Chunked(Chunk),
    UntilClose,
    End,
}

impl Body {
    pub(crate) const CHUNKED: Self = Self::Chunked(Chunk::Size { value: 0, digits: 0 });

    /// Advance over `data` from `*at`: `More`, `Body` or `End`. `framing` counts bytes of extensions and trailers.
    pub(crate) fn step(
        &mut self,
        data: &[u8],
        at: &mut usize,
        framing: &mut usize,
        limits: &Limits,
    ) -> Result<Step, Error> {
        loop {
            match self {
                Self::End => return Ok(Step::End),
                Self::Length(0) => *self = Self::End,
                Self::Length(left) | Self::Chunked(Chunk::Data(left @ 1..)) => {
                    let piece = take(data, at, *left);
                    *left -= piece.len() as u64;
                    return Ok(if piece.is_empty() { Step::More } else { Step::Body(piece) });
                }
                Self::UntilClose => {
                    let piece = take(data, at, u64::MAX);
                    return Ok(if piece.is_empty() { Step::More } else { Step::Body(piece) });
                }
                Self::Chunked(chunk) => {
                    if matches!(chunk, Chunk::Data(0)) {
                        *chunk = Chunk::DataCr;
                    }
                    let Some(&byte) = data.get(*at) else {
                        return Ok(Step::More);
                    };
                    *at += 1;
                    match chunk.advance(byte)? {
                        Some(next) => {
                            if matches!(next, Chunk::Extension(_) | Chunk::Trailer) {
                                *framing += 1;
                                if *framing > limits.max_head {
                                    return Err(Error::TooLarge);
                                }
                            }
                            *chunk = next;
                        }
                        None => *self = Self::End,
                    }
                }
            }
        }
    }
}

/// The end of a head, its last line's included.
const BLANK: &[u8] = b"\r\n\r\n";

/// Collects a head until its blank line.
///
/// True once `head` holds it whole; `*at` is then behind it.
pub(crate) fn collect_head(head: &mut Vec<u8>, data: &[u8], at: &mut usize, limits: &Limits) -> Result<bool, Error> {
    const BARE_LF: Error = Error::Malformed("a line of the head ends without CR");
    let known = head.len();
    let room = (limits.max_head + 1).saturating_sub(known).min(data.len() - *at);
    let rest = &data[*at..*at + room];
    // Mostly a head comes whole, in front of a body that is none of it.
    let whole = if known == 0 { memchr::memmem::find(rest, BLANK) } else { None };
    head.extend_from_slice(whole.map_or(rest, |found| &rest[..found + BLANK.len()]));
    // What is added is looked at once; three bytes back, as the blank line may be split.
    let from = known.saturating_sub(BLANK.len() - 1);
    let Some(found) = whole.or_else(|| memchr::memmem::find(&head[from..], BLANK)) else {
        if has_bare_lf(head, known) {
            return Err(BARE_LF);
        }
        *at += room;
        if head.len() > limits.max_head {
            return Err(Error::TooLarge);
        }
        return Ok(false);
    };
    let end = from + found + BLANK.len();
    *at += end - known;
    head.truncate(end);
    if has_bare_lf(head, 0) {
        return Err(BARE_LF);
    }
    Ok(true)
}

/// Where `text`, a part of `whole`, lies in it.
pub(crate) fn span(whole: &[u8], text: &[u8]) -> Range<usize> {
    let start = text.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + text.len()
}

impl Chunk {
    /// The state after a byte of framing; None when the body is complete.
    fn advance(self, byte: u8) -> Result<Option<Self>, Error> {
        const BAD: Error = Error::Malformed("the chunked body is malformed");
        Ok(Some(match (self, byte) {
            (Self::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == 15 {
                    return Err(BAD);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                Self::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 1.., value } | Self::Extension(value), b'\r') => Self::SizeLf(value),
            (Self::Size { digits: 1.., value }, b';' | b' ' | b'\t') => Self::Extension(value),
            (Self::Extension(_), b'\n') => return Err(BAD),
            (Self::Extension(value), _) => Self::Extension(value),
            (Self::SizeLf(0), b'\n') => Self::TrailerStart,
            (Self::SizeLf(value), b'\n') => Self::Data(value),
            (Self::Data(_) | Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { value: 0, digits: 0 },
            (Self::TrailerStart, b'\r') => Self::LastLf,
            (Self::TrailerStart | Self::Trailer, b'\n') => return Err(BAD),
            (Self::Trailer, b'\r') => Self::TrailerLf,
            (Self::TrailerStart | Self::Trailer, _) => Self::Trailer,
            (Self::TrailerLf, b'\n') => Self::TrailerStart,
            (Self::LastLf, b'\n') => return Ok(None),
            _ => return Err(BAD),
        }))
    }
}

fn take(data: &[u8], at: &mut usize, most: u64) -> Range<usize> {
    let start = *at;
    let left = data.len() - start;
    let length = usize::try_from(most).map_or(left, |most| most.min(left));
    *at = start + length;
    start..*at
}

pub(crate) fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// Whether a line feed from `from` on has no carriage return before it.
fn has_bare_lf(head: &[u8], from: usize) -> bool {
    memchr::memchr_iter(b'\n', &head[from..]).any(|n| from + n == 0 || head[from + n - 1] != b'\r')
}

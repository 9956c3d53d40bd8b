//! The chunked transfer coding, incrementally.

use std::io;

/// Where in a chunk the next byte stands.
#[derive(Clone, Copy)]
enum State {
    Size(usize),
    Extension(usize),
    Data(usize),
    DataEnd,
    Trailer { empty: bool },
    Done,
}

/// A decoder of one message's body.
pub struct Decoder(State);

impl Default for Decoder {
    fn default() -> Self {
        Self(State::Size(0))
    }
}

impl Decoder {
    /// Appends what `input` decodes to; true once the body is complete.
    ///
    /// # Errors
    /// When `input` is not chunked, or goes on after the end.
    pub fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        while let Some((&byte, rest)) = input.split_first() {
            self.0 = match self.0 {
                State::Data(left) => {
                    let now = left.min(input.len());
                    out.extend_from_slice(&input[..now]);
                    input = &input[now..];
                    self.0 = if left == now { State::DataEnd } else { State::Data(left - now) };
                    continue;
                }
                State::Size(size) => match (byte, (byte as char).to_digit(16)) {
                    (_, Some(digit)) if size < 1 << 32 => State::Size(size * 16 + digit as usize),
                    (b';' | b'\r', _) => State::Extension(size),
                    _ => return Err(io::Error::other("bad chunk size")),
                },
                State::Extension(size) => match (byte, size) {
                    (b'\n', 0) => State::Trailer { empty: true },
                    (b'\n', _) => State::Data(size),
                    _ => State::Extension(size),
                },
                State::DataEnd => match byte {
                    b'\r' => State::DataEnd,
                    b'\n' => State::Size(0),
                    _ => return Err(io::Error::other("chunk longer than its size")),
                },
                State::Trailer { empty } => match (byte, empty) {
                    (b'\n', true) => State::Done,
                    (b'\n', false) => State::Trailer { empty: true },
                    (b'\r', _) => State::Trailer { empty },
                    _ => State::Trailer { empty: false },
                },
                State::Done => return Err(io::Error::other("bytes after the end of the message")),
            };
            input = rest;
        }
        Ok(matches!(self.0, State::Done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_decodes_alike() {
        let wire = b"5\r\nhello\r\n10;x=1\r\n0123456789abcdef\r\n0\r\n\r\n";
        for at in 0..wire.len() {
            let (mut decoder, mut out) = (Decoder::default(), Vec::new());
            assert!(!decoder.feed(&wire[..at], &mut out).unwrap());
            assert!(decoder.feed(&wire[at..], &mut out).unwrap());
            assert_eq!(out, b"hello0123456789abcdef");
        }
    }
}

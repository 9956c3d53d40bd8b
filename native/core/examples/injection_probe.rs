//! Hands texts to the injection detector, for the scripts that train and evaluate it.
//!
//! Reads records from the standard input, each a length (u32, little endian) and so many bytes of text. With `words`
//! writes the number of words (u32) and their hashes (u32 each) for every record.

use std::io::{self, Read, Write};

use tollhouse_core::scan::injection;

fn main() -> io::Result<()> {
    let mut input = Vec::new();
    io::stdin().lock().read_to_end(&mut input)?;
    let mut output = io::BufWriter::new(io::stdout().lock());
    let mut rest = input.as_slice();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = (u32::from_le_bytes(*length) as usize).min(tail.len());
        let (text, tail) = tail.split_at(length);
        rest = tail;
        let hashes = injection::word_hashes(text);
        output.write_all(&u32::try_from(hashes.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        for hash in hashes {
            output.write_all(&hash.to_le_bytes())?;
        }
    }
    output.flush()
}

//! Hands texts to the injection detector, for the scripts that train and evaluate it.
//!
//! Reads records from the standard input, each a length (u32, little endian) and so many bytes of UTF-8, and normalises
//! them as the scanner does. Writes for each: scores of the detector for users and for tools and score of the templates alone
//! (f32), how far the gate opens for users (u32; 1: for the templates, 2: for the model of Latin words too; 4 more where the
//! model of other languages is asked), the number of words of the former model and their hashes (u32), the same of the
//! latter, all little endian.

use std::io::{self, Read, Write};

use tollhouse_core::scan::injection::Detector;
use tollhouse_core::scan::normalise::{Normalised, normalise};

fn main() -> io::Result<()> {
    let mut input = Vec::new();
    io::stdin().lock().read_to_end(&mut input)?;
    let detector = Detector::new();
    let mut output = io::BufWriter::new(io::stdout().lock());
    let mut rest = input.as_slice();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = (u32::from_le_bytes(*length) as usize).min(tail.len());
        let (text, tail) = tail.split_at(length);
        rest = tail;
        let text = String::from_utf8_lossy(text);
        let mut normal = Normalised::new();
        let text = if normalise(&text, &mut normal) { normal.bytes() } else { text.as_bytes() };
        let explanation = detector.explain(text);
        output.write_all(&explanation.score.to_le_bytes())?;
        output.write_all(&explanation.tool_score.to_le_bytes())?;
        output.write_all(&explanation.phrase.to_le_bytes())?;
        let gate =
            u32::from(explanation.searched) + u32::from(explanation.modelled) + 4 * u32::from(explanation.foreign);
        output.write_all(&gate.to_le_bytes())?;
        for words in [explanation.words, explanation.all_words] {
            output.write_all(&u32::try_from(words.len()).unwrap_or(u32::MAX).to_le_bytes())?;
            for word in words {
                output.write_all(&word.to_le_bytes())?;
            }
        }
    }
    output.flush()
}

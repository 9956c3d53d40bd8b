//! Whether a stretch is source code, data or a log: words that are orders in a sentence are names there.

use memchr::{memchr_iter, memchr3_iter};

/// So many lines with anything in them say what a text is; fewer say nothing.
const LEAST: usize = 4;

/// Whether at least half of the lines look like it. What is written to people or models hardly has such lines: of the
/// texts that the models are trained on, and of recorded attacks, one in a hundred and fewer.
pub(super) fn is_code(text: &[u8]) -> bool {
    // Most texts that are asked about are one line.
    if memchr_iter(b'\n', text).take(LEAST - 1).count() < LEAST - 1 {
        return false;
    }
    let (mut lines, mut code, mut from) = (0, 0, 0);
    for end in memchr_iter(b'\n', text).chain([text.len()]) {
        let line = text.get(from..end).unwrap_or_default().trim_ascii_end();
        from = end + 1;
        if !line.trim_ascii_start().is_empty() {
            lines += 1;
            code += usize::from(is_code_line(line));
        }
    }
    lines >= LEAST && code * 2 >= lines
}

fn is_code_line(line: &[u8]) -> bool {
    let is_indented = line.starts_with(b"    ") || line.starts_with(b"\t");
    let ends = matches!(line.last(), Some(b';' | b'{' | b'}' | b'(' | b')' | b'[' | b']' | b',' | b'=' | b'\\'));
    is_indented || ends || is_comment(line.trim_ascii_start()) || has_code_point(line)
}

fn is_comment(line: &[u8]) -> bool {
    [&b"//"[..], b"/*", b"# ", b"* ", b"@", b"<!--"].iter().any(|begins| line.starts_with(begins))
}

fn has_code_point(line: &[u8]) -> bool {
    // Those in the middle of three are rare in sentences.
    let Some(inner) = line.get(1..line.len().saturating_sub(1)) else { return false };
    let mut places = memchr3_iter(b'_', b'(', b'=', inner).chain(memchr3_iter(b':', b'-', b'.', inner));
    places.any(|at| line.get(at..at + 3).is_some_and(is_code_point))
}

/// A name with an underscore, a call, an assignment, a comparison, a path of names.
fn is_code_point(three: &[u8]) -> bool {
    let [a, b, c] = *three else { return false };
    match b {
        b'_' => a.is_ascii_alphanumeric() && c.is_ascii_alphanumeric(),
        b'(' => a.is_ascii_alphanumeric() && c != b's',
        b'=' => a == b' ' && c == b' ' || matches!(c, b'=' | b'>'),
        b':' => c == b':',
        b'-' => c == b'>',
        b'.' => a.is_ascii_lowercase() && c.is_ascii_lowercase() || a == b'/',
        _ => false,
    }
}

//! Random strings that an expression matches, for the part of the syntax that the rule packs use.

/// A small generator (xorshift): the same strings in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// A string that the whole expression matches.
pub(crate) fn sample(pattern: &str, random: &mut Random) -> String {
    let mut out = String::new();
    let rest = alternatives(pattern.as_bytes(), random, &mut out);
    assert!(rest.is_empty(), "not understood: {pattern}");
    out
}

/// Takes one of the branches up to the end or to a closing parenthesis, and returns what follows.
fn alternatives<'a>(mut rest: &'a [u8], random: &mut Random, out: &mut String) -> &'a [u8] {
    let mut branches = vec![String::new()];
    loop {
        match rest.first() {
            None | Some(b')') => break,
            Some(b'|') => {
                branches.push(String::new());
                rest = &rest[1..];
            }
            Some(_) => {
                let last = branches.len() - 1;
                rest = repetition(rest, random, &mut branches[last]);
            }
        }
    }
    let chosen = random.below(branches.len());
    out.push_str(&branches[chosen]);
    rest
}

fn repetition<'a>(rest: &'a [u8], random: &mut Random, out: &mut String) -> &'a [u8] {
    let first = out.len();
    let after = atom(rest, random, out);
    let (least, most, after_count) = count(after);
    let times = least + random.below((most - least).min(6) + 1);
    if times == 0 {
        out.truncate(first);
    }
    for _ in 1..times {
        atom(rest, random, out);
    }
    after_count
}

fn atom<'a>(rest: &'a [u8], random: &mut Random, out: &mut String) -> &'a [u8] {
    match rest[0] {
        b'(' => {
            let inner = [&b"(?i:"[..], b"(?i)", b"(?:", b"("].iter().find_map(|open| rest.strip_prefix(*open)).unwrap();
            if rest.starts_with(b"(?i)") {
                return inner;
            }
            alternatives(inner, random, out).strip_prefix(b")").expect("a closing parenthesis")
        }
        b'[' => class(&rest[1..], random, out),
        b'\\' => {
            out.push(match rest[1] {
                b't' => '\t',
                b's' => ' ',
                other => char::from(other),
            });
            &rest[2..]
        }
        b'.' => {
            out.push('x');
            &rest[1..]
        }
        other => {
            out.push(char::from(other));
            &rest[1..]
        }
    }
}

/// One character of a class, a letter or a digit if it has any.
fn class<'a>(mut rest: &'a [u8], random: &mut Random, out: &mut String) -> &'a [u8] {
    let negated = rest[0] == b'^';
    rest = &rest[usize::from(negated)..];
    let mut members = Vec::new();
    while rest[0] != b']' {
        let byte = if rest[0] == b'\\' {
            rest = &rest[1..];
            if rest[0] == b't' { b'\t' } else { rest[0] }
        } else {
            rest[0]
        };
        if rest[1] == b'-' && rest[2] != b']' {
            members.extend(byte..=rest[2]);
            rest = &rest[3..];
        } else {
            members.push(byte);
            rest = &rest[1..];
        }
    }
    let mut plain: Vec<u8> = if negated {
        (b'0'..=b'z').filter(u8::is_ascii_alphanumeric).collect()
    } else {
        members.iter().copied().filter(u8::is_ascii_alphanumeric).collect()
    };
    if plain.is_empty() {
        plain = members;
    }
    out.push(char::from(plain[random.below(plain.len())]));
    &rest[1..]
}

fn count(rest: &[u8]) -> (usize, usize, &[u8]) {
    match rest.first() {
        Some(b'?') => (0, 1, &rest[1..]),
        Some(b'*') => (0, 4, &rest[1..]),
        Some(b'+') => (1, 4, &rest[1..]),
        Some(b'{') => {
            let end = rest.iter().position(|byte| *byte == b'}').unwrap();
            let text = std::str::from_utf8(&rest[1..end]).unwrap();
            let (least, most) = text.split_once(',').unwrap_or((text, text));
            let least = least.parse().unwrap();
            (least, most.parse().unwrap_or(least + 4), &rest[end + 1..])
        }
        _ => (1, 1, rest),
    }
}

use super::Framer;

fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut framer = Framer::new();
    let mut found = Vec::new();
    for piece in pieces {
        framer.push(piece);
        while let Some(line) = framer.next_line() {
            found.push(line.to_vec());
        }
    }
    found.extend(framer.finish().map(<[u8]>::to_vec));
    found
}

const STREAM: &[u8] = "{\"a\":\"\u{1f600}\\n\"}\n\r\n \n{\"b\":2}\r\n{\"c\":3}".as_bytes();

#[test]
fn every_line_comes_once_without_blank_ones() {
    assert_eq!(lines(&[STREAM]), ["{\"a\":\"\u{1f600}\\n\"}".as_bytes(), b"{\"b\":2}", b"{\"c\":3}"]);
}

#[test]
fn any_cut_gives_the_same_lines() {
    let whole = lines(&[STREAM]);
    for at in 0..=STREAM.len() {
        assert_eq!(lines(&[&STREAM[..at], &STREAM[at..]]), whole, "cut at {at}");
    }
    let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
    assert_eq!(lines(&bytes), whole);
}

#[test]
fn what_is_held_is_the_open_line_alone() {
    let mut framer = Framer::new();
    framer.push(b"{}\n{\"ab");
    assert_eq!(framer.next_line(), Some(&b"{}"[..]));
    assert_eq!(framer.next_line(), None);
    assert_eq!(framer.held(), 4);
    framer.push(b"\":1}\n");
    assert_eq!(framer.next_line(), Some(&b"{\"ab\":1}"[..]));
    assert_eq!(framer.held(), 0);
    assert_eq!(framer.finish(), None);
}

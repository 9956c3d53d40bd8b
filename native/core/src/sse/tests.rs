use super::*;

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    raw: Vec<u8>,
    data: Vec<Option<Vec<u8>>>,
    events: Vec<Option<Vec<u8>>>,
    comments: Vec<Vec<u8>>,
}

fn frame(pieces: &[&[u8]]) -> Seen {
    let mut framer = Framer::new();
    let mut seen = Seen::default();
    let mut handle = |framed: Framed<'_>| match framed {
        Framed::LateLf => seen.raw.push(b'\n'),
        Framed::Block(block) => {
            seen.raw.extend_from_slice(block.raw());
            seen.data.push(block.data().map(Cow::into_owned));
            seen.events.push(block.event().map(<[u8]>::to_vec));
            seen.comments.extend(block.comments().map(<[u8]>::to_vec));
        }
    };
    for piece in pieces {
        framer.push(piece);
        while framer.next_block(&mut handle) {}
    }
    framer.finish(&mut handle);
    seen
}

fn all_splits(stream: &[u8]) -> Seen {
    let whole = frame(&[stream]);
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(frame(&bytes), whole, "one byte at a time");
    for cut in 0..=stream.len() {
        assert_eq!(frame(&[&stream[..cut], &stream[cut..]]), whole, "cut at {cut}");
    }
    whole
}

#[test]
fn every_line_end_and_every_split_gives_the_same_blocks() {
    for end in ["\n", "\r\n", "\r"] {
        let stream = format!("event: x{end}data: a{end}{end}data:b{end}data: c{end}{end}: note{end}{end}");
        let seen = all_splits(stream.as_bytes());
        assert_eq!(seen.raw, stream.as_bytes());
        assert_eq!(seen.data, [Some(b"a".to_vec()), Some(b"b\nc".to_vec()), None]);
        assert_eq!(seen.events, [Some(b"x".to_vec()), None, None]);
        assert_eq!(seen.comments, [format!(": note{end}").into_bytes()]);
    }
}

#[test]
fn line_ends_may_be_mixed() {
    let stream = b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\rdata: e\r\n\ndata: f\r\r";
    let seen = all_splits(stream);
    assert_eq!(seen.raw, stream);
    assert_eq!(seen.data, [Some(b"a\nb\nc".to_vec()), Some(b"d".to_vec()), Some(b"e".to_vec()), Some(b"f".to_vec())]);
}

#[test]
fn a_byte_order_mark_is_dropped_at_the_start_only() {
    let seen = all_splits(b"\xef\xbb\xbfdata: a\n\ndata: \xef\xbb\xbfb\n\n");
    assert_eq!(seen.raw, b"data: a\n\ndata: \xef\xbb\xbfb\n\n");
    assert_eq!(all_splits(b"\xef\xbb").raw, b"\xef\xbb");
}

#[test]
fn the_last_block_needs_no_blank_line() {
    assert_eq!(all_splits(b"data: a\n\ndata: b").data, [Some(b"a".to_vec()), Some(b"b".to_vec())]);
    assert_eq!(all_splits(b"data: a\r\n").data, [Some(b"a".to_vec())]);
    assert_eq!(all_splits(b"data").data, [Some(b"".to_vec())]);
}

#[test]
fn what_waits_for_its_end_is_known() {
    let mut framer = Framer::new();
    let mut blocks = 0;
    let mut handle = |_: Framed<'_>| blocks += 1;
    for _ in 0..100 {
        framer.push(b"data: a\n\nxxxxxxxxxx");
        while framer.next_block(&mut handle) {}
    }
    assert_eq!(framer.held(), 10);
    assert_eq!(blocks, 100);
}

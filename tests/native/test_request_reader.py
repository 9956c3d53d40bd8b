from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollhouse._native import END, FAULT, HEAD, READY, RequestReader, encode_headers

TOKEN = st.text("abcXYZ019-_.", min_size=1, max_size=12).map(str.encode)
VALUE = st.text("abc XYZ,;=/\t\u00e9", max_size=20).map(lambda text: text.encode("latin-1").strip())
FRAMING = {b"content-length", b"transfer-encoding", b"connection", b"expect"}


@st.composite
def requests(draw):
    """A request as it is sent, and the body that it stands for."""
    method = draw(st.sampled_from([b"GET", b"POST", b"DELETE", b"x-mine"]))
    target = draw(st.sampled_from([b"/", b"*", b"/v1/a%20b?c=d", b"http://host/x?", b"/%zz%C3%A9#f"]))
    headers = [header for header in draw(st.lists(st.tuples(TOKEN, VALUE), max_size=8)) if header[0] not in FRAMING]
    pieces = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4))
    body = b"".join(pieces)
    if draw(st.booleans()):
        headers.append((b"Transfer-Encoding", b"chunked"))
        sent = b"".join(b"%X;e=%d\r\n%b\r\n" % (len(piece), n, piece) for n, piece in enumerate(pieces))
        sent += b"0\r\n" + draw(st.sampled_from([b"", b"trailer: x\r\n"])) + b"\r\n"
    else:
        sent = body
        if body or draw(st.booleans()):
            headers.append((b"Content-Length", b"%d" % len(body)))
    blank = draw(st.sampled_from([b"", b"\r\n", b"\r\n\r\n"]))
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return blank + b"%b %b HTTP/1.1\r\n" % (method, target) + lines + b"\r\n" + sent, body


def read(reader: RequestReader, pieces: list[bytes]):
    """Head, body and flags of every request in what was sent."""
    got = []
    body = b""
    for piece in pieces:
        flags = reader.feed(piece)
        while flags:
            if flags & READY:
                body += reader.take()
            if not flags & END:
                break
            got.append((reader.head(), body))
            body = b""
            flags = reader.proceed()
        if flags & FAULT:
            return got, reader.refused
    return got, None


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(wire) + 1) for place in places), len(wire)]
    return [wire[start:end] for start, end in itertools.pairwise(bounds)]


@given(st.lists(requests(), min_size=1, max_size=3), st.lists(st.integers(0, 10_000), max_size=12))
@settings(deadline=None)
def test_requests_are_read_alike_wherever_they_are_cut(sent, places):
    wire = b"".join(request for request, _ in sent)
    whole, refused = read(RequestReader(), [wire])
    assert refused is None
    assert [body for _, body in whole] == [body for _, body in sent]
    assert read(RequestReader(), cut(wire, places)) == (whole, None)
    assert read(RequestReader(), [bytes([byte]) for byte in wire]) == (whole, None)


@given(st.lists(st.binary(max_size=60), max_size=8))
@settings(deadline=None)
def test_no_bytes_make_a_reader_raise(pieces):
    reader = RequestReader(max_head=100, max_headers=3)
    _, refused = read(reader, pieces)
    assert refused is None or refused[0] in {400, 431}
    assert (refused is None) or reader.feed(b"more") & FAULT


@given(requests(), st.integers(0, 10_000), st.integers(0, 255), st.lists(st.integers(0, 10_000), max_size=4))
@settings(deadline=None)
def test_a_damaged_request_is_read_alike_wherever_it_is_cut(request_, place, byte, places):
    wire = bytearray(request_[0])
    wire[place % len(wire)] = byte
    whole, refused = read(RequestReader(), [bytes(wire)])
    pieces, refused_in_pieces = read(RequestReader(), cut(bytes(wire), places))
    assert pieces == whole
    assert (refused is None) == (refused_in_pieces is None)


def test_bytes_behind_a_request_wait_for_its_end():
    reader = RequestReader()
    assert reader.feed(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n") == HEAD | END
    assert (reader.head()[1], reader.held) == ("/1", 19)
    assert reader.proceed() == HEAD | END
    assert (reader.head()[1], reader.held) == ("/2", 0)
    assert reader.proceed() == 0
    assert not reader.has_begun


@given(TOKEN, st.binary(max_size=20))
def test_a_header_is_written_on_one_line_or_not_at_all(name, value):
    is_bad = any(byte in value for byte in b"\r\n\0")
    if is_bad:
        with pytest.raises(ValueError, match="header"):
            encode_headers(b"", [(name, value)])
    else:
        assert encode_headers(b"", [(name, value)])[0] == name + b": " + value + b"\r\n"


@pytest.mark.parametrize("name", [b"", b"a\r", b"a\n", b"a\0", b"a:", b"a b", b"\xc3\xa9"])
def test_a_header_name_is_a_token(name):
    with pytest.raises(ValueError, match="name"):
        encode_headers(b"", [(name, b"x")])


def test_what_headers_say_is_told_in_any_case():
    head, length, closes, is_event_stream = encode_headers(
        b"first\r\n",
        [
            (b"Content-Length", b"5"),
            (b"Connection", b"Close"),
            (b"Content-Type", b"text/event-stream; charset=utf-8"),
            (b"Transfer-Encoding", b"chunked"),
        ],
    )
    assert (length, closes, is_event_stream) == (5, True, True)
    assert head.count(b"\r\n") == 4
    assert b"chunked" not in head
    for headers in ([(b"content-length", b"x")], [(b"content-length", b"1")] * 2):
        with pytest.raises(ValueError, match="content-length"):
            encode_headers(b"", headers)

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollhouse.middlewares.stores import chain as chains
from tollhouse.middlewares.stores.chain import Chain, ChainBusy, ChainCut, claim, segments
from tollhouse.middlewares.stores.chain_check import Head, Report, check, head_of


def record(number: int, **more: Any) -> dict[str, Any]:
    return {"seq": 0, "prev": "", "type": "decision", "number": number, **more}


def head(chain: Chain) -> Head:
    return Head(chain.id, chain.seq, chain.hash, 0, "good")


def checked(folder: Path, *heads: Head) -> Report:
    return check(folder, heads, is_signed=lambda content, line: line == "good")


def filled(folder: Path, count: int, *, size: int = 3) -> Head:
    """A chain of so many records in batches; its head, as somebody else keeps it."""
    chain = Chain(folder)
    for first in range(0, count, size):
        chain.append([record(i) for i in range(first, min(first + size, count))])
    kept = head(chain)
    chain.close()
    return kept


def lines_of(folder: Path) -> list[bytes]:
    return b"".join(path.read_bytes() for path in segments(folder)).splitlines(keepends=True)


def rewrite(folder: Path, lines: list[bytes]) -> None:
    first, *rest = segments(folder)
    first.write_bytes(b"".join(lines))
    for path in rest:
        path.unlink()


def test_a_chain_goes_on_where_it_was_closed(tmp_path):
    filled(tmp_path / "c", 5)
    kept = filled(tmp_path / "c", 5)
    report = checked(tmp_path / "c", kept)
    assert (report.records, report.last, report.covered, report.fault) == (10, 10, 10, None)
    assert [orjson.loads(line)["seq"] for line in lines_of(tmp_path / "c")] == list(range(1, 11))


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(chains, "SEGMENT_BYTES", 200)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.data())
def test_whatever_is_done_to_a_chain_shows_and_the_first_record_is_named(count: int, data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "c"
        kept = filled(folder, count)
        lines = lines_of(folder)
        at = data.draw(st.integers(0, count - 1))
        what = data.draw(st.sampled_from(["edit", "break", "delete", "insert", "swap", "cut", "repeat"]))
        if what == "edit":
            lines[at] = lines[at].replace(b'"number":', b'"numbed":')
        elif what == "break":
            lines[at] = b"{" + lines[at]
        elif what == "delete":
            del lines[at]
        elif what == "insert":
            lines.insert(at, orjson.dumps(record(99, seq=at + 1, prev="0" * 64)) + b"\n")
        elif what == "repeat":
            lines.insert(at, lines[at])
            at += 1
        elif what == "swap":
            other = data.draw(st.integers(0, count - 1).filter(lambda i: i != at))
            at, other = min(at, other), max(at, other)
            lines[at], lines[other] = lines[other], lines[at]
        else:
            del lines[at:]
        rewrite(folder, lines)
        fault = checked(folder, kept).fault
        assert fault is not None
        # What was put in before a record is told as what comes before it.
        assert fault.seq in ({at + 1} if what != "insert" else {max(at, 1), at + 1}), (what, at, fault)


def test_a_chain_that_was_made_anew_shows_beside_a_head_from_elsewhere(tmp_path):
    kept = filled(tmp_path / "c", 4)
    identity = (tmp_path / "c" / "id").read_text()
    for path in segments(tmp_path / "c"):
        path.unlink()
    (tmp_path / "c" / "id").write_text(identity)
    chain = Chain(tmp_path / "c")
    chain.append([record(i + 100) for i in range(9)])
    chain.close()
    assert checked(tmp_path / "c").fault is None
    fault = checked(tmp_path / "c", kept).fault
    assert fault is not None
    assert (fault.seq, fault.reason) == (4, "is not what its signed head says")


def test_a_head_that_nobody_has_signed_is_a_fault_itself(tmp_path):
    kept = filled(tmp_path / "c", 4)
    fault = checked(tmp_path / "c", kept._replace(signature="bad")).fault
    assert fault is not None
    assert "signature" in fault.reason
    with pytest.raises(ValueError, match="no head"):
        head_of(b'{"chain": 1}')


def test_heads_of_other_chains_say_nothing_of_this_one(tmp_path):
    filled(tmp_path / "c", 4)
    assert checked(tmp_path / "c", Head("other", 99, "x", 0, "bad")).fault is None


def test_what_was_written_by_half_is_dropped_and_the_chain_goes_on(tmp_path):
    filled(tmp_path / "c", 4)
    path = segments(tmp_path / "c")[-1]
    whole = path.read_bytes()
    for cut in (1, 20, len(whole) - whole.rindex(b"\n", 0, -1) - 2):
        path.write_bytes(whole[:-cut])
        fault = checked(tmp_path / "c").fault
        assert fault is not None
        assert fault.reason == "the record is cut off"
        chain = Chain(tmp_path / "c")
        assert (chain.seq, chain.dropped > 0) == (3, True)
        chain.close()
        path.write_bytes(whole)


def test_a_segment_that_was_begun_and_not_written_to_is_gone_on_with(tmp_path, small_segments):
    filled(tmp_path / "c", 9)
    chain = Chain(tmp_path / "c")
    before = chain.seq, chain.hash
    chain._begin(chain.seq + 1)
    chain.close()
    chain = Chain(tmp_path / "c")
    assert (chain.seq, chain.hash) == before
    chain.append([record(1)])
    chain.close()
    assert checked(tmp_path / "c").fault is None


def test_a_process_has_a_chain_of_its_own(tmp_path):
    first = claim(tmp_path)
    second = claim(tmp_path)
    assert first.id != second.id
    with pytest.raises(ChainBusy):
        Chain(first.folder)
    first.close()
    third = claim(tmp_path)
    assert third.id == first.id
    third.close()
    second.close()


def test_what_was_not_delivered_is_read_again_and_what_was_is_not(tmp_path, small_segments):
    filled(tmp_path / "c", 9)
    chain = Chain(tmp_path / "c")
    assert len(segments(chain.folder)) > 2
    seen: list[int] = []
    while True:
        lines, position = chain.read(2, 10_000)
        again, same = chain.read(2, 10_000)
        assert (lines, position) == (again, same)
        if not lines:
            break
        seen += [orjson.loads(line)["seq"] for line in lines]
        chain.mark_delivered(position)
        chain.close()
        chain = Chain(tmp_path / "c")
    assert seen == list(range(1, 10))
    assert (chain.delivered.seq, chain.delivered.hash, chain.waiting) == (9, chain.hash, 0)
    chain.append([record(1)])
    assert chain.waiting > 0
    chain.close()


def test_a_chain_that_lost_what_others_were_told_of_is_left_alone(tmp_path):
    """As after a power cut on a disk that lied."""
    chain = claim(tmp_path)
    chain.append([record(i) for i in range(4)])
    chain.mark_delivered(chain.read(4, 10_000)[1])
    chain.close()
    rewrite(chain.folder, lines_of(chain.folder)[:2])
    with pytest.raises(ChainCut):
        Chain(chain.folder)
    other = claim(tmp_path)
    assert (other.folder != chain.folder, other.seq) == (True, 0)
    other.close()


def test_delivered_segments_go_and_the_rest_can_still_be_checked(tmp_path, small_segments):
    filled(tmp_path / "c", 20)
    chain = Chain(tmp_path / "c")
    anchors: list[int] = []

    def anchor(gone: Any) -> bytes:
        anchors.append(gone.seq)
        return orjson.dumps(Head(chain.id, gone.seq, gone.hash, 0, "good")._asdict())

    chain.trim(0, anchor)
    assert not anchors  # nothing was delivered
    _lines, position = chain.read(14, 1_000_000)
    chain.mark_delivered(position)
    chain.trim(0, anchor)
    chain.close()
    report = checked(tmp_path / "c")
    assert (report.fault, report.last) == (None, 20)
    assert report.records == 20 - anchors[-1] < 20
    rewrite(tmp_path / "c", lines_of(tmp_path / "c")[1:])
    assert checked(tmp_path / "c").fault is not None


def test_a_deletion_that_was_announced_and_not_done_is_no_fault(tmp_path, small_segments):
    filled(tmp_path / "c", 9)
    chain = Chain(tmp_path / "c")
    seq, digest = chains._last_of(segments(chain.folder)[1])
    chain.close()
    (tmp_path / "c" / "anchor.json").write_bytes(orjson.dumps(Head(chain.id, seq, digest, 0, "good")._asdict()))
    segments(tmp_path / "c")[0].unlink()
    assert checked(tmp_path / "c").fault is None


def test_what_the_disk_does_not_take_leaves_no_trace(tmp_path):
    chain = Chain(tmp_path / "c")
    chain.append([record(1)])
    before = chain.seq, chain.hash
    own, chain._fd = chain._fd, os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space"):
        chain.append([record(2), record(3)])
    os.close(chain._fd)
    chain._fd = own
    assert (chain.seq, chain.hash) == before
    chain.append([record(2)])
    chain.close()
    assert checked(tmp_path / "c").records == 2


def test_files_are_their_owners_alone(tmp_path):
    chain = claim(tmp_path)
    chain.append([record(1)])
    modes = {path.name: path.stat().st_mode & 0o077 for path in chain.folder.iterdir()}
    assert set(modes.values()) == {0}, modes
    chain.close()


def test_a_segment_that_cannot_be_made_leaves_the_one_before_in_use(tmp_path, monkeypatch):
    monkeypatch.setattr(chains, "SEGMENT_BYTES", 1)
    own = Chain(tmp_path / "chain")
    own.append([{"seq": 0, "prev": ""}])
    real = os.open
    with monkeypatch.context() as full:
        full.setattr(os, "open", lambda path, *more: real("/dev/none/such", *more))
        with pytest.raises(OSError, match="No such file"):
            own.append([{"seq": 0, "prev": ""}])
    os.fstat(own._fd)
    own.append([{"seq": 0, "prev": ""}])
    assert own.seq == 2
    own.close()

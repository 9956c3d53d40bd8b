"""Whether a chain is as it was written: no record changed, taken out, put in, moved or cut off."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from tollhouse.middlewares.stores.chain import genesis, records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path


class Head(NamedTuple):
    """What somebody else was told: after record `seq` the digest was `hash`."""

    chain: str
    seq: int
    hash: str
    at_ms: int
    signature: str

    def signed(self) -> bytes:
        """The bytes that the signature is over."""
        return signed(self.chain, self.seq, self.hash, self.at_ms)


class Fault(NamedTuple):
    """The first thing that is wrong with a chain. seq: of the first record that is not as it was."""

    seq: int
    where: str
    reason: str


class Report(NamedTuple):
    chain: str
    records: int
    last: int
    covered: int  # up to which record a head vouches for it
    fault: Fault | None


def signed(chain: str, seq: int, digest: str, at_ms: int) -> bytes:
    return orjson.dumps({"chain": chain, "seq": seq, "hash": digest, "at_ms": at_ms})


def head_of(text: bytes | Mapping[str, Any]) -> Head:
    """Raises ValueError for what is no head."""
    try:
        given = orjson.loads(text) if isinstance(text, bytes) else text
        head = Head(**given)
    except (orjson.JSONDecodeError, TypeError):
        msg = "is no head of a chain"
        raise ValueError(msg) from None
    if not (
        isinstance(head.seq, int)
        and isinstance(head.at_ms, int)
        and all(isinstance(text, str) for text in (head.chain, head.hash, head.signature))
    ):
        msg = "is no head of a chain"
        raise ValueError(msg)
    return head


def check(folder: Path, heads: Iterable[Head], *, is_signed: Callable[[bytes, str], bool]) -> Report:
    """Read a whole chain. heads: of this or other chains; those that nobody has signed are faults themselves.

    is_signed: whether these bytes have this signature.
    """
    chain_id = (folder / "id").read_text(encoding="ascii")
    try:
        own, anchor = _own_head(folder, "head.json"), _own_head(folder, "anchor.json")
    except ValueError as error:
        return Report(chain_id, 0, 0, 0, Fault(0, str(folder), str(error)))
    told = [head for head in (*heads, own, anchor) if head is not None and head.chain == chain_id]
    known: dict[int, str] = {}
    for head in told:
        if not is_signed(head.signed(), head.signature):
            return Report(chain_id, 0, 0, 0, Fault(head.seq, "its head", "the signature of the head does not hold"))
        if known.setdefault(head.seq, head.hash) != head.hash:
            return Report(chain_id, 0, 0, 0, Fault(head.seq, "its heads", "two heads of one record differ"))
    first, prev = _start(folder, chain_id, anchor)
    seq, fault = first, None
    for path, number, line in records(folder):
        fault = _fault_of(line, seq, prev, f"{path.name}:{number}", known)
        if fault is not None:
            break
        seq += 1
        prev = sha256(line[:-1]).hexdigest()
    covered = max(known, default=0)
    if fault is None and covered > seq:
        fault = Fault(seq + 1, "the end", f"records {seq + 1} to {covered} are missing at the end")
    return Report(chain_id, seq - first, seq, covered, fault)


def _own_head(folder: Path, name: str) -> Head | None:
    try:
        return head_of((folder / name).read_bytes())
    except FileNotFoundError:
        return None


def _start(folder: Path, chain_id: str, anchor: Head | None) -> tuple[int, str]:
    """What stands before the first record that is there: nothing, or what was deleted, up to its anchor."""
    if anchor is None:
        return 0, genesis(chain_id)
    first = next(iter(records(folder)), None)
    if first is not None and int(first[0].stem) <= anchor.seq:
        # A deletion was announced and not done. The anchor vouches for its record, and by that for those before.
        seq = int(first[0].stem) - 1
        return seq, (genesis(chain_id) if seq == 0 else _prev_of(first[2]))
    return anchor.seq, anchor.hash


def _prev_of(line: bytes) -> str:
    try:
        return str(orjson.loads(line)["prev"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""


def _fault_of(line: bytes, seq: int, prev: str, where: str, known: dict[int, str]) -> Fault | None:
    """What is wrong with the line that follows record `seq`."""
    expected = seq + 1
    if not line.endswith(b"\n"):
        return Fault(expected, where, "the record is cut off")
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        record = None
    if not isinstance(record, dict):
        return Fault(expected, where, "is no record")
    if record.get("seq") != expected:
        return Fault(expected, where, f"record {expected} should be here, and is not")
    if record.get("prev") != prev:
        # Which of the two was changed, nobody can say but a head.
        return Fault(max(seq, 1), where, f"does not follow on record {seq}: that one, or this, was changed")
    digest = sha256(line[:-1]).hexdigest()
    if known.get(expected, digest) != digest:
        return Fault(expected, where, "is not what its signed head says")
    return None

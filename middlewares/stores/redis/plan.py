"""A plan as Redis gets it: everything in its commands that does not change from call to call is written once."""

from __future__ import annotations

from struct import Struct, error
from typing import NamedTuple

from tollhouse.middlewares.stores.quota import (
    LIMIT,
    MAX_EXPIRY_MS,
    Bucket,
    Budget,
    Meter,
    Parallel,
    check_admission,
    check_plan,
)
from tollhouse.middlewares.stores.redis.scripts import digest
from tollhouse.middlewares.stores.redis.wire import bulk

_METER = Struct("<4Q")
_pack_four = _METER.pack
FINISH_NUMBERS = Struct("<2Q").pack
VERBS = {name: bulk(name.encode()) + b"$16\r\n" for name in ("settle", "resettle", "release", "cancel", "expire")}


class Keys:
    """Names of keys under one prefix, all in one hash slot."""

    def __init__(self, prefix: str) -> None:
        if not prefix.isprintable() or not prefix or "{" in prefix or "}" in prefix:
            raise ValueError(f"the prefix of the store's keys is printable, without braces, not {prefix!r}")
        self.tag = f"{{{prefix}}}".encode()
        self.hold = self.tag + b":h:"
        self.expiries = self.tag + b":x"
        self.ledger = self.tag + b":ledger"
        self.readers = self.tag + b":readers"
        self.probe = self.tag + b":probe"
        self.lease = self.tag + b":l:"
        self.leases = self.tag + b":leases"

    def meter(self, meter: Meter) -> bytes:
        name = self.tag + b":m:" + meter.name.encode()
        return b"%b:%d" % (name, meter.start_ms) if isinstance(meter, Budget) else name


class Plan:
    """The meters of one kind of request, in the order of asking. Made by the store, kept by its caller."""

    __slots__ = ("admit_head", "admit_tail", "finish_head", "finish_tail", "meters", "restore_head", "restore_tail")

    def __init__(self, meters: tuple[Meter, ...], keys: Keys) -> None:
        if meters:
            check_plan(meters)
        self.meters = meters
        packed = b"".join(map(pack_meter, meters))
        names = [keys.meter(meter) for meter in meters]
        own = b"".join(map(bulk, names)) + bulk(packed)
        self.admit_head, self.admit_tail = _frame("admit", [keys.expiries], len(names), own, b"$32\r\n")
        self.restore_head, self.restore_tail = _frame("restore", [keys.expiries], len(names), own, b"$24\r\n")
        self.finish_head, self.finish_tail = finish_frame(keys, names, packed)
        # The name of the hold goes between head and tail, behind what all holds' keys begin with.

    def __repr__(self) -> str:
        return f"Plan({', '.join(meter.name for meter in self.meters)})"


class Hold(NamedTuple):
    """What an admission has taken, until it is settled or released."""

    key: bytes  # as an argument of a command
    plan: Plan
    granted: int

    @property
    def id(self) -> str:
        """Its name in the ledger."""
        return self.key.rstrip().rpartition(b":h:")[2].decode()


def admit_numbers(tokens: int, want: int, minimum: int, expires_in_ms: int) -> bytes:
    """Raises ValueError for numbers that no store takes."""
    if not (0 <= tokens < LIMIT and 0 <= minimum <= want < LIMIT and 0 < expires_in_ms <= MAX_EXPIRY_MS):
        check_admission(tokens, want, minimum, expires_in_ms)
    try:
        return _pack_four(tokens, want, minimum, expires_in_ms)
    except error:
        raise ValueError("admit: tokens, want, minimum and expires_in_ms are whole numbers") from None


def finish_frame(keys: Keys, names: list[bytes], packed: bytes) -> tuple[bytes, bytes]:
    """What stands before and behind the key of the hold in a call of finish.lua, up to its verb."""
    own = b"".join(map(bulk, names)) + bulk(packed)
    return _frame("finish", [keys.expiries, keys.ledger], len(names), own, b"")


def _frame(script: str, fixed: list[bytes], meters: int, own: bytes, end: bytes) -> tuple[bytes, bytes]:
    count = 1 + len(fixed) + meters
    words = 3 + count + (4 if script == "finish" else 3)
    head = b"*%d\r\n$7\r\nEVALSHA\r\n%b%b" % (words, bulk(digest(script)), bulk(b"%d" % count))
    return head, b"".join(map(bulk, fixed)) + own + end


def pack_meter(meter: Meter) -> bytes:
    if isinstance(meter, Bucket):
        kind = 1 + (meter.unit == "tokens") + 2 * (meter.refill == "interval")
        return _METER.pack(kind, meter.capacity, *meter.rate)
    if isinstance(meter, Parallel):
        return _METER.pack(5, meter.capacity, 0, 0)
    return _METER.pack(6, meter.cap, meter.start_ms, meter.end_ms)

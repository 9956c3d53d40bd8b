"""Counters, ledger and the upstream's books of a gateway that has stopped, side by side."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tests.support.gateway import environment
from tests.support.net import wait_until
from tollhouse._native import QuotaStore
from tollhouse.middlewares.stores.ledger import LedgerFile

if TYPE_CHECKING:
    from tests.support.books import Bill, Books

EVERYTHING = 10_000_000


@dataclass(frozen=True)
class Statement:
    """What the state folder of a gateway says. `posted`, `reserved`: nano-USD by the name of the budget,
    `windows`: what is posted by its name and the start of the window."""

    posted: dict[str, int]
    windows: dict[tuple[str, int], int]
    reserved: dict[str, int]
    open_holds: int
    unstored: int
    records: list[dict[str, Any]]

    @property
    def total(self) -> int:
        """Of the ledger."""
        return sum(record["amount"] for record in self.records)

    def of(self, request: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["request"] == request]


def records(state: Path) -> list[dict[str, Any]]:
    """The ledger's rows, while a gateway may be running."""
    path = state / "ledger.db"
    if not path.exists():
        return []
    file = LedgerFile(path, read_only=True)
    try:
        return file.records(EVERYTHING)
    finally:
        file.close()


def statement(state: Path) -> Statement:
    """The gateway has to have stopped."""
    file = LedgerFile(state / "ledger.db")
    stored = int(file.last("embedded:0") or 0)
    rows = file.records(EVERYTHING)
    file.close()
    store = QuotaStore(state / "quota" / "0", stored=stored)
    posted: defaultdict[str, int] = defaultdict(int)
    reserved: defaultdict[str, int] = defaultdict(int)
    windows = {}
    for name, start, was_posted, was_reserved in store.accounts():
        windows[name, start] = was_posted
        posted[name] += was_posted
        reserved[name] += was_reserved
    return Statement(dict(posted), windows, dict(reserved), store.open_holds, len(store.unstored(EVERYTHING)), rows)


def usage(state: Path) -> int:
    """The sum that `tollhouse usage` shows, in nano-USD."""
    command = [str(Path(sys.executable).with_name("tollhouse")), "usage", "--json", "--by", "key"]
    env = environment(LLM_GATEWAY_STATE_DIR=str(state))
    done = subprocess.run(command, env=env, check=True, capture_output=True, timeout=30)
    dollars = [Decimal(orjson.loads(line)["cost_usd"]) for line in done.stdout.splitlines()]
    return int(sum(dollars) * 10**9)


def wait_recorded(state: Path, books: Books, *, timeout_s: float = 30.0) -> None:
    """Every bill of the upstream has a record in the ledger: settled, or expired."""

    def missing() -> list[Bill]:
        known = {record["request"] for record in records(state)}
        return [bill for bill in books.bills if bill.request not in known]

    try:
        wait_until(lambda: not missing(), what="every bill has a record", timeout_s=timeout_s, every_s=0.1)
    except AssertionError:
        left = missing()
        msg = f"{len(left)} bills without a record, as {left[:5]}"
        raise AssertionError(msg) from None


def check(found: Statement, books: Books, *, caps: dict[str, int], shown: int | None = None) -> None:
    """Nothing is reserved any more; counters, ledger and what is shown are equal; nobody was charged too little or
    twice, and no budget more than its cap.

    caps: by the name of the budget. All requests are charged on all those that begin with `global`.
    """
    assert (found.open_holds, found.unstored) == (0, 0)
    assert set(found.reserved.values()) <= {0}, found.reserved
    by_key: defaultdict[str, int] = defaultdict(int)
    by_request: defaultdict[str, int] = defaultdict(int)
    for record in found.records:
        by_key[record["key"]] += record["amount"]
        by_request[record["request"]] += record["amount"]
    for name, posted in found.posted.items():
        level, key, *_ = name.split(":")
        assert posted == (found.total if level == "global" else by_key[key]), name
        assert posted <= caps[name], name
    holds = [(record["hold"], record["status"] == "late") for record in found.records]
    assert len(set(holds)) == len(holds)
    owed: defaultdict[str, int] = defaultdict(int)
    for bill in books.bills:
        owed[bill.request] += bill.owed  # one that was told to two connections has two
    for request, amount in owed.items():
        assert by_request[request] >= amount, (books.of(request), found.of(request))
    assert found.total >= books.owed
    if shown is not None:
        assert shown == found.total

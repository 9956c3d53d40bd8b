"""What a charge becomes in the ledger, beside how Python once read its detail."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.middlewares.stores.ledger import Charge, LedgerFile
from tollhouse.middlewares.stores.ledger_schema import DETAIL, SERIES, TOKENS
from tollhouse.middlewares.stores.quota import Admitted

NOW = 1_800_000_000_000
UNKNOWN: tuple[Any, ...] = (*(None,) * DETAIL.index("status"), "complete", True, *(0,) * len(TOKENS))
FULL = ["r", "alice", "t", "kim", "m", "acme", "p", "up", "v", "complete", True, 1, 2, 3, 4, 5, 6, 7]

texts = st.none() | st.sampled_from(["alice", "m", "", '"\\', "é\u2028", "late"]) | st.text(max_size=8)
statuses = st.sampled_from(["complete", "attempt", "partial", "late"])
others: dict[str, st.SearchStrategy[Any]] = {"status": statuses, "priced": st.booleans()}
others |= dict.fromkeys(TOKENS, st.integers(0, 2**62))
members = {name: others.get(name, texts) for name in DETAIL}
# A list that lacks its last member alone would be one of the version before there was a tenant.
lengths = st.sampled_from([n for n in range(len(DETAIL) + 1) if n != len(DETAIL) - 1])
lists = st.tuples(st.tuples(*members.values()), lengths).map(lambda drawn: list(drawn[0][: drawn[1]]))
before_tenants = st.tuples(*(values for name, values in members.items() if name != "tenant")).map(list)
by_name = st.fixed_dictionaries({}, optional=members | {"colour": st.just("red")})
details = st.none() | lists | before_tenants | by_name


def as_python_read_it(charge: Charge) -> dict[str, Any]:
    """The row that the ledger had when its rows were made in Python."""
    detail = orjson.loads(charge.detail) if charge.detail else []
    if isinstance(detail, dict):
        detail = [detail.get(name, UNKNOWN[i]) for i, name in enumerate(DETAIL)]
    elif len(detail) == len(DETAIL) - 1:
        tenant = DETAIL.index("tenant")
        detail = [*detail[:tenant], None, *detail[tenant:]]
    said = dict(zip(DETAIL, [*detail, *UNKNOWN[len(detail) :]], strict=True))
    if not (charge.status == "settled" or (charge.status == "unknown" and said["status"] == "attempt")):
        said["status"] = charge.status
    if charge.status == "late":
        said |= dict.fromkeys(TOKENS, 0)
    return said | {
        "at_ms": charge.at_ms,
        "shared": not isinstance(charge.position, int),
        "hold": charge.hold,
        "expired": charge.status == "estimated",
        "amount": charge.amount,
    }


def written(charges: list[Charge]) -> list[dict[str, Any]]:
    with TemporaryDirectory() as folder:
        file = LedgerFile(Path(folder) / "ledger.db")
        try:
            file.append("s", charges)
            assert file.last("s") == str(charges[-1].position)
            return file.records()[::-1]
        finally:
            file.close()


@settings(deadline=None)  # it waits for a disk
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["settled", "late", "estimated", "unknown"]),
            details,
            st.integers(-(2**62), 2**62),
            st.integers(0, 2**50),
        ),
        min_size=1,
        max_size=12,
    ),
    st.booleans(),
)
def test_rows_are_what_python_made_of_the_same_charges(told: list[tuple[str, Any, int, int]], is_shared: bool) -> None:
    charges = [
        Charge(f"{i}-0" if is_shared else i, status, f"h{i}", amount, at, orjson.dumps(d) if d is not None else b"")
        for i, (status, d, amount, at) in enumerate(told, 1)
    ]
    assert written(charges) == [as_python_read_it(charge) for charge in charges]


@pytest.mark.parametrize(
    "detail",
    [
        b"{",
        b"[1",
        b"null",
        b"7",
        b'"r"',
        b"[] []",
        b'["\\ud800"]',
        b'["\xff"]',
        b"[[]]",
        b'[null, {"a": 1}]',
        b"[1e999]",
        orjson.dumps([*FULL, 8]),
        orjson.dumps([*FULL[:-1], 2**63]),
    ],
)
def test_what_is_no_detail_is_written_by_nobody(tmp_path: Path, detail: bytes) -> None:
    file = LedgerFile(tmp_path / "ledger.db")
    good = Charge(1, "settled", "1", 5, NOW, orjson.dumps(FULL))
    with pytest.raises(ValueError, match="the detail of the charge of hold 2 cannot be read"):
        file.append("s", [good, good._replace(position=2, hold="2", detail=detail)])
    assert (file.last("s"), file.records()) == (None, [])
    file.close()


def settled(store: EmbeddedQuota, count: int, *, first: int = 0) -> None:
    """Some of them end as they are told to, some too late, and some never."""
    plan = store.plan([])
    for number in range(first, first + count):
        meta = orjson.dumps([f"r{number}", f"key{number % 7}"])
        held = store.admit(plan, expires_in_ms=1000, meta=meta, now_ms=NOW)
        assert isinstance(held, Admitted)
        if number % 3:
            store.expire_due(now_ms=NOW + 1000)
        if number % 3 < 2:
            detail = [f"r{number}", f"key{number % 7}", *FULL[2:]]
            store.settle(held.hold, amount=0, entry=orjson.dumps(detail), now_ms=NOW + 1000)


def test_what_the_file_takes_from_a_store_is_what_the_store_tells(tmp_path: Path) -> None:
    store = EmbeddedQuota()
    settled(store, 600)
    told, taken = LedgerFile(tmp_path / "told.db"), LedgerFile(tmp_path / "taken.db")
    charges = store.charges(10_000)
    assert {charge.status for charge in charges} == {"settled", "late", "estimated"}
    told.append("e", charges)
    records = store.records
    assert records is not None
    assert taken.append_from("e", records, 250) == 250
    assert [charge.position for charge in store.charges(1)] == [251]
    assert taken.append_from("e", records, 10_000) == len(charges) - 250
    assert store.charges(1) == []
    assert taken.records(10_000) == told.records(10_000)
    assert taken.last("e") == told.last("e")
    assert (
        dict(zip(SERIES, ("late", True, "key1"), strict=False)).items()
        <= next(row for row in taken.records(10_000) if row["status"] == "late" and row["key"] == "key1").items()
    )
    told.close()
    taken.close()


def test_what_is_in_the_file_already_is_dropped_by_the_store(tmp_path: Path) -> None:
    store, file = EmbeddedQuota(), LedgerFile(tmp_path / "ledger.db")
    settled(store, 30)
    charges = store.charges(100)
    file.append("e", charges[:10])
    assert store.records is not None
    assert file.append_from("e", store.records, 100) == len(charges) - 10
    assert [row["hold"] for row in file.records()[::-1]] == [charge.hold for charge in charges]
    file.close()


async def test_whoever_takes_records_does_not_keep_a_store_that_is_handed_over(tmp_path: Path) -> None:
    store, file = EmbeddedQuota(tmp_path / "quota"), LedgerFile(tmp_path / "ledger.db")
    await store.open()
    settled(store, 5)
    records = store.records
    assert records is not None
    store.hand_over()
    successor = EmbeddedQuota(tmp_path / "quota")
    await successor.open()
    assert successor.available
    assert file.append_from("e", records, 100) == 0
    assert successor.records is not None
    assert file.append_from("e", successor.records, 100) > 0
    await store.close()
    await successor.close()
    file.close()

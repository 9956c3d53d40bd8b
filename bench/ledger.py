"""CPU that a record of the ledger costs from the embedded store to SQLite, and the bytes that it takes there.

python -m bench.ledger [RECORDS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from bench.hot.books import settle
from tollhouse.gateway.quota import TAKEN_AT_ONCE
from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.middlewares.stores.ledger import LedgerFile


def measure(records: int) -> tuple[float, float]:
    """Microseconds of CPU and bytes, per record."""
    store = EmbeddedQuota()
    for number in range(records):
        settle(store, number)
    assert store.records is not None
    with tempfile.TemporaryDirectory() as folder:
        file = LedgerFile(Path(folder) / "ledger.db")
        began = time.process_time()
        while file.append_from("bench", store.records, TAKEN_AT_ONCE):
            pass
        spent = time.process_time() - began
        file.close()
        size = (Path(folder) / "ledger.db").stat().st_size
    return spent / records * 1e6, size / records


def main(records: int) -> None:
    rounds = [measure(records) for _ in range(3)]
    print(f"{min(cpu for cpu, _ in rounds):.2f} us of CPU and {rounds[0][1]:.0f} bytes a record")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60_000)

"""CPU that a record of the ledger costs when the keeper writes it to SQLite, and the bytes that it takes there.

python -m bench.ledger [RECORDS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import orjson

from tollhouse.middlewares.stores.ledger import Charge, LedgerFile

BATCH = 500  # as many as the keeper of the embedded store takes at a time
NOW_MS = 1_795_000_000_000
TOKENS = (100, 0, 0, 64, 0, 0, 0)


def charge(number: int) -> Charge:
    """Of one key and one model, as most that follow one another are."""
    who = ("production", "team", None, "gpt-4o-mini", None, "openai", "gpt-4o-mini", "2026-11-20")
    detail = orjson.dumps((f"req_{number:032x}", *who, "complete", True, *TOKENS))
    return Charge(number, "settled", str(number), 1234, NOW_MS + number, detail)


def measure(records: int) -> tuple[float, float]:
    """Microseconds of CPU and bytes, per record."""
    charges = [charge(number) for number in range(records)]
    with tempfile.TemporaryDirectory() as folder:
        file = LedgerFile(Path(folder) / "ledger.db")
        began = time.process_time()
        for first in range(0, records, BATCH):
            file.append("bench", charges[first : first + BATCH])
        spent = time.process_time() - began
        file.close()
        size = (Path(folder) / "ledger.db").stat().st_size
    return spent / records * 1e6, size / records


def main(records: int) -> None:
    rounds = [measure(records) for _ in range(3)]
    print(f"{min(cpu for cpu, _ in rounds):.2f} us of CPU and {rounds[0][1]:.0f} bytes a record")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60_000)

"""libfaketime: a process whose wall clock is set while it runs. The monotonic clock goes on as it does."""

from __future__ import annotations

from glob import glob
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class WallClock:
    """`env` is for the process; `set` moves its clock by so many seconds from the true time."""

    def __init__(self, folder: Path) -> None:
        libraries = glob("/usr/lib*/*/faketime/libfaketimeMT.so.1")
        assert libraries, "libfaketime is missing: scripts/system-packages.sh faketime:faketime"
        self._file = folder / "wall-clock"
        self.offset_s = 0
        self.set(0)
        self.env = {
            "LD_PRELOAD": libraries[0],
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset_s: int) -> None:
        self.offset_s = offset_s
        # Renamed, so that nobody reads half of it.
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}")
        new.replace(self._file)

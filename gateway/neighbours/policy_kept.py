"""The last good document of the policy service, in the state folder: a restart while the service is away has one.

It is believed as little as one from the service: it is checked again when it is read. When the service has confirmed it
last is the file's time of modification, so that it serves no longer than it would have without the restart.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from tollhouse.middlewares.stores.files import replace

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 4 * 1024 * 1024  # bytes of a document


class KeptPolicy:
    """In `folder`, for all workers. precedes: whether a document is older than another, both good; the other may have
    become bad, and then it is not.
    """

    def __init__(self, folder: Path, *, precedes: Callable[[bytes, bytes], bool]) -> None:
        self._path = folder / "document"
        self._precedes = precedes

    def load(self) -> tuple[bytes, float] | None:
        """A document, not checked yet, and for how many seconds nobody has confirmed it. Raises OSError."""
        try:
            with self._path.open("rb") as file:
                age_s = time() - os.fstat(file.fileno()).st_mtime
                document = file.read(MOST + 1)
        except FileNotFoundError:
            return None
        # From the future: the clock was set, and nobody knows for how long it has been there.
        return (document, age_s if age_s >= 0 else float("inf")) if 0 < len(document) <= MOST else None

    def keep(self, document: bytes) -> None:
        """The service has said that it is this one. One that is newer, by another worker, stays. Raises OSError."""
        folder = self._path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = self.load()
            if found is not None and found[0] == document:
                os.utime(self._path)
            elif found is None or not self._precedes(document, found[0]):
                replace(self._path, document)
        finally:
            os.close(lock)

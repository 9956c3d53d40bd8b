"""When the machine stood still: what took long meanwhile says nothing of the gateway."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

NAP_S = 0.001
LATE_S = 0.01  # longer than other threads of the tests keep the interpreter


class Stalls:
    """Context manager: while it is entered, notes when this process had no processor, however ready it was to run.

    The process of the tests, not the gateway's: what keeps the gateway busy is no stall.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stalls", daemon=True)

    def within(self, since: float, until: float) -> float:
        """Seconds of that time (`time.monotonic`) for which it stood still."""
        return sum(max(0.0, min(end, until) - max(begin, since)) for begin, end in tuple(self._seen))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            due = time.monotonic() + NAP_S
            time.sleep(NAP_S)
            now = time.monotonic()
            if now - due > LATE_S:
                self._seen.append((due, now))


class Stopwatch(Stalls):
    """Seconds that a block took, without those for which the machine stood still; once it is left."""

    seconds = 0.0

    def __enter__(self) -> Self:
        super().__enter__()
        self._since = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        until = time.monotonic()
        super().__exit__(kind, error, at)
        self.seconds = until - self._since - self.within(self._since, until)

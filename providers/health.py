"""What health checks have to say of one upstream. It does not check anything itself, and has no clock."""

from __future__ import annotations


class Health:
    """Changes its mind only after several checks in a row. `is_up` is None until the first one has ended."""

    __slots__ = ("_healthy_threshold", "_row", "_unhealthy_threshold", "is_up")

    def __init__(self, *, unhealthy_threshold: int = 3, healthy_threshold: int = 1) -> None:
        self._unhealthy_threshold = unhealthy_threshold
        self._healthy_threshold = healthy_threshold
        self._row = 0  # checks in a row that say something else
        self.is_up: bool | None = None

    def note(self, *, is_up: bool) -> bool:
        """A check has ended; True: it has changed what is thought."""
        if self.is_up is None:
            self.is_up = is_up
            return True
        if is_up == self.is_up:
            self._row = 0
            return False
        self._row += 1
        if self._row < (self._healthy_threshold if is_up else self._unhealthy_threshold):
            return False
        self._row = 0
        self.is_up = is_up
        return True


def is_alive(status: int) -> bool:
    """Whether a status speaks of a server that can be used: one that knows no such path is there all the same."""
    return status < 500 and status not in {401, 403, 407, 429} and status >= 200

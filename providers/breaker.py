"""Whether a deployment may be asked. It is told the time (seconds, any steady clock) and has no clock of its own.

closed ── too many failures, or one that says enough ──> open ── its time is over ──> half-open
half-open ── the one probe went well ──> closed; it did not ──> open
"""

from __future__ import annotations

from collections import deque

CLOSED, HALF_OPEN, OPEN = 0, 1, 2
DOUBTERS = 3  # callers
LONGEST_S = 3600.0  # an upstream that asks for more than that is asked again all the same


class Breaker:
    """Of one deployment.

    More than `allowed_fails` failures within `window_s` open it for `cooldown_s`; then one request finds out how things
    are while the others stay away. `cause` is what opened it last. `is_down`: a health check says so. is_off: only that
    keeps requests away.
    """

    __slots__ = (
        "_allowed_fails",
        "_cooldown_s",
        "_doubted_at",
        "_doubters",
        "_failures",
        "_is_off",
        "_probe",
        "_probes",
        "_window_s",
        "cause",
        "is_down",
        "is_quiet",
        "until",
    )

    def __init__(
        self, *, allowed_fails: int = 3, window_s: float = 60.0, cooldown_s: float = 5.0, is_off: bool = False
    ) -> None:
        self._allowed_fails = allowed_fails
        self._window_s = window_s
        self._cooldown_s = cooldown_s
        self._failures: deque[float] = deque(maxlen=allowed_fails + 1)
        self._doubters: set[str] = set()  # whom it has refused, since it has served anybody
        self._doubted_at = 0.0  # the first of them
        self._is_off = is_off
        self._probe = 0  # the number of the one that is under way; 0: none is
        self._probes = 0
        self.until: float | None = None  # when it stops being open; None: it is closed
        self.cause = ""
        self.is_down = False
        self.is_quiet = True  # nothing to ask and nothing to tell: closed, and no failure is remembered

    def admits(self, now: float) -> bool:
        """Whether a request may be sent."""
        if self.is_down:
            return False
        return self.until is None or (now >= self.until and not self._probe)

    def enter(self, now: float) -> int:
        """A request is about to be sent; not 0: it is the probe of this number, whose end has to be told."""
        if self.until is None or now < self.until or self._probe:
            return 0
        self._probes += 1
        self._probe = self._probes
        return self._probe

    def leave(self, probe: int) -> None:
        """The probe of this number has ended without telling anything. It may not be the current one any more."""
        if probe == self._probe:
            self._probe = 0

    def succeed(self, now: float) -> None:
        """An answer came. While it is open, that is news of before."""
        if self.until is None:
            self._doubters.clear()
            if self._failures and now - self._failures[-1] > self._window_s:
                self._failures.clear()
            self.is_quiet = not (self._failures or self.is_down)
        elif now >= self.until:
            self._close()

    def fail(self, now: float, cause: str) -> None:
        """The deployment did not do its part."""
        if self.until is not None:
            if now >= self.until:
                self.cool(now, self._cooldown_s, cause)
            return
        self.is_quiet = False
        self._failures.append(now)
        if len(self._failures) > self._allowed_fails and now - self._failures[0] <= self._window_s:
            self.cool(now, self._cooldown_s, cause)

    def doubt(self, now: float, cause: str, caller: str) -> None:
        """It refused what may be this caller's own doing: only several callers, and nobody served in between, open it.

        Of a probe that says nothing.
        """
        if self._is_off or self.until is not None:
            return
        if not self._doubters or now - self._doubted_at > self._window_s:
            self._doubters = set()
            self._doubted_at = now
        self._doubters.add(caller)
        self.is_quiet = False
        if len(self._doubters) >= DOUBTERS:
            self.cool(now, None, cause)

    def cool(self, now: float, seconds: float | None, cause: str) -> None:
        """Open it for so long, whatever came before; None: for its usual time."""
        if self._is_off:
            return
        seconds = self._cooldown_s if seconds is None else min(seconds, LONGEST_S)
        self.until = max(self.until or 0.0, now + seconds)
        self.cause = cause
        self.is_quiet = False
        self._probe = 0
        self._failures.clear()
        self._doubters.clear()

    def check(self, *, is_up: bool) -> None:
        """What a health check has found out."""
        self.is_down = not is_up
        if self.is_down:
            self.is_quiet = False
            self.cause = "connection"
        elif self.until is None and not (self._failures or self._doubters):
            self.is_quiet = True

    def wait_s(self, now: float) -> float:
        """How long until a request may be sent, as far as that is known."""
        if self.is_down:
            return self._cooldown_s
        return 0.0 if self.until is None else max(0.0, self.until - now)

    def state(self, now: float) -> int:
        """CLOSED, HALF_OPEN or OPEN, for those who look on."""
        if self.is_down:
            return OPEN
        if self.until is None:
            return CLOSED
        return OPEN if now < self.until else HALF_OPEN

    def _close(self) -> None:
        self.until = None
        self._probe = 0
        self._failures.clear()
        self.is_quiet = not self.is_down

"""One request to an upstream, as the gateway sees it: flags that rise, bytes that can be taken, one waiter.

A call is fed by a connection (or by the built-in model) and drained by the request's own coroutine. All of it runs in
the event loop's thread, so nothing is locked and nothing is copied between threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import inf

from tollhouse._native import END, FAULT, READY, ResponseReader
from tollhouse.providers.errors import UpstreamError, UpstreamProtocolError, UpstreamSpent, UpstreamStreamError
from tollhouse.providers.timeouts import Timeouts

Sink = Callable[[bytes], Awaitable[object] | None]
SETTLED = END | FAULT
FIRST = READY | SETTLED
CHUNK = 32 * 1024  # servers queue a few messages per client whatever their size, so they must not be large
HIDDEN = b"[redacted]"
# Seconds of silence after which a stream whose choices have all finished is given its end. Its usage comes right behind
# the finish; where that is still to be told, more are worth it, as an answer without is charged by its length.
LAST_WORD_S = 5.0
USAGE_S = 30.0


class Call:
    """State of one exchange with an upstream.

    `flags` are those of ResponseReader; `error` is set when the call failed for a reason outside the bytes (timeout,
    connection lost, shutdown) and stands beside FAULT.
    """

    __slots__ = (
        "_mask",
        "_waiter",
        "blocked",
        "error",
        "first_at",
        "flags",
        "hidden",
        "on_abort",
        "on_drain",
        "opening",
        "ping_at",
        "read_at",
        "reader",
        "sink",
        "timeouts",
        "total_at",
        "warnings",
        "watcher",
    )

    def __init__(self, reader: ResponseReader, timeouts: Timeouts) -> None:
        self.reader = reader
        self.timeouts = timeouts
        self.flags = 0
        self.hidden = b""  # the upstream's key, which its errors must not tell the caller
        self.warnings: tuple[str, ...] = ()  # names of what the upstream could not be told
        self.error: UpstreamError | None = None
        self.on_abort: Callable[[], None] | None = None
        self.on_drain: Callable[[], None] | None = None
        # Has to be awaited before anything else: a connection is not open yet.
        self.opening: Awaitable[None] | None = None
        # Takes what is ready at once, without waking whoever waits. It returns None, or what has to be awaited before
        # more can be taken: that is found in `blocked`, and the sink is off.
        self.sink: Sink | None = None
        self.blocked: Awaitable[object] | None = None
        # time.monotonic: the first event is due, bytes were read last, a keepalive is due, everything must have ended.
        self.first_at = inf
        self.read_at = 0.0
        self.ping_at = inf
        self.total_at = inf
        # Called in the place of waking a waiter, once.
        self.watcher: Callable[[], None] | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._mask = 0

    def arm(self, now: float, *, stream: bool) -> None:
        """Start the clocks. A whole answer sends nothing until it is complete: only a stream owes a first event."""
        timeouts = self.timeouts
        self.read_at = now
        self.total_at = now + timeouts.total_s
        if stream:
            self.first_at = now + timeouts.first_event_s
            if timeouts.keepalive_s:
                self.ping_at = now + timeouts.keepalive_s

    def is_late(self, now: float) -> bool:
        """Whether the upstream has been silent for too long. While its reading is paused that is the client's doing."""
        if self.on_drain is not None:
            return False
        if self.first_at != inf and not self.reader.events:
            return now >= self.first_at
        return now - self.read_at >= self.patience_s

    @property
    def patience_s(self) -> float:
        """Seconds that the upstream may be silent for in the middle of its answer, as that stands."""
        idle_s = self.timeouts.idle_s
        if not self.reader.at_its_end:
            return idle_s
        return min(idle_s, LAST_WORD_S if self.reader.tokens is not None else USAGE_S)

    def due_at(self, now: float) -> float:
        """No deadline of it is over before that, whatever happens from now on."""
        awaits_first = self.first_at != inf and not self.reader.events
        # When the first event comes, silence counts from there; what comes next may leave nothing to say but the end.
        silent_at = min((now if awaits_first else self.read_at) + self.patience_s, now + LAST_WORD_S)
        return min(silent_at, self.first_at if awaits_first else inf, self.ping_at, self.total_at)

    def raise_flags(self, flags: int) -> None:
        """Record flags (as returned by the reader) and wake the waiter if it asked for one of them."""
        self.flags = flags
        sink = self.sink
        if sink is not None and flags & FIRST == READY and not self.reader.done:
            self._pour(sink)
        elif flags & self._mask or sink is not None:
            self._wake(result=True)

    def fail(self, error: UpstreamError) -> None:
        """End the call from outside; what was received before can still be taken.

        A stream whose choices have all ended is complete, and does not fail.
        """
        if self.flags & SETTLED:
            return
        flags = self.reader.lost() if self.reader.done else self.flags
        if not self.reader.ended:
            self.error = error
            flags |= FAULT
        self.raise_flags(flags)
        self.close()

    def close(self) -> None:
        """Give up the upstream: its socket is closed at once. Harmless when the call is settled already."""
        abort, self.on_abort = self.on_abort, None
        if abort is not None:
            abort()

    def wait(self, mask: int, loop: asyncio.AbstractEventLoop) -> asyncio.Future[bool]:
        """A future that is done once one of `mask` is up: True; or False when it is time for a keepalive."""
        waiter: asyncio.Future[bool] = loop.create_future()
        if self.flags & mask:
            waiter.set_result(True)
        else:
            self._waiter = waiter
            self._mask = mask
        return waiter

    def watch(self, mask: int, watcher: Callable[[], None]) -> None:
        """Call `watcher` once one of `mask` is up, or when it is time for a keepalive. None of them may be up yet."""
        self._mask = mask
        self.watcher = watcher

    def nudge(self) -> None:
        """Wake the waiter with False, so that it can send a keepalive."""
        self._wake(result=False)

    def _wake(self, *, result: bool) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(result)
        watcher, self.watcher = self.watcher, None
        if watcher is not None:
            watcher()

    def _pour(self, sink: Sink) -> None:
        try:
            while self.flags & READY and self.blocked is None:
                self.blocked = sink(self.take(CHUNK))
        except Exception as error:  # noqa: BLE001 - the waiter is the one to know
            waiter, self._waiter = self._waiter, None
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)
        if self.blocked is not None:
            self.sink = None
            self._wake(result=True)

    def take(self, limit: int | None = None) -> bytes:
        """What is ready for the client, at most `limit` bytes. Reading goes on, if it was paused, once all is taken."""
        reader = self.reader
        data = reader.take(limit)
        if limit is not None and reader.pending:
            return data
        self.flags &= ~READY
        resume, self.on_drain = self.on_drain, None
        if resume is not None:
            resume()
        return data

    def cause(self) -> UpstreamError:
        """Why the call has FAULT."""
        if self.error is not None:
            return self.error
        kind, message = self.reader.fault or ("protocol", "the upstream's answer ended")
        if self.hidden:
            message = message.replace(self.hidden.decode(), HIDDEN.decode())
        if kind == "stream_error":
            return UpstreamStreamError(message)
        if kind == "spent":
            return UpstreamSpent(message)
        return UpstreamProtocolError(message, code=f"upstream_{kind}")

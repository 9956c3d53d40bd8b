"""HTTP/1.1 to one origin, inside the event loop: a protocol per connection and a pool of idle ones.

Chosen by measurement (bench/README.md): no thread crossing, no future per chunk, one native call per read.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Protocol

from tollhouse._native import FAULT, READY
from tollhouse.providers.addresses import resolve
from tollhouse.providers.call import FIRST, SETTLED, Call
from tollhouse.providers.deadlines import Deadlines
from tollhouse.providers.errors import UpstreamBusy, UpstreamProtocolError, UpstreamTimeout, UpstreamUnreachable

STREAM_BUFFER = 65536  # bytes ready and not taken before the upstream's reading is paused
COPY_LIMIT = 65536  # bodies up to this size are joined with the head into one write
KEEP_FEW = 32  # idle connections, however old
COUNTED = 256  # calls that end say how fast they do
SOON_S = 0.1  # who gets a place that soon may wait, however many they are
MOST = 8  # times as many as there are places wait, at most
STEP_S = 0.001  # of the loop's timers
KEEP_IDLE_S = 50.0  # providers and load balancers close idle connections after 60 s and more


class StaleConnection(UpstreamUnreachable):
    """A kept-alive connection was closed before any byte came back; the same upstream may be asked once more."""


class Connection(asyncio.Protocol):
    """One TCP or TLS connection; at most one call at a time."""

    __slots__ = ("_call", "_origin", "_received", "idle_since", "transport")

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.transport: asyncio.Transport | None = None
        self._call: Call | None = None
        self._received = False  # any byte of the answer to the present call
        self.idle_since = 0.0  # time.monotonic; 0 until the connection has served a call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        sock = transport.get_extra_info("socket")
        if sock is not None:
            # Loops set it too; a step of 40 ms per chunk is too dear to rely on that.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, call: Call, head: bytes, body: bytes) -> None:
        """Write the request; the answer goes to `call`."""
        transport = self.transport
        assert transport is not None
        self._call = call
        self._received = False
        call.on_abort = self.abort
        if len(body) <= COPY_LIMIT:
            transport.write(head + body)
        else:
            transport.writelines((head, body))

    def data_received(self, data: bytes) -> None:
        call = self._call
        if call is None:  # nobody asked: not a peer to go on with
            self.abort()
            return
        self._received = True
        reader = call.reader
        flags = reader.feed(data)
        call.read_at = self._origin.deadlines.now
        if flags & SETTLED:
            self._settle(call, reusable=not flags & FAULT and reader.reusable)
        call.raise_flags(flags)
        if call.flags & FIRST == READY and reader.pending > STREAM_BUFFER and call.on_drain is None:
            transport = self.transport
            assert transport is not None
            transport.pause_reading()
            call.on_drain = transport.resume_reading

    def eof_received(self) -> bool:
        call = self._call
        if call is not None and (self._received or not self.idle_since):
            flags = call.reader.eof()
            self._settle(call, reusable=False)
            call.raise_flags(flags)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        call = self._call
        self._origin.forget(self)
        if call is None:
            return
        self._settle(call, reusable=False)
        flags = call.reader.eof() if exc is None else call.reader.lost()
        if not self._received and self.idle_since:
            # Others that have waited as long are no better: the second try gets a new one.
            self._origin.close()
            call.error = StaleConnection("the upstream closed a kept-alive connection before it answered")
        elif exc is not None and not call.reader.ended:
            msg = f"the connection to {self._origin.name} was lost before its answer was complete"
            call.error = UpstreamProtocolError(msg, code="upstream_lost")
        call.raise_flags(flags | (FAULT if call.error else 0))

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        call, self._call = self._call, None
        if call is not None:
            self._origin.leave(call)
        if self.transport is not None:
            self.transport.abort()

    def _settle(self, call: Call, *, reusable: bool) -> None:
        self._call = None
        call.on_abort = None
        call.on_drain = None
        origin = self._origin
        transport = self.transport
        if transport is not None:
            if reusable and not transport.is_closing():
                self.idle_since = origin.deadlines.now
                origin.keep(self)
            else:
                transport.close()
        origin.leave(call)


class Waiter(Protocol):
    """Who waits for a place: a future, or a request for which nothing has been done."""

    def done(self) -> bool:
        """Whether it wants none any more."""

    def set_result(self, result: None, /) -> None:
        """A place is its own from now on."""


class PlainWaiter(ABC):
    """A request as it came: whoever serves it sees to what becomes of it. until: on `time.monotonic`."""

    __slots__ = ("until",)

    until: float

    def done(self) -> bool:
        return False

    @abstractmethod
    def set_result(self, result: None, /) -> None:
        """A place is its own: `Origin.take_back` for the call, then `Origin.hand_on` what is left over."""

    @abstractmethod
    def expire(self) -> None:
        """It has waited for as long as anybody may."""


class Origin:
    """A scheme, host and port: its connections, how many calls may be under way, and who waits for a place.

    `tls` makes the SSL context when the first connection needs it (loading the system's certificates is slow and
    takes memory); None speaks plain HTTP. `addresses` are dialled as they are, whatever the host resolves to and
    whether or not anybody else may dial them: for services of a cloud's own machines, whose hosts are fixed here.
    """

    def __init__(
        self,
        *,
        name: str,
        host: str,
        port: int,
        tls: Callable[[], ssl.SSLContext] | None,
        deadlines: Deadlines,
        max_in_flight: int = 256,
        queue_wait_s: float = 1.0,
        addresses: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.host = host
        self.port = port
        self.authority = _authority(host, port)
        self._addresses = addresses
        self.deadlines = deadlines
        self._tls = tls
        self._idle: dict[Connection, None] = {}  # the one that was used last comes last
        self._free = max_in_flight
        self._kept = 0  # places of those, for whoever has waited and asks in a moment
        self._places = max_in_flight
        self._queue: deque[Waiter] = deque()
        self._plain: dict[PlainWaiter, None] = {}  # of those, whoever waits as it came
        # FIFO, so whoever is admitted last waits for as long as half an answer takes, however long that is. As many as
        # there are places would double the time of everybody while there is too much to do.
        self._few = self._many = max(1, max_in_flight // 2)
        self.queue_wait_s = queue_wait_s
        # More where calls end fast, until that is not so any more.
        self._many_until = self._counted_at = -math.inf
        self._left = 0  # calls that have ended since they were counted
        self._expiry: asyncio.TimerHandle | None = None  # of the first that waits as it came

    @property
    def in_flight(self) -> int:
        """Calls that have a place."""
        return self._places - self._free

    @property
    def has_place(self) -> bool:
        """Nobody has to wait."""
        return self._free > self._kept

    @property
    def is_full(self) -> bool:
        """Nobody else may wait."""
        return self._free <= 0 and len(self._queue) >= self._max_queue()

    def busy(self) -> UpstreamBusy:
        """What is said then."""
        return UpstreamBusy(f"{self.name} is busy: its queue is full")

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return len(self._queue)

    def start(self, call: Call, head: bytes, body: bytes, *, stream: bool) -> Awaitable[None] | None:
        """Send a request; the answer arrives in `call`. None: it is sent; else what has to be awaited for that.

        That awaitable raises UpstreamBusy, UpstreamUnreachable or UpstreamTimeout (of the connect).
        """
        connection = self.claim()
        if connection is not None:
            self.send(connection, call, head, body, stream=stream)
            return None
        return self._open(call, head, body, stream=stream)

    def claim(self) -> Connection | None:
        """A place and an idle connection, if both are there at once: for `send`, or to be given back."""
        if self._free > self._kept:
            connection = self._pick()
            if connection is not None:
                self._free -= 1
                return connection
        return None

    def give_back(self, connection: Connection) -> None:
        """It was claimed, and nothing is sent: the place is free again. While others wait, `hand_on` has to follow."""
        self.keep(connection)
        self._free += 1

    def send(self, connection: Connection, call: Call, head: bytes, body: bytes, *, stream: bool) -> None:
        """Send a request on a connection that was claimed."""
        self.deadlines.add(call, stream=stream)
        connection.send(call, head, body)

    async def _open(self, call: Call, head: bytes, body: bytes, *, stream: bool) -> None:
        loop = asyncio.get_running_loop()
        if self._free > 0:
            self._free -= 1
        else:
            await self._wait_for_place(loop)
        try:
            connection = self._pick() or await self._connect(loop, call.timeouts.connect_s)
        except BaseException:
            self._give_place()
            raise
        if call.flags & SETTLED:  # ended meanwhile: what is not sent costs nothing
            self.keep(connection)
            self._give_place()
            return
        self.deadlines.add(call, stream=stream)
        connection.send(call, head, body)

    def keep(self, connection: Connection) -> None:
        idle = self._idle
        idle[connection] = None
        if len(idle) > KEEP_FEW:
            # What many streams have left is not needed again, and not every upstream closes it.
            oldest = next(iter(idle))
            if self.deadlines.now - oldest.idle_since > KEEP_IDLE_S:
                del idle[oldest]
                oldest.abort()

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self._idle.pop(connection, None)

    def leave(self, call: Call) -> None:
        """A call is over, however it ended."""
        self.deadlines.discard(call)
        self._left += 1
        if self._left == COUNTED:
            self._note_pace()
        if self._queue:
            self._give_place()
        else:
            self._free += 1

    def _note_pace(self) -> None:
        """So many calls have ended as say how many will in the time that anybody may wait for, whoever comes."""
        now, self._left = monotonic(), 0
        took = max(now - self._counted_at, 1e-6)
        self._many = max(self._few, min(MOST * self._places, int(COUNTED * SOON_S / took)))
        self._counted_at, self._many_until = now, now + max(2 * took, SOON_S)

    def _max_queue(self) -> int:
        return self._few if self._many == self._few or monotonic() > self._many_until else self._many

    def wait(self, waiter: PlainWaiter) -> bool:
        """Let a request wait for a place before anything is done for it; False: too many wait already."""
        if len(self._queue) >= self._max_queue():
            return False
        self._queue.append(waiter)
        self._plain[waiter] = None
        now = monotonic()
        waiter.until = now + self.queue_wait_s
        if self._expiry is None:
            self._expire_at(waiter.until, now)
        return True

    def wait_no_more(self, waiter: PlainWaiter) -> None:
        """Harmless for one that has been given a place."""
        if waiter in self._plain:
            del self._plain[waiter]
            self._queue.remove(waiter)

    def wait_otherwise(self, waiter: PlainWaiter) -> None:
        """It is about to wait as a call does: there is room for it, whatever the pace is by then."""
        self._many = max(self._many, len(self._queue))
        self._many_until = max(self._many_until, monotonic() + self.queue_wait_s)
        self.wait_no_more(waiter)

    def take_back(self) -> None:
        """The place that one of them has been given: for the call that it makes of it now."""
        self._free += 1

    def hand_on(self) -> None:
        """What that one did not need after all."""
        while self._free > self._kept and self._queue:
            self._free -= 1
            self._give_place()

    def keep_place(self) -> None:
        """Nobody else is to have it until `hand_on_kept`: that one asks for it in a moment."""
        self._kept += 1

    def hand_on_kept(self) -> None:
        """It has asked, or never will."""
        self._kept -= 1
        self.hand_on()

    def _expire(self) -> None:
        self._expiry = None
        now = monotonic()
        try:
            while (first := next(iter(self._plain), None)) is not None and first.until <= now:
                self.wait_no_more(first)
                first.expire()
        finally:  # whatever came of one, there are others behind it
            if (first := next(iter(self._plain), None)) is not None:
                self._expire_at(first.until, now)

    def _expire_at(self, until: float, now: float) -> None:
        self._expiry = asyncio.get_running_loop().call_later(max(until - now, STEP_S), self._expire)

    def close(self) -> None:
        """Close idle connections (calls under way end with their own)."""
        while self._idle:
            self._idle.popitem()[0].abort()

    def _pick(self) -> Connection | None:
        """The connection that was used last: the rest can grow old and be closed."""
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            transport = connection.transport
            is_open = transport is not None and not transport.is_closing()
            if is_open and monotonic() - connection.idle_since < KEEP_IDLE_S:
                return connection
            connection.abort()
        return None

    def _give_place(self) -> None:
        while self._queue:
            waiter = self._queue.popleft()
            self._plain.pop(waiter, None)  # type: ignore[call-overload] # most are futures
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    async def _wait_for_place(self, loop: asyncio.AbstractEventLoop) -> None:
        if len(self._queue) >= self._max_queue():
            raise self.busy()
        waiter: asyncio.Future[None] = loop.create_future()
        self._queue.append(waiter)
        try:
            async with asyncio.timeout(self.queue_wait_s):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self._give_place()  # the place came at the same moment: hand it on
            elif waiter in self._queue:
                self._queue.remove(waiter)
            if isinstance(error, TimeoutError):
                msg = f"{self.name} is busy: no place within {self.queue_wait_s:g} s"
                raise UpstreamBusy(msg) from None
            raise

    async def _connect(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> Connection:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._dial(loop, timeout_s)
        except TimeoutError:
            msg = f"no connection to {self.name} at {self.host}:{self.port} within {timeout_s:g} s"
            raise UpstreamTimeout(msg, code="upstream_connect_timeout") from None

    async def _dial(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> Connection:
        context = None if self._tls is None else await loop.run_in_executor(None, self._tls)
        failure = ""
        addresses = self._addresses or await resolve(self.host, self.port)
        for address in addresses:
            try:
                # One address that does not answer must leave time for the others.
                async with asyncio.timeout(timeout_s / len(addresses)):
                    _, connection = await loop.create_connection(
                        lambda: Connection(self),
                        address,
                        self.port,
                        ssl=context,
                        server_hostname=self.host if context else None,
                    )
            except TimeoutError:
                if address == addresses[-1]:
                    raise
                failure = "no answer"
            except ssl.SSLError as error:
                failure = f"TLS failed: {getattr(error, 'verify_message', '') or error.reason or 'handshake'}"
            except OSError as error:
                failure = error.strerror or type(error).__name__
            else:
                return connection
        msg = f"{self.name} at {self.host}:{self.port} cannot be reached: {failure}"
        raise UpstreamUnreachable(msg)


def _authority(host: str, port: int) -> str:
    """As the Host header says it."""
    name = f"[{host}]" if ":" in host else host
    return name if port in {80, 443} else f"{name}:{port}"

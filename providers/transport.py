"""HTTP/1.1 to one origin, inside the event loop: a protocol per connection and a pool of idle ones.

Chosen by measurement (bench/README.md): no thread crossing, no future per chunk, one native call per read.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from time import monotonic

from tollhouse._native import FAULT, READY
from tollhouse.providers.addresses import resolve
from tollhouse.providers.call import FIRST, SETTLED, Call
from tollhouse.providers.deadlines import Deadlines
from tollhouse.providers.errors import UpstreamProtocolError, UpstreamTimeout, UpstreamUnreachable
from tollhouse.providers.places import Places

STREAM_BUFFER = 65536  # bytes ready and not taken before the upstream's reading is paused
COPY_LIMIT = 65536  # bodies up to this size are joined with the head into one write
KEEP_FEW = 32  # idle connections, however old
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
            self._origin.deadlines.discard(call)
            self._origin.places.leave()
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
        origin.deadlines.discard(call)
        origin.places.leave()


class Origin:
    """A scheme, host and port: its connections, and the places of calls to it.

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
        self.places = Places(name, max_in_flight=max_in_flight, queue_wait_s=queue_wait_s)

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
        places = self.places
        if places.free > places.kept:
            connection = self._pick()
            if connection is not None:
                places.free -= 1
                return connection
        return None

    def give_back(self, connection: Connection) -> None:
        """It was claimed, and nothing is sent: as `Places.take_back`."""
        self.keep(connection)
        self.places.take_back()

    def send(self, connection: Connection, call: Call, head: bytes, body: bytes, *, stream: bool) -> None:
        """Send a request on a connection that was claimed."""
        self.deadlines.add(call, stream=stream)
        connection.send(call, head, body)

    async def _open(self, call: Call, head: bytes, body: bytes, *, stream: bool) -> None:
        loop = asyncio.get_running_loop()
        await self.places.enter()
        try:
            connection = self._pick() or await self._connect(loop, call.timeouts.connect_s)
        except BaseException:
            self.places.give()
            raise
        if call.flags & SETTLED:  # ended meanwhile: what is not sent costs nothing
            connection.idle_since = connection.idle_since or monotonic()
            self.keep(connection)
            self.places.give()
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

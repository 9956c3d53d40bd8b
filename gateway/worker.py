"""A worker: the app on a server, in a loop of ours, so that stopping is ours as well.

Order of a stop: not ready, and `Connection: close` on every answer (linger); then no new connections, while those that
came last are answered (settle); then idle ones are closed, and what runs may end (drain), with a last request for those
whose answer did not say that it was the last; at the deadline every open call ends with an error its client can read.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, Protocol

import uvloop

from tollhouse.gateway import logs
from tollhouse.gateway.app import create_app
from tollhouse.gateway.supervisor import AT_ONCE, ignore

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FrameType

    from starlette.applications import Starlette

    from tollhouse.config.settings import Settings
    from tollhouse.gateway.lifecycle import Lifecycle

SETTLE_S = 0.2  # for the requests of connections that were accepted last
OWN_DESCRIPTORS = 128  # stores, logs, pipes, services next door
LAST_WORDS_S = 2.0  # for errors at the deadline to reach their clients
logger = logging.getLogger("tollhouse.worker")


class _Server(Protocol):
    """What a worker needs of a server."""

    async def serve(self) -> None: ...

    def stop_accepting(self) -> None:
        """New connections are for others; those that are open go on."""

    @property
    def awaits(self) -> bool:
        """Whether requests may come on connections that are open, although it finishes."""

    def finish(self, linger_s: float = 0.0) -> None:
        """Idle connections close, linger_s after an answer that did not say so; `serve` ends with the last response."""

    def abandon(self) -> None:
        """`serve` ends now, or the process does."""


def _server(settings: Settings, app: Starlette, listen_fd: int, writer: logs.LineWriter) -> _Server:
    sock = socket.socket(fileno=listen_fd)
    if settings.server == "granian":
        from tollhouse.gateway.server.granian import GranianServer  # noqa: PLC0415 - memory, where it is not used

        return GranianServer(app, sock, before_exit=writer.close)
    from tollhouse.gateway.server.server import HttpServer  # noqa: PLC0415

    return HttpServer(app, sock, max_connections=settings.max_connections, max_lag_s=settings.max_lag_s)


async def _run(settings: Settings, listen_fd: int, ready_fd: int, life_fd: int, writer: logs.LineWriter) -> int:
    access = writer.write if settings.log_level in {"debug", "info"} else None
    app = create_app(settings, write_log=access)
    lifecycle: Lifecycle = app.state.lifecycle
    server = _server(settings, app, listen_fd, writer)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    at_once = asyncio.Event()
    linger_s = settings.linger_s

    # The first of them counts, however often it comes: a terminal or systemd signals every process of the service, and
    # so does the supervisor. That the deadline is now is told by a signal that nobody else sends.
    def heard(sig: int) -> None:
        nonlocal linger_s
        if sig == AT_ONCE:
            at_once.set()
        elif not stop.is_set():
            if sig == signal.SIGINT:  # somebody at a keyboard waits
                linger_s = 0.0
            stop.set()

    def on_signal(sig: int, _: FrameType | None) -> None:
        loop.call_soon_threadsafe(heard, sig)

    # Not the loop's own: it would put the default, to end, in the place of each before it could be ignored.
    for sig in (signal.SIGTERM, signal.SIGINT, AT_ONCE):
        signal.signal(sig, on_signal)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # meant for the supervisor, sent to the whole group
    loop.add_reader(life_fd, _orphaned, loop, life_fd, stop)

    serving = loop.create_task(server.serve())
    waiting = loop.create_task(_until_ready(app, ready_fd))
    stopping = loop.create_task(stop.wait())
    done, _ = await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if serving in done:
        logger.error("the server ended by itself", exc_info=serving.exception())
        return 1
    await _drain(lifecycle, server, at_once, linger_s=linger_s, drain_s=settings.drain_s)
    await asyncio.wait({serving}, timeout=LAST_WORDS_S)
    if not serving.done():
        if not lifecycle.closing:
            logger.warning("leaving connections whose clients do not read")
            server.abandon()
        await serving
    ignore(signal.SIGTERM, signal.SIGINT, AT_ONCE)
    return 0


async def _until_ready(app: Starlette, ready_fd: int) -> None:
    await app.state.started.wait()
    # Everything that lives as long as the process is out of the collector's way from here on.
    gc.collect()
    gc.freeze()
    os.write(ready_fd, b"1")
    os.close(ready_fd)


def _orphaned(loop: asyncio.AbstractEventLoop, life_fd: int, stop: asyncio.Event) -> None:
    loop.remove_reader(life_fd)
    stop.set()


async def _drain(
    lifecycle: Lifecycle, server: _Server, at_once: asyncio.Event, *, linger_s: float, drain_s: float
) -> None:
    lifecycle.drain()
    logger.info("draining: %d requests under way", lifecycle.in_flight)
    if linger_s:
        await _first(asyncio.sleep(linger_s), at_once.wait())
        server.stop_accepting()
        await _first(asyncio.sleep(SETTLE_S), at_once.wait())
    if lifecycle.before_drain is None:
        server.finish(linger_s)
    else:  # refuses whatever comes from now on: a client that finds its connection closed is better off
        server.finish()
        await lifecycle.let_go()
    ended = await _first(lifecycle.ended(drain_s, lambda: server.awaits), at_once.wait())
    if server.awaits:
        server.finish()
    if ended is not True or lifecycle.in_flight:
        logger.warning("ending %d requests at the deadline", lifecycle.in_flight)
        lifecycle.end_calls()
        if not await lifecycle.ended(LAST_WORDS_S):
            lifecycle.give_up()
            await lifecycle.ended(LAST_WORDS_S)


async def _first(*waits: Coroutine[Any, Any, object]) -> object:
    """The result of whichever is done first; the rest is cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return done.pop().result()


def _raise_descriptors(max_connections: int) -> None:
    """To what the system lets this process have: the usual 1,024 are for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = 2 * max_connections + OWN_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < needed:
        logger.warning(
            "%d open files are allowed, and %d connections with an upstream each need %d: raise LimitNOFILE, or lower"
            " max_connections",
            hard,
            max_connections,
            needed,
        )


def main(argv: list[str]) -> int:
    """Arguments: descriptors of the settings, the listening socket, the ready pipe and the life pipe."""
    settings_fd, listen_fd, ready_fd, life_fd = map(int, argv)
    size = os.fstat(settings_fd).st_size
    settings: Settings = pickle.loads(os.pread(settings_fd, size, 0))  # noqa: S301 - written by our own supervisor
    writer = logs.configure(level=settings.log_level, fmt=settings.log_format)
    _raise_descriptors(settings.max_connections)
    # Requests leave few cycles behind, so the default of a collection per 700 objects finds next to nothing.
    gc.set_threshold(10_000, 20, 50)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_run(settings, listen_fd, ready_fd, life_fd, writer))
    writer.close()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

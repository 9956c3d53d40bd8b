"""A configuration in a process of its own that nobody else reaches, to ask it how it decides.

It is the real worker on a Unix socket in a folder that only this user may enter, with a state folder in there, the
built-in model behind every name, and no service, telemetry or store of others. It ends with the process that started
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import pickle
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tollhouse.gateway.replay import Remote, offline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tollhouse.config.settings import Settings
    from tollhouse.gateway.corpus import Asker
    from tollhouse.gateway.replay import Caller

_STOP_S = 5.0
_ANSWER_S = 30.0
# What the supervisor says to the workers that serve, which is not meant for this one.
_NOT_FOR_IT = ("PROMETHEUS_MULTIPROC_DIR", "TOLLHOUSE_CONTROL")


class NotStarted(Exception):
    """The worker ended before it was ready; why is in the log."""


@asynccontextmanager
async def running(settings: Settings, folder: str, callers: Iterable[Asker]) -> AsyncIterator[Caller]:
    """What asks the worker, once it is ready. folder: empty, and this user's alone. Raises NotStarted."""
    deciding, keys = offline(settings, os.path.join(folder, "state"), callers)
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    life, ours = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener:
        path = f"/proc/self/fd/{inside}/socket"  # the folder's own path may be longer than a socket's can be
        listener.bind(path)
        listener.listen()
        ready, worker = _started(deciding, listener.fileno(), life)
    os.close(life)
    try:
        await _ready(ready)
        connection = _UnixConnection(path)
        try:
            yield Remote(connection, keys)
        finally:
            connection.close()
    finally:
        os.close(ready)
        os.close(ours)
        _stop(worker)
        os.close(inside)


def _started(settings: Settings, listen_fd: int, life_fd: int) -> tuple[int, subprocess.Popen[bytes]]:
    settings_fd = os.memfd_create("tollhouse-candidate", 0)
    os.write(settings_fd, pickle.dumps(settings))
    ready, told = os.pipe()
    fds = (settings_fd, listen_fd, told, life_fd)
    worker = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "tollhouse.gateway.worker", *map(str, fds)],
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name not in _NOT_FOR_IT},
    )
    os.close(told)
    os.close(settings_fd)
    return ready, worker


async def _ready(fd: int) -> None:
    loop = asyncio.get_running_loop()
    said = asyncio.Event()
    loop.add_reader(fd, said.set)
    try:
        await said.wait()
    finally:
        loop.remove_reader(fd)
    if not os.read(fd, 1):
        msg = "it ended before it was ready"
        raise NotStarted(msg)


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        worker.wait(_STOP_S)
    if worker.poll() is None:
        worker.kill()
        worker.wait()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

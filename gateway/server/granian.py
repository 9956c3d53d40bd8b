"""Granian's embedded server on the service's shared socket, with the same few controls as our own."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse.middlewares.types import ASGIApp

BACKPRESSURE = 8192  # connections served at once; Granian stops accepting beyond
HEADER_READ_MS = 10_000
HEADER_BUFFER = 64 * 1024
logger = logging.getLogger("tollhouse.server")


class GranianServer(Server):
    """`before_exit` is called when the process has to end without more ado."""

    awaits = False

    def __init__(self, app: ASGIApp, sock: socket.socket, *, before_exit: Callable[[], None]) -> None:
        self._listen_fd = sock.detach()
        self._before_exit = before_exit
        super().__init__(
            app,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKPRESSURE,
            backpressure=BACKPRESSURE,
            http1_settings=HTTP1Settings(
                header_read_timeout=HEADER_READ_MS, max_buffer_size=HEADER_BUFFER, pipeline_flush=False
            ),
            log_enabled=False,
        )

    def stop_accepting(self) -> None:
        """Leave new connections to the other workers. Granian itself ends accepting and closes connections whose
        request it has not read yet in one step; so its listening socket is swapped for one that nobody knows.
        """
        with socket.socket(socket.AF_UNIX) as nobody:
            nobody.settimeout(0)
            nobody.bind("")
            nobody.listen(1)
            os.dup2(nobody.fileno(), self._listen_fd, inheritable=False)

    def finish(self, linger_s: float = 0.0) -> None:
        """Close connections between two requests, at once; `serve` ends when the others are answered."""
        self.stop()  # type: ignore[no-untyped-call]

    def abandon(self) -> None:
        """Granian waits without end for clients that do not read what they asked for."""
        self._before_exit()
        os._exit(0)

    def _init_shared_socket(self) -> None:
        self._ssp = None
        self._shd: Any = SocketHolder(self._listen_fd, False, BACKPRESSURE)  # type: ignore[call-arg] # noqa: FBT003
        self._sfd: Any = self._listen_fd

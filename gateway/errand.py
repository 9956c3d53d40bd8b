"""One plain request on its way: to its connection the request, and to its upstream the call."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tollhouse._native import ResponseReader
from tollhouse.providers.call import FIRST, Call

if TYPE_CHECKING:
    from tollhouse._native import FastRequest
    from tollhouse.gateway.fast_routes import Way
    from tollhouse.gateway.fastpath import FastPath
    from tollhouse.gateway.server.protocol import HttpConnection

logger = logging.getLogger("tollhouse.gateway")


class Errand(Call):
    """Made where it is sent; `fast` says what becomes of it."""

    __slots__ = ("_fast", "connection", "found", "is_done", "is_over", "way")

    awaits_body = False
    is_answering = False  # its response goes out whole

    def __init__(self, fast: FastPath, connection: HttpConnection, found: FastRequest, way: Way) -> None:
        Call.__init__(self, ResponseReader(way.kind), way.timeouts)  # an object less than super()
        self._fast = fast
        self.connection = connection
        self.found = found
        self.way = way
        self.hidden = way.hidden
        self.is_done = False  # its response is complete
        self.is_over = False

    def raise_flags(self, flags: int) -> None:
        """As long as this is all there is to the request, it is the one to know."""
        if self.is_over:
            super().raise_flags(flags)
            return
        self.flags = flags
        if flags & FIRST:
            self._answered()

    def advance(self, flags: int) -> None:
        """More has come, of what follows this request."""

    def disconnect(self) -> None:
        """The client has gone."""
        if self.is_done:
            return
        try:
            self._fast.unfold(self)
        except BaseException:
            self._lose()
            raise
        http, self.connection.exchange = self.connection.exchange, None
        assert http is not None
        http.disconnect()

    def _answered(self) -> None:
        """The end of the answer has come, or whatever else there is to see to."""
        fast, connection = self._fast, self.connection
        response: bytes | None = None
        try:
            response = fast.end(self)
        except BaseException as error:  # noqa: BLE001 - a panic, too: the ordinary way makes the best of it
            logger.error("unexpected %s at the end of a request", type(error).__name__)  # noqa: TRY400
        if response is None:
            try:
                request = fast.unfold(self)
            except BaseException:
                self._lose()
                raise
            request.answered()
            return
        self.is_done = True
        connection.transport.write(response)
        try:
            fast.ended(self)
        finally:
            connection.finished(reusable=True)

    def _lose(self) -> None:
        """Nothing can be said any more: at least nobody is to wait for it. The hold ends by itself."""
        self._fast.left(self)
        self.close()
        self.connection.break_off()

"""The gateway's app under uvicorn, as a developer would embed it: `python -m tests.support.uvicorn_app CONFIG PORT`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import uvicorn

from tollhouse.config.loader import load
from tollhouse.gateway import create_app, logs

if TYPE_CHECKING:
    import socket

    from tollhouse.config.settings import Settings
    from tollhouse.gateway.lifecycle import Lifecycle

LAST_WORDS_S = 1


class Server(uvicorn.Server):
    """Stops as the gateway's own worker does: not ready first, then no new connections, then an end to what is left."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, settings: Settings) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._settings = settings

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._lifecycle.drain()
        await asyncio.sleep(self._settings.linger_s)
        loop = asyncio.get_running_loop()
        loop.call_later(self._settings.drain_s, self._lifecycle.end_calls)
        loop.call_later(self._settings.drain_s + LAST_WORDS_S, self._lifecycle.give_up)
        await super().shutdown(sockets)


def main(path: str, port: int) -> None:
    settings = load(path, os.environ)
    writer = logs.configure(level=settings.log_level, fmt=settings.log_format)
    # uvicorn stops in order on SIGTERM and then raises it once more, for whoever was there before.
    signal.signal(signal.SIGTERM, lambda *_: None)
    app = create_app(settings, write_log=writer.write)
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=int(settings.drain_s) + 2 * LAST_WORDS_S + 1,
    )
    Server(config, app.state.lifecycle, settings).run()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

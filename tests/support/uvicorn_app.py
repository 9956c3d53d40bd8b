"""The gateway's app under uvicorn, as a developer would embed it: `python -m tests.support.uvicorn_app CONFIG PORT`."""

from __future__ import annotations

import os
import signal
import sys

import uvicorn

from tollhouse.config.loader import load
from tollhouse.gateway import create_app, logs


def main(path: str, port: int) -> None:
    settings = load(path, os.environ)
    writer = logs.configure(level=settings.log_level, fmt=settings.log_format)
    # uvicorn stops in order on SIGTERM and then raises it once more, for whoever was there before.
    signal.signal(signal.SIGTERM, lambda *_: None)
    app = create_app(settings, write_log=writer.write)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_config=None, access_log=False, timeout_graceful_shutdown=5
    )
    uvicorn.Server(config).run()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

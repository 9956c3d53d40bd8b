"""The processes that serve, as their supervisor sees them."""

from __future__ import annotations

import os
import subprocess
import sys
import time

START_S = 30.0


class Worker:
    """A child process, and the pipe on which it says that it is ready."""

    def __init__(self, settings_fd: int, listen_fd: int, life_fd: int, env: dict[str, str]) -> None:
        self.ready_fd, told = os.pipe()
        self.process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "tollhouse.gateway.worker", *map(str, (settings_fd, listen_fd, told, life_fd))],
            pass_fds=(settings_fd, listen_fd, told, life_fd),
            stdin=subprocess.DEVNULL,
            env=env,
        )
        os.close(told)
        self.started_at = time.monotonic()
        self.is_ready = False
        self.kill_at: float | None = None  # set when it was asked to stop

    @property
    def limit(self) -> float | None:
        """When something has to be done about it, by the monotonic clock."""
        if self.kill_at is not None:
            return self.kill_at
        return None if self.is_ready else self.started_at + START_S

    def stop(self, sig: int, kill_at: float) -> None:
        self.kill_at = kill_at
        if self.process.poll() is None:
            self.process.send_signal(sig)

    def close(self) -> None:
        if self.ready_fd >= 0:
            os.close(self.ready_fd)
            self.ready_fd = -1

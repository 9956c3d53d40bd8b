"""The parent of the workers: owns the listening socket, replaces workers without refusing a connection.

Workers inherit one socket, so a connection that waits in its queue belongs to all of them: an old worker can go
without losing any. (With a socket per worker, what waits at the moment of closing is reset.) SIGHUP reads the
configuration again and replaces the workers once the new ones are ready; one that is not valid, or that the gate
refuses, leaves the old workers alone (reloads.py). SIGTERM and SIGINT drain. Imports little on purpose: this process
lives as long as the service and does nothing.
"""

from __future__ import annotations

import os
import pickle
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from glob import glob
from typing import TYPE_CHECKING

from tollhouse.gateway.change import STAGED, Change
from tollhouse.gateway.reloads import Reloads
from tollhouse.gateway.reloads import say as _say
from tollhouse.gateway.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from tollhouse.config.settings import Settings

BACKLOG = 4096
KILL_MARGIN_S = 15.0
AT_ONCE = signal.SIGUSR1  # to a worker that is stopping: the deadline is now
CRASHES = 5  # within CRASH_WINDOW_S: give up, something outside has to look at it
CRASH_WINDOW_S = 60.0


class Supervisor:
    """A loop over signals, the workers' pipes and their ends."""

    def __init__(self, settings_fd: int, argv: list[str]) -> None:
        self._argv = argv
        self._settings_fd = settings_fd
        self._settings = _settings(settings_fd)
        self._previous = (self._settings_fd, self._settings)  # what to go back to if new workers do not start
        self._listener = _listen(self._settings.host, self._settings.port)
        # Workers hold the reading end: it closes with this process, however that ends.
        self._life_fd, self._life = os.pipe()
        self._workers: list[Worker] = []
        self._replaced: list[Worker] = []
        self._crashes: list[float] = []
        self._signals: list[int] = []
        self._exit_code: int | None = None
        self._metrics_dir: str | None = None
        self._env = with_kept_memory(os.environ)
        staged = self._env.pop(STAGED, None)
        self._reloads = Reloads(argv, self._env, self._settings, staged)
        if self._settings.workers > 1:
            self._metrics_dir = self._env["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="tollhouse-metrics-")

    def run(self) -> int:
        """Until everything has ended; the exit code."""
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(sig, self._note)
        try:
            self._workers = self._spawn()
            while self._workers or self._replaced:
                waiting = {w.ready_fd: w for w in self._workers if w.ready_fd >= 0}
                asking = self._reloads.fds()
                readable, _, _ = select.select([wake, *waiting, *asking], [], [], self._patience())
                if wake in readable:
                    os.read(wake, 4096)
                while self._signals:
                    self._act(self._signals.pop(0))
                for fd in readable:
                    if fd in waiting:
                        self._hear(waiting[fd])
                    elif fd in asking:
                        self._reloads.hear(fd)
                self._reap()
                if self._exit_code is None:
                    self._reload()
        finally:
            ignore(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
            self._reloads.close()
            if self._metrics_dir is not None:
                shutil.rmtree(self._metrics_dir, ignore_errors=True)
        return self._exit_code or 0

    def _note(self, sig: int, frame: FrameType | None) -> None:
        self._signals.append(sig)

    def _spawn(self) -> list[Worker]:
        fd = self._listener.fileno()
        count = self._settings.workers
        return [Worker(self._settings_fd, fd, self._life_fd, self._env) for _ in range(count)]

    def _act(self, sig: int) -> None:
        if sig in {signal.SIGTERM, signal.SIGINT}:
            if self._exit_code is None:
                self._exit_code = 0
                self._reloads.close()
                self._stop(self._workers + self._replaced, sig)
            else:
                self._stop(self._workers + self._replaced, AT_ONCE)
        elif sig == signal.SIGHUP:
            self._reloads.want("reload")

    def _stop(self, workers: list[Worker], sig: int = signal.SIGTERM) -> None:
        settings = self._settings
        kill_at = time.monotonic() + settings.linger_s + settings.drain_s + KILL_MARGIN_S
        for worker in workers:
            worker.stop(sig, kill_at)

    def _reload(self) -> None:
        # One at a time: a file that changes meanwhile is read when this one is done.
        is_free = all(worker.is_ready for worker in self._workers)
        change = self._reloads.advance(self._settings_fd, self._settings, self._life_fd, is_free=is_free)
        if change is not None:
            self._replace(change)

    def _replace(self, change: Change) -> None:
        """Start new workers on other settings; the old ones stay until these are ready."""
        settings = change.settings
        assert settings is not None
        if (settings.host, settings.port) != (self._settings.host, self._settings.port):
            _say("host and port cannot change while running: the old ones stay")
        if (settings.workers > 1) != (self._settings.workers > 1):
            _say("the number of workers cannot change between one and several while running: the old one stays")
            settings = _with_workers(settings, self._settings.workers)
        self._previous = (self._settings_fd, self._settings)
        self._settings_fd, self._settings = change.fd, settings
        self._replaced.extend(self._workers)
        self._workers = self._spawn()

    def _hear(self, worker: Worker) -> None:
        worker.is_ready = bool(os.read(worker.ready_fd, 1))
        worker.close()
        if worker.is_ready and all(w.is_ready for w in self._workers) and self._exit_code is None:
            self._stop([w for w in self._replaced if w.kill_at is None])
            if self._previous[0] != self._settings_fd:
                os.close(self._previous[0])
                self._previous = (self._settings_fd, self._settings)
            self._reloads.accepted()

    def _reap(self) -> None:
        now = time.monotonic()
        for worker in [*self._workers, *self._replaced]:
            code = worker.process.poll()
            if code is None:
                if worker.limit is not None and now >= worker.limit:
                    worker.process.kill()
                continue
            worker.close()
            self._forget_metrics(worker.process.pid)
            is_current = worker in self._workers
            (self._workers if is_current else self._replaced).remove(worker)
            if worker.kill_at is None and is_current:
                self._lost(worker, now)
            elif worker.kill_at is not None and code and (worker.is_ready or code == -signal.SIGKILL):
                # (One that is not ready has no handler yet: it ends of the signal itself, in order.)
                _say(f"worker {worker.process.pid} had to be ended: exit code {code}")
                if self._exit_code == 0:
                    self._exit_code = 1

    def _lost(self, worker: Worker, now: float) -> None:
        """A worker ended by itself."""
        if self._exit_code is not None:
            return
        if not worker.is_ready:
            serving = [old for old in self._replaced if old.kill_at is None]
            if serving:
                self._settings_fd, self._settings = self._previous
                self._reloads.failed()
                self._stop(self._workers)
                self._replaced = [w for w in [*self._replaced, *self._workers] if w not in serving]
                self._workers = serving
                return
            if not any(other.is_ready for other in self._workers):
                self._exit_code = 1
                self._stop(self._workers)
                return
        _say(f"worker {worker.process.pid} ended unexpectedly: exit code {worker.process.returncode}")
        self._crashes = [at for at in self._crashes if now - at < CRASH_WINDOW_S] + [now]
        if len(self._crashes) >= CRASHES:
            _say(f"{CRASHES} workers ended within {CRASH_WINDOW_S:g} s: giving up")
            self._exit_code = 1
            self._stop(self._workers + self._replaced)
            return
        self._workers.append(Worker(self._settings_fd, self._listener.fileno(), self._life_fd, self._env))

    def _patience(self) -> float | None:
        """Seconds until something must be done without a signal; None when there is nothing."""
        everyone = [*(worker.limit for worker in (*self._workers, *self._replaced)), self._reloads.limit]
        limits = [limit for limit in everyone if limit is not None]
        return max(0.05, min(limits) - time.monotonic()) if limits else None

    def _forget_metrics(self, pid: int) -> None:
        """Gauges of a process that is gone count no more; its counters do."""
        if self._metrics_dir is not None:
            for path in glob(os.path.join(self._metrics_dir, f"gauge_live*_{pid}.db")):
                os.unlink(path)


def with_kept_memory(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment in which malloc gives memory of large bodies out again instead of to the system, as long as it is
    not much: the kernel clears each page anew, which was three quarters of what a body of 1 MB took. What the
    operator has set stays.
    """
    return {"MALLOC_MMAP_THRESHOLD_": str(16 << 20), "MALLOC_TRIM_THRESHOLD_": str(32 << 20), **environ}


def _settings(fd: int) -> Settings:
    size = os.fstat(fd).st_size
    settings: Settings = pickle.loads(os.pread(fd, size, 0))  # noqa: S301 - written by our own command
    return settings


def _with_workers(settings: Settings, workers: int) -> Settings:
    from dataclasses import replace  # noqa: PLC0415 - only here

    return replace(settings, workers=workers)


def _listen(host: str, port: int) -> socket.socket:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind(address)
    listener.listen(BACKLOG)
    return listener


def ignore(*signals: int) -> None:
    """For the last moments: Python takes its handlers away before it ends, and a signal after that would be the end."""
    for sig in signals:
        signal.signal(sig, signal.SIG_IGN)


def main(argv: list[str]) -> int:
    """Arguments: the descriptor of the settings, then those of `tollhouse`."""
    try:
        supervisor = Supervisor(int(argv[0]), argv[1:])
    except OSError as error:
        shutil.rmtree(os.environ.get(STAGED, ""), ignore_errors=True)
        sys.stderr.write(f"error: cannot listen: {error.strerror or error}\n")
        return 1
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Real Redis servers on free ports: alone, with replicas, or as a cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.support.net import LOOPBACK, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


def program(name: str) -> str:
    """Debian keeps servers where only root's PATH leads."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/bin")
    assert found, f"{name} is missing: scripts/system-packages.sh redis-server:redis-server"
    return found


@dataclass
class RedisServer:
    """One server; its data folder and port stay the same when it is started again."""

    port: int
    folder: Path
    options: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def log(self) -> str:
        return (self.folder / "redis.log").read_text(encoding="utf-8", errors="replace")

    def client(self, **options: Any) -> Redis:
        """A client to look from outside; close it."""
        return Redis(
            host=LOOPBACK, port=self.port, retry=Retry(NoBackoff(), 0), protocol=2, socket_timeout=5, **options
        )

    def ask(self, *words: Any) -> Any:
        """One command, by a client of its own."""
        with self.client() as client:
            return client.execute_command(*words)

    def start(self, *, wait: bool = True) -> None:
        self.folder.mkdir(exist_ok=True)
        command = [program("redis-server"), "--port", str(self.port), "--bind", LOOPBACK, "--dir", str(self.folder)]
        command += ["--logfile", str(self.folder / "redis.log"), "--save", "", "--repl-diskless-sync-delay", "0"]
        command += ["--enable-debug-command", "yes"]
        self.process = subprocess.Popen([*command, *self.options], stdout=subprocess.DEVNULL)
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        wait_until(self._answers, what=f"redis-server on port {self.port} answers")

    def kill(self) -> None:
        """SIGKILL: nothing is saved, nothing is said."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            return bool(self.ask("PING"))
        except (RedisError, OSError):
            return False


@contextlib.contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """A server with these options of its command line."""
    with tempfile.TemporaryDirectory(prefix="redis-test-") as name:
        server = RedisServer(free_port(), Path(name), list(options))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def running_cluster(masters: int = 3, replicas: int = 1) -> Iterator[list[RedisServer]]:
    """A cluster that serves all slots."""
    with tempfile.TemporaryDirectory(prefix="redis-test-") as name:
        own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--appendonly", "no"]
        servers = []
        for _ in range(masters * (1 + replicas)):
            port = _cluster_port()
            bus = ["--cluster-port", str(_cluster_port())]
            servers.append(RedisServer(port, Path(name) / str(port), own + bus))
        try:
            for server in servers:
                server.start(wait=False)
            for server in servers:
                server.wait_ready()
            nodes = [f"{LOOPBACK}:{server.port}" for server in servers]
            create = ["--cluster", "create", *nodes, "--cluster-replicas", str(replicas), "--cluster-yes"]
            subprocess.run([program("redis-cli"), *create], check=True, capture_output=True, timeout=60)
            wait_until(lambda: all(map(_is_whole, servers)), what="the cluster serves all slots")
            wait_until(lambda: all(map(_is_synchronised, servers)), what="the replicas follow")
            yield servers
        finally:
            for server in servers:
                server.kill()


def _cluster_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _is_synchronised(server: RedisServer) -> bool:
    role = server.ask("ROLE")
    return bool(role[0] == b"master" or role[3] == b"connected")


def _is_whole(server: RedisServer) -> bool:
    with server.client() as client:
        info = client.execute_command("CLUSTER INFO")
        text = info.decode() if isinstance(info, bytes) else str(info)
        return "ok" in text.split("cluster_state", 1)[1][:8] and "16384" in text

"""One change of the configuration on its way to the workers: read by the command itself, then judged by the gate.

Nothing here waits: the supervisor's loop calls `step` when a child has ended or time is over.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tollhouse.gateway import kept

if TYPE_CHECKING:
    from tollhouse.config.settings import Settings
    from tollhouse.gateway.control import Asked
    from tollhouse.gateway.kept import Version

# Of the environment of the command that reads the configuration for a running gateway: the descriptor that its settings
# go to, the folder that its files are kept in, the folder of the version that is to be read instead of the files.
SNAPSHOT_FD = "TOLLHOUSE_SNAPSHOT_FD"
STAGED = "TOLLHOUSE_STAGED"
KEPT = "TOLLHOUSE_KEPT"
READ_S = 30.0
GATE_MARGIN_S = 15.0  # for the sandboxes to end
SANDBOX = "sandbox-"
_PROBLEMS = 20
_PROBLEM = 300


class Refused(Exception):
    """reason: a word for metrics; problems: lines for people."""

    def __init__(self, reason: str, message: str, problems: list[str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.problems = problems or []


@dataclass
class Wanted:
    """kind: reload, check (judge it, change nothing), rollback (to `version`, ungated). Who asked is answered."""

    kind: str
    version: Version | None = None
    askers: list[Asked] = field(default_factory=list)


class Change:
    """What is wanted, being done. `verdict` is the gate's, None if there was none."""

    def __init__(self, wanted: Wanted, *, argv: list[str], env: dict[str, str], folder: str | None) -> None:
        self.wanted = wanted
        self.fd = os.memfd_create("tollhouse-settings", 0)
        self.settings: Settings | None = None
        self.verdict: dict[str, Any] | None = None
        self.staged: str | None = None
        self._folder = folder
        self._said = os.memfd_create("tollhouse-problems", 0)
        self._report: int | None = None
        self._sandbox: tuple[str, int] | None = None
        env = env | {SNAPSHOT_FD: str(self.fd)}
        if wanted.version is not None:
            env[KEPT] = wanted.version.folder
        elif folder is not None and wanted.kind == "reload":
            self.staged = env[STAGED] = os.path.join(folder, f"{kept.STAGED}{os.getpid()}-{time.monotonic_ns()}")
        command = [sys.executable, "-m", "tollhouse", *argv]
        self._process = _child(command, (self.fd,), env=env, stderr=self._said)
        self.limit = time.monotonic() + READ_S

    def step(self, running_fd: int, running: Settings, life_fd: int) -> bool:
        """Go on as far as that is possible now; True when `settings` may take effect. Raises Refused."""
        code = _ended(self._process)
        if code is None:
            if time.monotonic() < self.limit:
                return False
            raise Refused("timeout", "the configuration could not be read or judged in time")
        if self._report is None:
            self.settings = self._read(code)
            gated = self.settings.reload.corpora or running.reload.corpora
            if not gated or self.wanted.kind == "rollback":
                return True
            self._judge(running_fd, running, life_fd)
            return False
        self.verdict = self._judged(code)
        return True

    def close(self, *, is_used: bool) -> None:
        """End what runs and take away what is left. is_used: the settings have taken effect; their descriptor stays."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._clear_sandbox()
        for fd in (self._said, self._report, None if is_used else self.fd):
            if fd is not None:
                os.close(fd)
        if self.staged is not None and not is_used:
            shutil.rmtree(self.staged, ignore_errors=True)

    def _read(self, code: int) -> Settings:
        said = os.pread(self._said, os.fstat(self._said).st_size, 0).decode(errors="replace")
        sys.stderr.write(said)
        sys.stderr.flush()
        if code or not os.fstat(self.fd).st_size:
            lines = [line[:_PROBLEM] for line in said.splitlines()[:_PROBLEMS]]
            raise Refused("invalid", "the configuration is not valid", lines)
        try:
            settings: Settings = pickle.loads(os.pread(self.fd, os.fstat(self.fd).st_size, 0))  # noqa: S301 - ours
        except (pickle.UnpicklingError, AttributeError, ImportError, TypeError):
            message = "another version is installed, which this process cannot read: it has to be started anew"
            raise Refused("invalid", message) from None
        return settings

    def _judge(self, running_fd: int, running: Settings, life_fd: int) -> None:
        assert self.settings is not None
        try:
            if self._folder is not None:
                sweep(self._folder)
            folder = tempfile.mkdtemp(prefix=SANDBOX, dir=self._folder)
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            self._sandbox = folder, lock
            # The gate has it as well: as long as either lives, nobody takes the folder away.
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._hand_expectations(folder)
            self._report = os.memfd_create("tollhouse-verdict", 0)
            fds = (self.fd, running_fd, self._report, life_fd)
            command = [sys.executable, "-m", "tollhouse.gateway.gate", *map(str, fds), folder]
            self._process = _child(command, (*fds, lock), env=dict(os.environ), stderr=None)
        except OSError as error:
            raise Refused("sandbox", f"there is no room for the sandbox: {error.strerror}") from None
        longest = max(one.reload.timeout_s for one in (self.settings, running) if one.reload.corpora)
        self.limit = time.monotonic() + longest + GATE_MARGIN_S

    def _hand_expectations(self, folder: str) -> None:
        """Of the version that runs, so that an entry that is asked no more is missed."""
        current = kept.History(self._folder).current() if self._folder is not None else None
        if current is not None:
            shutil.copyfile(os.path.join(current.folder, kept.ENTRIES), os.path.join(folder, kept.ENTRIES))

    def _judged(self, code: int) -> dict[str, Any]:
        assert self._report is not None
        content = os.pread(self._report, os.fstat(self._report).st_size, 0)
        self._clear_sandbox()
        if code or not content:
            raise Refused("gate", f"the gate ended without a verdict: exit code {code}")
        verdict: dict[str, Any] = json.loads(content)
        if verdict["reason"] is not None and verdict["refuses"]:
            self.verdict = verdict
            raise Refused(verdict["reason"], verdict["message"])
        return verdict

    def _clear_sandbox(self) -> None:
        if self._sandbox is not None:
            folder, lock = self._sandbox
            self._sandbox = None
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code, once the process has ended. What it has left of its group ends as well."""
    if process.returncode is None and os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return None
    if process.returncode is None:  # not reaped, so the group's number is still its own
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def sweep(folder: str) -> None:
    """Take away sandboxes whose processes were killed."""
    for name in os.listdir(folder):
        if not name.startswith(SANDBOX):
            continue
        path = os.path.join(folder, name)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(fd)


def _child(
    command: list[str], fds: tuple[int, ...], *, env: dict[str, str], stderr: int | None
) -> subprocess.Popen[bytes]:
    """In a group of its own, so that it can be ended with all that it has started."""
    return subprocess.Popen(  # noqa: S603 - ourselves
        command,
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env=env,
        process_group=0,
    )

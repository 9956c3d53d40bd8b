"""Who wants the configuration changed, one after the other, and what became of it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from tollhouse.gateway import change, kept
from tollhouse.gateway.change import Change, Refused, Wanted
from tollhouse.gateway.control import VARIABLE, Asked, Control

if TYPE_CHECKING:
    from tollhouse.config.settings import Settings

_MOST = 64  # changes that wait
_KINDS = ("reload", "check", "rollback")


class Reloads:
    """The supervisor's side of reloads: the queue, the socket that others ask at, and the versions that were accepted.

    env: of the command that reads the configuration; gets the name of the socket for the workers. staged: where the
    command has put the files that the gateway is started with, if they can be kept.
    """

    def __init__(self, argv: list[str], env: dict[str, str], settings: Settings, staged: str | None) -> None:
        self._argv = argv
        self._env = env
        self._queue: list[Wanted] = []
        self._under_way: Change | None = None
        self._starting: Change | None = None  # its workers are
        self._staged = staged  # what the gateway was started with
        self._counts: Counter[tuple[str, str]] = Counter()
        self._last: dict[str, Any] | None = None
        self._first = settings
        self._running: dict[str, Any] = {"version": None, "fingerprint": settings.fingerprint, "accepted_at": None}
        self._control: Control | None = None
        self._history: kept.History | None = None
        if staged is None:  # the command has said why
            return
        folder = os.path.dirname(staged)
        try:
            self._history = kept.History(folder)
            self._history.sweep()
            change.sweep(folder)
            self._control = Control(folder)
            env[VARIABLE] = self._control.path
        except OSError as error:
            say(f"{folder} cannot be used, so nothing is kept and only SIGHUP reloads: {error.strerror}")

    @property
    def limit(self) -> float | None:
        """When `advance` has to be called next, by the monotonic clock, if nothing happens before."""
        return self._under_way.limit if self._under_way is not None else None

    def fds(self) -> list[int]:
        return self._control.fds() if self._control is not None else []

    def hear(self, fd: int) -> None:
        """Something has come on one of `fds`."""
        asked = self._control.hear(fd) if self._control is not None else None
        if asked is None:
            return
        kind = asked.wanted.get("do")
        if kind == "status":
            asked.answer(self.status())
        elif kind in _KINDS:
            self.want(kind, asked)
        else:
            asked.answer(_refusal("unknown", "this is nothing that a gateway does"))

    def want(self, kind: str, asked: Asked | None = None) -> None:
        """Put it at the end of the queue. A rollback does not wait, neither for others nor for a gate."""
        askers = [asked] if asked is not None else []
        same = next((one for one in self._queue if one.kind == kind != "rollback"), None)
        if same is not None:
            same.askers += askers
            return
        if len(self._queue) >= _MOST:
            for one in askers:
                one.answer(_refusal("busy", "too many changes wait already"))
            return
        if kind != "rollback":
            self._queue.append(Wanted(kind, None, askers))
            return
        version = self._version(asked)
        if version is None:
            for one in askers:
                one.answer(_refusal("unknown_version", "there is no such version"))
            return
        if self._under_way is not None and self._under_way.wanted.kind != "rollback":
            self._refused(self._under_way, Refused("superseded", "a rollback went before it"))
        if version.number == self._running["version"] and self._under_way is None and self._starting is None:
            for one in askers:
                one.answer({"outcome": "accepted", "message": "it runs already"} | self._running)
            return
        self._queue.insert(0, Wanted(kind, version, askers))

    def advance(self, running_fd: int, running: Settings, life_fd: int, *, is_free: bool) -> Change | None:
        """Go on. A change that is returned is to be tried on new workers: `accepted` or `failed` follow.

        is_free: all workers are ready, none is being replaced.
        """
        while True:  # whatever ends here lets the next one begin: nothing else may wake the loop
            if self._under_way is None and not (is_free and self._starting is None and self._begin()):
                return None
            now = self._under_way
            if now is None:
                continue
            try:
                if not now.step(running_fd, running, life_fd):
                    return None
            except Refused as refusal:
                self._refused(now, refusal)
                continue
            self._under_way = None
            if now.wanted.kind != "check":
                self._starting = now
                return now
            told = {"outcome": "passed", "reason": None, "message": "it would be accepted"}
            self._tell(now.wanted, now.verdict, told)
            now.close(is_used=False)

    def _begin(self) -> bool:
        """Whether there was one to begin with."""
        if not self._queue:
            return False
        wanted = self._queue.pop(0)
        folder = self._history.folder if self._history is not None else None
        try:
            self._under_way = Change(wanted, argv=self._argv, env=self._env, folder=folder)
        except OSError as error:  # no processes or descriptors left
            self._count_refused(wanted, "gate")
            self._tell(
                wanted, None, _refusal("gate", f"nothing can be started: {error.strerror}: the running one stays")
            )
        return True

    def accepted(self) -> None:
        """The workers of the change that was returned last, or the first ones, are ready."""
        now, self._starting = self._starting, None
        if now is None:
            if self._running["accepted_at"] is None:  # else a worker was lost, and replaced
                self._keep(self._staged, self._first, by="start")
            return
        assert now.settings is not None
        if now.wanted.version is not None:
            self._turn_to(now.wanted.version)
        else:
            self._keep(now.staged, now.settings, by="reload")
        self._counts["accepted", now.wanted.kind] += 1
        told = {"outcome": "accepted", "reason": now.wanted.kind, "message": "the configuration was accepted"}
        self._tell(now.wanted, now.verdict, told | self._running)
        now.close(is_used=True)

    def failed(self) -> None:
        """The workers of the change that was returned last did not start; its descriptor is closed."""
        now, self._starting = self._starting, None
        if now is not None:
            self._refused(now, Refused("start", "the new workers did not start"), stays="the old ones stay")

    def close(self) -> None:
        """The gateway ends: so does what is under way, and who waits is told. Again: nothing."""
        for now in (self._under_way, self._starting):
            if now is not None:
                self._refused(now, Refused("stopping", "the gateway is stopping"))
        self._under_way = self._starting = None
        for wanted in self._queue:
            for asked in wanted.askers:
                asked.answer(_refusal("stopping", "the gateway is stopping"))
        self._queue.clear()
        if self._staged is not None and self._running["accepted_at"] is None:
            shutil.rmtree(self._staged, ignore_errors=True)
        if self._control is not None:
            self._control.close()
            self._control = None

    def status(self) -> dict[str, Any]:
        counts = [[*labels, number] for labels, number in sorted(self._counts.items())]
        is_busy = self._under_way is not None or self._starting is not None
        return {**self._running, "counts": counts, "is_busy": is_busy, "waiting": len(self._queue), "last": self._last}

    def _version(self, asked: Asked | None) -> kept.Version | None:
        number = asked.wanted.get("version") if asked is not None else None
        return self._history.find(number) if self._history is not None and isinstance(number, int) else None

    def _refused(self, now: Change, refusal: Refused, *, stays: str = "the running one stays") -> None:
        if now is self._under_way:
            self._under_way = None
        self._count_refused(now.wanted, refusal.reason)
        told = _refusal(refusal.reason, f"{refusal}: {stays}") | self._running | {"problems": refusal.problems}
        self._tell(now.wanted, now.verdict, told)
        now.close(is_used=False)

    def _count_refused(self, wanted: Wanted, reason: str) -> None:
        if wanted.kind != "check":
            self._counts["refused", reason] += 1

    def _tell(self, wanted: Wanted, gate: dict[str, Any] | None, told: dict[str, Any]) -> None:
        """Whoever asked, and the log. What is said names entries by id and repeats nothing of them."""
        told = {"do": wanted.kind, **told, "gate": gate}
        is_fine = told["outcome"] != "refused" and (gate is None or gate["reason"] is None)
        if gate is not None and gate["reason"] is not None and told["outcome"] != "refused":
            told["message"] += f", although {gate['message']} (the gate only reports)"
        if wanted.kind != "check":
            self._last = told | {"at": time.time()}
        for asked in wanted.askers:
            asked.answer(told)
        if gate is not None:
            told |= {name: gate[name] for name in ("loosened", "tightened", "undecided") if gate[name]}
        left_out = {"gate", "message", "problems", "accepted_at"}
        fields = {name: value for name, value in told.items() if name not in left_out and value is not None}
        say(told["message"], level="info" if is_fine else "warning", **fields)

    def _keep(self, staged: str | None, settings: Settings, *, by: str) -> None:
        version = None
        try:
            if self._history is not None and staged is not None and os.path.isdir(staged):
                version = self._history.commit(staged, by=by, keep=settings.reload.keep)
            elif self._history is not None:
                self._history.forget(all_of_it=not settings.reload.keep)
        except OSError as error:
            say(f"this configuration is not kept: {error.strerror}")
        self._now_runs(version, settings.fingerprint)

    def _turn_to(self, version: kept.Version) -> None:
        assert self._history is not None
        try:
            self._history.turn_to(version)
        except OSError as error:
            say(f"that version {version.number} runs could not be written down: {error.strerror}")
        self._now_runs(version, version.fingerprint)

    def _now_runs(self, version: kept.Version | None, fingerprint: str) -> None:
        self._running = {
            "version": version.number if version is not None else None,
            "fingerprint": fingerprint,
            "accepted_at": time.time(),
        }


def say(message: str, *, level: str = "warning", **fields: Any) -> None:
    """A line of the log."""
    line = {"ts": round(time.time(), 3), "level": level, "logger": "tollhouse.supervisor", "msg": message, **fields}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


def _refusal(reason: str, message: str) -> dict[str, Any]:
    return {"outcome": "refused", "reason": reason, "message": message}

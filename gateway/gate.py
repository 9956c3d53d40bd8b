"""Judges a candidate: a corpus is replayed against it and against the running configuration, each in a sandbox.

A process of its own, which the supervisor starts. Arguments: descriptors of the settings of both, of where the verdict
goes as JSON, and of a pipe that ends with the supervisor; and a folder whose `entries.json` has what the running
configuration expects, by id. Doubt is a refusal.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from tollhouse.gateway import corpus, decisions, replay, sandbox
from tollhouse.gateway.scan import BadInput

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from tollhouse.config.settings import ReloadSettings, Settings
    from tollhouse.gateway.corpus import Asker, Entry
    from tollhouse.gateway.replay import Caller

Records = list[dict[str, Any]]
Start = Callable[["Settings", str, "Iterable[Asker]"], "AbstractAsyncContextManager[Caller]"]
MODEL = "tollhouse/echo"  # of entries that name none
KNOWN = "entries.json"
NICE = 10  # requests are served meanwhile, on the same processors
MOST = 100  # entries that a verdict names of a kind; it has the number of all


class Refused(Exception):
    """reason: one of loosened, undecided, corpus, sandbox; the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Verdict:
    """What is told of a candidate. Entries are named by id; nothing of what they say is here."""

    refuses: bool = True  # or the gate only reports
    reason: str | None = None  # None: it may pass
    message: str = ""
    entries: int = 0
    took_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    loosened: list[dict[str, Any]] = field(default_factory=list)
    accepted: list[dict[str, Any]] = field(default_factory=list)  # loosened, which the candidate says is wanted
    tightened: list[dict[str, Any]] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)

    def name(self, kind: str, found: Sequence[Any]) -> None:
        self.counts[kind] = len(found)
        getattr(self, kind).extend(found[:MOST])


def gate_of(candidate: ReloadSettings, running: ReloadSettings) -> ReloadSettings | None:
    """The gate that a change has to pass: the candidate's, or the running one's if the candidate has none; None: none.

    What it does about a failure is the stricter of the two, so that a change cannot excuse itself.
    """
    gate = candidate if candidate.corpora else running
    if not gate.corpora:
        return None
    sides = [one for one in (candidate, running) if one.corpora]
    return replace(gate, refuses=any(one.refuses for one in sides), accept=candidate.accept)


async def judged(
    candidate: Settings,
    running: Settings,
    folder: str,
    known: Mapping[str, str],
    *,
    start: Start = sandbox.running,
) -> Verdict:
    """known: what was expected of the entries of the running configuration, by id. start: what a sandbox is."""
    gate = gate_of(candidate.reload, running.reload)
    assert gate is not None
    verdict, started = Verdict(refuses=gate.refuses), time.monotonic()
    try:
        async with asyncio.timeout(gate.timeout_s):
            entries, expected = _corpora(gate)
            verdict.entries = len(entries)
            records, before = await _both(
                _asked(entries, candidate, os.path.join(folder, "candidate"), start),
                _asked(entries, running, os.path.join(folder, "running"), start),
            )
            _compare(verdict, gate, records, before, expected=expected, known=known)
    except TimeoutError:
        verdict.reason, verdict.message = "timeout", f"the corpus was not replayed within {gate.timeout_s:g} s"
    except Refused as refusal:
        verdict.reason, verdict.message = refusal.reason, str(refusal)
    verdict.took_s = round(time.monotonic() - started, 3)
    return verdict


def _compare(
    verdict: Verdict,
    gate: ReloadSettings,
    records: Records,
    before: Records,
    *,
    expected: Mapping[str, str] | None,
    known: Mapping[str, str],
) -> None:
    verdict.name("undecided", [record["id"] for record in records if record["decision"] == decisions.FAILED])
    then = {record["id"]: record["decision"] for record in before}
    gone = {name: decision for name, decision in known.items() if name not in then}
    found = [
        *(("expected", one) for one in decisions.differences(records, expected)),
        *(("running", one) for one in decisions.differences(records, then)),
        *(("corpus", one) for one in decisions.differences((), gone)),
    ]
    looser = _merged((against, one) for against, one in found if one.is_looser)
    verdict.name("loosened", [one for one in looser if one["id"] not in gate.accept])
    verdict.name("accepted", [one for one in looser if one["id"] in gate.accept])
    verdict.name("tightened", _merged((against, one) for against, one in found if not one.is_looser))
    if verdict.counts["loosened"]:
        raise Refused("loosened", f"{verdict.counts['loosened']} of {len(records)} entries are decided more loosely")
    if verdict.counts["undecided"]:
        raise Refused("undecided", f"{verdict.counts['undecided']} of {len(records)} entries have no decision")


async def _both(*asked: Coroutine[Any, Any, Records]) -> list[Records]:
    """At once; when one fails, the other is ended, too."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _merged(found: Any) -> list[dict[str, Any]]:
    """One per entry, with all that it differs from."""
    merged: dict[str, dict[str, Any]] = {}
    for against, one in found:
        named = merged.setdefault(one.id, {"id": one.id, "to": one.now, "from": {}})
        named["from"][against] = one.then
    return list(merged.values())


async def _asked(entries: Sequence[Entry], settings: Settings, folder: str, start: Start) -> Records:
    os.mkdir(folder, 0o700)
    try:
        async with start(settings, folder, {entry.caller for entry in entries}) as caller:
            return await replay.run(entries, caller, MODEL)
    except sandbox.NotStarted as error:
        msg = f"the {os.path.basename(folder)} configuration does not start in the sandbox: {error}"
        raise Refused("sandbox", msg) from None
    except (OSError, http.client.HTTPException) as error:
        msg = f"the {os.path.basename(folder)} configuration does not answer in the sandbox: {type(error).__name__}"
        raise Refused("sandbox", msg) from None


def _corpora(gate: ReloadSettings) -> tuple[list[Entry], dict[str, str] | None]:
    entries: dict[str, Entry] = {}
    for path, digest in gate.corpora:
        for entry in _read(path, digest, corpus.read):
            if entries.setdefault(entry.id, entry) != entry:
                raise Refused("corpus", f"{path}: another corpus has the id of one of its entries")
    expected = None if gate.baseline is None else _read(*gate.baseline, corpus.baseline)
    return list(entries.values()), expected


def _read(path: str, digest: str, read: Any) -> Any:
    """By `read`, if the file is still the one whose digest the configuration has."""
    try:
        with open(path, "rb") as file:
            if sha256(file.read()).hexdigest() != digest:
                raise Refused("corpus", f"{path} has changed while the configuration was read")
        return read(path)
    except OSError as error:
        raise Refused("corpus", f"{path} cannot be read: {error.strerror}") from None
    except BadInput as error:
        raise Refused("corpus", f"{path}: {error}") from None


async def _run(candidate: Settings, running: Settings, folder: str, life_fd: int) -> Verdict | None:
    """None: nobody waits for it any more."""
    loop = asyncio.get_running_loop()
    judging = loop.create_task(judged(candidate, running, folder, _known(folder)))
    loop.add_reader(life_fd, judging.cancel)
    try:
        return await judging
    except asyncio.CancelledError:
        return None
    finally:
        loop.remove_reader(life_fd)


def _known(folder: str) -> dict[str, str]:
    try:
        with open(os.path.join(folder, KNOWN), encoding="utf-8") as file:
            found: dict[str, str] = json.load(file)
            return found
    except FileNotFoundError:
        return {}


def _settings(fd: int) -> Settings:
    settings: Settings = pickle.loads(os.pread(fd, os.fstat(fd).st_size, 0))  # noqa: S301 - written by ourselves
    return settings


def main(argv: list[str]) -> int:
    candidate_fd, running_fd, report_fd, life_fd = map(int, argv[:4])
    folder = argv[4]
    os.nice(NICE)
    try:
        verdict = asyncio.run(_run(_settings(candidate_fd), _settings(running_fd), folder, life_fd))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if verdict is None:
        return 1
    os.write(report_fd, json.dumps(asdict(verdict)).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

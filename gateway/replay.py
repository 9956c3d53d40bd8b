"""`tollhouse replay`: a corpus of conversations through the gateway, and what a caller is told of each.

The gateway is the real app, in this process with the built-in model behind it, or one that is served elsewhere. What
is compared are decisions: ALLOWED is looser than TRANSFORMED, and that is looser than BLOCKED.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import secrets
import ssl
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import orjson

from tollhouse.config.deployments import ECHO
from tollhouse.config.settings import ConfiguredKey, ScanSettings, Settings
from tollhouse.gateway.scan import BadInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

ORDER = ("ALLOWED", "TRANSFORMED", "BLOCKED")
FAILED = "FAILED"  # neither passed nor refused by policy
PATH = "/v1/chat/completions"
_TIMEOUT_S = 30.0
# Settings that a decision depends on. All others stay out of it: no service is asked, nothing is sent or kept.
DECIDES = frozenset({"body", "scan", "policy"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One conversation of a corpus; `expected` is what its line says, if anything."""

    id: str
    messages: list[Any]
    expected: str | None
    tags: list[str]


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller is told: status, headers by lower-case name, the error's code if there is one."""

    status: int
    headers: Mapping[str, str]
    code: str | None

    @property
    def decision(self) -> str:
        said = self.headers.get("x-gateway-decision", "ALLOWED")
        return said if self.status < 400 or said == "BLOCKED" else FAILED


@dataclass(frozen=True, slots=True)
class Report:
    """Lines about entries, by how they differ from what they are compared with."""

    loosened: list[str]
    tightened: list[str]
    failed: list[str]

    def passes(self, *, strict: bool) -> bool:
        return not (self.loosened or self.failed or (strict and self.tightened))


class Caller(Protocol):
    async def ask(self, body: bytes) -> Told: ...


def read(path: str) -> list[Entry]:
    """The entries of a corpus. Raises BadInput, naming the line."""
    found: dict[str, Entry] = {}
    for number, record in _records(path):
        name, messages, expected = record.get("id"), record.get("messages"), record.get("expected_decision")
        if not isinstance(name, str) or not name or not isinstance(messages, list):
            msg = f"line {number}: needs a string `id` and a list `messages`"
            raise BadInput(msg)
        if expected not in {None, *ORDER}:
            msg = f"line {number}: `expected_decision` is none of {', '.join(ORDER)}"
            raise BadInput(msg)
        if name in found:
            msg = f"line {number}: repeats an id"
            raise BadInput(msg)
        found[name] = Entry(name, messages, expected, list(record.get("tags") or ()))
    if not found:
        msg = "there is no entry"
        raise BadInput(msg)
    return list(found.values())


def baseline(path: str) -> dict[str, str]:
    """Decisions by id, of an earlier output or of a corpus with expectations. Raises BadInput."""
    found = {}
    for number, record in _records(path):
        name, decision = record.get("id"), record.get("decision", record.get("expected_decision"))
        if not isinstance(name, str) or decision not in {*ORDER, FAILED}:
            msg = f"line {number}: needs `id` and `decision` (or `expected_decision`)"
            raise BadInput(msg)
        found[name] = decision
    return found


def offline(settings: Settings, state_dir: str) -> tuple[Settings, str]:
    """What decides of these settings, with the built-in model behind it and one key; and that key."""
    key = f"sk-th-{secrets.token_hex(6)}-{secrets.token_hex(24)}"
    kept = {one.name: getattr(settings, one.name) for one in fields(Settings) if one.name in DECIDES}
    kept["scan"] = settings.scan or ScanSettings(request={}, response={})
    own = ConfiguredKey(name="replay", digest=hashlib.sha256(key.encode()).digest())
    return Settings(**kept, deployments=(ECHO,), keys=(own,), state_dir=state_dir), key


async def run(entries: Sequence[Entry], caller: Caller, model: str) -> list[dict[str, Any]]:
    """A record per entry, in their order: what the caller was told."""
    records = []
    for entry in entries:
        told = await caller.ask(orjson.dumps({"model": model, "messages": entry.messages}))
        records.append(
            {
                "id": entry.id,
                "decision": told.decision,
                "expected_decision": entry.expected,
                "status": told.status,
                "code": told.code,
                "guards": told.headers.get("x-gateway-guards"),
                "reasons": told.headers.get("x-gateway-reasons"),
                "tags": entry.tags,
            }
        )
    return records


def compared(records: Iterable[Mapping[str, Any]], before: Mapping[str, str] | None) -> Report:
    """before: decisions by id; None: what the corpus itself expects."""
    report = Report([], [], [])
    seen = set()
    for record in records:
        name, now = record["id"], record["decision"]
        seen.add(name)
        then = record["expected_decision"] if before is None else before.get(name)
        tags = f" ({', '.join(record['tags'])})" if record["tags"] else ""
        if now == FAILED:
            report.failed.append(f"{name}: status {record['status']} {record['code'] or ''}".rstrip() + tags)
        elif then in ORDER and then != now:
            looser = ORDER.index(now) < ORDER.index(then)
            (report.loosened if looser else report.tightened).append(f"{name}: {now} instead of {then}{tags}")
    for name, then in (before or {}).items():
        if name not in seen and then in ORDER[1:]:
            report.loosened.append(f"{name}: no longer asked, {then} before")
    return report


@asynccontextmanager
async def local(settings: Settings) -> AsyncIterator[Caller]:
    """The gateway's app, started in this process."""
    from tollhouse.gateway.app import create_app  # noqa: PLC0415 - not for a gateway that is served elsewhere

    with tempfile.TemporaryDirectory(prefix="tollhouse-replay-") as folder:
        deciding, key = offline(settings, folder)
        app = create_app(deciding)
        async with app.router.lifespan_context(app):
            yield _Local(app, key)


class _Local:
    def __init__(self, app: Any, key: str) -> None:
        self._app = app
        self._headers = [
            (b"host", b"localhost"),
            (b"authorization", b"Bearer " + key.encode()),
            (b"content-type", b"application/json"),
        ]

    async def ask(self, body: bytes) -> Told:
        sent: list[dict[str, Any]] = []
        inbox = [{"type": "http.request", "body": body, "more_body": False}]
        gone = asyncio.Event()  # never: the caller stays

        async def receive() -> dict[str, Any]:
            if not inbox:
                await gone.wait()
            return inbox.pop()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": self._headers,
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 1),
            "state": {},
        }
        await self._app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent[0]["headers"]}
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        return Told(sent[0]["status"], headers, _code(sent[0]["status"], answer))


class Remote:
    """A gateway that is served at `url`. Raises OSError or http.client.HTTPException when it cannot be asked."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = f"{url!r} is no http or https URL"
            raise ValueError(msg)
        self._path = parts.path.rstrip("/").removesuffix("/v1") + PATH
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._connection = (
            http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=_TIMEOUT_S, context=ssl.create_default_context()
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S)
        )

    async def ask(self, body: bytes) -> Told:
        return await asyncio.to_thread(self._ask, body)

    def _ask(self, body: bytes) -> Told:
        connection = self._connection
        connection.request("POST", self._path, body, self._headers)
        response = connection.getresponse()
        answer = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Told(response.status, headers, _code(response.status, answer))

    def close(self) -> None:
        self._connection.close()


def _code(status: int, answer: bytes) -> str | None:
    if status < 400:
        return None
    try:
        error = orjson.loads(answer)["error"]
        return str(error.get("code") or error.get("type"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _records(path: str) -> Iterable[tuple[int, dict[str, Any]]]:
    with open(path, "rb") as source:
        for number, line in enumerate(source, 1):
            if line.isspace():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                msg = f"line {number}: is not JSON"
                raise BadInput(msg) from None
            if not isinstance(record, dict):
                msg = f"line {number}: is no object"
                raise BadInput(msg)
            yield number, record

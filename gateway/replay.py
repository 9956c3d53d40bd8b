"""`tollhouse replay`: a corpus of conversations through the gateway, and what a caller is told of each.

The gateway is the real app, in this process with the built-in model behind it, or one that is served elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import secrets
import ssl
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import orjson

from tollhouse.config.deployments import ECHO
from tollhouse.config.settings import ConfiguredKey, ReceiptSettings, ScanSettings, Settings
from tollhouse.gateway.corpus import NOBODY
from tollhouse.gateway.decisions import FAILED
from tollhouse.gateway.scan import BadInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from tollhouse.gateway.corpus import Asker, Entry

PATH = "/v1/chat/completions"
_TIMEOUT_S = 30.0
# Settings that a decision depends on. All others stay out of it: no service is asked, nothing is sent or kept.
DECIDES = frozenset({"body", "scan", "policy", "routing", "default_model"})


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


class Caller(Protocol):
    async def ask(self, body: bytes, caller: Asker) -> Told: ...


def offline(settings: Settings, state_dir: str, callers: Iterable[Asker]) -> tuple[Settings, dict[Asker, str]]:
    """What decides of these settings, with the built-in model behind every name; and a key for each of the callers."""
    keys = {caller: f"sk-th-{secrets.token_hex(6)}-{secrets.token_hex(24)}" for caller in callers}
    kept = {one.name: getattr(settings, one.name) for one in fields(Settings) if one.name in DECIDES}
    kept["scan"] = settings.scan or ScanSettings(request={}, response={})
    kept["routing"] = replace(settings.routing, hedge=None)
    if settings.receipts is not None:  # which rules can ask for: chained in the state folder, told to nobody
        kept["receipts"] = ReceiptSettings()
    names = dict.fromkeys([*(one.model_name for one in settings.deployments), ECHO.model_name])
    made = tuple(
        ConfiguredKey(
            # Two keys of one name are one to a policy, and may be of two teams here.
            name=caller.key or f"replay-{number}",
            digest=hashlib.sha256(key.encode()).digest(),
            team=caller.team,
            user=caller.user,
        )
        for number, (caller, key) in enumerate(keys.items())
    )
    echoes = tuple(replace(ECHO, model_name=name) for name in names)
    quiet = Settings(**kept, deployments=echoes, keys=made, state_dir=state_dir, log_level="error")
    return replace(quiet, linger_s=0.0, drain_s=1.0), keys


async def run(entries: Sequence[Entry], caller: Caller, model: str) -> list[dict[str, Any]]:
    """A record per entry, in their order: what the caller was told. model: of entries that name none."""
    records = []
    for entry in entries:
        body = {"model": entry.model or model, "messages": entry.messages} | entry.request
        told = await caller.ask(orjson.dumps(body), entry.caller)
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


@asynccontextmanager
async def local(settings: Settings, callers: Iterable[Asker]) -> AsyncIterator[Caller]:
    """The gateway's app, started in this process."""
    from tollhouse.gateway.app import create_app  # noqa: PLC0415 - not for a gateway that is served elsewhere

    with tempfile.TemporaryDirectory(prefix="tollhouse-replay-") as folder:
        deciding, keys = offline(settings, folder, callers)
        app = create_app(deciding)
        async with app.router.lifespan_context(app):
            yield _Local(app, keys)


class _Local:
    def __init__(self, app: Any, keys: Mapping[Asker, str]) -> None:
        self._app = app
        self._keys = keys

    async def ask(self, body: bytes, caller: Asker) -> Told:
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
            "headers": [
                (b"host", b"localhost"),
                (b"authorization", b"Bearer " + self._keys[caller].encode()),
                (b"content-type", b"application/json"),
            ],
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 1),
            "state": {},
        }
        await self._app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent[0]["headers"]}
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        return Told(sent[0]["status"], headers, _code(sent[0]["status"], answer))


class Remote:
    """A gateway that is served. Raises OSError or http.client.HTTPException when it cannot be asked.

    keys: of the callers whom an entry may name.
    """

    def __init__(self, connection: http.client.HTTPConnection, keys: Mapping[Asker, str], path: str = PATH) -> None:
        self._connection = connection
        self._keys = keys
        self._path = path

    @classmethod
    def at(cls, url: str, key: str) -> Remote:
        """Raises ValueError for what is no URL."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = f"{url!r} is no http or https URL"
            raise ValueError(msg)
        connection = (
            http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=_TIMEOUT_S, context=ssl.create_default_context()
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S)
        )
        return cls(connection, {NOBODY: key}, parts.path.rstrip("/").removesuffix("/v1") + PATH)

    async def ask(self, body: bytes, caller: Asker) -> Told:
        if caller not in self._keys:
            msg = "an entry names a caller, whom a gateway that is served cannot be asked as"
            raise BadInput(msg)
        headers = {"authorization": f"Bearer {self._keys[caller]}", "content-type": "application/json"}
        return await asyncio.to_thread(self._ask, body, headers)

    def _ask(self, body: bytes, headers: dict[str, str]) -> Told:
        connection = self._connection
        connection.request("POST", self._path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        told = {name.lower(): value for name, value in response.getheaders()}
        return Told(response.status, told, _code(response.status, answer))

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

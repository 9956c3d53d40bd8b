"""Every route there is, with all that must stand around it: auth, limits, budgets, the scan, the ledger.

A route that is in none of the classes below fails the first test, so nobody adds one without saying what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from starlette.routing import Route

from tests.gateway.passthrough.provider import ALICE, FORM, Provider, form
from tests.support.app import ADMIN_KEY, App, running_app
from tests.support.audit import records
from tests.support.chunks import completion
from tests.support.gateway import model
from tollhouse.gateway import create_app
from tollhouse.gateway.routes import ADMIN, HOT, PUBLIC

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.asgi import Response
    from tests.support.upstream import Peer

SECRET = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
MESSAGES = [{"role": "user", "content": "TEXT"}]
SOUND = form(("model", b"draws"), ("prompt", b"TEXT"), ("file", bytes(range(256)), "a.mp3"))
IMAGE = form(("model", b"draws"), ("prompt", b"TEXT"), ("image", bytes(range(256)), "a.png"))
# What a request of each says; TEXT is replaced by what a test has to say.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/chat/completions"): {"model": "draws", "messages": MESSAGES},
    ("POST", "/v1/completions"): {"model": "draws", "prompt": "TEXT"},
    ("POST", "/v1/embeddings"): {"model": "draws", "input": "TEXT"},
    ("POST", "/v1/responses"): {"model": "draws", "input": "TEXT"},
    ("POST", "/v1/messages"): {"model": "draws", "messages": MESSAGES, "max_tokens": 9},
    ("POST", "/v1/images/generations"): {"model": "draws", "prompt": "TEXT"},
    ("POST", "/v1/images/edits"): IMAGE,
    ("POST", "/v1/audio/speech"): {"model": "draws", "input": "TEXT"},
    ("POST", "/v1/audio/transcriptions"): SOUND,
    ("POST", "/v1/audio/translations"): SOUND,
    ("POST", "/v1/rerank"): {"model": "draws", "query": "TEXT", "documents": ["a"]},
    ("POST", "/v1/moderations"): {"model": "draws", "input": "TEXT"},
    ("POST", "/v1/batches"): {"input_file_id": "file-0", "metadata": {"note": "TEXT"}},
}
# Reach a provider, and cost nothing there. They are limited and recorded like the others.
FREE: dict[tuple[str, str], Any] = {
    ("POST", "/v1/files"): form(("purpose", b"TEXT"), ("file", b"{}", "a.jsonl")),
    ("GET", "/v1/files"): None,
    ("GET", "/v1/files/{id}"): None,
    ("DELETE", "/v1/files/{id}"): None,
    ("GET", "/v1/files/{id}/content"): None,
    ("GET", "/v1/batches"): None,
    ("GET", "/v1/batches/{id}"): None,
    ("POST", "/v1/batches/{id}/cancel"): None,
}
# Reach a provider at most for a count, which nobody charges.
COUNTED = {("POST", "/v1/messages/count_tokens")}
# Need a key, and reach nobody.
LOCAL = {("GET", "/v1/models"), ("GET", "/v1/models/{model:path}")}
REACHING = BODIES | FREE


def every_route(tmp_path: Path) -> set[tuple[str, str]]:
    app = create_app({"state_dir": str(tmp_path)})
    found = set()
    for route in app.routes:
        assert isinstance(route, Route), route
        found |= {(method, route.path) for method in route.methods or () if method != "HEAD"}
    return found


def is_admin(path: str) -> bool:
    return path.startswith(ADMIN)


class Everything(Provider):
    """Knows conversations as well."""

    def __init__(self) -> None:
        super().__init__()
        self.files, self.batches = ["file-0"], ["batch_0"]

    async def _serve(self, peer: Peer) -> None:
        if peer.seen.path in HOT or peer.seen.path.endswith("/chat/completions"):
            await peer.answer(completion())
        else:
            await super()._serve(peer)


@pytest.fixture
def provider() -> Iterator[Everything]:
    with Everything() as running:
        yield running


async def ask(app: App, method: str, path: str, *, key: str | None = ALICE, text: str = "hello") -> Response:
    body = REACHING.get((method, path))
    headers = []
    if isinstance(body, bytes):
        body, headers = body.replace(b"TEXT", text.encode()), list(FORM.items())
    elif body is not None:
        body = _said(body, text)
    name = "file-0" if "files" in path else "batch_0"
    shown = path.replace("{id}", name).replace("{model:path}", "draws")
    return await app.send(shown, method=method, key=key, headers=headers, body=body if body is not None else b"")


def _said(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {name: _said(inner, text) for name, inner in value.items()}
    if isinstance(value, list):
        return [_said(inner, text) for inner in value]
    return text if value == "TEXT" else value


def config(provider: Everything, **key: Any) -> dict[str, Any]:
    listed = [model("draws", provider.base_url, upstream="openai/gpt-image-1")]
    scan = {"request": {"secrets": "block"}, "response": {"pii": "redact"}}
    return {"keys": [{"name": "alice", "key": ALICE} | key], "model_list": listed, "scan": scan}


async def own(app: App) -> None:
    """The file and the batch that requests are about are Alice's."""
    owners = app.asgi.state.owners
    await owners.add(["file-0", "batch_0"], "openai", "alice")


def test_every_route_is_in_one_class(tmp_path: Path) -> None:
    public = {("GET", path) for path in PUBLIC}
    admin = {one for one in every_route(tmp_path) if is_admin(one[1])}
    classes = [set(BODIES), set(FREE), COUNTED, LOCAL, public, admin]
    assert set.union(*classes) == every_route(tmp_path)
    assert sum(map(len, classes)) == len(every_route(tmp_path))


async def test_no_route_but_the_public_ones_opens_without_a_key(provider: Everything, tmp_path: Path) -> None:
    async with running_app(tmp_path, **config(provider)) as app:
        for method, path in sorted(every_route(tmp_path)):
            for key in (None, "sk-wrong", ALICE if is_admin(path) else "sk-th-abcdefghijkl-wrong"):
                response = await ask(app, method, path, key=key)
                if path in PUBLIC:
                    assert response.status == 200, path
                else:
                    assert response.status in {401, 403}, (method, path, key, response)
    assert not provider.log.requests


async def test_admin_routes_open_to_the_admin_key_alone(provider: Everything, tmp_path: Path) -> None:
    async with running_app(tmp_path, **config(provider)) as app:
        for method, path in sorted(every_route(tmp_path)):
            response = await app.send(
                path.replace("{id}", "x").replace("{model:path}", "draws"),
                method=method,
                key=None,
                headers=[(b"x-admin-api-key", ADMIN_KEY.encode())],
            )
            assert (response.status == 401) == (not is_admin(path) and path not in PUBLIC), (method, path, response)


@pytest.mark.parametrize(("method", "path"), REACHING)
async def test_every_route_that_reaches_a_provider_is_limited(
    provider: Everything, tmp_path: Path, method: str, path: str
) -> None:
    async with running_app(tmp_path, **config(provider, limits={"rpm": 1})) as app:
        await own(app)
        assert (await ask(app, method, path)).status == 200
        await own(app)
        refused = await ask(app, method, path)
        assert refused.status == 429
        assert refused.header("retry-after")
    assert len(provider.log.requests) == 1


@pytest.mark.parametrize(("method", "path"), BODIES)
async def test_every_route_that_costs_needs_room_in_a_hard_budget(
    provider: Everything, tmp_path: Path, method: str, path: str
) -> None:
    budget = {"usd": "0", "window": "total", "mode": "hard"}
    async with running_app(tmp_path, **config(provider, budget=budget)) as app:
        await own(app)
        refused = await ask(app, method, path)
        assert refused.status in {403, 429}, refused
        assert refused.header("x-should-retry") in {"false", None}
    assert not provider.log.requests


@pytest.mark.parametrize(("method", "path"), FREE)
async def test_what_costs_nothing_needs_none(provider: Everything, tmp_path: Path, method: str, path: str) -> None:
    budget = {"usd": "0", "window": "total", "mode": "hard"}
    async with running_app(tmp_path, **config(provider, budget=budget)) as app:
        await own(app)
        assert (await ask(app, method, path)).status == 200
    [record] = records(tmp_path / "state")
    assert (record["amount"], record["status"]) == (0, "complete")


@pytest.mark.parametrize(("method", "path"), [one for one, body in REACHING.items() if body is not None])
async def test_every_body_is_scanned(provider: Everything, tmp_path: Path, method: str, path: str) -> None:
    async with running_app(tmp_path, **config(provider)) as app:
        await own(app)
        refused = await ask(app, method, path, text=f"my key is {SECRET}")
        assert refused.status == 400, refused
        assert refused.header("x-gateway-decision") == "BLOCKED"
        assert SECRET.encode() not in refused.body
    assert not provider.log.requests
    assert not records(tmp_path / "state")


@pytest.mark.parametrize(("method", "path"), REACHING)
async def test_every_request_that_reached_a_provider_has_one_record(
    provider: Everything, tmp_path: Path, method: str, path: str
) -> None:
    async with running_app(tmp_path, **config(provider)) as app:
        await own(app)
        response = await ask(app, method, path)
        assert response.status == 200
    [record] = records(tmp_path / "state")
    assert record["request"] == response.header("x-request-id")
    assert (record["key"], record["provider"]) == ("alice", "openai")
    assert len(provider.log.requests) == 1

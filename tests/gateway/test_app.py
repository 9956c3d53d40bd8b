"""Every route with every credential, and what the app answers to requests that are not as they should be."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as options
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from tests.support.app import ADMIN_KEY, App, checked, running_app, settings
from tests.support.asgi import Lifespan, request
from tests.support.client import CHAT, chat_body, checked_error
from tests.support.gateway import KEY, KEYS, MASTER_KEY, NARROW_KEY
from tollhouse.config.loader import ConfigError
from tollhouse.gateway import create_app

BAD_KEY = "sk-th-abcdefghijkl-" + "x" * 48
# A second name of the built-in model, which the narrow key may not use.
OTHER = {"model_name": "other", "litellm_params": {"model": "tollhouse/echo"}}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": chat_body("other"),
    "/v1/completions": {"model": "other", "prompt": "hello"},
    "/v1/embeddings": {"model": "other", "input": "hello"},
    "/v1/responses": {"model": "other", "input": "hello"},
    "/v1/messages": chat_body("other") | {"max_tokens": 9},
    "/v1/messages/count_tokens": chat_body("other"),
    "/admin/keys": {"name": "made"},
    "/admin/reload": {},
}

# Statuses for: no key, a bad one, a revoked one, one that may use another model only, a good one, the master key, and
# the admin key in its own header.
CREDENTIALS = ("none", "bad", "revoked", "narrow", "good", "master", "admin")
OPEN = (200,) * 7
KEYED = (401, 401, 401, 200, 200, 200, 401)
OF_ONE_MODEL = (401, 401, 401, 403, 200, 200, 401)
# Of routes that pass through: nothing says which model, or of whom the file is.
UNNAMED = (401, 401, 401, 400, 400, 400, 401)
NOBODYS = (401, 401, 401, 404, 404, 400, 401)
EXPECTED: dict[tuple[str, str], tuple[int, ...]] = {
    ("POST", "/v1/chat/completions"): OF_ONE_MODEL,
    ("POST", "/v1/completions"): OF_ONE_MODEL,
    ("POST", "/v1/embeddings"): OF_ONE_MODEL,
    ("POST", "/v1/responses"): OF_ONE_MODEL,
    ("POST", "/v1/messages"): OF_ONE_MODEL,
    ("POST", "/v1/messages/count_tokens"): OF_ONE_MODEL,
    ("POST", "/v1/images/generations"): UNNAMED,
    ("POST", "/v1/images/edits"): UNNAMED,
    ("POST", "/v1/audio/speech"): UNNAMED,
    ("POST", "/v1/audio/transcriptions"): UNNAMED,
    ("POST", "/v1/audio/translations"): UNNAMED,
    ("POST", "/v1/rerank"): UNNAMED,
    ("POST", "/v1/moderations"): UNNAMED,
    ("POST", "/v1/files"): UNNAMED,
    ("GET", "/v1/files"): UNNAMED,
    ("GET", "/v1/files/{id}"): NOBODYS,
    ("DELETE", "/v1/files/{id}"): NOBODYS,
    ("GET", "/v1/files/{id}/content"): NOBODYS,
    ("POST", "/v1/batches"): UNNAMED,
    ("GET", "/v1/batches"): UNNAMED,
    ("GET", "/v1/batches/{id}"): NOBODYS,
    ("POST", "/v1/batches/{id}/cancel"): NOBODYS,
    ("GET", "/v1/models"): KEYED,
    ("GET", "/v1/models/{model:path}"): (401, 401, 401, 404, 200, 200, 401),
    ("GET", "/health"): OPEN,
    ("GET", "/health/liveliness"): OPEN,
    ("GET", "/_health/live"): OPEN,
    ("GET", "/health/ready"): OPEN,
    ("GET", "/health/readiness"): OPEN,
    ("GET", "/_health/ready"): OPEN,
    ("GET", "/metrics"): OPEN,
    ("GET", "/admin/keys"): (401, 401, 401, 403, 403, 200, 200),
    ("POST", "/admin/keys"): (401, 401, 401, 403, 403, 201, 201),
    ("GET", "/admin/usage"): (401, 401, 401, 403, 403, 200, 200),
    # No supervisor runs the app of the tests.
    ("GET", "/admin/config"): (401, 401, 401, 403, 403, 501, 501),
    ("POST", "/admin/reload"): (401, 401, 401, 403, 403, 501, 501),
    ("DELETE", "/admin/keys/{id}"): (401, 401, 401, 403, 403, 200, 200),
}
PASSED = ("/v1/files", "/v1/batches")
EXPECTED |= {
    ("HEAD", path): row for (method, path), row in EXPECTED.items() if method == "GET" and not path.startswith(PASSED)
}


@pytest.fixture
async def app(tmp_path):
    async with running_app(tmp_path, model_list=[OTHER]) as running:
        yield running


async def _made(app: App, **wanted: Any) -> tuple[str, str]:
    """A new key: its id and itself."""
    made = (await app.post(wanted, path="/admin/keys", key=MASTER_KEY)).json
    return made["id"], made["key"]


async def _credentials(app: App) -> dict[str, tuple[str | None, list[tuple[bytes, bytes]]]]:
    public, revoked = await _made(app, name="revoked")
    await app.send(f"/admin/keys/{public}", method="DELETE", key=MASTER_KEY)
    return {
        "none": (None, []),
        "bad": (BAD_KEY, []),
        "revoked": (revoked, []),
        "narrow": (NARROW_KEY, []),
        "good": (KEY, []),
        "master": (MASTER_KEY, []),
        "admin": (None, [(b"x-admin-api-key", ADMIN_KEY.encode())]),
    }


def test_every_route_is_in_the_table(tmp_path):
    routes = create_app(settings(tmp_path)).routes
    assert all(isinstance(route, Route) and route.methods for route in routes)
    found = [(method, route.path) for route in routes if isinstance(route, Route) for method in route.methods or ()]
    assert set(found) == set(EXPECTED)
    assert len(found) == len(EXPECTED)


@pytest.mark.parametrize(("method", "path"), sorted(EXPECTED), ids=" ".join)
async def test_every_route_with_every_credential(app, method, path):
    got = {}
    for name, (key, headers) in (await _credentials(app)).items():
        public = (await _made(app, name="short-lived"))[0] if "{id}" in path else ""
        url = path.replace("{model:path}", "other").replace("{id}", public)
        got[name] = (await app.send(url, method=method, key=key, headers=headers, body=BODIES.get(path, b""))).status
    assert got == dict(zip(CREDENTIALS, EXPECTED[method, path], strict=True))


@pytest.mark.parametrize("path", sorted({path for _, path in EXPECTED}))
async def test_other_methods_are_refused_and_open_nothing(app, path):
    allowed = {method for method, known in EXPECTED if known == path}
    is_open = EXPECTED["GET", path] is OPEN if "GET" in allowed else False
    for method in METHODS - allowed:
        assert (await app.send(path, method=method, key=None)).status == (405 if is_open else 401), method
        response = await app.send(path, method=method, key=MASTER_KEY)
        assert response.status == 405, method
        fault = response.json["error"]
        assert fault.get("code", fault["type"]) in {"method_not_allowed", "invalid_request_error"}
        assert response.header("allow"), method


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/docs", "/v1/chat/completions/", "//v1/chat/completions", "/V1/models", "/health/", "/admin"],
)
async def test_what_is_no_route_needs_a_key_and_is_not_found(app, path):
    assert (await app.send(path, key=None)).status == 401
    response = await app.send(path, key=MASTER_KEY)
    assert (response.status, response.json["error"]["code"]) == (404, "not_found")


async def test_health_tells_the_version(app):
    for path in ("/health", "/health/liveliness", "/_health/live"):
        response = await app.send(path, key=None)
        assert response.json["status"] == "healthy"
        assert response.json["version"]
    assert (await app.send("/health/ready", key=None)).json["status"] == "ready"


async def test_a_store_that_was_never_read_makes_it_unready_and_opens_nothing(tmp_path):
    app = App(create_app(settings(tmp_path)))
    app.asgi.state.started.set()
    for path in ("/health/ready", "/health/readiness", "/_health/ready"):
        response = await app.send(path, key=None)
        assert (response.status, response.json["failing"]) == (503, ["key_store"])
    assert (await app.send("/health", key=None)).status == 200
    unknown = await app.send("/v1/models", key=BAD_KEY)
    assert (unknown.status, unknown.json["error"]["code"]) == (503, "key_store_unavailable")
    assert (await app.send("/v1/models")).status == 200, "keys of the configuration do not need the store"


async def test_draining_makes_it_unready_and_asks_clients_to_go(app):
    assert (await app.send("/v1/models")).header("connection") is None
    app.asgi.state.lifecycle.drain()
    ready = await app.send("/health/ready", key=None)
    assert (ready.status, ready.json["failing"]) == (503, ["draining"])
    response = await app.chat("other")
    assert (response.status, response.header("connection")) == (200, "close")


async def test_a_store_that_cannot_be_opened_stops_the_start(tmp_path):
    (tmp_path / "state").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "tollhouse.db")) as db:
        db.execute("PRAGMA user_version = 99")
    app = create_app(settings(tmp_path))
    with pytest.raises(sqlite3.DatabaseError, match="newer version"):
        async with app.router.lifespan_context(app):
            pass


async def test_without_its_lifespan_it_says_so_at_once(tmp_path):
    gateway = create_app(settings(tmp_path))
    outer = Starlette(routes=[Mount("/", app=gateway)])
    async with asyncio.timeout(5):
        for path in ("/health", "/v1/models", "/v1/chat/completions"):
            refused = await request(outer, path, method="POST")
            assert (refused.status, refused.json["error"]["code"]) == (503, "service_unavailable")
            assert "lifespan" in refused.json["error"]["message"]
    async with gateway.router.lifespan_context(gateway):
        assert (await request(outer, "/health")).status == 200


async def test_models_are_those_of_the_key(app):
    def names(response):
        assert response.json["object"] == "list"
        assert all(set(model) == {"id", "object", "created", "owned_by"} for model in response.json["data"])
        return [model["id"] for model in response.json["data"]]

    assert names(await app.send("/v1/models")) == ["other", "tollhouse/echo"]
    assert names(await app.send("/v1/models", key=NARROW_KEY)) == ["tollhouse/echo"]
    one = await app.send("/v1/models/tollhouse/echo", key=NARROW_KEY)
    assert (one.json["id"], one.json["owned_by"]) == ("tollhouse/echo", "tollhouse")


async def test_the_model_of_a_pattern_is_found_and_not_listed(tmp_path):
    pattern = {"model_name": "any/*", "litellm_params": {"model": "tollhouse/echo"}}
    async with running_app(tmp_path, model_list=[pattern]) as app:
        assert (await app.send("/v1/models/any/thing")).json["id"] == "any/thing"
        assert "any/*" not in [model["id"] for model in (await app.send("/v1/models")).json["data"]]


async def test_the_answer_says_who_gave_it_and_which_guards_ran(app):
    response = await app.chat("other")
    assert response.status == 200
    assert response.json["choices"][0]["message"]["content"] == "hello"
    assert response.header("content-type") == "application/json"
    assert (response.header("x-gateway-model"), response.header("x-gateway-provider")) == ("other", "tollhouse")
    assert response.header("x-gateway-decision") == "ALLOWED"
    assert response.header("x-gateway-guards") == "auth;ran, limits;skipped=off, budget;skipped=off, scan;skipped=off"
    assert response.header("x-gateway-cache") == "bypass"
    assert int(response.header("x-gateway-overhead-us") or "") > 0


async def test_the_guards_that_are_asked_for_have_run(tmp_path):
    async with running_app(tmp_path, limits={"rpm": 5}, scan={"request": {"pii": "block"}}) as app:
        guards = (await app.chat("tollhouse/echo")).header("x-gateway-guards")
        assert guards == "auth;ran, limits;ran, budget;skipped=off, scan;ran"


async def test_an_unknown_model_is_404_whoever_asks(app):
    for key in (KEY, NARROW_KEY, MASTER_KEY):
        response = await app.chat("gpt-nowhere", key=key)
        error = checked_error(response.body, "model_not_found", param="model")
        assert response.status == 404
        assert "gpt-nowhere" in error["message"]
        assert response.header("x-should-retry") == "false"


async def test_the_name_of_an_unknown_model_is_cut(app):
    response = await app.chat("m" * 5000)
    assert (response.status, len(response.body) < 400) == (404, True)


async def test_a_model_that_the_key_may_not_use_is_403(app):
    response = await app.chat("other", key=NARROW_KEY)
    assert response.status == 403
    assert checked_error(response.body, "model_not_allowed", param="model")["type"] == "permission_error"


async def test_without_a_model_the_default_serves_or_it_is_required(tmp_path, app):
    body = {"messages": [{"role": "user", "content": "hi"}]}
    response = await app.post(body)
    assert response.status == 400
    checked_error(response.body, "missing_required_parameter", param="model")
    async with running_app(tmp_path / "2", default_model="tollhouse/echo") as other:
        response = await other.post(body)
        assert (response.status, response.header("x-gateway-model")) == (200, "tollhouse/echo")


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_cap_is_413(tmp_path, declared):
    async with running_app(tmp_path, body={"max_bytes": 2048}) as app:
        body = orjson.dumps(chat_body("tollhouse/echo", content="x" * 4000))
        headers = [(b"content-length", str(len(body)).encode())] if declared else []
        response = await app.post([body[:1000], body[1000:]], headers=headers)
        assert response.status == 413
        assert "2048" in checked_error(response.body, "request_too_large")["message"]
        assert (await app.chat("tollhouse/echo")).status == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([(b"content-encoding", b"gzip")], 415, "unsupported_content_encoding"),
        ([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], 400, "ambiguous_length"),
        ([(b"host", b"two")], 400, "invalid_host"),
        ([(b"content-length", b"-1")], 400, "invalid_content_length"),
    ],
)
async def test_what_can_be_read_in_two_ways_is_refused(app, headers, status, code):
    response = await app.post(chat_body("other"), headers=headers)
    assert response.status == status
    checked_error(response.body, code)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model":"other","model":"other","messages":[{"role":"user","content":"x"}]}',
        b'{"model":"other","messages":[{"role":"user","content":"x"}],"seed":NaN}',
        b'{"model":"other","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":7,"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"other","messages":"x"}',
        b'{"model":"other"}',
    ],
)
async def test_a_malformed_body_is_400_with_a_reason(app, body):
    response = await app.post(body)
    assert response.status == 400
    checked_error(response.body)


async def test_a_slow_body_is_408(tmp_path):
    async with running_app(tmp_path, body={"read_timeout_s": 0.05}) as app:
        client = app.client(CHAT, body=[])
        response = await asyncio.wait_for(client.run(), 5)
        assert response.status == 408
        checked_error(response.body, "request_timeout")


async def test_request_ids_are_echoed_or_made(app):
    given = await app.send("/nowhere", headers=[(b"x-request-id", b"mine-1")])
    assert given.header("x-request-id") == "mine-1"
    made = await app.chat("other", headers=[(b"x-request-id", b"not sane")])
    assert (made.header("x-request-id") or "").startswith("req_")


async def test_browsers_may_call_when_their_origin_is_listed(tmp_path):
    async with running_app(tmp_path, cors_origins=["https://app.example"]) as app:
        origin = (b"origin", b"https://app.example")
        ask = (b"access-control-request-method", b"POST")
        wants = (b"access-control-request-headers", b"authorization, content-type")
        preflight = await request(app.asgi, CHAT, method="OPTIONS", headers=[origin, ask, wants])
        assert preflight.status == 200
        assert preflight.header("access-control-allow-origin") == "https://app.example"
        assert "authorization" in (preflight.header("access-control-allow-headers") or "")
        foreign = [(b"origin", b"https://evil.example"), ask]
        refused = await request(app.asgi, CHAT, method="OPTIONS", headers=foreign)
        assert (refused.status, refused.header("access-control-allow-origin")) == (400, None)
        for key, status in ((KEY, 200), (None, 401)):  # an error too must be readable
            response = await app.post(chat_body("tollhouse/echo"), key=key, headers=[origin])
            assert (response.status, response.header("access-control-allow-origin")) == (status, "https://app.example")
            assert response.header("access-control-expose-headers") == "x-request-id"


async def test_without_origins_a_preflight_is_a_request_like_any_other(app):
    response = await app.send(CHAT, method="OPTIONS", key=None, headers=[(b"origin", b"https://app.example")])
    assert (response.status, response.header("access-control-allow-origin")) == (401, None)


async def test_all_three_kinds_stream_or_answer(app):
    completion = await app.post(BODIES["/v1/completions"], path="/v1/completions")
    assert completion.json["choices"][0]["text"] == "hello"
    embeddings = await app.post(BODIES["/v1/embeddings"], path="/v1/embeddings")
    assert embeddings.json["data"][0]["object"] == "embedding"
    for path, body in (("/v1/chat/completions", chat_body("other")), ("/v1/completions", BODIES["/v1/completions"])):
        stream = await app.post(body | {"stream": True}, path=path)
        assert (stream.header("content-type") or "").startswith("text/event-stream")
        assert stream.header("cache-control") == "no-cache"
        assert stream.body.endswith(b"data: [DONE]\n\n")


async def test_a_websocket_is_turned_away(app):
    said: list[Any] = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        said.append(message)

    scope = {"type": "websocket", "path": "/v1/chat/completions", "headers": [], "query_string": b"", "root_path": ""}
    await app.asgi(scope, receive, send)
    assert [message["type"] for message in said] == ["websocket.close"]


async def test_create_app_takes_a_mapping_a_path_the_environment_or_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_GATEWAY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("LLM_GATEWAY_MASTER_KEY", MASTER_KEY)
    monkeypatch.setenv("LLM_GATEWAY_DEFAULT_MODEL", "from-the-environment")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"keys": KEYS}))
    for config, configured in ((None, 0), ({"keys": KEYS}, 2), (str(path), 2)):
        app = create_app(config)
        assert app.state.settings.default_model == "from-the-environment"
        assert len(app.state.settings.keys) == configured
        async with Lifespan(app):
            assert checked(await App(app).send("/v1/models", key=MASTER_KEY), "/v1/models").status == 200
    own = settings(tmp_path)
    assert create_app(own).state.settings is own


@pytest.mark.parametrize("config", [{"port": 0}, {"model_list": [{"model_name": "x"}]}, "/nowhere/config.yaml"])
def test_create_app_refuses_a_bad_configuration(config):
    with pytest.raises(ConfigError):
        create_app(config)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
_name = st.sampled_from(["f", "g", "hello"]) | _json
_schema = st.recursive(
    _json,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "string", "array", ["null", "integer"]]) | _json,
            "properties": st.dictionaries(_name.filter(lambda name: isinstance(name, str)), inner, max_size=3),
            "required": st.lists(_name, max_size=3) | _json,
            "enum": _json,
        },
    ),
    max_leaves=6,
)
_function = st.fixed_dictionaries({}, optional={"name": _name, "parameters": _schema}) | _json
_tool = st.fixed_dictionaries({}, optional={"type": _json, "function": _function}) | _json
_message = st.fixed_dictionaries({}, optional={"role": st.sampled_from(["user", "tool"]) | _json, "content": _json})
_fields = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["other", "tollhouse/echo", "nowhere"]) | _json,
        "messages": st.lists(_message | _json, max_size=3) | _json,
        "prompt": st.lists(st.text(max_size=5) | _json, max_size=3) | _json,
        "input": st.lists(st.text(max_size=5) | _json, max_size=3) | _json,
        "stream": st.booleans() | _json,
        "stream_options": st.dictionaries(st.sampled_from(["include_usage", "x"]), _json, max_size=2) | _json,
        "tools": st.lists(_tool, max_size=3) | _json,
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | _tool,
        "n": st.integers(0, 5) | _json,
        "max_tokens": st.integers(-1, 5) | _json,
        "max_completion_tokens": _json,
        "dimensions": st.integers(0, 20) | _json,
        "encoding_format": st.sampled_from(["base64", "float"]) | _json,
        "response_format": _json,
        "é": _json,
    },
)
_valid: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "other", "messages": [{"role": "user", "content": "call f and g"}]},
    "/v1/completions": {"model": "other", "prompt": "hello"},
    "/v1/embeddings": {"model": "other", "input": "hello"},
}


def _cut(body: bytes, at: int) -> bytes:
    return body[: at % (len(body) + 1)]


@st.composite
def _requests(draw: st.DrawFn) -> tuple[str, bytes]:
    path = draw(st.sampled_from(sorted(_valid)))
    try:
        body = orjson.dumps(_valid[path] | draw(_fields))
    except TypeError:  # an integer beyond 64 bits: orjson writes none
        body = b'{"model":"other","messages":[{"role":"user","content":"x"}],"seed":1' + b"0" * 400 + b"}"
    spoil = draw(st.integers(0, 9))
    if spoil == 0:
        return path, draw(st.binary(max_size=200))
    if spoil == 1:
        return path, _cut(body, draw(st.integers(0, 10_000)))
    if spoil == 2:
        at = draw(st.integers(0, max(0, len(body) - 1)))
        return path, body[:at] + draw(st.binary(min_size=1, max_size=3)) + body[at + 1 :]
    return path, body


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """A call that sends one request to an app that lives as long as the module."""
    with asyncio.Runner() as runner:
        running = running_app(tmp_path_factory.mktemp("app"), model_list=[OTHER])
        app = runner.run(running.__aenter__())
        yield lambda path, body: runner.run(app.post(body, path=path))
        runner.run(running.__aexit__(None, None, None))


@options(max_examples=600, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(sent=_requests())
def test_no_body_is_ever_the_gateways_fault(ask, sent):
    path, body = sent
    response = ask(path, body)
    assert response.status in {200, 400, 404}, (response.status, response.body)

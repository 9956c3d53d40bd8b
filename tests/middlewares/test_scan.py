"""ScanMiddleware around apps that say what they were given, and answer what they are told to."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest

from tests.support.asgi import Client, Response, http_scope
from tests.support.chunks import DONE, delta, finish, tool_delta
from tests.support.client import checked_error, events_of, text_of
from tollhouse.middlewares.body import BodyMiddleware
from tollhouse.middlewares.exchange import exchange_of
from tollhouse.middlewares.scan import ScanMiddleware

EMAIL = "kim.doe@example.com"
JSON = (b"content-type", b"application/json")
EVENTS = (b"content-type", b"text/event-stream")
TEXT = (b"content-type", b"text/plain")


@dataclass
class Recorder:
    """An app that keeps what it was given and sends `chunks`, or echoes."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=lambda: [JSON])
    chunks: list[bytes] | None = None
    body: bytes = b""
    scope: Any = None
    calls: int = 0
    told: type[BaseException] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        self.scope = dict(scope)
        while True:
            message = await receive()
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        chunks = [self.body] if self.chunks is None else self.chunks
        try:
            await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            for i, chunk in enumerate(chunks):
                more = i + 1 < len(chunks)
                await send({"type": "http.response.body", "body": chunk, "more_body": more})
        except OSError as error:
            self.told = type(error)
            raise


async def ask(
    app: Any, body: Any = b"", *, path: str = "/any", headers: Any = (JSON,), method: str = "POST"
) -> Response:
    payload = body if isinstance(body, bytes) else orjson.dumps(body)
    given = [*headers, (b"content-length", b"%d" % len(payload))]
    return await Client(app, http_scope(path, method=method, headers=given), [payload]).run()


def chat(content: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


async def test_a_clean_request_and_answer_pass_byte_for_byte():
    app = Recorder(headers=[JSON, (b"etag", b'"1"'), (b"content-length", b"14")], chunks=[b'{ "a" :', b' "b" } '])
    body = b'{"model": "m" , "messages":[{"role":"user","content":"hi"}]}'
    response = await ask(ScanMiddleware(app), body, path="/v1/chat/completions")
    assert app.body == body
    assert response.body == b'{ "a" : "b" } '
    assert response.header("etag") == '"1"'
    assert response.header("x-gateway-decision") == "ALLOWED"
    assert response.header("x-gateway-guards") == "scan;ran"


async def test_requests_and_answers_are_redacted_and_their_lengths_hold():
    app = Recorder(headers=[JSON, (b"etag", b'"1"'), (b"content-length", b"99")], chunks=[orjson.dumps({"x": EMAIL})])
    response = await ask(ScanMiddleware(app), chat(f"to {EMAIL}"), path="/v1/chat/completions")
    assert orjson.loads(app.body) == chat("to <EMAIL_ADDRESS>")
    assert dict(app.scope["headers"])[b"content-length"] == b"%d" % len(app.body)
    assert response.json == {"x": "<EMAIL_ADDRESS>"}
    assert response.header("content-length") == str(len(response.body))
    assert response.header("etag") is None
    assert response.header("x-gateway-decision") == "TRANSFORMED"


@pytest.mark.parametrize(
    "body",
    [
        {"deep": [{"er": {"still": f"x {EMAIL}"}}]},
        [EMAIL],
        EMAIL,
        {"id": EMAIL, "model": EMAIL},
        {EMAIL: 1},
        {"nested": orjson.dumps({"in": [EMAIL]}).decode()},
        b'{"x": "\\u006bim.doe@ex\\u0061mple.com"}',
    ],
)
async def test_every_string_of_json_of_any_shape_is_scanned(body):
    app = Recorder()
    await ask(ScanMiddleware(app, response=None), body)
    assert b"EMAIL_ADDRESS" in app.body
    assert b"kim.doe" not in orjson.dumps(orjson.loads(app.body))


async def test_a_blocked_request_names_types_and_never_values():
    app = Recorder()
    response = await ask(ScanMiddleware(app, request={"pii": "block"}), chat(EMAIL), path="/v1/chat/completions")
    fault = checked_error(response.body, "content_policy_violation")
    assert (response.status, app.calls) == (400, 0)
    assert "EMAIL_ADDRESS" in fault["message"]
    assert EMAIL not in str(response)
    assert response.header("x-gateway-decision") == "BLOCKED"
    assert response.header("x-should-retry") == "false"


async def test_a_blocked_message_is_told_in_anthropics_shape():
    body = chat(EMAIL, max_tokens=5)
    response = await ask(ScanMiddleware(Recorder(), request={"pii": "block"}), body, path="/v1/messages")
    assert response.status == 400
    assert response.json["type"] == "error"
    assert response.json["error"]["type"] == "invalid_request_error"
    assert "EMAIL_ADDRESS" in response.json["error"]["message"]


async def test_a_blocked_answer_does_not_begin():
    app = Recorder(chunks=[orjson.dumps({"x": EMAIL}), b""])
    response = await ask(ScanMiddleware(app, response={"pii": "block"}), chat("hi"))
    checked_error(response.body, "content_policy_violation")
    assert (response.status, response.header("x-gateway-decision")) == (400, "BLOCKED")
    assert EMAIL not in str(response)


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ([JSON], b'{"a": ', 400, "invalid_json"),
        ([JSON], b"[" * 100_000, 400, "invalid_json"),
        ([JSON, (b"content-encoding", b"gzip")], b"{}", 415, "unsupported_content_encoding"),
        ([(b"content-type", b"application/json; charset=utf-16")], b"{}", 415, "unsupported_charset"),
        ([(b"content-type", b"text/plain; charset=no-such")], b"x", 415, "unsupported_charset"),
        ([TEXT], b"\xff", 400, "invalid_encoding"),
        ([(b"content-type", b"application/octet-stream")], b"x", 415, "unscannable_content"),
        ([(b"content-type", b"multipart/form-data; boundary=x")], b"x", 415, "unscannable_content"),
        ([(b"content-type", b"application/x-www-form-urlencoded")], b"a=%FF", 400, "invalid_form"),
        ([JSON], b'"' + b"x" * 2000 + b'"', 413, "request_too_large"),
    ],
)
async def test_what_cannot_be_scanned_is_refused(headers, body, status, code):
    app = Recorder()
    response = await ask(ScanMiddleware(app, max_bytes=1000 if status == 413 else 10**6), body, headers=headers)
    assert (response.status, app.calls) == (status, 0)
    checked_error(response.body, code)


async def test_a_known_kind_of_body_that_is_malformed_is_refused():
    app = Recorder()
    response = await ask(ScanMiddleware(app), {"model": 5}, path="/v1/chat/completions")
    assert (response.status, app.calls) == (400, 0)


async def test_text_and_forms_are_scanned():
    app = Recorder(headers=[TEXT])
    middleware = ScanMiddleware(app)
    response = await ask(middleware, f"é {EMAIL}".encode(), headers=[TEXT])
    assert app.body.decode() == response.body.decode() == "é <EMAIL_ADDRESS>"
    latin = Recorder(headers=[(b"content-type", b"text/plain; charset=iso-8859-1")])
    response = await ask(ScanMiddleware(latin), f"é {EMAIL}".encode("latin-1"), headers=latin.headers)
    assert latin.body == response.body == "é <EMAIL_ADDRESS>".encode("latin-1")
    untyped = Recorder(headers=[])
    response = await ask(ScanMiddleware(untyped), EMAIL.encode(), headers=[])
    assert untyped.body == response.body == b"<EMAIL_ADDRESS>"
    form = Recorder(headers=[TEXT], chunks=[b""])
    kind = (b"content-type", b"application/x-www-form-urlencoded")
    await ask(ScanMiddleware(form), b"a=1&mail=kim.doe%40example.com&b=%C3%A9", headers=[kind])
    assert parse_qsl(form.body.decode()) == [("a", "1"), ("mail", "<EMAIL_ADDRESS>"), ("b", "é")]
    plain = Recorder(headers=[TEXT], chunks=[b""])
    await ask(ScanMiddleware(plain), b"a=1&b=%c3%a9", headers=[kind])
    assert plain.body == b"a=1&b=%c3%a9"


async def test_types_pass_unscanned_only_if_they_are_named():
    image = (b"content-type", b"image/png")
    app = Recorder(headers=[image])
    middleware = ScanMiddleware(app, unscanned={"image/*"})
    response = await ask(middleware, EMAIL.encode(), headers=[image])
    assert (app.body, response.body) == (EMAIL.encode(), EMAIL.encode())
    refused = await ask(ScanMiddleware(Recorder(headers=[image], chunks=[b"x"])), b"")
    assert refused.status == 500
    checked_error(refused.body, "unscannable_content")


@pytest.mark.parametrize(
    "headers",
    [
        [JSON, (b"content-encoding", b"gzip")],
        [(b"content-type", b"text/plain; charset=utf-16")],
        [(b"content-type", b"application/x-ndjson")],
    ],
)
async def test_an_answer_that_cannot_be_scanned_is_refused_and_the_app_is_told(headers):
    app = Recorder(headers=headers, chunks=[EMAIL.encode(), b"more"])
    response = await ask(ScanMiddleware(app), b"")
    assert response.status == 500
    checked_error(response.body, "unscannable_content")
    assert app.told is not None
    assert EMAIL not in str(response)


async def test_the_app_is_not_asked_for_what_cannot_be_scanned():
    app = Recorder(chunks=[b"{}"])
    scope = http_scope(headers=[(b"accept-encoding", b"gzip"), (b"accept", b"*/*")])
    scope["extensions"] = {"http.response.pathsend": {}, "tls": {}}
    await Client(ScanMiddleware(app), scope).run()
    assert (b"accept-encoding", b"gzip") not in app.scope["headers"]
    assert app.scope["extensions"] == {"tls": {}}


async def test_a_file_sent_past_the_scanner_is_refused():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [TEXT]})
        await send({"type": "http.response.pathsend", "path": "/etc/hostname"})

    checked_error((await ask(ScanMiddleware(app), b"")).body, "unscannable_content")


async def test_an_answer_that_is_too_large_is_refused():
    app = Recorder(headers=[TEXT], chunks=[b"x" * 600, b"x" * 600])
    response = await ask(ScanMiddleware(app, max_answer_bytes=1000), b"")
    checked_error(response.body, "unscannable_content")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_answers_without_a_body_pass(method, status):
    app = Recorder(status=status, headers=[(b"content-type", b"image/png"), (b"etag", b'"1"')], chunks=[b""])
    response = await Client(ScanMiddleware(app), http_scope(method=method)).run()
    assert (response.status, response.header("etag"), response.complete) == (status, '"1"', True)


async def test_other_scopes_and_other_paths_pass():
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await ScanMiddleware(app)({"type": "websocket"}, None, None)  # type: ignore[arg-type]
    assert seen == ["websocket"]
    recorder = Recorder(headers=[TEXT])
    middleware = ScanMiddleware(recorder, paths=["/v1/"])
    assert (await ask(middleware, EMAIL.encode(), path="/v10")).body == EMAIL.encode()
    recorder.body = b""
    assert (await ask(middleware, EMAIL.encode(), path="/v1/x", headers=[TEXT])).body == b"<EMAIL_ADDRESS>"


async def test_a_direction_can_be_off():
    app = Recorder()
    response = await ask(ScanMiddleware(app, request=None), {"x": EMAIL})
    assert EMAIL.encode() in app.body
    assert response.json == {"x": "<EMAIL_ADDRESS>"}
    app = Recorder(headers=[JSON], chunks=[orjson.dumps({"x": EMAIL})])
    response = await ask(ScanMiddleware(app, response=None), {"x": EMAIL})
    assert EMAIL.encode() not in app.body
    assert response.json == {"x": EMAIL}


async def test_findings_are_counted_by_type_direction_and_action():
    counted: Counter[tuple[str, str, str]] = Counter()

    def count(kind: str, direction: str, action: str, number: int) -> None:
        counted[kind, direction, action] += number

    policy = {"pii": "redact", "types": {"EMAIL_ADDRESS": "flag"}}
    app = Recorder(chunks=[orjson.dumps([EMAIL])])
    await ask(ScanMiddleware(app, request=policy, count=count), [EMAIL, EMAIL])
    assert counted == {("EMAIL_ADDRESS", "request", "flag"): 2, ("EMAIL_ADDRESS", "response", "redact"): 1}


async def test_pseudonyms_go_out_and_come_back():
    app = Recorder()
    middleware = ScanMiddleware(app, request={"pii": "pseudonymise"}, response=None, pseudonym_key="k" * 32)
    body = chat(f"write to {EMAIL} and <EMAIL_ADDRESS_0123abcd>")
    response = await ask(middleware, body, path="/v1/chat/completions")
    assert EMAIL.encode() not in app.body
    assert b"<EMAIL_ADDRESS_" in app.body
    assert response.json == body
    assert response.header("x-gateway-decision") == "TRANSFORMED"
    first, app.body = app.body, b""
    await ask(middleware, body, path="/v1/chat/completions")
    assert app.body == first


async def test_long_bodies_are_scanned_like_short_ones():
    app = Recorder()
    text = "word " * 80_000 + EMAIL
    response = await ask(ScanMiddleware(app), chat(text), path="/v1/chat/completions")
    assert orjson.loads(app.body) == chat(text.replace(EMAIL, "<EMAIL_ADDRESS>"))
    assert response.json == orjson.loads(app.body)


async def test_a_body_that_somebody_has_read_already_is_not_read_again():
    app = Recorder()
    kinds = {"/v1/chat/completions": "chat"}
    response = await ask(BodyMiddleware(ScanMiddleware(app), kinds=kinds), chat(EMAIL), path="/v1/chat/completions")
    assert response.json == chat("<EMAIL_ADDRESS>")


async def test_an_outer_middleware_sees_the_decision_and_what_was_found():
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange = exchange_of(scope)
        assert exchange is not None
        seen.append((exchange.decision, exchange.findings))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    await ask(ScanMiddleware(app), [EMAIL])
    assert seen == [(b"TRANSFORMED", {"EMAIL_ADDRESS": 1})]


# Event streams.

PLAIN = delta("one ") + delta("two ") + delta("three") + finish() + DONE


def stream_app(*chunks: bytes) -> Recorder:
    return Recorder(headers=[EVENTS, (b"content-length", b"5")], chunks=[*chunks, b""])


async def stream(app: Any) -> Response:
    return await ask(app, chat("hi", stream=True), path="/v1/chat/completions")


async def test_a_clean_stream_says_the_same():
    response = await stream(ScanMiddleware(stream_app(*(PLAIN[i : i + 7] for i in range(0, len(PLAIN), 7)))))
    assert text_of(events_of(response.body)) == "one two three"
    assert response.body.endswith(finish() + DONE)
    assert response.header("content-length") is None


async def test_a_value_split_over_events_is_redacted():
    pieces = [delta(piece) for piece in ("write to kim", ".doe@exam", "ple.com now")]
    response = await stream(ScanMiddleware(stream_app(*pieces, finish() + DONE)))
    assert text_of(events_of(response.body)) == "write to <EMAIL_ADDRESS> now"
    assert response.body.endswith(DONE)


async def test_a_block_ends_the_stream_with_an_error_and_tells_the_app():
    app = stream_app(delta("write to "), delta(EMAIL), delta(" now"), delta("more"), finish() + DONE)
    response = await stream(ScanMiddleware(app, response={"pii": "block"}))
    events = events_of(response.body)
    assert text_of(events[:-1]) == "write to "
    checked_error(events[-1], "content_policy_violation")
    assert response.complete
    assert app.told is not None
    assert b"[DONE]" not in response.body
    assert EMAIL.encode() not in response.body


async def test_pseudonyms_come_back_inside_tool_arguments_over_chunk_borders():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        name = orjson.loads((await receive())["body"])["messages"][0]["content"]
        assert name.startswith("<EMAIL_ADDRESS_")
        arguments = orjson.dumps({"to": f'"{name}"'}).decode()
        pieces = [delta(name[:5]), delta(name[5:] + ".")]
        pieces += [tool_delta(arguments[:4], name="send"), *(tool_delta(piece) for piece in arguments[4:])]
        await send({"type": "http.response.start", "status": 200, "headers": [EVENTS]})
        for piece in [*pieces, finish("tool_calls"), DONE]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    middleware = ScanMiddleware(app, request={"pii": "pseudonymise"})
    events = events_of((await ask(middleware, chat(EMAIL, stream=True), path="/v1/chat/completions")).body)
    assert text_of(events) == f"{EMAIL}."
    calls = [
        call["function"]["arguments"]
        for event in events[:-1]
        for choice in orjson.loads(event)["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    assert orjson.loads("".join(calls)) == {"to": f'"{EMAIL}"'}


async def test_a_stream_of_any_shape_is_scanned():
    app = stream_app(b"event: note\ndata: plain te", b"xt\n\n", b"data: write to kim.doe@exam", b"ple.com now\n\n")
    response = await ask(ScanMiddleware(app), b"")
    assert b"kim.doe" not in response.body
    assert response.body.startswith(b"event: note\ndata: plain text\n\n")


async def test_a_client_that_goes_while_something_is_held_leaves_nothing_behind():
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [EVENTS]})
        await send({"type": "http.response.body", "body": delta("write to kim.doe@exa"), "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    body = orjson.dumps(chat("hi", stream=True))
    headers = [JSON, (b"content-length", b"%d" % len(body))]
    client = Client(ScanMiddleware(app), http_scope("/v1/chat/completions", method="POST", headers=headers), [body])
    task = asyncio.create_task(client.run())
    await client.received.wait()
    client.disconnect()
    await task
    assert gone.is_set()
    assert exchange_of(client.scope).answer_guard is None  # type: ignore[union-attr]
    assert b"kim.doe" not in client.response.body

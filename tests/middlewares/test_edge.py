from __future__ import annotations

import pytest

from tests.support.asgi import Client, http_scope, request
from tollhouse.middlewares.edge import EdgeMiddleware


async def _app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("headers", "host", "status"),
    [
        ([], b"a", 204),
        ([], None, 400),
        ([(b"host", b"b")], b"a", 400),
        ([(b"content-length", b"1"), (b"content-length", b"1")], b"a", 400),
        ([(b"content-length", b"1"), (b"transfer-encoding", b"chunked")], b"a", 400),
        ([(b"transfer-encoding", b"chunked")], b"a", 204),
        ([(b"content-encoding", b"identity")], b"a", 204),
        ([(b"content-encoding", b"gzip")], b"a", 415),
    ],
)
async def test_what_two_parties_could_read_differently_is_refused(headers, host, status):
    response = await request(EdgeMiddleware(_app), headers=headers, host=host)
    assert response.status == status
    if status != 204:
        assert set(response.json["error"]) == {"message", "type", "param", "code"}


async def test_http_1_0_may_come_without_a_host():
    scope = http_scope(host=None) | {"http_version": "1.0"}
    assert (await Client(EdgeMiddleware(_app), scope).run()).status == 204

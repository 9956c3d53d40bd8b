"""Key management and usage over HTTP, for holders of the admin key."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from starlette.responses import Response, StreamingResponse

from tollhouse.gateway import usage
from tollhouse.middlewares.errors import BadRequest, Forbidden, word
from tollhouse.middlewares.exchange import exchange_of
from tollhouse.middlewares.stores.keys import AmbiguousName

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from starlette.requests import Request

    from tollhouse.gateway.keyring import KeyRing
    from tollhouse.gateway.quota import Quota
    from tollhouse.middlewares.stores.keys import KeyRecord

MAX_BODY = 65536
PAGE = 500  # keys: their JSON is made in a millisecond or two
MAX_LIMIT = 1000
_FIELDS = {"name", "team", "models"}


class KeyAdmin:
    """`GET /admin/keys?limit=100&after=ID`, `POST /admin/keys`, `DELETE /admin/keys/{id}`."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    async def list(self, request: Request) -> Response:
        require_admin(request)
        asked = request.query_params
        if unknown := sorted(set(asked) - {"after", "limit"}):
            msg = "unknown parameter; known are after, limit"
            raise BadRequest(msg, param=word(unknown[0]), code="unknown_parameter")
        after, limit = asked.get("after"), asked.get("limit")
        if limit is None:
            # There may be a million: neither the loop nor the memory is to wait for all of them.
            first = await self._page(after, PAGE)
            return StreamingResponse(self._pages(first), media_type="application/json")
        if not (limit.isascii() and limit.isdigit() and 0 < int(limit) <= MAX_LIMIT):
            msg = f"limit must be a number from 1 to {MAX_LIMIT}"
            raise BadRequest(msg, param="limit", code="invalid_value")
        page = await self._page(after, int(limit))
        return Response(b'{"data":[%b],"has_more":%b}' % (page.text, page.has_more), media_type="application/json")

    async def _pages(self, page: _Page) -> AsyncIterator[bytes]:
        yield b'{"data":[' + page.text
        while page.has_more == b"true":
            page = await self._page(page.last, PAGE)
            yield b"," + page.text
        yield b"]}"

    async def _page(self, after: str | None, limit: int) -> _Page:
        try:
            return await self._keys.records(partial(_page, limit=limit), after=after, limit=limit + 1)
        except KeyError:
            msg = "there is no key with this id"
            raise BadRequest(msg, param="after", status=404, code="key_not_found") from None

    async def create(self, request: Request) -> Response:
        require_admin(request)
        wanted = await body_of(request, _FIELDS)
        record, key = await self._keys.create(
            name=_text(wanted, "name") or "unnamed", team=_text(wanted, "team"), models=_models(wanted)
        )
        return json_response(_shown(record) | {"key": key}, status=201)

    async def revoke(self, request: Request) -> Response:
        require_admin(request)
        public = request.path_params["id"]
        try:
            found = await self._keys.revoke(public)
        except AmbiguousName as error:
            raise BadRequest(str(error), status=409, code="key_ambiguous") from None
        if not found:
            msg = "there is no active key with this id"
            raise BadRequest(msg, status=404, code="key_not_found")
        return json_response({"id": public, "revoked": True})


class UsageAdmin:
    """`GET /admin/usage?by=day,key&since=2026-11-01&until=2026-12-01`: sums of the ledger. Days are UTC."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota

    async def sums(self, request: Request) -> Response:
        require_admin(request)
        asked = request.query_params
        unknown = sorted(set(asked) - {"by", "since", "until"})
        if unknown:
            msg = "unknown parameter; known are by, since, until"
            raise BadRequest(msg, param=word(unknown[0]), code="unknown_parameter")
        try:
            by = [name for name in asked.get("by", "day").split(",") if name]
            rows = await self._quota.usage(by, usage.moment(asked.get("since")), usage.moment(asked.get("until")))
        except ValueError as error:
            raise BadRequest(str(error), code="invalid_value") from None
        return json_response({"data": [usage.shown(row) for row in rows]})


def require_admin(request: Request) -> None:
    """Raises Forbidden."""
    # The auth stage has checked this by path already; a mistake in its list must not open these.
    exchange = exchange_of(request.scope)
    if exchange is None or exchange.principal is None or not exchange.principal.admin:
        msg = "this needs the admin key"
        raise Forbidden(msg, code="admin_required")


async def body_of(request: Request, fields: Collection[str]) -> dict[str, Any]:
    """The members of a small JSON object; none of them is others than `fields`. Raises BadRequest."""
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            msg = f"the request body is larger than {MAX_BODY} bytes"
            raise BadRequest(msg, status=413, code="request_too_large")
    try:
        wanted = orjson.loads(data or b"{}")
    except orjson.JSONDecodeError:
        wanted = None
    if not isinstance(wanted, dict):
        msg = "the request body must be a JSON object"
        raise BadRequest(msg, code="invalid_json")
    unknown = sorted(set(wanted) - set(fields))
    if unknown:
        msg = f"unknown field; known are {', '.join(sorted(fields))}"
        raise BadRequest(msg, param=word(unknown[0]), code="unknown_parameter")
    return wanted


def _text(wanted: dict[str, Any], name: str) -> str | None:
    value = wanted.get(name)
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= 200):
        msg = f"{name} must be a string of 1 to 200 characters"
        raise BadRequest(msg, param=name, code="invalid_type")
    return value


def _models(wanted: dict[str, Any]) -> tuple[str, ...] | None:
    value = wanted.get("models")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(model, str) for model in value):
        msg = "models must be an array of strings"
        raise BadRequest(msg, param="models", code="invalid_type")
    return tuple(value)


def _shown(record: KeyRecord) -> dict[str, Any]:
    return {
        "id": record.public,
        "name": record.name,
        "team": record.team,
        "models": record.models,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
    }


class _Page(NamedTuple):
    """Keys as JSON, with commas between them; `has_more` likewise."""

    text: bytes
    has_more: bytes
    last: str | None


def _page(records: Sequence[KeyRecord], *, limit: int) -> _Page:
    """limit: as many are on it; one more says that there is more."""
    shown = records[:limit]
    text = orjson.dumps([_shown(record) for record in shown])[1:-1]
    return _Page(text, b"true" if len(records) > limit else b"false", shown[-1].public if shown else None)


def json_response(value: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")

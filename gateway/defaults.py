"""Parameters that the operator fills in where a request does not say them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tollhouse.middlewares.errors import BadRequest

if TYPE_CHECKING:
    from tollhouse._native import RequestView

# What bounds an answer has several names; one of them is enough.
_LENGTHS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
_RENAMED = {"responses": {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}}


def members_of(body: bytes) -> dict[str, Any]:
    """Of a JSON object that was parsed strictly. Raises BadRequest for a number that is valid and beyond all use."""
    try:
        found: dict[str, Any] = orjson.loads(body)
    except orjson.JSONDecodeError:
        msg = "a number in the body is too large"
        raise BadRequest(msg, code="invalid_value") from None
    return found


def filled(view: RequestView, kind: str, params: dict[str, Any]) -> RequestView:
    """`view` with `params` at its end, where its body has no such members. Every byte of it stays."""
    if kind == "embeddings":
        return view
    given = members_of(view.body)
    names = _RENAMED.get(kind, {})
    has_length = not _LENGTHS.isdisjoint(given)
    added = {
        names.get(name, name): value
        for name, value in params.items()
        if name not in given and not (name in _LENGTHS and has_length)
    }
    if not added:
        return view
    end = view.body.rindex(b"}")
    comma = b"," if given else b""
    return view.replaced(view.body[:end] + comma + orjson.dumps(added)[1:-1] + view.body[end:])

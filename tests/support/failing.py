"""Upstreams that fail in a certain way, by the name of their model: `behaviour@argument`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tests.support import hostile
from tests.support.chunks import delta, event
from tests.support.gateway import model
from tests.support.net import free_port

if TYPE_CHECKING:
    from tests.support.upstream import Peer, ScriptedUpstream


async def _said(peer: Peer) -> None:
    """`said@CODE`: an error of this code, in a stream as its first event, else with a status."""
    fault = {"error": {"message": "no", "type": "invalid_request_error", "code": peer.argument}}
    if peer.seen.json.get("stream"):
        await peer.stream_head()
        await peer.chunk(event(fault))
        await peer.end()
    else:
        await peer.answer(orjson.dumps(fault), status="400 Bad")


async def _later(peer: Peer) -> None:
    """`later@SECONDS`: 429 with that as retry-after, then all is well."""
    if len(peer.log.of(peer.seen.model)) == 1:
        body = b'{"error":{"message":"slow down","type":"x","code":"rate_limit_exceeded"}}'
        await peer.answer(body, f"retry-after: {peer.argument}", status="429 Slow")
    else:
        await hostile.fine(peer)


async def _once(peer: Peer) -> None:
    """`once@500`: that status at first, then all is well."""
    if len(peer.log.of(peer.seen.model)) == 1:
        await peer.answer(b'{"error":{"message":"oops"}}', status=f"{peer.argument} Oops")
    else:
        await hostile.fine(peer)


async def _slowly(peer: Peer) -> None:
    """`slowly@0.3`: a whole answer or a stream after so many seconds."""
    await peer.pause(float(peer.argument))
    if not peer.gone:
        await hostile.fine(peer)


LOST = "lost"  # what a request has in it that names what is not there
_REFUSALS = {
    "item": (404, "Item with id 'rs_lost' not found."),
    "file": (403, "You do not have permission to access the File lost or it may not exist."),
    "unclear": (403, "Your API key does not have permission to use the specified resource."),
    "size": (429, "Request too large for m on tokens per min (TPM): Limit 9, Requested 99."),
    "endpoint": (501, "not implemented"),
}


async def _picky(peer: Peer) -> None:
    """`picky@item`: refuses what asks for what is not there, and serves all else."""
    if LOST in str(peer.seen.json):
        status, message = _REFUSALS[peer.argument]
        fault = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
        await peer.answer(orjson.dumps(fault), "retry-after: 30", status=f"{status} No")
    else:
        await hostile.fine(peer)


async def _picky_once_401(peer: Peer) -> None:
    """`picky-after-401@item`: 401 at first, then as `picky`."""
    if len(peer.log.of(peer.seen.model)) == 1:
        await peer.answer(b'{"error":{"message":"oops"}}', status="401 Oops")
    else:
        await _picky(peer)


async def _gives_up(peer: Peer) -> None:
    """`gives-up@CODE`: a stream that ends with an error of this code."""
    await peer.stream_head()
    await peer.chunk(delta("fi"))
    await peer.chunk(event({"error": {"message": "no", "type": None, "code": peer.argument}}))
    await peer.end()


async def _missing(peer: Peer) -> None:
    """There is no such model."""
    message = f"The model `{peer.seen.model}` does not exist or you do not have access to it."
    fault = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "model_not_found"}}
    await peer.answer(orjson.dumps(fault), status="404 Not Found")


SCRIPTS = hostile.SCRIPTS | {
    "picky": _picky,
    "picky-after-401": _picky_once_401,
    "gives-up": _gives_up,
    "missing": _missing,
    "said": _said,
    "later": _later,
    "once": _once,
    "slowly": _slowly,
}


def models(upstream: ScriptedUpstream, **behaviours: str | list[str]) -> list[dict[str, Any]]:
    """name=behaviour, or a list of them for deployments of one name."""
    made = []
    for name, given in behaviours.items():
        for provider, behaviour in zip(
            ("openai", "vllm", "groq"), [given] if type(given) is str else given, strict=False
        ):
            base = f"http://127.0.0.1:{free_port()}/v1" if behaviour == "closed-port" else upstream.base_url
            made.append(model(name, base, upstream=f"{provider}/{behaviour}"))
    return made

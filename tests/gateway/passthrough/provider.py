"""A provider of images, sound, files and batches, as far as tests need one: answers by path, remembers what it saw."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from tests.support.gateway import MASTER_KEY, model
from tests.support.upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.upstream import Peer, Seen

ALICE, BOB, NARROW = "sk-alice-0000000000", "sk-bob-000000000000", "sk-narrow-000000000"
KEYS: list[dict[str, Any]] = [
    {"name": "alice", "key": ALICE},
    {"name": "bob", "key": BOB},
    {"name": "narrow", "key": NARROW, "models": ["draws"]},
]
SOUND = bytes(range(256)) * 300
BATCH_OUTPUT = b'{"custom_id":"1","response":{"status_code":200}}\n'
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
BOUNDARY = "tests-boundary"
FORM = {b"content-type": f"multipart/form-data; boundary={BOUNDARY}".encode()}


class Provider(ScriptedUpstream):
    """Its files are numbered in the order of their making."""

    def __init__(self) -> None:
        super().__init__({})
        self.scripts = _Every(self._serve)
        self.files: list[str] = []
        self.batches: list[str] = []
        self.gone: set[str] = set()  # what it says it has not

    @property
    def models(self) -> list[dict[str, Any]]:
        return [model("draws", self.base_url, upstream="openai/gpt-image-1"), model("openai/*", self.base_url)]

    @property
    def last(self) -> Seen:
        return self.log.requests[-1]

    def config(self, **sections: Any) -> dict[str, Any]:
        return {"keys": KEYS, "model_list": self.models} | sections

    async def _serve(self, peer: Peer) -> None:
        seen = peer.seen
        method = seen.head.split(b" ", 1)[0].decode()
        path = seen.path.partition("?")[0].removeprefix("/v1")
        if b"fail-please" in seen.body:
            await peer.answer(b'{"error":{"message":"no luck","type":"x","code":77}}', status="418 Teapot")
        elif b"down-slowly" in seen.body:
            await peer.head("content-type: application/json", "content-length: 2", status="503 Busy")
            await peer.pause(0.05)
            await peer.send(b"{}")
        elif b"down-please" in seen.body or path == "/chat/completions":
            await peer.answer(b"{}", status="500 Down")
        elif path == "/audio/speech":
            await self._sound(peer)
        elif path == "/audio/transcriptions" and b"srt" in seen.body:
            await peer.answer(b"call kim.doe@example.com", kind="text/plain; charset=utf-8")
        elif path == "/images/generations" and b'"stream":true' in seen.body:
            await self._drawing(peer)
        elif path.rpartition("/")[2] in self.gone:
            await peer.answer(b'{"error":{"message":"no such file","type":"x","code":null}}', status="404 Gone")
        elif path.endswith("/content"):
            await peer.answer(BATCH_OUTPUT, kind="application/octet-stream")
        else:
            await peer.answer(orjson.dumps(self._json(method, path)))

    @staticmethod
    async def _sound(peer: Peer) -> None:
        await peer.head("content-type: audio/mpeg", "transfer-encoding: chunked")
        await peer.chunk(SOUND[:1000])
        if b"cut-off" in peer.seen.body:
            peer.close()
            return
        await peer.chunk(SOUND[1000:])
        await peer.end()

    @staticmethod
    async def _drawing(peer: Peer) -> None:
        await peer.stream_head()
        for kind, more in (("partial_image", {}), ("completed", {"usage": USAGE})):
            data = {"type": f"image_generation.{kind}", "b64_json": "QUJD"} | more
            await peer.chunk(b"event: image_generation.%b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(data)))
        await peer.end()

    def _json(self, method: str, path: str) -> dict[str, Any]:
        if path == "/files" and method == "POST":
            self.files.append(f"file-{len(self.files)}")
            return {"id": self.files[-1], "object": "file"}
        if path == "/batches" and method == "POST":
            self.batches.append(f"batch_{len(self.batches)}")
            return {"id": self.batches[-1], "object": "batch", "output_file_id": None}
        if path in {"/files", "/batches"}:
            names = self.files if path == "/files" else self.batches
            return {"object": "list", "data": [{"id": name} for name in names], "has_more": False}
        found = re.fullmatch(r"/(files|batches)/([^/]+)(/cancel)?", path)
        if found is not None:
            output = {"output_file_id": f"file-of-{found[2]}"} if found[1] == "batches" else {}
            return {"id": found[2], "deleted": method == "DELETE"} | output
        if path == "/audio/transcriptions":
            return {"text": "call kim.doe@example.com", "usage": {"type": "duration", "seconds": 9}}
        if path == "/images/edits":
            return {"data": [{"b64_json": "QUJD"}]}
        return {"path": path, "data": [], "usage": USAGE}


class _Every(dict[str, Any]):
    """One script, whatever the model is called."""

    def __init__(self, script: Callable[[Peer], Any]) -> None:
        super().__init__()
        self._script = script

    def get(self, name: object, default: Any = None) -> Any:
        return self._script


def form(*fields: tuple[str, bytes] | tuple[str, bytes, str]) -> bytes:
    """A form as clients write it; a field of three has a file's name."""
    out = b""
    for name, value, *filename in fields:
        named = f'; filename="{filename[0]}"\r\nContent-Type: application/octet-stream' if filename else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
        out += head.encode() + value + b"\r\n"
    return out + f"--{BOUNDARY}--\r\n".encode()


ADMIN = MASTER_KEY

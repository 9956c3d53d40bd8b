"""An upstream in a process of its own, which keeps its books in a file: a kill -9 loses nothing of what it has billed.

Each line of the books is a bill as it was then: the attempt, the request's id, tokens read and written. Its faults are
set by lines on its standard input: "fine", "hang", "refuse 429", "truncate" ...
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from tests.support.books import WORD, Bill, prompt_tokens
from tests.support.chunks import BASE, DONE, delta, event, finish
from tests.support.gateway import ROOT, environment
from tests.support.net import free_port
from tests.support.upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.upstream import Peer

TOKENS = 8  # of every answer, if the gateway lets it
PAUSE_S = 0.004  # between the tokens of a stream


class _Provider(ScriptedUpstream):
    def __init__(self, port: int, books: Path) -> None:
        super().__init__({"model": self._answer}, port=port)
        self.fault = "fine"
        self._file = os.open(books, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._number = count()

    async def _answer(self, peer: Peer) -> None:
        name, _, argument = self.fault.partition(" ")
        if name == "refuse":
            headers = ["retry-after: 1"] if argument == "429" else []
            await peer.answer(b'{"error":{"message":"no","type":"x","code":null}}', *headers, status=f"{argument} No")
            return
        body = peer.seen.json
        bill = _Line(self._file, f"{os.getpid()}-{next(self._number)}", peer, body)
        if name == "hang":
            bill.write(TOKENS)
            await peer.until_gone()
        elif body.get("stream"):
            await _stream(peer, bill, body, is_cut=name == "truncate")
        else:
            await _whole(peer, bill, is_cut=name == "truncate")


class _Line:
    """A bill that is written down before anything is told."""

    def __init__(self, file: int, attempt: str, peer: Peer, body: dict[str, object]) -> None:
        self._file = file
        self._start = f"{attempt} {peer.seen.headers['x-request-id']}"
        self.prompt = prompt_tokens(body)
        self.write(0)

    def write(self, completion: int) -> None:
        os.write(self._file, f"{self._start} {self.prompt} {completion}\n".encode())

    @property
    def usage(self) -> dict[str, int]:
        return {"prompt_tokens": self.prompt, "completion_tokens": TOKENS, "total_tokens": self.prompt + TOKENS}


async def _stream(peer: Peer, bill: _Line, body: dict[str, object], *, is_cut: bool) -> None:
    await peer.pause(PAUSE_S)
    await peer.stream_head()
    for number in range(TOKENS):
        if peer.gone:
            return
        bill.write(number + 1)
        await peer.chunk(delta(WORD))
        await peer.pause(PAUSE_S)
        if is_cut and number == TOKENS // 2:
            peer.reset()
            return
    await peer.chunk(finish("stop"))
    if (body.get("stream_options") or {}).get("include_usage"):  # type: ignore[attr-defined]
        await peer.chunk(event(BASE | {"choices": [], "usage": bill.usage}))
    await peer.chunk(DONE)
    await peer.end()


async def _whole(peer: Peer, bill: _Line, *, is_cut: bool) -> None:
    await peer.pause(PAUSE_S * 4)
    if peer.gone:
        return
    bill.write(TOKENS)
    message = {"role": "assistant", "content": WORD * TOKENS}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = orjson.dumps(BASE | {"object": "chat.completion", "choices": [choice], "usage": bill.usage})
    if is_cut:
        await peer.head("content-type: application/json", f"content-length: {len(answer)}")
        await peer.send(answer[: len(answer) // 2])
        peer.reset()
    else:
        await peer.answer(answer)


class Provider:
    """The process, as tests see it. It may be killed and started again: port and books stay."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._books = folder / f"books-{self.port}"
        self._books.touch()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.support.provider", str(self.port), str(self._books)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def set(self, fault: str) -> None:
        """Returns once it behaves so."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(fault.encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def bills(self) -> list[Bill]:
        """What it charges for each attempt. The last line of an attempt holds."""
        last = {line[0]: line for line in map(str.split, self._books.read_text().splitlines())}
        return [Bill(request, "model", int(prompt), int(written)) for _, request, prompt, written in last.values()]


@contextlib.contextmanager
def running_provider(folder: Path) -> Iterator[Provider]:
    provider = Provider(folder)
    provider.start()
    try:
        yield provider
    finally:
        provider.kill()


def main() -> None:
    with _Provider(int(sys.argv[1]), Path(sys.argv[2])) as provider:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for line in sys.stdin:
            provider.fault = line.strip()
            sys.stdout.write("ready\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

"""An upstream that keeps its own books: what it would bill for each request, whatever becomes of its answer.

A model's name is `behaviour@tokens`: how the answer goes, and how many tokens the model would write by itself. A token
is a word of five bytes and an event of its own. Prices are those of `PRICES`, so that books and ledger can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from tests.support.chunks import BASE, DONE, delta, event, finish
from tests.support.gateway import echo_only, model
from tests.support.upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.upstream import Peer

READ, WRITTEN = 1000, 2000  # nano-USD per token
PRICES = {"openai/*": {"input": "1", "output": "2"}}  # the same in USD per million
WORD = "word "
STEPS = 6  # tokens of `steps`
PAUSE_S = 0.002  # between the tokens of `slow`


@dataclass
class Bill:
    """Of one request. `phase`: arrived, begun (the first byte of an answer is written), finished or refused."""

    request: str
    model: str
    prompt: int
    completion: int = 0
    phase: str = "arrived"

    @property
    def owed(self) -> int:
        """Nano-USD."""
        return self.prompt * READ + self.completion * WRITTEN


class Books(ScriptedUpstream):
    """`watch(bill)` is called in the server's thread whenever a bill comes to another phase."""

    def __init__(self) -> None:
        super().__init__({name: self._script(answer) for name, answer in BEHAVIOURS.items()})
        self.bills: list[Bill] = []
        self.watch: Callable[[Bill], None] = lambda _: None

    @property
    def owed(self) -> int:
        return sum(bill.owed for bill in self.bills)

    def of(self, request: str) -> list[Bill]:
        return [bill for bill in self.bills if bill.request == request]

    def at(self, bill: Bill, phase: str) -> None:
        bill.phase = phase
        self.watch(bill)

    def _script(self, answer: Callable[[Work], Awaitable[None]]) -> Callable[[Peer], Awaitable[None]]:
        async def run(peer: Peer) -> None:
            body = peer.seen.json
            bill = Bill(peer.seen.headers["x-request-id"], peer.seen.model, prompt_tokens(body))
            self.bills.append(bill)
            self.at(bill, "arrived")
            await answer(Work(self, peer, bill, body))

        return run


class Work:
    """An answer in the making."""

    def __init__(self, books: Books, peer: Peer, bill: Bill, body: dict[str, Any]) -> None:
        self.books = books
        self.peer = peer
        self.bill = bill
        self.body = body
        self.stream: bool = body.get("stream", False)
        self.wanted = int(peer.argument)

    @property
    def tokens(self) -> int:
        """As many as the model would write, and no more than it was told to."""
        most = self.body.get("max_completion_tokens", self.body.get("max_tokens"))
        return self.wanted if most is None else min(self.wanted, most)

    async def write(self, tokens: int, *, pause_s: float = 0.0) -> None:
        """The head and so many tokens of a stream. Each is billed before it is written."""
        await self.peer.stream_head()
        for number in range(tokens):
            if self.peer.gone:
                return
            self.bill.completion += 1
            await self.peer.chunk(delta(WORD))
            if number == 0:
                self.books.at(self.bill, "begun")
            if pause_s:
                await self.peer.pause(pause_s)

    async def close(self, *, usage: bool) -> None:
        """The end of a stream."""
        await self.peer.chunk(finish("stop"))
        if usage and (self.body.get("stream_options") or {}).get("include_usage"):
            await self.peer.chunk(event(BASE | {"choices": [], "usage": self.usage(self.bill.completion)}))
        await self.peer.chunk(DONE)
        await self.peer.end()
        self.books.at(self.bill, "finished")

    async def whole(self, tokens: int, *, usage: bool) -> None:
        self.bill.completion = tokens
        message = {"role": "assistant", "content": WORD * tokens}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = (
            BASE
            | {"object": "chat.completion", "choices": [choice]}
            | ({"usage": self.usage(self.bill.completion)} if usage else {})
        )
        self.books.at(self.bill, "begun")
        await self.peer.answer(orjson.dumps(answer))
        self.books.at(self.bill, "finished")

    def usage(self, completion: int) -> dict[str, int]:
        prompt = self.bill.prompt
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


async def _answered(work: Work, tokens: int, *, usage: bool = True, pause_s: float = 0.0) -> None:
    if not work.stream:
        if pause_s:
            work.bill.completion = tokens
            await work.peer.pause(pause_s * tokens)
        await work.whole(tokens, usage=usage)
        return
    await work.write(tokens, pause_s=pause_s)
    if not work.peer.gone:
        await work.close(usage=usage)


async def answer(work: Work) -> None:
    """All is well."""
    await _answered(work, work.tokens)


async def slow(work: Work) -> None:
    """All is well, a token at a time."""
    await _answered(work, work.tokens, pause_s=PAUSE_S)


async def silent(work: Work) -> None:
    """Usage is not told."""
    await _answered(work, work.tokens, usage=False)


async def deaf(work: Work) -> None:
    """max_tokens is ignored."""
    await _answered(work, work.wanted)


async def cut(work: Work) -> None:
    """The connection is reset when half is written; of a whole answer, when nothing is."""
    if work.stream:
        await work.write(max(1, work.tokens // 2))
        await work.peer.pause(0.005)
    else:
        work.bill.completion = work.tokens
    if not work.peer.gone:
        work.peer.reset()


async def hang(work: Work) -> None:
    """All tokens are written, and the end never comes; of a whole answer, nothing comes."""
    if work.stream:
        await work.write(work.tokens)
    else:
        work.bill.completion = work.tokens
    await work.peer.until_gone()


async def unfinished(work: Work) -> None:
    """Every choice says why it has ended, and then nothing follows."""
    await work.write(work.tokens)
    await work.peer.chunk(finish("stop"))
    await work.peer.until_gone()


async def steps(work: Work) -> None:
    """The argument is the number of events: of six tokens, the end of the choice, usage, [DONE]. Then nothing."""
    ends = [finish("stop"), event(BASE | {"choices": [], "usage": work.usage(STEPS)}), DONE]
    if work.wanted:
        await work.peer.stream_head()
    for written in [delta(WORD)] * min(work.wanted, STEPS) + ends[: max(0, work.wanted - STEPS)]:
        work.bill.completion = min(STEPS, work.bill.completion + 1)
        await work.peer.chunk(written)
    await work.peer.until_gone()


async def mute(work: Work) -> None:
    """It works, and nothing comes."""
    work.bill.completion = work.tokens
    await work.peer.until_gone()


async def refuse(work: Work) -> None:
    """The argument is the status. Nothing is billed for it."""
    work.bill.prompt = 0
    work.books.at(work.bill, "refused")
    await work.peer.answer(b'{"error":{"message":"no","type":"x","code":null}}', status=f"{work.wanted} No")


BEHAVIOURS = {
    script.__name__: script for script in (answer, slow, silent, deaf, cut, hang, unfinished, steps, mute, refuse)
}


def prompt_tokens(body: dict[str, Any]) -> int:
    """A word is a token; so are the beginning and the end of a message."""
    return sum(2 + len(message["content"].split()) for message in body["messages"])


def booked(books: Books, **sections: Any) -> dict[str, Any]:
    """The configuration of a gateway in front of `books`."""
    return echo_only(model_list=[model("*", books.base_url)], prices=PRICES) | sections

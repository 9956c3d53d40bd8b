"""Receipts on their way to ERIS, the service that keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollhouse.gateway.neighbours.client import Client, Reply


class Eris:
    """Takes batches; whoever gives them keeps each until `deliver` has returned."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def deliver(self, batch: Sequence[bytes], key: str) -> None:
        """Returns once ERIS has taken all of the batch for good.

        batch: the JSON of each receipt. key: names this batch, and the same one at every further try: a batch that
        had arrived although nobody said so is not kept twice. Printable ASCII, at most 200 characters.
        Raises Rejected where no further try will help (409: the key was that of another batch; 413: too large; 422),
        and Away where one may.
        """
        count = len(batch)

        def taken(reply: Reply) -> None:
            answer = reply.json
            if not isinstance(answer, dict) or answer.get("accepted") != count:
                raise ValueError

        await self._client.ask(
            "POST",
            "/v1/receipts",
            taken,
            body=b'{"receipts":[' + b",".join(batch) + b"]}",
            headers=[("idempotency-key", key)],
            expected=(200, 201, 202),
        )

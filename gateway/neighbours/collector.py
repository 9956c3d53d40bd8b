"""Records on their way to a service that keeps them: receipts to ERIS, what was spent to the budget service."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollhouse.gateway.neighbours.client import Client, Reply


class Collector:
    """Takes batches; whoever gives them keeps each until `deliver` has returned.

    records: what they are called, which is the path under /v1 and the member of the body.
    """

    def __init__(self, client: Client, records: str) -> None:
        self._client = client
        self._path = f"/v1/{records}"
        self._start = b'{"%s":[' % records.encode()

    async def deliver(self, batch: Sequence[bytes], key: str) -> None:
        """Returns once the service has taken all of the batch for good, which it says by their number.

        batch: the JSON of each record. key: names this batch, and the same one at every further try: a batch that
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
            self._path,
            taken,
            body=self._start + b",".join(batch) + b"]}",
            headers=[("idempotency-key", key)],
            expected=(200, 201, 202),
        )

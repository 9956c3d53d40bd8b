"""The service that collects receipts, on a real socket: it may be well, and can be hung, slow, lying or gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tests.support.upstream import Peer, ScriptedUpstream

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Eris:
    """`mood` says how the next batch is met: well, hung, slow, error, refuses, lies, no-json, forgets or
    takes-and-resets.

    `receipts` has what it took, by chain and number. It survives a restart: `stop` and `start` keep the port.
    """

    def __init__(self) -> None:
        self.mood = "well"
        self.receipts: dict[tuple[str, int], dict[str, Any]] = {}
        self.heads: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self._server: ScriptedUpstream | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/eris"

    def decisions(self) -> list[dict[str, Any]]:
        found = [one for _, one in sorted(self.receipts.items(), key=lambda item: item[0])]
        return [one for one in found if one["type"] == "decision"]

    def start(self) -> None:
        server = ScriptedUpstream({"None": self._serve, "": self._health}, port=self.port)
        self._server = server.__enter__()
        self.port = server.port

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.__exit__(None, None, None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    async def _health(self, peer: Peer) -> None:
        assert peer.seen.path == "/eris/health"
        await peer.answer(b"{}")

    async def _serve(self, peer: Peer) -> None:
        batch = peer.seen.json
        assert peer.seen.path == "/eris/v1/receipts"
        self.bodies.append(peer.seen.head + peer.seen.body)
        mood = self.mood
        if mood == "hung":
            await peer.until_gone()
            return
        if mood == "slow":
            await peer.pause(0.25)
        elif mood in {"error", "refuses"}:
            status = "500 Down" if mood == "error" else "400 Bad Request"
            await peer.answer(b'{"error": "no"}', status=status)
            return
        elif mood in {"lies", "no-json", "forgets"}:
            said = {
                "lies": b'{"accepted": 0}',
                "no-json": b"<html>fine</html>",
                "forgets": b'{"ok": true}',
            }
            await peer.answer(said[mood])
            return
        self._take(batch["receipts"], peer.seen.headers["idempotency-key"])
        if mood == "takes-and-resets":
            self.mood = "well"
            peer.reset()
            return
        await peer.answer(orjson.dumps({"accepted": len(batch["receipts"])}), status="201 Created")

    def _take(self, batch: list[dict[str, Any]], key: str) -> None:
        *receipts, head = batch
        chain, first, last = head["chain"], receipts[0]["seq"], receipts[-1]["seq"]
        assert key == f"{chain}:{first}-{last}"
        self.keys.append(key)
        assert head.pop("type") == "head"
        self.heads.append(head)
        assert [one["seq"] for one in receipts] == list(range(first, last + 1))
        for one in receipts:
            # The same again is the same.
            assert self.receipts.setdefault((chain, one["seq"]), one) == one

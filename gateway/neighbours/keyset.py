"""The public keys that an issuer signs with, fetched in the background and never by a request, but for one case: a key
that nobody has seen yet asks for a refresh, and those are rationed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from tollhouse.gateway.neighbours.away import Away

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tollhouse.gateway.neighbours.client import Client, Reply

# What a key has to be for an algorithm: its kind, and the curve where there is one. Symmetric keys are none of these.
_FITS = {
    "RS": ("RSA", None),
    "PS": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
_MIN_RSA_BITS = 2048
_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 5.0
logger = logging.getLogger("tollhouse.neighbours")


class KeySet:
    """path: of the keys; None: what the discovery document of the issuer says, if that is at the same origin."""

    def __init__(
        self,
        client: Client,
        *,
        issuer: str,
        path: str | None,
        algorithms: tuple[str, ...],
        refresh_s: float,
        min_refresh_s: float,
        stale_s: float,
    ) -> None:
        self._client = client
        self._issuer = issuer
        self._path = path
        self._found = ""
        self._algorithms = algorithms
        self._refresh_s = refresh_s
        self._min_refresh_s = min_refresh_s
        self._stale_s = stale_s
        self._keys: dict[tuple[str, str], PyJWK] = {}  # by id ("" if it has none) and algorithm
        self._asked_at = float("-inf")
        self._fetched_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.generation = 0  # of the keys: whoever remembers what they have signed forgets it with them

    @property
    def is_current(self) -> bool:
        """Whether the keys were fetched recently enough to believe in them."""
        return monotonic() - self._fetched_at < self._stale_s

    def find(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """The key with this id that signs with this algorithm; without an id, the only one that does."""
        if key_id is not None:
            return self._keys.get((key_id, algorithm))
        fitting = [key for (_, name), key in self._keys.items() if name == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    async def look_again(self) -> None:
        """Fetch the keys, unless that has been done a moment ago."""
        least_s = self._min_refresh_s if self.is_current else min(_FIRST_RETRY_S, self._min_refresh_s)
        if self._fetching is None and monotonic() - self._asked_at < least_s:
            return
        with contextlib.suppress(Away, TimeoutError):
            async with asyncio.timeout(self._client.timeout_s):
                await asyncio.shield(self._fetch())

    async def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        for task in (self._task, self._fetching):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Away):
                    await task
        self._client.close()

    async def _keep(self) -> None:
        wait_s = _FIRST_RETRY_S
        while True:
            try:
                await asyncio.shield(self._fetch())
            except Away:
                pause_s, wait_s = wait_s, min(2 * wait_s, _LAST_RETRY_S)
            else:
                pause_s, wait_s = self._refresh_s, _FIRST_RETRY_S
            await asyncio.sleep(pause_s)

    def _fetch(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetched())
            self._fetching.add_done_callback(self._landed)
        return self._fetching

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()

    async def _fetched(self) -> None:
        self._asked_at = asked_at = monotonic()
        if self._path is None:
            self._found = self._found or await self._client.ask("GET", self._discovery, self._discovered)
        try:
            keys = await self._client.ask("GET", self._path or self._found, self._read)
        except Away:
            self._found = ""  # they may be somewhere else by now
            raise
        if keys.keys() != self._keys.keys() or any(keys[at].key != self._keys[at].key for at in keys):
            self.generation += 1
            logger.info("the issuer of tokens has %d keys that can be used", len({at[0] for at in keys}))
        self._keys = keys
        self._fetched_at = asked_at

    @property
    def _discovery(self) -> str:
        return f"{urlsplit(self._issuer).path.rstrip('/')}/.well-known/openid-configuration"

    def _discovered(self, reply: Reply) -> str:
        """The path of the keys. Another origin than the configured one is not gone to."""
        answer = reply.json
        if not isinstance(answer, dict) or answer["issuer"] != self._issuer:
            raise ValueError
        there, here = urlsplit(answer["jwks_uri"]), urlsplit(self._issuer)
        if (there.scheme, there.netloc) != (here.scheme, here.netloc):
            logger.error("the issuer's keys are at another origin: set auth.jwt.jwks_url if that is meant")
            raise ValueError
        return there.path + (f"?{there.query}" if there.query else "")

    def _read(self, reply: Reply) -> dict[tuple[str, str], PyJWK]:
        answer = reply.json
        if not isinstance(answer, dict) or not isinstance(answer["keys"], list):
            raise ValueError  # noqa: TRY004 - of the answer, not of a call
        found: dict[tuple[str, str], PyJWK] = {}
        for given in answer["keys"]:
            if isinstance(given, dict):
                found |= {(str(given.get("kid", "")), name): key for name, key in self._usable(given).items()}
        return found

    def _usable(self, given: Mapping[str, Any]) -> dict[str, PyJWK]:
        """The key as that of each algorithm that it may be used with: what is unknown or weak is left out."""
        if given.get("use", "sig") != "sig" or "verify" not in given.get("key_ops", ["verify"]):
            return {}
        made = {}
        for name in self._algorithms:
            kind, curve = _FITS.get(name) or _FITS[name[:2]]
            if given.get("kty") != kind or (curve and given.get("crv") != curve):
                continue
            if given.get("alg", name) != name:
                continue
            with contextlib.suppress(PyJWTError, ValueError, TypeError):
                key = PyJWK.from_dict(dict(given), algorithm=name)
                if kind != "RSA" or key.key.key_size >= _MIN_RSA_BITS:
                    made[name] = key
        return made

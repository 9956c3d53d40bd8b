"""The running policy is replaced by a newer one that the policy service hands out: as a whole, or not at all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import Counter

from tollhouse.gateway import policy
from tollhouse.gateway.neighbours.policy_kept import KeptPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry

    from tollhouse.config.settings import Settings
    from tollhouse.middlewares.guard import Guard
    from tollhouse.middlewares.policy import PolicyStage
    from tollhouse.middlewares.rulebook import Policy


def applying(
    settings: Settings,
    stage: PolicyStage | None,
    *,
    make_guard: Callable[..., Guard],
    registry: CollectorRegistry,
) -> Callable[[bytes], Awaitable[str]] | None:
    """What takes documents of the policy service; None where there is no such service."""
    if stage is None or settings.neighbours.find("policy") is None:
        return None
    return PolicyChange(settings, stage, make_guard=make_guard, registry=registry).apply


def kept(settings: Settings) -> KeptPolicy | None:
    """Where the last good document of the policy service is kept; None: it is not. One that need not be signed could be
    anybody's by the time it is read again.
    """
    trust, scan = settings.policy_trust, settings.scan
    if settings.neighbours.find("policy") is None or not trust.needs_signature:
        return None
    rules = scan.rules if scan is not None else ()

    def precedes(one: bytes, other: bytes) -> bool:
        from tollhouse.config.policy_fetched import is_older, read  # noqa: PLC0415 - see PolicyChange

        try:
            return not trust.allows_older and is_older(
                read(one, trust, rules).version, read(other, trust, rules).version
            )
        except ValueError:
            return False

    return KeptPolicy(Path(settings.state_dir) / "policy", precedes=precedes)


class PolicyChange:
    """Of one stage. Requests that were decided on keep the policy that decided them."""

    def __init__(
        self,
        settings: Settings,
        stage: PolicyStage,
        *,
        make_guard: Callable[..., Guard],
        registry: CollectorRegistry,
    ) -> None:
        self._settings = settings
        self._stage = stage
        self._make_guard = make_guard
        self._seen = Counter(
            "gateway_policy_documents",
            "Documents of the policy service: applied, or why not (unsigned, bad_signature, invalid, older, error).",
            ("outcome",),
            registry=registry,
        )

    async def apply(self, document: bytes) -> str:
        """The version that decides from now on. Raises ValueError, and the one before goes on, for a bad document."""
        running = self._stage.policy
        try:
            found = await asyncio.to_thread(self._compiled, document, running)
        except Exception as error:
            self._seen.labels(getattr(error, "reason", "error")).inc()
            raise
        self._stage.policy = found
        self._seen.labels("applied").inc()
        return found.version

    def _compiled(self, document: bytes, running: Policy | None) -> Policy:
        # 10 MB of pydantic, which workers without the service do without.
        from tollhouse.config.policy_fetched import BadDocument, is_older, read  # noqa: PLC0415

        settings = self._settings
        trust, scan = settings.policy_trust, settings.scan
        found = read(document, trust, scan.rules if scan is not None else ())
        if running is not None and not trust.allows_older:
            if is_older(found.version, running.version):
                msg = f"its version {found.version} is older than {running.version}, which is running"
                raise BadDocument("older", msg)
            if not is_older(running.version, found.version) and found.digest != running.digest:
                msg = f"its version {found.version} is running already, with another content"
                raise BadDocument("older", msg)
        return policy.guarded(found, settings, self._make_guard)

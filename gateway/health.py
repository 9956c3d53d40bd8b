"""Asks upstreams how they are, apart from requests, and tells the breakers of their deployments."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from tollhouse.middlewares.tasks import ended
from tollhouse.providers.call import SETTLED
from tollhouse.providers.errors import UpstreamBusy, UpstreamError
from tollhouse.providers.health import Health, is_alive

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse.config.settings import HealthChecks
    from tollhouse.providers.call import Call
    from tollhouse.providers.router import Router, Target

_JITTER = 0.1  # of the interval: workers and replicas do not ask in step
logger = logging.getLogger("tollhouse.health")


class HealthWatch:
    """Checks each upstream that can be checked, once for all deployments of which the same would be asked."""

    def __init__(self, router: Router, settings: HealthChecks) -> None:
        self._router = router
        self._settings = settings
        self._watched: dict[object, _Watched] = {}
        self._by_target: dict[Target, _Watched] = {}
        self._tasks: list[asyncio.Task[None]] = []
        for target in router.targets:
            model = target.model if target.knows_model else None
            made = target.upstream.check(settings.path, settings.timeout_s, model)
            if made is not None:
                key, start = made
                watched = self._watched.setdefault(key, _Watched(start, settings))
                watched.targets.append(target)
                self._by_target[target] = watched

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._watch(watched)) for watched in self._watched.values()]

    async def close(self) -> None:
        await ended(*self._tasks)

    def without_backend(self) -> list[str]:
        """Models none of whose upstreams is known to be well, if that is asked for."""
        if not self._settings.required:
            return []
        return [group.label for group in self._router.groups if not any(map(self._is_up, group.targets))]

    def _is_up(self, target: Target) -> bool:
        watched = self._by_target.get(target)
        return watched is None or bool(watched.health.is_up)

    async def _watch(self, watched: _Watched) -> None:
        while True:
            is_up = await _asked(watched.start)
            if is_up is not None and watched.health.note(is_up=is_up):
                for target in watched.targets:
                    target.breaker.check(is_up=is_up)
                names = ", ".join(sorted({target.id for target in watched.targets}))
                logger.info("health check: %s %s", names, "is up" if is_up else "is down")
            await asyncio.sleep(self._settings.interval_s * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311


class _Watched:
    def __init__(self, start: Callable[[], Call], settings: HealthChecks) -> None:
        self.start = start
        self.targets: list[Target] = []
        self.health = Health(
            unhealthy_threshold=settings.unhealthy_threshold, healthy_threshold=settings.healthy_threshold
        )


async def _asked(start: Callable[[], Call]) -> bool | None:
    """Whether it is well; None: the gateway's own connections to it are all in use, which says nothing."""
    call = start()
    try:
        if call.opening is not None:
            await call.opening
        await call.wait(SETTLED, asyncio.get_running_loop())
        return is_alive(call.reader.status)
    except UpstreamBusy:
        return None
    except UpstreamError:
        return False
    finally:
        call.close()

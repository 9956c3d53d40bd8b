"""Tasks that go on until whoever began them ends them."""

from __future__ import annotations

import asyncio


async def ended(*tasks: asyncio.Task[None] | None) -> None:
    """Cancel them all (None: one that was never begun) and wait until they have ended.

    Raises what one of them has failed with.
    """
    begun = [task for task in tasks if task is not None]
    for task in begun:
        task.cancel()
    for task in begun:
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():  # it is we who are to end
                raise

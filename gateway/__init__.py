"""The composition root: the app, its chain and routes, the server and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tollhouse.gateway.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: the command line and the supervisor live here too, and do without.
    if name == "create_app":
        from tollhouse.gateway.app import create_app  # noqa: PLC0415

        return create_app
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)

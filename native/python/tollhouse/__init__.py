"""Tollhouse: an LLM gateway whose middlewares can be used alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tollhouse._native import Finding, Scanner, ScanResult, ScanStream, __version__

__all__ = ["Finding", "ScanResult", "ScanStream", "Scanner", "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the module has
    # Imported when asked for: the supervisor stays small without the extension.
    if name in __all__:
        from tollhouse import _native  # noqa: PLC0415

        return getattr(_native, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)

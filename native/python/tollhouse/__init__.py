"""Tollhouse: an LLM gateway whose middlewares can be used alone."""

from __future__ import annotations

from tollhouse._native import __version__

__all__ = ["__version__"]

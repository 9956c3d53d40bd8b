"""`LLM_GATEWAY_*` and its fallbacks, laid over the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tollhouse.config.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "LLM_GATEWAY_"
LEVELS = ("debug", "info", "warning", "error", "critical")


def _port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65535:
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 256:
        raise ValueError
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 86400:
        raise ValueError
    return value


def _level(text: str) -> str:
    if text.lower() not in LEVELS:
        raise ValueError
    return text.lower()


def _format(text: str) -> str:
    if text not in {"json", "text"}:
        raise ValueError
    return text


def _server(text: str) -> str:
    if text not in {"builtin", "granian"}:
        raise ValueError
    return text


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


# Variable -> (field of Settings, reader, what it must be).
_FIELDS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "PORT": ("port", _port, "a port number"),
    "HOST": ("host", str, "a host"),
    "ENV": ("env", str, "a name"),
    "LOG_LEVEL": ("log_level", _level, f"one of {', '.join(LEVELS)}"),
    "LOG_FORMAT": ("log_format", _format, "json or text"),
    "WORKERS": ("workers", _count, "a number from 1 to 256"),
    "SERVER": ("server", _server, "builtin or granian"),
    "DEFAULT_PROVIDER": ("default_provider", str, "a provider"),
    "DEFAULT_MODEL": ("default_model", str, "a model"),
    "CORS_ORIGINS": ("cors_origins", _list, "a list of origins"),
    "STATE_DIR": ("state_dir", str, "a folder"),
    "DRAIN_S": ("drain_s", _seconds, "a number of seconds"),
    "LINGER_S": ("linger_s", _seconds, "a number of seconds"),
}
# Known, and without effect in this version.
_LATER = ("SESSION_TTL_SECONDS", "SEMANTIC_SEARCH_URL", "AI_AGENTS_URL")


def overlay(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, Any]:
    """Fields of Settings that the environment decides; an empty variable decides nothing."""
    found: dict[str, Any] = {}
    for name, (field, read, wanted) in _FIELDS.items():
        text = environ.get(PREFIX + name, "")
        if not text:
            continue
        try:
            found[field] = read(text)
        except ValueError:
            problems.append(Problem(PREFIX + name, f"must be {wanted}"))
    for name in _LATER:
        if environ.get(PREFIX + name):
            message = "is accepted but has no effect in this version"
            problems.append(Problem(PREFIX + name, message, severity="warning"))
    return found


def first(environ: Mapping[str, str], *names: str) -> str | None:
    """The first of these variables that is set and not empty."""
    return next((environ[name] for name in names if environ.get(name)), None)


def default_state_dir(environ: Mapping[str, str]) -> str:
    """Where state lives if nobody says: the XDG base directory for it."""
    base = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".local" / "state")
    return str(Path(base) / "tollhouse")

"""Whether secrets stand in the files of a configuration in clear: such files are not copied anywhere."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Any

import yaml

from tollhouse.config import nodes
from tollhouse.config.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tollhouse.config.settings import Settings

_MARK = "PRIVATE KEY"  # of a service account, whose parts the settings may hold in another form


def found(settings: Settings, contents: Iterable[bytes]) -> bool:
    """Whether a secret of these settings can be read in one of the files that they were made of."""
    secrets = {secret for secret in _secrets(settings) if secret}
    if "@" in settings.store:  # a password in a URL
        secrets.add(settings.store)
    digests = {key.digest for key in settings.keys}
    is_told = _search(secrets)
    for content in contents:
        text = content.decode(errors="replace")
        # As it is written, and as it is meant: YAML has escapes.
        for piece in chain((text,), _strings(text)):
            if _MARK in piece or is_told(piece):
                return True
            if sha256(piece.encode()).digest() in digests:
                return True
    return False


def _search(secrets: set[str]) -> Callable[[str], bool]:
    """Whether one of them is in a text, in time for the text alone: there may be as many as lines."""
    length = min((len(secret) for secret in secrets), default=0)
    beginnings: dict[str, list[str]] = {}
    for secret in secrets:
        beginnings.setdefault(secret[:length], []).append(secret)

    def is_told(text: str) -> bool:
        for at in range(len(text) - length + 1) if beginnings else ():
            found = beginnings.get(text[at : at + length])
            if found is not None and any(text.startswith(secret, at) for secret in found):
                return True
        return False

    return is_told


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.reveal()
    elif is_dataclass(value):
        for one in fields(value):
            yield from _secrets(getattr(value, one.name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _secrets(item)


def _strings(text: str) -> Iterator[str]:
    try:
        tokens = nodes.tokens(text)
    except yaml.YAMLError:  # TOML, a signature
        return
    for token in tokens:
        if isinstance(token, yaml.ScalarToken):
            yield str(token.value)

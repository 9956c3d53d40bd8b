"""Whether secrets stand in the files of a configuration in clear: such files are not copied anywhere."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import yaml

from tollhouse.config.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tollhouse.config.settings import Settings

_MARK = "PRIVATE KEY"  # of a service account, whose parts the settings may hold in another form


def found(settings: Settings, contents: Iterable[bytes]) -> bool:
    """Whether a secret of these settings can be read in one of the files that they were made of."""
    secrets = {secret for secret in _secrets(settings) if secret}
    if "@" in settings.store:  # a password in a URL
        secrets.add(settings.store)
    digests = {key.digest for key in settings.keys}
    for content in contents:
        text = content.decode(errors="replace")
        # As it is written, and as it is meant: YAML has escapes.
        for piece in (text, *_strings(text)):
            if _MARK in piece or any(secret in piece for secret in secrets):
                return True
            if sha256(piece.encode()).digest() in digests:
                return True
    return False


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
        tokens = list(yaml.scan(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError:  # TOML, a signature
        return
    for token in tokens:
        if isinstance(token, yaml.ScalarToken):
            yield str(token.value)

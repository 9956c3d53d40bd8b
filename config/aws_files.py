"""The files that AWS' own tools share: ~/.aws/credentials and ~/.aws/config.

https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
"""

from __future__ import annotations

from configparser import Error, RawConfigParser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Profile = dict[str, str]


def profiles(environ: Mapping[str, str]) -> dict[str, Profile]:
    """All profiles by name; what the credentials file says of one wins. Raises ValueError for a file that is none."""
    found: dict[str, Profile] = {}
    for variable, name, prefix in (
        ("AWS_CONFIG_FILE", "config", "profile "),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", ""),
    ):
        path = environ.get(variable) or (f"{environ['HOME']}/.aws/{name}" if environ.get("HOME") else "")
        for section, members in _read(path, environ).items():
            if prefix and section != "default" and not section.startswith(prefix):
                continue
            found.setdefault(section.removeprefix(prefix).strip(), {}).update(members)
    return found


def _read(path: str, environ: Mapping[str, str]) -> dict[str, Profile]:
    if not path:
        return {}
    if path.startswith("~/") and environ.get("HOME"):
        path = environ["HOME"] + path[1:]
    parser = RawConfigParser(interpolation=None, default_section="\0", strict=False)
    try:
        parser.read_string(Path(path).read_text(encoding="utf-8"))
    except OSError:
        return {}
    except (Error, ValueError):
        msg = f"{path} is no file of AWS profiles"
        raise ValueError(msg) from None  # the error itself quotes lines, and so keys
    return {section: dict(parser.items(section)) for section in parser.sections()}

"""YAML as tokens, and as a tree of nodes, by libyaml where that is there."""

from __future__ import annotations

import contextlib

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

if yaml.__with_libyaml__:
    from yaml._yaml import CParser

    class _QuickLoader(Composer, CParser, SafeConstructor, Resolver):
        """Events of libyaml; what is nested is followed in Python, where recursion has an end."""

        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
            Composer.__init__(self)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)


def composed(text: str) -> tuple[SafeConstructor, yaml.Node | None]:
    """The root, and what makes values of it. Raises YAMLError or RecursionError, as the parser in Python does."""
    if yaml.__with_libyaml__:
        # Nine times as fast, with fewer words for what is wrong: those are left to the other one.
        with contextlib.suppress(yaml.YAMLError):
            quick = _QuickLoader(text)
            return quick, quick.get_single_node()
    loader = yaml.SafeLoader(text)
    return loader, loader.get_single_node()


def tokens(text: str) -> list[yaml.Token]:
    """Raises YAMLError, as the scanner in Python does."""
    if yaml.__with_libyaml__:
        with contextlib.suppress(yaml.YAMLError):
            return list(yaml.scan(text, Loader=yaml.CSafeLoader))
    return list(yaml.scan(text, Loader=yaml.SafeLoader))

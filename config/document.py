"""YAML files as plain values, with the line of every value, repeated keys refused and variables filled in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tollhouse.config.files import Files
from tollhouse.config.nodes import composed
from tollhouse.config.problems import Place, Problem, spell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaml.constructor import SafeConstructor

_LITELLM_VARIABLE = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)").fullmatch
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Document:
    """The content of a configuration: `data`, and where each of its values stands."""

    def __init__(
        self,
        data: dict[str, Any],
        lines: dict[Place, tuple[str, int]] | None = None,
        *,
        files: Files | None = None,
    ) -> None:
        self.data = data
        self.files = files or Files()
        self.problems: list[Problem] = []
        self._lines = lines or {}
        self._dropped: dict[Place, set[int]] = {}

    def report(self, place: Place, message: str, *, warning: bool = False) -> None:
        """Note a problem at the line of `place`, or of what is around it."""
        known = place = self._as_written(place)
        while known and known not in self._lines:
            known = known[:-1]
        file, line = self._lines.get(known, ("", 0))
        severity = "warning" if warning else "error"
        self.problems.append(Problem(spell(place), message, file, line, severity))  # type: ignore[arg-type]

    def drop(self, place: Place) -> None:
        """An item was taken out of its list: what follows is reported where the file has it."""
        *around, index = self._as_written(place)
        assert isinstance(index, int)
        self._dropped.setdefault(tuple(around), set()).add(index)

    def _as_written(self, place: Place) -> Place:
        written: Place = ()
        for step in place:
            if isinstance(step, int):
                for gone in sorted(self._dropped.get(written, ())):
                    step += gone <= step  # noqa: PLW2901
            written += (step,)
        return written

    def fill_in(self, environ: Mapping[str, str], optional: frozenset[str]) -> None:
        """Replace `os.environ/NAME` and `${NAME}`. A missing variable is an error, or, where the key that holds it is
        in `optional`, a warning, and the value is left out.
        """
        self.data = self._filled((), self.data, environ, optional)

    def _filled(self, place: Place, value: Any, environ: Mapping[str, str], optional: frozenset[str]) -> Any:
        if isinstance(value, dict):
            return {k: self._filled((*place, k), v, environ, optional) for k, v in value.items()}
        if isinstance(value, list):
            return [self._filled((*place, i), v, environ, optional) for i, v in enumerate(value)]
        if not isinstance(value, str):
            return value
        whole = _LITELLM_VARIABLE(value)
        names = [whole[1]] if whole else _VARIABLE.findall(value)
        missing = [name for name in names if name not in environ]
        if missing:
            is_optional = bool(place) and place[-1] in optional
            self.report(place, f"the environment variable {missing[0]} is not set", warning=is_optional)
            return None
        return environ[whole[1]] if whole else _VARIABLE.sub(lambda match: environ[match[1]], value)


def parse(text: str, file: str) -> Document:
    """What a file without includes says, given its text. Problems of form are in the document's list."""
    document = Document({})
    document.data = _parsed(text, file, document)
    return document


def read(path: str, files: Files | None = None) -> Document:
    """The file and what it includes. Problems of form are in the document's list."""
    document = Document({}, files=files)
    document.data = _read_file(Path(path), document, ())
    return document


def _read_file(path: Path, document: Document, including: tuple[Path, ...]) -> dict[str, Any]:
    file = str(path)
    try:
        text = document.files.read(path).decode()
    except OSError as error:
        document.problems.append(Problem("", f"the file cannot be read: {error.strerror}", file))
        return {}
    except UnicodeDecodeError:
        document.problems.append(Problem("", "the file is not UTF-8", file))
        return {}
    return _with_includes(path, _parsed(text, file, document), document, including)


def _parsed(text: str, file: str, document: Document) -> dict[str, Any]:
    try:
        loader, node = composed(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        document.problems.append(Problem("", f"the YAML is malformed: {error.problem}", file, line))
        return {}
    except RecursionError:
        document.problems.append(Problem("", "the YAML is nested too deeply", file))
        return {}
    except yaml.YAMLError:
        document.problems.append(Problem("", "the YAML is malformed", file))
        return {}
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        document.problems.append(Problem("", "a configuration is a mapping", file, node.start_mark.line + 1))
        return {}
    try:
        data: dict[str, Any] = _value(loader, node, (), file, document)
    except RecursionError:  # an alias inside of its own anchor
        document.problems.append(Problem("", "the YAML is nested too deeply", file))
        return {}
    return data


def _with_includes(path: Path, data: dict[str, Any], document: Document, including: tuple[Path, ...]) -> dict[str, Any]:
    """Lists of included files are joined to the file's own, for anything else the file itself wins."""
    names = data.pop("include", None) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        document.report(("include",), "must be a list of paths")
        return data
    for name in names:
        # As it is named, so that a version of it that was kept is found where the folder behind a link has changed.
        other = (path.parent / name).absolute()
        if other.resolve() in {*including, path.resolve()}:
            document.report(("include",), f"{name} includes itself")
            continue
        # Lines of an included file's values are found under their own places, which its lists shift.
        inner = Document({}, files=document.files)
        inner.data = _read_file(other, inner, (*including, path.resolve()))
        document.problems.extend(inner.problems)
        for key, value in inner.data.items():
            mine = data.get(key)
            if isinstance(mine, list) and isinstance(value, list):
                _move_lines(inner, document, key, len(mine))
                data[key] = mine + value
            elif key not in data:
                _move_lines(inner, document, key, 0)
                data[key] = value
    return data


def _move_lines(inner: Document, document: Document, key: str, by: int) -> None:
    for place, line in inner._lines.items():  # noqa: SLF001 - one of ours
        if place and place[0] == key:
            index = place[1] if len(place) > 1 else None
            moved = (key, index + by, *place[2:]) if isinstance(index, int) else place
            document._lines.setdefault(moved, line)  # noqa: SLF001


def _value(loader: SafeConstructor, node: yaml.Node, place: Place, file: str, document: Document) -> Any:
    document._lines[place] = (file, node.start_mark.line + 1)  # noqa: SLF001
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, (*place, i), file, document) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        try:
            return loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            document.report(place, "this value is not understood")
            return None
    loader.flatten_mapping(node)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node))
        document._lines[(*place, key)] = (file, key_node.start_mark.line + 1)  # noqa: SLF001
        if key in mapping:
            document.report((*place, key), "this key stands twice")
            continue
        mapping[key] = _value(loader, value_node, (*place, key), file, document)
        document._lines[(*place, key)] = (file, key_node.start_mark.line + 1)  # noqa: SLF001
    return mapping

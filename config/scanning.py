"""The `scan` section: what is looked for, and whether it can be. The engine itself says what is wrong with it."""

from __future__ import annotations

import secrets
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tollhouse._native import Scanner
from tollhouse.config.secret import Secret
from tollhouse.config.settings import ScanSettings

if TYPE_CHECKING:
    from tollhouse.config.document import Document
    from tollhouse.config.problems import Place
    from tollhouse.config.schema import Scan, ScanSide


def resolve(section: Scan, source: Document, path: str | None) -> ScanSettings | None:
    """The section with the rules of its files; None if nothing is to be scanned. Errors are reported to `source`."""
    rules = list(section.rules or [])
    places: list[Place] = [("scan", "rules", i) for i in range(len(rules))]
    folder = Path(path).parent if path else Path()
    for i, name in enumerate(section.rule_files or []):
        place: Place = ("scan", "rule_files", i)
        try:
            read = _read(folder / name, source)
        except _Unreadable as error:
            source.report(place, str(error))
            continue
        rules += read
        places += [place] * len(read)
    _check_rules(rules, places, source)
    request, response = (None if side is None else _policy(side) for side in (section.request, section.response))
    for name, policy in (("request", request), ("response", response)):
        _check_policy(name, policy, rules, source)
    if request is None and response is None:
        source.report(("scan",), "has neither request nor response, so nothing is scanned", warning=True)
        return None
    key = section.pseudonym_key or secrets.token_hex(32)
    return ScanSettings(request=request, response=response, rules=tuple(rules), pseudonym_key=Secret(key))


class _Unreadable(Exception):
    """Why a file of rules cannot be used."""


def _read(path: Path, source: Document) -> list[dict[str, Any]]:
    """The rules of one file: `family`, and `rule` (or `rules`), a list of mappings."""
    try:
        text = source.files.read(path).decode()
        pack = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise _Unreadable(msg) from None
    except (ValueError, yaml.YAMLError) as error:
        msg = f"{path} is malformed: {' '.join(str(error).split())}"
        raise _Unreadable(msg) from None
    rules = (pack.get("rule") or pack.get("rules")) if isinstance(pack, dict) else None
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        msg = f"{path} needs `family` and a list of `rule`"
        raise _Unreadable(msg)
    return [{"family": pack.get("family"), **rule} for rule in rules]


def _policy(side: ScanSide) -> dict[str, Any]:
    return side.model_dump(include={"pii", "secrets", "injection", "types", "rules"}, exclude_none=True)


def _check_rules(rules: list[dict[str, Any]], places: list[Place], source: Document) -> None:
    """Report each rule that the engine refuses where it stands, and leave it out."""
    for problem in refused(None, rules):
        name, _, reason = problem.removeprefix("rule ").partition(": ")
        found = next((i for i, rule in enumerate(rules) if str(rule.get("id")) == name), None)
        source.report(("scan", "rules") if found is None else places[found], f"rule {name}: {reason}")
    if any(problem.severity == "error" and problem.path.startswith("scan.rule") for problem in source.problems):
        rules.clear()


def _check_policy(side: str, policy: dict[str, Any] | None, rules: list[dict[str, Any]], source: Document) -> None:
    for problem in refused(policy, rules) if policy else []:
        place, _, reason = problem.partition(": ")
        source.report(("scan", side, *place.split(".", 1)), reason)


def refused(policy: dict[str, Any] | None, rules: list[dict[str, Any]]) -> list[str]:
    try:
        Scanner(policy, rules)
    except ValueError as error:
        return str(error).splitlines()
    return []

"""`tollhouse audit`: whether the receipts are as they were written."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tollhouse.config.signing import PublicKey
    from tollhouse.middlewares.stores.chain_check import Head, Report


@click.group()
def audit() -> None:
    """Check receipts."""


@audit.command("verify")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--head",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Heads that were kept elsewhere, one per line. Repeatable.",
)
@click.option("--key", "keys", multiple=True, help="Public key that signs heads. Default: signing.pub in FOLDER.")
def verify_receipts(folder: Path | None, files: tuple[Path, ...], keys: tuple[str, ...]) -> None:
    """Read all receipts in FOLDER (default: those of the state folder) and name the first that is not as it was.

    Somebody who can write FOLDER can make a chain anew: only heads and keys from elsewhere show that. Exit code 1:
    something is wrong.
    """
    from tollhouse.middlewares.stores.chain import chains

    root = folder or _state_dir() / "receipts"
    paths = chains(root)
    if not paths:
        _fail(f"there are no receipts in {root}")
    heads = _heads(files)
    if not keys:
        click.echo("the key was read from the same folder: --key names one that was kept elsewhere", err=True)
    known = set()
    faults = 0
    for report in _reports(paths, heads, _trusted(root, keys)):
        known.add(report.chain)
        faults += report.fault is not None
        click.echo(_told(report))
    for chain in sorted({head.chain for head in heads} - known):
        faults += 1
        click.echo(f"{chain}: the whole chain is missing")
    if faults:
        sys.exit(1)


def _heads(files: tuple[Path, ...]) -> list[Head]:
    from tollhouse.middlewares.stores.chain_check import head_of

    try:
        return [head_of(line) for path in files for line in path.read_bytes().splitlines() if line]
    except ValueError as error:
        _fail(f"a line of the heads {error}")


def _trusted(root: Path, keys: tuple[str, ...]) -> list[PublicKey]:
    from tollhouse.config.signing import BadKey, PublicKey

    try:
        return [PublicKey(text) for text in keys or ((root / "signing.pub").read_text(encoding="ascii").strip(),)]
    except BadKey as error:
        _fail(f"the key {error}")
    except OSError as error:
        _fail(f"{error.filename} cannot be read: {error.strerror}")


def _reports(paths: list[Path], heads: list[Head], trusted: list[PublicKey]) -> Iterator[Report]:
    from tollhouse.config.signing import HEAD, BadSignature, verify
    from tollhouse.middlewares.stores.chain_check import check

    def is_signed(content: bytes, line: str) -> bool:
        try:
            verify(HEAD, content, line, trusted)
        except BadSignature:
            return False
        return True

    for path in paths:
        yield check(path, heads, is_signed=is_signed)


def _told(report: Report) -> str:
    fault = report.fault
    if fault is not None:
        return f"{report.chain}: record {fault.seq} ({fault.where}): {fault.reason}"
    rest = report.last - report.covered
    after = f", {rest} after the last head" if rest else ""
    return f"{report.chain}: {report.records} records, whole up to {report.last}{after}"


def _state_dir() -> Path:
    from tollhouse.config.loader import ConfigError, load

    try:
        return Path(load(None, os.environ).state_dir)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(1)


def _fail(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(1)

"""`tollhouse reload` and `tollhouse rollback`: changes of the configuration, with what became of them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from tollhouse.gateway.kept import History, Version

_PATIENCE_S = 900.0  # two gates of the longest that there can be, and the start of workers
_FILE = click.Path(dir_okay=False)
_FOLDER = click.Path(file_okay=False)
_CONFIG = click.option("--config", type=_FILE, help="The configuration that the gateway was started with.")
_STATE_DIR = click.option("--state-dir", type=_FOLDER, help="Its state folder, if that is another now.")


@click.command()
@_CONFIG
@_STATE_DIR
@click.option("--check", is_flag=True, help="Let the gate judge it, and change nothing.")
def reload(config: str | None, state_dir: str | None, *, check: bool) -> None:
    """Have the running gateway read its configuration again, and tell what became of that.

    The exit code is 1 if it was refused, or no gateway runs.
    """
    folder, _ = _place(config, state_dir)
    answers = _told_all(folder, {"do": "check" if check else "reload"})
    if not answers:
        _fail("no gateway runs with this configuration")
    for answer in answers:
        _show(answer)
    if any(answer["outcome"] == "refused" for answer in answers):
        sys.exit(1)


@click.command()
@_CONFIG
@_STATE_DIR
@click.option("--to", "number", type=click.IntRange(min=1), help="This version, instead of the last good one.")
@click.option("--list", "listing", is_flag=True, help="List the versions that are kept, and change nothing.")
@click.option("--running-only", is_flag=True, help="Leave the files alone; they are read at the next reload or start.")
def rollback(
    config: str | None, state_dir: str | None, number: int | None, *, listing: bool, running_only: bool
) -> None:
    """Go back to the last good configuration: the running gateway first, then the files.

    If the files are not those that were accepted last, that is the last accepted one, else the one before. No gate is
    asked. The exit code is 1 if there is none, or the gateway or a file did not go back.
    """
    from tollhouse.gateway import kept

    folder, source = _place(config, state_dir)
    history = kept.History(folder)
    if listing:
        _list(history)
        return
    if source is None:
        _fail("a gateway without a configuration file has nothing to go back to")
    try:
        target = _target(history, number)
        contents = kept.contents(target)
    except kept.Damaged as error:
        _fail(str(error))
    _turn_gateways(folder, history, target)
    if running_only:
        click.echo("the files are as they were")
    else:
        _put_back(target, contents)


def _turn_gateways(folder: str, history: History, target: Version) -> None:
    answers = _told_all(folder, {"do": "rollback", "version": target.number})
    for answer in answers:
        _show(answer)
    if any(answer["outcome"] == "refused" for answer in answers):
        _fail("the gateway stays with what it runs, and the files are as they were")
    if not answers:
        click.echo("no gateway runs with this configuration")
        try:
            history.turn_to(target)
        except OSError as error:
            _fail(f"{error.filename or folder} cannot be written: {error.strerror}")


def _put_back(target: Version, contents: dict[str, bytes]) -> None:
    from tollhouse.gateway import restore

    try:
        written = restore.put_back(contents)
    except OSError as error:
        _fail(f"the files are as they were: {error.filename} cannot be written: {error.strerror}")
    for path in written:
        click.echo(f"{path}: as in version {target.number}")
    if not written:
        click.echo(f"the files are those of version {target.number} already")


def _target(history: History, number: int | None) -> Version:
    """Where to go back to, once it is clear that there is such a place."""
    from tollhouse.gateway import kept, restore

    if number is not None:
        found = history.find(number)
        if found is None:
            _fail(f"there is no version {number} (`--list` shows those that are kept)")
        return found
    running = history.current()
    if running is None:
        found = next((one for one in reversed(history.versions()) if not one.is_withdrawn), None)
    elif restore.differing(kept.contents(running)):
        click.echo(f"the files are not those of version {running.number}, which was accepted last: back to it")
        return running
    else:
        found = history.before(running)
    if found is None:
        _fail("there is no earlier configuration that was accepted and kept (with secrets in clear none is)")
    return found


def _place(config: str | None, given: str | None) -> tuple[str, str | None]:
    from tollhouse.config.loader import state_dir
    from tollhouse.gateway.kept import folder_of

    folder, source = state_dir(config, os.environ)
    return folder_of(given or folder, source), source


def _told_all(folder: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """What each gateway says that runs with this configuration."""
    from tollhouse.gateway import control

    answers = []
    for path in control.found(folder):
        try:
            answers.append(control.ask(path, wanted, timeout_s=_PATIENCE_S))
        except ConnectionRefusedError:  # of one that was killed
            continue
        except OSError as error:
            _fail(f"the gateway at {path} cannot be asked: {error.strerror or error}")
    return answers


def _show(answer: dict[str, Any]) -> None:
    gate = answer.get("gate") or {}
    for kind in ("loosened", "tightened"):
        for one in gate.get(kind, ()):
            now = one["to"] or "no longer asked"
            click.echo(f"{kind}: {one['id']}: {now} instead of {', '.join(sorted(set(one['from'].values())))}")
    for name in gate.get("undecided", ()):
        click.echo(f"undecided: {name}")
    for line in answer.get("problems", ()):
        click.echo(line, err=True)
    version = f" (version {answer['version']})" if answer["outcome"] == "accepted" and answer.get("version") else ""
    click.echo(f"{answer['outcome']}: {answer['message']}{version}", err=answer["outcome"] == "refused")


def _list(history: History) -> None:
    from datetime import UTC, datetime

    running = history.current()
    versions = history.versions()
    for one in versions:
        when = datetime.fromtimestamp(one.accepted_at, UTC).isoformat(timespec="seconds")
        mark = "*" if running is not None and one.number == running.number else " "
        state = "  withdrawn" if one.is_withdrawn else ""
        click.echo(f"{mark} {one.number}  {when}  {one.by:6}  {one.fingerprint[:12]}  {len(one.files)} files{state}")
    if not versions:
        click.echo("none is kept")


def _fail(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(1)

"""`tollhouse policy`: keys, signatures, and why a request would be allowed or refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from tollhouse.config.settings import PolicySettings


@click.group()
def policy() -> None:
    """Sign policies, and ask them."""


@policy.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def keygen(file: Path) -> None:
    """Make an Ed25519 key: the private one goes to FILE (mode 0600), the public one is printed."""
    from tollhouse.config.signing import Signer

    try:
        signer = Signer.make(file)
    except FileExistsError:
        _fail(f"{file} is there already")
    except OSError as error:
        _fail(f"{file} cannot be written: {error.strerror}")
    click.echo(signer.public.text)


@policy.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Private key.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: FILE.sig.")
def sign(file: Path, key: Path, out: Path | None) -> None:
    """Sign the bytes of FILE, once they are a policy that can be used."""
    from tollhouse.config.policy import SIGNATURE, problems_of
    from tollhouse.config.signing import POLICY, BadKey, Signer

    try:
        signer = Signer.read(key)
        content = file.read_bytes()
    except BadKey as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename} cannot be read: {error.strerror}")
    problems = problems_of(content, str(file))
    for problem in problems:
        click.echo(str(problem), err=True)
    if any(problem.severity == "error" for problem in problems):
        _fail(f"{file} is not signed")
    target = out or Path(f"{file}{SIGNATURE}")
    target.write_text(signer.sign(POLICY, content) + "\n", encoding="ascii")
    click.echo(f"{target}: signed by key {signer.public.id}")


@policy.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False))
@click.option("--model", default="", help="What the caller asks for.")
@click.option("--route", default="/v1/chat/completions", show_default=True)
@click.option("--tenant", default="", help="Team of the key.")
@click.option("--key", default="", help="Name or id of the key.")
@click.option("--user", default="", help="User of the key.")
@click.option("--tool", "tools", multiple=True, help="A tool that is offered. Repeatable.")
def explain(config: str, model: str, route: str, tenant: str, key: str, user: str, tools: tuple[str, ...]) -> None:
    """Say which rule of the policy of CONFIG decides on a request, rule by rule. Exit code 1: it is refused."""
    settings = _policy_of(config)
    from tollhouse.config.policy import explained
    from tollhouse.gateway.policy import compiled
    from tollhouse.middlewares.auth import Principal

    principal = Principal(id=key, team=tenant or None, user=user or None) if key or tenant or user else None
    refused = False
    for one in (settings, *settings.shadows):
        verdict = compiled(one).verdict(principal, route, model)
        tool = verdict.refused_tool(tools) if verdict.is_allowed else None
        is_allowed = verdict.is_allowed and tool is None
        if one is settings:
            refused = not is_allowed
        name = "policy" if one is settings else "shadow"
        click.echo(f"{name} {one.version}: {'ALLOWED' if is_allowed else 'BLOCKED'} {verdict.why}")
        if tool is not None:
            click.echo(f"  the tool {tool!r} is not among the rule's tools")
        for number, line in enumerate(explained(one)[1 : len(one.rules) + 1]):
            marker = ">" if verdict.rule is not None and one.rules[number]["id"] == verdict.rule.id else " "
            click.echo(f"{marker}{line[1:]}")
    if refused:
        sys.exit(1)


def _policy_of(config: str) -> PolicySettings:
    from tollhouse.config.loader import ConfigError, load

    try:
        settings = load(config, os.environ)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(1)
    if settings.policy is None:
        _fail(f"{config} has no policy")
    return settings.policy


def _fail(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(1)

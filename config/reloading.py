"""The section `reload`, with the digests of the files that it names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tollhouse.config.settings import ReloadSettings

if TYPE_CHECKING:
    from tollhouse.config.document import Document
    from tollhouse.config.problems import Place
    from tollhouse.config.reload_schema import ReloadSection


def resolve(section: ReloadSection | None, source: Document, path: str | None) -> ReloadSettings:
    """Errors are reported to `source`: a gate that cannot be asked is one that lets through."""
    if section is None:
        return ReloadSettings()
    names = section.corpus or []
    found = [_named(name, ("reload", "corpus", i), source, path) for i, name in enumerate(names)]
    for name in ("baseline", "accept"):
        if getattr(section, name) is not None and not names:
            source.report(("reload", name), "has no effect without a corpus", warning=True)
    before = None if section.baseline is None else _named(section.baseline, ("reload", "baseline"), source, path)
    return ReloadSettings(
        corpora=tuple(one for one in found if one is not None),
        baseline=before,
        accept=frozenset(section.accept or ()),
        refuses=section.on_failure == "refuse",
        timeout_s=section.timeout_s,
        keep=section.keep,
    )


def _named(name: str, place: Place, source: Document, path: str | None) -> tuple[str, str] | None:
    folder = Path(path).parent if path else Path()
    file = (folder / name).absolute()
    try:
        return str(file), source.files.digest(file)
    except OSError as error:
        source.report(place, f"{file} cannot be read: {error.strerror}")
        return None

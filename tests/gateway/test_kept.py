from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tollhouse.config.files import Files
from tollhouse.gateway import kept


@pytest.fixture
def history(tmp_path):
    folder = kept.folder_of(str(tmp_path / "state"), str(tmp_path / "config.yaml"))
    kept.make(folder)
    return kept.History(folder)


@pytest.fixture
def accept(history, tmp_path):
    """Accepts a configuration with this text; its version."""

    def run(text, *, keep=10, by="reload"):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        files = Files()
        files.read(path)
        staged = os.path.join(history.folder, f"{kept.STAGED}1")
        kept.stage(staged, str(path), files, {"entry": "BLOCKED"})
        return history.commit(staged, by=by, keep=keep)

    return run


def test_what_was_accepted_is_kept_with_its_content(history, accept, tmp_path):
    version = accept("a: 1", by="start")
    assert (version.number, version.by, history.current()) == (1, "start", version)
    assert kept.contents(version) == {str(tmp_path / "config.yaml"): b"a: 1"}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in Path(version.folder).iterdir()}
    assert (modes, stat.S_IMODE(os.stat(version.folder).st_mode)) == ({0o600}, 0o700)


def test_the_same_again_is_no_new_version(history, accept):
    assert accept("a: 1") == accept("a: 1")
    assert [one.number for one in history.versions()] == [1]
    assert not [name for name in os.listdir(history.folder) if name.startswith(kept.STAGED)]


def test_only_the_latest_are_kept(history, accept):
    for number in range(5):
        accept(f"a: {number}", keep=2)
    assert [one.number for one in history.versions()] == [4, 5]


def test_what_somebody_went_back_from_takes_no_place(history, accept):
    first = accept("a: 1")
    accept("a: 2", keep=2)
    history.turn_to(first)
    third = accept("a: 3", keep=2)
    assert history.before(third) == first


def test_nobody_goes_back_to_what_somebody_went_back_from(history, accept):
    first, second = accept("a: 1"), accept("a: 2")
    assert history.before(second) == first
    history.turn_to(first)
    assert history.current() == first
    third = accept("a: 3")
    assert [(one.number, one.is_withdrawn) for one in history.versions()] == [(1, False), (2, True), (3, False)]
    assert history.before(third) == first
    assert history.before(first) is None
    again = history.find(2)
    assert again is not None
    history.turn_to(again)
    current = history.current()
    assert current is not None and not current.is_withdrawn


def test_what_cannot_be_kept_leaves_nothing_that_claims_to_run(history, accept):
    accept("a: 1")
    history.forget()
    assert (history.current(), len(history.versions())) == (None, 1)
    history.forget(all_of_it=True)
    assert not history.versions()


@pytest.mark.parametrize("harm", ["changed", "gone", "manifest"])
def test_a_damaged_copy_is_not_used(history, accept, harm):
    version = accept("a: 1")
    (copy,) = Path(version.folder).glob("*-config.yaml")
    if harm == "changed":
        copy.write_text("a: 2")
    elif harm == "gone":
        copy.unlink()
    else:
        (Path(version.folder) / kept.MANIFEST).write_text("{")
        assert (history.versions(), history.current()) == ([], None)
    with pytest.raises(kept.Damaged):
        kept.contents(kept.read(version.folder))


def test_a_staged_folder_that_was_left_is_swept_once_it_is_old(history):
    for name, age_s in (("staged-old", 3600), ("staged-new", 0)):
        folder = Path(history.folder) / name
        folder.mkdir()
        then = folder.stat().st_mtime - age_s
        os.utime(folder, (then, then))
    history.sweep()
    assert [name for name in os.listdir(history.folder) if name.startswith(kept.STAGED)] == ["staged-new"]

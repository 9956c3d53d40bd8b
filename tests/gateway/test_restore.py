from __future__ import annotations

import os
import stat

import pytest

from tollhouse.gateway import restore


@pytest.fixture
def files(tmp_path):
    """Two files, and what they are to hold again."""
    paths = [tmp_path / name for name in ("config.yaml", "policy.yaml")]
    for path in paths:
        path.write_text("new")
    return paths, {str(path): b"old" for path in paths}


def test_files_are_put_back_with_their_modes_and_nothing_is_left(files, tmp_path):
    paths, contents = files
    paths[0].chmod(0o640)
    assert restore.put_back(contents) == [str(path) for path in paths]
    assert [path.read_text() for path in paths] == ["old", "old"]
    assert stat.S_IMODE(paths[0].stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["config.yaml", "policy.yaml"]
    assert restore.put_back(contents) == []


def test_a_file_that_is_gone_is_made_for_this_user_alone(files):
    paths, contents = files
    paths[1].unlink()
    restore.put_back(contents)
    assert (paths[1].read_text(), stat.S_IMODE(paths[1].stat().st_mode)) == ("old", 0o600)


def test_a_link_stays_a_link(files, tmp_path):
    paths, contents = files
    real = tmp_path / "real.yaml"
    paths[0].rename(real)
    paths[0].symlink_to("real.yaml")
    restore.put_back(contents)
    assert (paths[0].is_symlink(), real.read_text()) == (True, "old")


def test_where_one_cannot_be_written_all_stay_as_they_are(files, tmp_path):
    paths, contents = files
    contents[str(tmp_path / "no" / "folder.yaml")] = b"old"
    with pytest.raises(OSError, match=r"folder\.yaml"):
        restore.put_back(contents)
    assert [path.read_text() for path in paths] == ["new", "new"]
    assert sorted(os.listdir(tmp_path)) == ["config.yaml", "policy.yaml"]


def test_where_the_last_cannot_be_replaced_the_first_are_as_they_were(files, tmp_path):
    paths, _contents = files
    (tmp_path / "z").mkdir()  # takes its part beside it, and cannot be replaced by it
    (tmp_path / "z" / "x").touch()
    parts = {str(paths[0]): restore._staged(str(paths[0]), b"old"), str(tmp_path / "z"): str(paths[1])}
    with pytest.raises(OSError):
        restore._swap(parts, {str(paths[0]): b"new", str(tmp_path / "z"): None})
    assert paths[0].read_text() == "new"


def test_what_a_killed_rollback_left_is_in_nobodys_way(files, tmp_path):
    _paths, contents = files
    (tmp_path / f"config.yaml{restore.PART}").write_text("half")
    restore.put_back(contents)
    assert sorted(os.listdir(tmp_path)) == ["config.yaml", "policy.yaml"]

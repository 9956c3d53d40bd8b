"""THIRD-PARTY.md against what is compiled into the extension."""

from __future__ import annotations

import tomllib

from scripts.third_party import PAGE, ROOT, page, shipped


def test_it_is_of_the_crates_that_are_shipped() -> None:
    assert PAGE.read_text() == page(), "Cargo.lock has changed: run scripts/third_party.py"


def test_what_is_compiled_in_is_told_and_what_builds_and_tests_it_is_not() -> None:
    names = {crate.name for crate in shipped()}
    assert {"pyo3", "libmimalloc-sys", "rusqlite", "ed25519-dalek", "regex-automata"} <= names
    assert not names & {"serde_derive", "syn", "proptest", "divan", "cc", "tollhouse-core"}
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    assert {(crate.name, crate.version) for crate in shipped()} <= {(one["name"], one["version"]) for one in locked}


def test_whoever_asks_for_the_repetition_of_a_licence_gets_it() -> None:
    sections = {
        name for line in PAGE.read_text().splitlines() if line.startswith("## ") for name in line[3:].split(", ")
    }
    for crate in shipped():
        assert crate.taken in {"Apache-2.0", "MIT", "BSD-3-Clause", "Zlib"}, crate
        assert crate.taken == "Apache-2.0" or crate.name in sections, crate

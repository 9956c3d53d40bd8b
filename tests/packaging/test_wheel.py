"""The wheel as users get it: built, installed from the lock in an empty environment, beside an application that
owns the folder names `middlewares`, `providers` and `config`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)  # the fixtures build the extension once more, beside other tests
ROOT = Path(__file__).resolve().parents[2]
HOST_APP = {
    "middlewares/__init__.py": "mine = 'middlewares'\n",
    "providers/__init__.py": "mine = 'providers'\n",
    "config/__init__.py": "mine = 'config'\n",
    "app.py": """
import config, middlewares, providers
from starlette.applications import Starlette
from starlette.middleware import Middleware
from tollhouse.gateway import create_app
from tollhouse.middlewares.auth import AuthMiddleware
from tollhouse.middlewares.request_id import RequestIdMiddleware

assert (config.mine, middlewares.mine, providers.mine) == ("config", "middlewares", "providers")
app = Starlette(middleware=[Middleware(RequestIdMiddleware), Middleware(AuthMiddleware, keys=["sk-th-x"])])
gateway = create_app({"general_settings": {"master_key": "sk-master"}})
assert isinstance(gateway, Starlette)
print("imported")
""",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    maturin = Path(sys.executable).with_name("maturin")
    command = [str(maturin), "build", "--release", "--locked", "-q", "--out", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds what the lock says and the wheel, nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    found = folder / "bin" / "python"
    pip = [str(found), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input"]
    for arguments in (["--require-hashes", "-r", str(ROOT / "requirements/runtime.txt")], ["--no-deps", str(wheel)]):
        done = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return found


def test_it_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    strays = [name for name in names if not name.startswith(("tollhouse/", "tollhouse-"))]
    assert strays == []
    endings = {Path(name).suffix for name in names if name.startswith("tollhouse/")}
    assert endings <= {".py", ".pyi", ".so", ".yaml", ".json", ".lua", ".typed"}, endings
    assert not [name for name in names if name.endswith(".pth") or "__pycache__" in name or "test" in name]


def test_every_source_file_is_in_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("gateway", "middlewares", "providers", "config"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".yaml", ".json", ".lua"}:
                assert f"tollhouse/{path.relative_to(ROOT)}" in names
    assert {"tollhouse/py.typed", "tollhouse/_native.pyi", "tollhouse/__main__.py"} <= names


def test_the_licences_of_what_is_compiled_in_come_with_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        told = {Path(name).name: files.read(name) for name in files.namelist() if ".dist-info/licenses/" in name}
    assert told == {name: (ROOT / name).read_bytes() for name in ("LICENSE", "THIRD-PARTY.md")}


def test_it_lives_beside_an_application_with_the_same_folder_names(python: Path, tmp_path: Path) -> None:
    for name, text in HOST_APP.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    done = subprocess.run([str(python), "app.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "imported\n", done.stderr


def test_the_command_comes_with_it(python: Path, tmp_path: Path) -> None:
    command = python.with_name("tollhouse")
    said = subprocess.run([str(command), "--version"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.startswith("tollhouse 0.")
    config = tmp_path / "config.yaml"
    config.write_text("model_list:\n  - model_name: m\n    litellm_params: {model: openai/m, api_key: k}\n")
    done = subprocess.run([str(command), "validate", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_an_image_copies_is_small(python: Path, tmp_path: Path) -> None:
    packages = next(python.parents[1].glob("lib/python3*/site-packages"))
    not_copied = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    files = [path for path in packages.rglob("*") if path.is_file()]
    dockerfile = (ROOT / "Dockerfile").read_text()
    (deleted,) = re.findall(r"-regex '\.\*(\S+)' -delete", dockerfile)
    (strip,) = re.findall(r"-name '\*\.so' -exec (.+) \{\} \+", dockerfile)
    is_deleted = re.compile(deleted.replace("\\(", "(").replace("\\)", ")").replace("\\|", "|") + "$").search
    copied = [path for path in files if not path.relative_to(packages).parts[0].startswith(not_copied)]
    kept = [path for path in copied if not is_deleted(path.name)]
    stripped = [Path(shutil.copy(path, tmp_path / str(i))) for i, path in enumerate(kept) if path.suffix == ".so"]
    subprocess.run([*strip.split(), *map(str, stripped)], check=True)
    size = sum(path.stat().st_size for path in [*stripped, *(path for path in kept if path.suffix != ".so")])
    assert size < 58e6, "with 130 MB of the base image, the image has 190 MB"


def test_what_it_needs_is_what_the_lock_has(python: Path) -> None:
    done = subprocess.run([str(python), "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

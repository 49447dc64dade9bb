"""The wheel as a user gets it: built without a system Node, complete, importable."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from xaiwidgets import __version__

ROOT = Path(__file__).resolve().parents[2]
FILES = ("widget.js", "special.js", "dream.js", "compare.js", "widget.css")
STATIC = tuple(f"xaiwidgets/static/{name}" for name in FILES)

pytestmark = pytest.mark.packaging


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Run a command and give what it printed; a failure shows all of it."""
    result = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a clone would have, with nothing built."""
    copy = tmp_path_factory.mktemp("source")
    listing = run(
        *("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), folder=ROOT
    )
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).is_file():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    assert not (copy / STATIC[0]).exists()
    return copy


@pytest.fixture(scope="module")
def dist(source: Path) -> Path:
    """A source archive and the wheel built from it, on a machine without Node."""
    # Nothing of the system is on the PATH: above all no node and no npm.
    nothing = source.parent / "nothing"
    nothing.mkdir(exist_ok=True)
    run(
        *(sys.executable, "-m", "build", "--no-isolation", "--outdir", source / "dist", source),
        folder=source,
        PATH=str(nothing),
    )
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


def test_wheel_carries_the_front_end(wheel: Path) -> None:
    assert wheel.name == f"xaiwidgets-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as opened:
        sizes = {entry.filename: entry.file_size for entry in opened.infolist()}
    assert all(sizes[name] > 0 for name in STATIC)
    strangers = [n for n in sizes if not n.startswith(("xaiwidgets/", "xaiwidgets-"))]
    assert strangers == []
    assert "xaiwidgets/py.typed" in sizes


def test_source_archive_can_be_built_again(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.split("/", 1)[-1] for name in opened.getnames()}
    needed = {"pyproject.toml", "tools/build_front_end.py", "js/build.mjs", "js/package-lock.json"}
    assert needed | set(STATIC) <= names
    assert not any("node_modules" in name for name in names)


def test_import_from_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False)
    paths = {"base": str(folder), "platbase": str(folder)}
    scheme = "nt" if os.name == "nt" else "posix_prefix"
    packages = Path(sysconfig.get_path("purelib", scheme, paths))
    python = Path(sysconfig.get_path("scripts", scheme, paths)) / Path(sys.executable).name
    # Installed by this environment's pip, without the dependencies, which take minutes to fetch ...
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel),
        folder=tmp_path,
    )
    # ... and are borrowed, behind the wheel's own files, from this environment.
    borrowed = sysconfig.get_path("purelib")
    (packages / "borrowed.pth").write_text(f"{borrowed}\n", encoding="utf-8")
    printed = run(
        *(python, "-c", "import xaiwidgets as x; print(x.__file__); print(x.__version__)"),
        folder=tmp_path,
    )
    place, version = printed.splitlines()
    assert Path(place).resolve().is_relative_to(packages.resolve())
    assert version == __version__
    # Every public name is there, the widgets with their front end too.
    run(python, "-c", "from xaiwidgets import *", folder=tmp_path)

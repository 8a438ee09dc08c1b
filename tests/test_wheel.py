"""The wheel holds all of arlib and works elsewhere; a checkout that was moved says what to do."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from conftest import ROOT

ARLIB = ROOT / "arlib"


def sources() -> set[str]:
    """All files of the package, seen from the checkout."""
    files = (path for path in ARLIB.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in files}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of a copy of the checkout; to build it in the checkout itself would leave files there."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ARLIB, copy / "arlib", ignore=shutil.ignore_patterns("__pycache__"))
    # Without isolation, as nothing should be fetched: the pinned setuptools is among what the project installs.
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    built = subprocess.run(build, cwd=copy, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (found,) = (copy / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory) -> Path:
    """A folder with nothing but what the wheel holds."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def python(folder: Path, *arguments: str) -> str:
    """What Python prints in that folder, which holds the arlib that it finds first."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "ARLIB_DATA": str(ROOT / "data")}
    command = [sys.executable, *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_wheel_holds_every_file_of_arlib_and_no_other(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == sources()
    assert {Path(name).suffix for name in held} >= {".py", ".js"}


def test_each_of_its_modules_is_imported_elsewhere(elsewhere):
    script = (
        "import importlib, pkgutil, arlib\n"
        "for module in pkgutil.walk_packages(arlib.__path__, 'arlib.'):\n"
        "    if module.name != 'arlib.__main__':\n"
        "        print(importlib.import_module(module.name).__file__)"
    )
    files = python(elsewhere, "-c", script).split()
    assert len(files) == sum(name.endswith(".py") for name in sources()) - 2  # arlib itself and __main__
    assert all(Path(file).is_relative_to(elsewhere) for file in files)


def test_its_commands_and_figures_work_elsewhere(elsewhere):
    frame = next((ROOT / "data" / "frames" / "valid").rglob("*.webp"))
    assert "1 file" in python(elsewhere, "-m", "arlib", "compress", str(frame), "a.ptb")
    figure = next((ARLIB / "figures").glob("*.js")).stem
    assert python(
        elsewhere, "-c", f"from arlib import widgets; print(len(widgets.show({figure!r}, {{}}, 'a figure').data))"
    )


def test_what_arlib_imports_is_what_it_asks_for():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    asked = {*project["dependencies"], *project["optional-dependencies"]["compiled"]}
    imported = set()
    for path in ARLIB.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module))
    roots = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - {"arlib"}
    needed = {re.sub("[-_.]+", "-", packages_distributions()[root][0]).lower() for root in roots}
    # torch.utils.tensorboard writes the curves by the package of that name.
    assert needed | {"tensorboard"} == asked


def test_a_checkout_that_was_moved_says_so_before_any_test(tmp_path):
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    (tmp_path / "tests" / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 4  # pytest's own, where it can't begin
    assert f"arlib comes from {ROOT}, not from this checkout, {tmp_path}" in said
    assert "rm -rf .venv" in said

"""What the chapters cost: measured, refused where it is too much, and told in the preface."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import read, v4, write

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))

import time_notebooks  # noqa: E402

from arlib import chapters  # noqa: E402


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of two chapters and a preface; `measures` sets how long each takes, and runs the tool."""
    monkeypatch.setattr(chapters, "SECONDS", tmp_path / "seconds.json")
    monkeypatch.setattr(time_notebooks, "BOOK", tmp_path)
    monkeypatch.setattr(time_notebooks.os, "sched_setaffinity", lambda *_: None, raising=False)
    (tmp_path / "seconds.json").write_text('{"00-tour": 5, "02-gone": 5}')
    for name in ("00-tour", "01-patches", "preface"):
        write(v4.new_notebook(cells=[v4.new_code_cell("1")]), tmp_path / f"{name}.ipynb")
    ran: list[str] = []

    def run(command, **_):
        ran.extend(Path(name).stem for name in command[2:])
        return subprocess.CompletedProcess(command, 0)

    def measures(*names: str, **durations: float) -> tuple[int, dict[str, int], list[str]]:
        """What the tool returns, what seconds.json then says, and which notebooks ran again."""
        ran.clear()
        monkeypatch.setattr(time_notebooks, "seconds", lambda path: durations[path.stem[3:]])
        monkeypatch.setattr(sys, "argv", ["time_notebooks.py", *names])
        return time_notebooks.main(), json.loads((tmp_path / "seconds.json").read_text()), list(ran)

    monkeypatch.setattr(time_notebooks.subprocess, "run", run)
    return measures


def test_a_new_number_is_stored_and_the_notebooks_that_print_it_run_again(book) -> None:
    assert book(tour=12.1, patches=5.0) == (0, {"00-tour": 15, "01-patches": 5}, ["00-tour", "01-patches", "preface"])
    assert book(tour=13.0, patches=6.0) == (0, {"00-tour": 15, "01-patches": 10}, ["01-patches", "preface"])
    assert book(tour=10.5, patches=9.9) == (0, {"00-tour": 15, "01-patches": 10}, [])
    assert book("book/01-patches.ipynb", patches=11) == (
        0,
        {"00-tour": 15, "01-patches": 15},
        ["01-patches", "preface"],
    )


def test_a_book_that_is_too_slow_is_refused(book, capsys) -> None:
    before = {"00-tour": 5, "02-gone": 5}
    assert book(tour=1.0, patches=90.1) == (1, before, [])
    assert "01-patches takes 95 seconds, more than 90." in capsys.readouterr().out
    assert book(tour=50.0, patches=45.1) == (1, before, [])
    assert "50 seconds on average" in capsys.readouterr().out


def test_a_chapter_is_run_and_nothing_of_it_is_stored(tmp_path) -> None:
    path = tmp_path / "01-patches.ipynb"
    write(v4.new_notebook(cells=[v4.new_code_cell("import time; time.sleep(0.5); print('hello')")]), path)
    before = path.read_bytes()
    assert 0.5 < time_notebooks.seconds(path) < 300
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_preface_shows_the_table_of_today() -> None:
    preface = read(ROOT / "book" / "preface.ipynb", as_version=4)
    stored = preface.cells[-1].outputs[0].data["text/markdown"]
    assert stored == chapters.table(), "run it again: python tools/run_notebooks.py book/preface.ipynb"


def test_the_book_is_as_quick_as_it_promises() -> None:
    assert time_notebooks.refusal(chapters.costs()) == ""
    assert {f"{name}.ipynb" for name in chapters.costs()} <= {path.name for path in (ROOT / "book").glob("*.ipynb")}

"""The chapters: numbers and files from the table of contents, costs from what was measured."""

import pytest

from arlib import chapters


@pytest.fixture
def book(tmp_path, monkeypatch) -> None:
    """A book of a preface, the tour and two chapters; of one of them it is not known yet what it costs."""
    monkeypatch.setattr(chapters, "SECONDS", tmp_path / "seconds.json")
    monkeypatch.setattr(chapters, "CONTENTS", tmp_path / "_toc.yml")
    (tmp_path / "seconds.json").write_text('{"00-tour": 15, "06-next-token": 45}')
    names = ("preface", "00-tour", "01-patches", "06-next-token")
    (tmp_path / "_toc.yml").write_text("".join(f"- file: book/{name}\n" for name in names))


def test_a_file_has_the_number_that_it_begins_with():
    numbers = {"07-causality": 7, "16-sharper-pictures": 16, "00-tour": None, "preface": None, "api": None}
    assert {name: chapters.number(name) for name in numbers} == numbers


@pytest.mark.usefixtures("book")
def test_the_contents_name_the_files():
    assert chapters.files() == {0: "00-tour", 1: "01-patches", 6: "06-next-token"}


@pytest.mark.usefixtures("book")
def test_the_table_has_sixteen_chapters_in_four_parts_and_links_those_that_are_there():
    rows = chapters.table().splitlines()
    assert rows[:2] == ["| | chapter | seconds |", "| ---: | --- | ---: |"]
    assert rows[2:5] == [
        "| 0 | [The tour](00-tour.ipynb) | 15 |",
        "| | **I. Pictures become tokens** | |",
        "| 1 | [Patches](01-patches.ipynb) | not measured yet |",
    ]
    assert rows[9:11] == [
        "| | **II. Tokens become a language** | |",
        "| 6 | [Predicting the next token](06-next-token.ipynb) | 45 |",
    ]
    assert sum(row.endswith("| to come |") for row in rows) == 14
    assert rows[-1] == "| 16 | Sharper pictures, fewer bytes, and what comes next | to come |"


@pytest.mark.usefixtures("book")
def test_a_chapter_says_what_it_costs():
    assert "All cells of 06-next-token together: about 45 seconds" in chapters.cost("06-next-token")
    assert chapters.cost("01-patches") == "01-patches is not measured yet: `make timing` does it."

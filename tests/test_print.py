"""The printed book, of which three pages are printed here: solutions, whole lines, numbers, an outline and links."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import ROOT
from playwright.sync_api import Browser
from pypdf import PdfReader

sys.path.append(str(ROOT / "tools"))

import print_book

pytestmark = pytest.mark.browser

CHAPTER, PART = "book/07-causality", "II. Tokens become a language"
GLOSSARY = "book/glossary"


@pytest.fixture(scope="module")
def book(browser: Browser, site: Path, tmp_path_factory: pytest.TempPathFactory) -> PdfReader:
    file = tmp_path_factory.mktemp("print") / "book.pdf"
    names = [("book/index", ""), (CHAPTER, PART), (GLOSSARY, "At the end")]
    print_book.print_book(browser, site, names).write(file)
    return PdfReader(file)


@pytest.fixture(scope="module")
def texts(book: PdfReader) -> list[str]:
    return [sheet.extract_text() for sheet in book.pages]


def joined(line: str) -> str:
    """A PDF has places in place of spaces."""
    return "".join(line.split())


def code_cells() -> list[Any]:
    return [cell for cell in nbformat.read(ROOT / f"{CHAPTER}.ipynb", 4).cells if cell.cell_type == "code"]


def entries(book: PdfReader, items: list[Any] | None = None, depth: int = 0) -> Iterator[tuple[int, str, int]]:
    """Depth, title and sheet of each entry of the outline."""
    for item in book.outline if items is None else items:
        if isinstance(item, list):
            yield from entries(book, item, depth + 1)
        else:
            sheet = book.get_destination_page_number(item)
            assert sheet is not None
            yield depth, str(item.title), sheet


def test_every_line_of_code_is_one_whole_line(texts: list[str]) -> None:
    printed = {joined(line) for text in texts for line in text.splitlines()}
    lines = {line for cell in code_cells() for line in cell.source.splitlines() if line.strip()}
    assert max(map(len, lines)) > 80
    assert [line for line in lines if joined(line) not in printed] == []


def test_solutions_and_their_verdicts_are_printed(texts: list[str]) -> None:
    everything = joined("".join(texts))
    solutions = [cell for cell in code_cells() if "hide-cell" in cell.metadata.get("tags", [])]
    assert len(solutions) >= 5
    for cell in solutions:
        assert joined(cell.source.splitlines()[0]) in everything
        assert joined(cell.outputs[0].text.splitlines()[0]) in everything


def test_every_sheet_has_its_number_and_more(book: PdfReader, texts: list[str]) -> None:
    for number, (text, sheet) in enumerate(zip(texts, book.pages, strict=True), 1):
        foot = f"{number}{print_book.TITLE}\n"  # Chromium writes it first
        assert text.startswith(foot)
        assert text.removeprefix(foot).strip() or sheet.images, f"sheet {number} is empty"


def test_the_outline_names_parts_chapters_and_sections(book: PdfReader, texts: list[str]) -> None:
    found = list(entries(book))
    assert [title for depth, title, _ in found if depth == 0] == [print_book.TITLE, PART, "At the end"]
    assert [title for depth, title, _ in found if depth == 1][-2:] == ["7. Causality and its traps", "Glossary"]
    assert any(depth == 2 and title == "A zoo of leaks" for depth, title, _ in found)
    for depth, title, sheet in found:
        if depth:
            assert joined(title) in joined(texts[sheet]), title


def test_links_lead_to_other_sheets_or_to_addresses(book: PdfReader, texts: list[str]) -> None:
    numbers = {title: sheet for _, title, sheet in entries(book)}
    chapter = range(numbers["7. Causality and its traps"], numbers["Glossary"])
    inside: set[int] = set()
    outside: set[str] = set()
    for sheet in chapter:
        for link in (it.get_object() for it in book.pages[sheet].get("/Annots", [])):
            if "/Dest" in link:
                target = book.get_page_number(link["/Dest"][0].get_object())
                assert target is not None
                inside.add(target)
            else:
                outside.add(str(link["/A"]["/URI"]))
    assert inside
    assert all(address.startswith("https://") for address in outside)
    assert any("causal mask" in texts[sheet] for sheet in inside if sheet >= numbers["Glossary"])
    assert numbers["A zoo of leaks"] in chapter


def test_all_pages_come_in_the_order_of_the_contents() -> None:
    names = [name for name, _ in print_book.contents()]
    assert names[:3] == ["book/index", "book/preface", "book/00-tour"]
    assert [name[5:7] for name in names[3:19]] == [f"{number:02}" for number in range(1, 17)]
    assert print_book.contents()[names.index(CHAPTER)] == (CHAPTER, PART)
    assert names[-1] == "book/api-around"


def test_without_chromium_or_pages_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(print_book, "SITE", tmp_path)
    for chromium, words in ((None, "There is no Chromium here"), ("chromium", "The book is not built")):
        monkeypatch.setattr(print_book, "CHROMIUM", chromium)
        assert print_book.main() == 1
        line = capsys.readouterr().out
        assert line.startswith(words)
        assert line.count("\n") == 1

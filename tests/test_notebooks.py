"""The committed notebooks, read without running them: whole, in order, clean, and fit to be read without seeing."""

import json
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median

import nbformat
import pytest
from nbformat import NotebookNode, v4

BOOK = Path(__file__).resolve().parent.parent / "book"
sys.path.append(str(BOOK.parent / "tools"))

from sphinx_pages import slug  # noqa: E402

MEGABYTES = 4
LONGEST_CELL = 40
LONGEST_MEDIAN = 10
MOST_WORDS, MOST_CELLS, WIDEST = 3300, 85, 88
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
VARIES = {"varies-time", "varies-training", "varies-machine"}  # book/what-may-differ.md tells what they mean
# Folders of the machine that ran the notebook. A letter before them makes them part of another path or of a URL.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|home|root|Users|tmp)/[\w.~-]+")


def complaints(text: str) -> list[str]:
    """All that is wrong with a notebook file's text."""
    notebook = nbformat.reads(text, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = [complaint for cell in cells for complaint in output_complaints(cell, notebook)]
    for cell in notebook.cells:
        for page, anchor in re.findall(r"\]\((glossary|bibliography)\.md#([^)\s]*)\)", cell.source):
            if anchor not in anchors(page):
                found.append(f"{page}.md has no heading for #{anchor}")
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        found.append(f"the execution counts are {counts}: run it from top to bottom")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel is not python3")
    if any("execution" in cell.metadata for cell in cells):
        found.append("a cell carries timestamps")
    if text != nbformat.writes(notebook).rstrip("\n") + "\n":
        found.append("the file is not written as `make notebooks` writes it (sorted keys)")
    if len(text) > MEGABYTES * 1_000_000:
        found.append(f"the file has {len(text) / 1e6:.1f} MB, more than {MEGABYTES}")
    lengths = [len(cell.source.splitlines()) for cell in notebook.cells]
    if max(lengths) > LONGEST_CELL:
        found.append(f"a cell has {max(lengths)} lines, more than {LONGEST_CELL}")
    if median(len(cell.source.splitlines()) for cell in cells) > LONGEST_MEDIAN:
        found.append(f"half of the code cells have more than {LONGEST_MEDIAN} lines")
    return found


@cache
def anchors(page: str) -> set[str]:
    """The anchors of the headings of one of the book's pages."""
    return {slug(title) for title in re.findall(r"^#+ (.*)$", (BOOK / f"{page}.md").read_text(encoding="utf-8"), re.M)}


def output_complaints(cell: NotebookNode, notebook: NotebookNode) -> list[str]:
    """What is wrong with what one code cell has put out (its source is looked at for paths as well)."""
    found = []
    where = f"cell [{cell.execution_count}]"
    texts = [cell.source]
    for output in cell.outputs:
        data = output.get("data", {})
        texts += [output.get("text", "")] + [value for kind, value in data.items() if kind.startswith("text/")]
        if output.output_type == "error":
            found.append(f"{where} raised {output.ename}")
        if output.get("name") == "stderr":
            found.append(f"{where} wrote to stderr")
        has_picture = any(kind.startswith("image/") for kind in data)
        if has_picture and not cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "").strip():
            found.append(f"{where} shows a picture without alt text (metadata: mystnb.image.alt)")
        widgets = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
        if WIDGET_VIEW in data and data[WIDGET_VIEW]["model_id"] not in widgets:
            found.append(f"{where} shows a widget whose state is not in the file")
    tags = set(cell.metadata.get("tags", []))
    if ("nbval-ignore-output" in tags) != bool(tags & VARIES):
        found.append(f"{where} has one without the other: nbval-ignore-output and {' or '.join(sorted(VARIES))}")
    found += [f"{where} has the unknown tag {tag}" for tag in tags - VARIES if tag.startswith("varies-")]
    found += [f"{where} names {match[0]}" for text in texts for match in MACHINE_PATH.finditer(text)]
    return found


@pytest.mark.parametrize("path", sorted(BOOK.glob("*.ipynb")), ids=lambda path: path.name)
def test_committed_notebook(path: Path) -> None:
    assert complaints(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", sorted(BOOK.glob("[0-9]*.ipynb")), ids=lambda path: path.name)
def test_a_chapter_is_short_and_its_code_fits_a_page(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    lines = [line for cell in cells if cell.cell_type == "code" for line in cell.source.splitlines()]
    assert words <= MOST_WORDS
    assert len(cells) <= MOST_CELLS
    assert [line for line in lines if len(line) > WIDEST] == []


def test_there_are_notebooks() -> None:
    assert list(BOOK.glob("*.ipynb"))


def good_notebook() -> NotebookNode:
    """Two cells, a printed line and a picture, with nothing to complain of."""
    hello = v4.new_code_cell("print('hello')", execution_count=1, outputs=[v4.new_output("stream", text="hello\n")])
    picture = v4.new_output("display_data", data={"image/png": "/tmp/+/work/AAAA", "text/plain": "<Figure>"})
    plot = v4.new_code_cell("plot()", execution_count=2, outputs=[picture])
    plot.metadata["mystnb"] = {"image": {"alt": "A frame of the game."}}
    words = v4.new_markdown_cell("# Title\n\nA [token](glossary.md#token) ([Ballé](bibliography.md#balle-et-al-2019)).")
    hello.metadata["tags"] = list(IGNORED)
    return v4.new_notebook(cells=[words, hello, plot], metadata={"kernelspec": KERNEL})


KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
ERROR = v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
WARNING = v4.new_output("stream", name="stderr", text="UserWarning: old\n")
NO_STATE = v4.new_output("display_data", data={WIDGET_VIEW: {"model_id": "0" * 32}})
PATH = v4.new_output("stream", text="saved to /home/someone/book/frame.png\n")
PATH_IN_HTML = v4.new_output("display_data", data={"text/html": "<a href='/work/book/frame.png'>frame</a>"})

IGNORED = ["nbval-ignore-output", "varies-machine"]

# Each breaks a good notebook in one way; the key is a part of the complaint that must follow.
BREAKS: dict[str, Callable[[NotebookNode], object]] = {
    "counts are [1, 3]": lambda book: book.cells[2].update(execution_count=3),
    "counts are [2, 1]": lambda book: book.cells.append(book.cells.pop(1)),
    "counts are [None, 2]": lambda book: book.cells[1].update(execution_count=None),
    "raised ValueError": lambda book: book.cells[1].outputs.append(ERROR),
    "wrote to stderr": lambda book: book.cells[1].outputs.append(WARNING),
    "names /home/someone": lambda book: book.cells[1].outputs.append(PATH),
    "names /work/book": lambda book: book.cells[1].outputs.append(PATH_IN_HTML),
    "names /Users/me": lambda book: book.cells[1].update(source="open('/Users/me/frame.png')"),
    "without alt text": lambda book: book.cells[2].metadata.pop("mystnb"),
    "state is not in the file": lambda book: book.cells[1].outputs.append(NO_STATE),
    "kernel is not python3": lambda book: book.metadata.kernelspec.update(name="mine"),
    "timestamps": lambda book: book.cells[1].metadata.update(execution={"iopub.status.busy": "2026-01-01"}),
    "nbval-ignore-output and varies": lambda book: book.cells[1].metadata.update(tags=["nbval-ignore-output"]),
    "without the other": lambda book: book.cells[1].metadata.update(tags=["varies-time"]),
    "unknown tag varies-mood": lambda book: book.cells[1].metadata.update(tags=["varies-mood", *IGNORED]),
    "glossary.md has no heading for #tokens": lambda book: book.cells[0].update(source="[tokens](glossary.md#tokens)"),
    "bibliography.md has no": lambda book: book.cells[0].update(source="See [Ada](bibliography.md#lovelace-1843)."),
    "more than 4": lambda book: book.cells[2].outputs[0].data.update({"image/png": "A" * 4_000_001}),
    "more than 40": lambda book: book.cells[0].update(source="text\n" * 41),
    "more than 10 lines": lambda book: [cell.update(source="x = 1\n" * 11) for cell in book.cells],
}


def test_a_good_notebook_gives_no_complaint() -> None:
    assert complaints(as_written(good_notebook())) == []


@pytest.mark.parametrize("expected", BREAKS)
def test_a_broken_notebook_gives_its_complaint(expected: str) -> None:
    notebook = good_notebook()
    BREAKS[expected](notebook)
    found = complaints(as_written(notebook))
    assert any(expected in complaint for complaint in found), found


def test_an_unsorted_notebook_gives_its_complaint() -> None:
    notebook = json.loads(as_written(good_notebook()))
    found = complaints(json.dumps(dict(reversed(notebook.items())), indent=1) + "\n")
    assert any("sorted keys" in complaint for complaint in found), found


def as_written(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"

"""The front page and the numbers of chapters: what they say is what the book has."""

import json
import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from playwright.sync_api import Browser

import arlib
from arlib import chapters, data

TEXT = (ROOT / "book" / "index.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "book").glob("[0-9][0-9]-*.ipynb"))
PAGES = [*NOTEBOOKS, ROOT / "book" / "preface.ipynb", *sorted((ROOT / "book").glob("*.md")), ROOT / "README.md"]


def test_the_frame_on_the_front_page_has_the_size_that_it_names():
    frame = data.load("supertuxkart", "valid")[230]
    assert f"**A file of {len(arlib.load_codec('book').compress(frame))} bytes**" in TEXT
    assert f"{frame.numel():,} bytes" in TEXT


def test_the_front_page_says_who_is_ahead_and_where_it_ends():
    race = json.loads((ROOT / "book" / "_static" / "codecs.json").read_text(encoding="utf-8"))
    for name, ahead in race["splits"]["valid"]["ahead"]["fine"].items():
        by = dict(zip(ahead["budgets"], ahead["psnr"], strict=True))
        assert by[500] > 1, name
        assert by[750] > 0.5, name
        assert (by[1000] < 0.2) == (name == "AVIF")
    assert "at 1,000 bytes AVIF has caught up" in TEXT


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_chapter_that_is_there_is_still_to_come(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    there = {chapters.number(each.stem) for each in NOTEBOOKS}
    for number in re.findall(r"[Cc]hapter (\d+)\b", text):
        assert int(number) in there, f"chapter {number} is not there"
    for number in re.findall(r"[Cc]hapter (\d+)\b[^.]*\b(?:still|yet) to come\b", text):
        assert int(number) not in there, f"chapter {number} is there"
    for number, file in re.findall(r"\[[Cc]hapter (\d+)\]\((\d\d-[\w-]+)\.ipynb", text):
        assert int(number) == chapters.number(file)
        assert (ROOT / "book" / f"{file}.ipynb").exists()


def test_a_chapter_has_the_number_of_its_file():
    titles = [title for part in chapters.PARTS.values() for title in part]
    for path in NOTEBOOKS[1:]:
        first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]).splitlines()[0]
        assert first == f"# {titles[(chapters.number(path.stem) or 0) - 1]}"


def test_the_site_says_number_title_and_description(browser: Browser, site: Path) -> None:
    page = browser.new_page()
    page.goto((site / "book" / "07-causality.html").as_uri())
    assert page.title().startswith("7. Causality and its traps")
    assert page.locator("h1").first.inner_text().startswith("7. Causality and its traps")
    sidebar = page.locator(".bd-sidebar-primary a.reference.internal")
    assert "9. Information and codes" in [text.strip() for text in sidebar.all_inner_texts()]
    assert len(page.locator("meta[name=description]").get_attribute("content") or "") > 50
    assert page.locator("meta[property='og:title']").get_attribute("content") == "7. Causality and its traps"
    assert page.get_by_text("Solution", exact=True).count() >= 4
    assert page.get_by_text("Show code cell content").count() == 0
    page.goto((site / "book" / "glossary.html").as_uri())
    assert page.title().startswith("Glossary")


def test_the_glossary_leads_to_the_chapters(browser: Browser, site: Path) -> None:
    page = browser.new_page()
    page.goto((site / "book" / "glossary.html").as_uri())
    notes = page.locator("p em", has_text=re.compile(r"^Chapters? \d"))
    assert notes.count() > 60
    numbers = sum(len(re.findall(r"\d+", text)) for text in notes.all_inner_texts())
    assert page.locator("p em a").count() == numbers
    assert page.locator("p em a", has_text=re.compile("^7$")).first.get_attribute("href") == "07-causality.html"


def test_the_site_opens_with_pictures_and_all_chapters(browser: Browser, site: Path) -> None:
    page = browser.new_page()
    page.goto((site / "book" / "index.html").as_uri())
    assert page.title() == "Pictures become tokens become bytes — Pixels, Tokens, Bytes"
    assert page.locator(".bd-article img").count() >= 8
    assert page.locator("table").first.locator("tbody tr").count() == len(chapters.table().splitlines()) - 2
    page.get_by_role("link", name="Start the tour").click()
    page.wait_for_url("**/00-tour.html")


def test_the_ladder_of_the_decoder_has_the_numbers_of_today():
    sys.path.append(str(ROOT / "tools"))
    from make_decoder_steps import steps

    stored = json.loads((ROOT / "book" / "_static" / "decoder.json").read_text(encoding="utf-8"))
    found = steps()
    assert {step: stored[step] for step in stored if step != "9 picture"} == {
        step: found[step] for step in found if step != "9 picture"
    }
    for mine, its in zip(stored["9 picture"].values(), found["9 picture"].values(), strict=True):
        assert its == pytest.approx(mine, abs=1)  # PyTorch's own decoder may round otherwise

"""The pages on a phone, on paper, where they lead to the source, and what they say once they are published."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

CHAPTER = "02-auto-encoding"
PHONE = 360
CUT = "[...document.querySelectorAll('.bd-article pre')].filter((it) => it.scrollWidth > it.clientWidth + 1).length"
CLOSED = "document.querySelectorAll('.bd-article details:not([open])').length"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1400, "height": 900})
    opened.set_default_timeout(PATIENCE * 1000)
    yield opened
    opened.close()


def test_no_page_is_wider_than_a_phone(page: Page, site: Path) -> None:
    page.set_viewport_size({"width": PHONE, "height": 700})
    wide = {}
    for file in sorted((site / "book").glob("*.html")):
        page.goto(file.as_uri())
        wide[file.stem] = page.evaluate("document.documentElement.scrollWidth")
    assert {name: width for name, width in wide.items() if width > PHONE} == {}


def test_a_plot_keeps_a_size_that_can_be_read_and_is_moved_by_keys(page: Page, site: Path) -> None:
    page.set_viewport_size({"width": PHONE, "height": 700})
    page.goto((site / "book" / f"{CHAPTER}.html").as_uri(), wait_until="load")
    plots = page.locator(".bd-article .cell_output > img")
    widths = [plots.nth(number).bounding_box()["width"] for number in range(plots.count())]  # type: ignore[index]
    assert max(widths) == pytest.approx(640, abs=1)
    box = page.locator(".bd-article .cell_output[tabindex]").first
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")


def test_solutions_and_whole_lines_are_printed(page: Page, site: Path) -> None:
    page.goto((site / "book" / f"{CHAPTER}.html").as_uri(), wait_until="load")
    closed = page.evaluate(CLOSED)
    assert closed > 4
    page.set_viewport_size({"width": 700, "height": 1000})  # a sheet of A4
    assert page.evaluate(CUT) > 0
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(CLOSED) == 0
    assert page.evaluate(CUT) == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(CLOSED) == closed


def test_the_library_leads_to_its_source_and_back(page: Page, site: Path) -> None:
    page.goto((site / "book" / "api-bytes.html").as_uri())
    page.locator("dt[id='arlib.rangecoder.Encoder'] .viewcode-link").click()
    page.wait_for_url("**/_modules/arlib/rangecoder.html#Encoder")
    page.locator("#Encoder .viewcode-back").first.click()
    page.wait_for_url("**/book/api-bytes.html#arlib.rangecoder.Encoder")


def test_a_notebook_says_what_it_needs(page: Page, site: Path) -> None:
    page.goto((site / "book" / f"{CHAPTER}.html").as_uri())
    download = page.locator(".btn-download-source-button")
    assert download.text_content().strip() == ".ipynb (runs in the folder of the book)"  # type: ignore[union-attr]


@pytest.mark.parametrize("published", [True, False])
def test_two_settings_say_where_site_and_repository_are_published(tmp_path: Path, published: bool) -> None:
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    if published:
        config = config.replace('baseurl: ""', "baseurl: https://example.org/book/")
        config = config.replace('url: ""  ', "url: https://github.com/example/book  ")
    (tmp_path / "_config.yml").write_text(config)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: probe\n")
    (tmp_path / "probe.md").write_text("# A page\n\n![A frame](book/_static/frames.png)\n")
    for name in ("book", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    subprocess.run([jupyter_book, "build", tmp_path, "-W", "-n"], check=True, capture_output=True)
    page = (tmp_path / "_build" / "html" / "probe.html").read_text(encoding="utf-8")
    for words in (
        '"og:url" content="https://example.org/book/probe.html"',
        '"og:image" content="https://example.org/book/_images/frames.png"',
        'href="https://github.com/example/book"',
        'href="https://github.com/example/book/issues',
    ):
        assert (words in page) == published, words
    assert '"og:site_name" content="Pixels, Tokens, Bytes"' in page


def test_the_two_grids_of_chapter_7_and_their_slider_fit_one_screen_of_a_phone(page: Page, site: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto((site / "book" / "07-causality.html").as_uri(), wait_until="networkidle")
    figure = page.locator("[data-figure=masks][data-drawn]")
    slider, grid = (
        figure.locator("input[type=range]").bounding_box(),
        figure.locator("svg[role=img]").last.bounding_box(),
    )
    assert slider is not None
    assert grid is not None
    assert grid["y"] + grid["height"] - slider["y"] < 600


LETTERS = """() => [...document.querySelectorAll(".ptb-figure svg text")].map((it) => {
    const { a, b } = it.getScreenCTM();
    return [parseFloat(getComputedStyle(it).fontSize) * Math.hypot(a, b), it.textContent];
}).filter(([size]) => size < 10)"""


def test_the_letters_of_every_figure_can_be_read_on_a_phone(page: Page, site: Path) -> None:
    page.set_viewport_size({"width": PHONE, "height": 700})
    small = {}
    for file in sorted((site / "book").glob("[0-9]*.html")):
        page.goto(file.as_uri(), wait_until="networkidle")
        small[file.stem] = page.evaluate(LETTERS)
    assert len(small) == 17
    assert {name: letters for name, letters in small.items() if letters} == {}

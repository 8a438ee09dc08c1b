"""The built pages in headless Chromium: nothing is fetched from elsewhere, nothing is broken, pictures have alt text.

`make book` builds the pages. Without Chromium these tests are skipped; with REQUIRE_BROWSER=1 they fail instead.
"""

import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import nbformat
import pytest
from conftest import PATIENCE, ROOT
from nbclient import NotebookClient
from nbformat import v4
from playwright.sync_api import Browser, ConsoleMessage, Page

pytestmark = pytest.mark.browser

# Reads a page once it is drawn. Pictures that load when they are scrolled into view are loaded at once.
READ_PAGE = """async () => {
    const images = [...document.images];
    for (const image of images) image.loading = "eager";
    await Promise.all(images.map((image) => image.decode().catch(() => {})));
    return {
        images: images.map(({ src, alt, naturalWidth }) => ({ src: src.slice(0, 200), alt, naturalWidth })),
        links: [...document.querySelectorAll("a[href]")].map((link) => link.href),
        anchors: [...document.querySelectorAll("[id]")].map((element) => element.id),
    };
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Keep the requests out of the tests' output."""


def serve(folder: Path) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def complaints(browser: Browser, folder: Path, over: str, colors: Any = "light") -> list[str]:
    """Open every page of a site over "http" or "file", and return all that is wrong with it."""
    if over == "file":
        return visit_all(browser, folder, folder.as_uri() + "/", colors)
    server = serve(folder)
    try:
        return visit_all(browser, folder, f"http://127.0.0.1:{server.server_port}/", colors)
    finally:
        server.shutdown()
        server.server_close()


def visit_all(browser: Browser, folder: Path, base: str, colors: Any) -> list[str]:
    found: list[str] = []
    pages = {}
    left_out = ["_static/"]  # the theme's own templates
    if not (base.startswith("file") and colors == "light"):
        left_out.append("_modules/")  # the library's source, many pages of one form: looked at in one way is enough
    for file in sorted(folder.rglob("*.html")):
        name = file.relative_to(folder).as_posix()
        if not name.startswith(tuple(left_out)):
            page = browser.new_page(color_scheme=colors)
            page.set_default_timeout(PATIENCE * 1000)
            pages[name] = visit(page, base, name, found)
            page.close()
    assert pages, f"there is no page in {folder}"
    for name, content in pages.items():
        for link in content["links"]:
            address, anchor = urldefrag(link)
            target = unquote(address.removeprefix(base).partition("?")[0])
            if not address.startswith(base):
                if not address.startswith(("http://", "https://", "mailto:")):
                    found.append(f"{name}: the link {link} leads out of the site")
            elif not (folder / target).exists():
                found.append(f"{name}: the link to {target} is broken")
            elif anchor and target in pages and unquote(anchor) not in pages[target]["anchors"]:
                found.append(f"{name}: {target} has no anchor {anchor}")
    return found


def is_error(message: ConsoleMessage) -> bool:
    # A browser asks for /favicon.ico where a page names no icon, as the page that leads from / to the first one.
    return message.type == "error" and not message.location["url"].endswith("/favicon.ico")


def visit(page: Page, base: str, name: str, found: list[str]) -> dict[str, Any]:
    """Open one page, add to `found` what is wrong with it, and return its images, links and anchors."""

    def note(bad: bool, complaint: str) -> None:
        if bad:
            found.append(f"{name}: {complaint}")

    page.on("request", lambda it: note(not it.url.startswith((base, "data:", "blob:")), f"asks for {it.url}"))
    page.on("requestfailed", lambda it: note(True, f"{it.url} failed ({it.failure})"))
    page.on("response", lambda it: note(it.status >= 400, f"{it.url} gives {it.status}"))
    page.on("console", lambda it: note(is_error(it), f"the console says {it.text}"))
    page.on("pageerror", lambda it: note(True, f"a script raised {it}"))
    page.goto(base + name, wait_until="networkidle")
    page.wait_for_load_state("load")  # on a busy machine a long page may still be read when the network is idle
    content: dict[str, Any] = page.evaluate(READ_PAGE)
    for image in content["images"]:
        words = image["alt"].strip()
        note(not words or words in unquote(image["src"]), f"no alt text for {image['src']}")  # Sphinx's own is the path
        note(not image["naturalWidth"], f"the image {image['src']} does not load")
    return content


@pytest.mark.parametrize("colors", ["light", "dark"])
@pytest.mark.parametrize("over", ["http", "file"])
def test_every_page_is_whole_and_asks_nobody(browser: Browser, site: Path, over: str, colors: str) -> None:
    assert complaints(browser, site, over, colors) == []


BROKEN_PAGE = """<title>Broken</title>
<img src="picture.svg"> <img src="picture.svg" alt="picture.svg"> <img src="missing.png" alt="A frame">
<a href="nowhere.html">one</a> <a href="#nowhere">two</a> <a href="../index.html">three</a>
<script src="https://cdn.example.org/library.js"></script>
<script>console.error("something is amiss"); undefined_name();</script>
"""
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
EXPECTED = [
    "asks for https://cdn.example.org/library.js",
    "library.js failed",
    "something is amiss",
    "undefined_name",
    "missing.png does not load",
    "the link to nowhere.html is broken",
    "has no anchor nowhere",
]


@pytest.mark.parametrize("over", ["http", "file"])
def test_a_broken_page_is_found_out(browser: Browser, tmp_path: Path, over: str) -> None:
    (tmp_path / "index.html").write_text(BROKEN_PAGE)
    (tmp_path / "picture.svg").write_text(PICTURE)
    found = complaints(browser, tmp_path, over)
    expected = EXPECTED + (["missing.png gives 404"] if over == "http" else ["missing.png failed", "out of the site"])
    assert [words for words in expected if not any(words in complaint for complaint in found)] == [], found
    assert sum("no alt text" in complaint for complaint in found) == 2


def test_a_sound_page_gives_no_complaint(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<title>Sound</title><img src="picture.svg" alt="A frame"><a href="#x" id="x">x'
    )
    (tmp_path / "picture.svg").write_text(PICTURE)
    assert complaints(browser, tmp_path, "file") == []


PROBE = r"""import ipywidgets as widgets
from IPython.display import display

slider = widgets.IntSlider(value=0, max=10, description=r"\(x^2\)")
play = widgets.Play(value=0, max=10, interval=50)
number = widgets.IntText()
widgets.jslink((slider, "value"), (number, "value"))
widgets.jslink((play, "value"), (slider, "value"))
display(widgets.VBox([slider, play, number]))
"""


@pytest.fixture(scope="module")
def probe(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book of one page, built as ours is, with what our chapters may use: formulas and widgets."""
    folder = tmp_path_factory.mktemp("probe")
    shutil.copy(ROOT / "_config.yml", folder)
    (folder / "_toc.yml").write_text("format: jb-book\nroot: probe\n")
    for name in ("book", "tools"):  # for the static files and for the extension of Sphinx
        (folder / name).symlink_to(ROOT / name)
    words = v4.new_markdown_cell("# Probe\n\nA formula, $\\boldsymbol{x} = \\cancel{y}$.")
    notebook = v4.new_notebook(cells=[words, v4.new_code_cell(PROBE)])
    NotebookClient(notebook, kernel_name="python3", startup_timeout=PATIENCE).execute()
    nbformat.write(notebook, folder / "probe.ipynb")
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    built = subprocess.run([jupyter_book, "build", folder, "-W", "-n", "--keep-going"], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "_build" / "html"


@pytest.mark.parametrize("over", ["http", "file"])
def test_formulas_and_widgets_need_no_network(browser: Browser, probe: Path, over: str) -> None:
    assert complaints(browser, probe, over) == []


@pytest.mark.parametrize("path", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem)
def test_only_a_page_with_a_widget_loads_the_code_of_widgets(site: Path, path: Path) -> None:
    widgets = nbformat.read(path, as_version=4).metadata.get("widgets")
    page = (site / "book" / f"{path.stem}.html").read_text(encoding="utf-8")
    assert ("widgets/embed-amd.js" in page) == bool(widgets)  # 3.6 MB


def test_formulas_and_widgets_work_without_a_kernel(browser: Browser, probe: Path) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    raised: list[str] = []
    page.on("pageerror", lambda it: raised.append(str(it)))
    page.goto((probe / "probe.html").as_uri(), wait_until="networkidle")
    assert page.locator("mjx-container svg").count() == 2  # the one in the text and the slider's label
    shows = "document.querySelector('input[type=number]').value === "
    page.locator(".noUi-handle").press("ArrowRight")
    page.wait_for_function(shows + "'1'")
    page.locator(".widget-play button").first.click()
    page.wait_for_function(shows + "'10'")
    assert page.locator(".widget-play svg").count() == 0  # the icons come from the font alone, else they come twice
    assert page.evaluate(
        """[...document.fonts].some((it) => it.family.includes("Awesome 5") && it.status == "loaded")"""
    )
    assert raised == []

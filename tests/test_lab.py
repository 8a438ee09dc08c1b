"""A chapter in a real JupyterLab, as `make lab` opens it: its cells run, its figures are there, an answer is judged.

The server has settings and folders of its own, and a copy of the chapter without its outputs and with a control.
"""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from conftest import PATIENCE, ROOT
from nbformat import NotebookNode, v4
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

CHAPTER = "07-causality"
# The chapter's own figures need no kernel; this is a control that asks it, as those of chapters 6, 8 and 12 do.
CONTROL = """import ipywidgets

ipywidgets.interact(lambda place: print("asked for", place), place=ipywidgets.IntSlider(3, 0, 9))"""
TOKEN = "probe"
OPTIONS = [
    "--no-browser",
    "--allow-root",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    f"--IdentityProvider.token={TOKEN}",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
]
# Two cells that go wrong, each in its own way, and a third which therefore doesn't run.
BROKEN = [
    "import ipywidgets\n\nipywidgets.DOMWidget(_view_module='nowhere', _view_name='NoView')",
    "undefined_name",
    "1 + 1",
]


@dataclass
class Lab:
    """A running JupyterLab: where it is, and the folder that it shows."""

    address: str
    folder: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("widgets", None)
    return notebook


def wait_for(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Until the server answers."""
    last = time.monotonic() + PATIENCE
    while time.monotonic() < last:
        assert server.poll() is None, log.read_text(encoding="utf-8")
        try:
            urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=PATIENCE).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(log.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("lab")
    folder = home / "book"
    folder.mkdir()
    chapter = without_outputs(nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", 4))
    chapter.cells.append(v4.new_code_cell(CONTROL))
    broken = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in BROKEN], metadata=chapter.metadata)
    for name, notebook in ((CHAPTER, chapter), ("broken", broken)):
        nbformat.write(notebook, folder / f"{name}.ipynb")
    places = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
    places += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]
    port, log = free_port(), home / "log"
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        *OPTIONS,
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={folder}",
    ]
    settings = os.environ | {name: str(home / name.lower()) for name in places}
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=settings, cwd=folder, stdout=output, stderr=output)
    try:
        wait_for(server, f"http://127.0.0.1:{port}", log)
        yield Lab(f"http://127.0.0.1:{port}", folder)
    finally:
        server.terminate()  # it ends its kernels first
        try:
            code = server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            raise
    assert code == 0, log.read_text(encoding="utf-8")


def run_all(browser: Browser, lab: Lab, name: str) -> Page:
    """Open a notebook, run all its cells through the menu, and wait until none runs or waits any more."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(f"{lab.address}/lab/tree/{name}.ipynb?reset&token={TOKEN}")
    cells = len(nbformat.read(lab.folder / f"{name}.ipynb", 4).cells)
    page.wait_for_function("(cells) => document.querySelectorAll('.jp-Notebook .jp-Cell').length === cells", arg=cells)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # before that, "Run All Cells" would ask for a kernel
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(
        """() => {
            const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")].map((it) => it.textContent);
            const idle = document.querySelector(".jp-Notebook-ExecutionIndicator[data-status=idle]");
            return idle && /\\d/.test(prompts[0]) && !prompts.some((it) => it.includes("*"));
        }"""
    )
    return page


def saved(page: Page, lab: Lab, name: str) -> list[NotebookNode]:
    """The notebook's cells of code as JupyterLab saves them."""
    file = lab.folder / f"{name}.ipynb"
    before, last = file.stat().st_mtime_ns, time.monotonic() + PATIENCE
    page.keyboard.press("Control+s")
    while file.stat().st_mtime_ns == before:
        assert time.monotonic() < last, "the notebook is not saved"
        time.sleep(0.1)
    page.get_by_text("Saving completed").wait_for()
    return [cell for cell in nbformat.read(file, 4).cells if cell.cell_type == "code"]


def complaints(page: Page, cells: list[NotebookNode]) -> list[str]:
    """What is wrong in a notebook that has run: cells that did not, errors, warnings, widgets that can't be shown."""
    found = [f"cell {number} has not run" for number, cell in enumerate(cells) if cell.execution_count != number + 1]
    for output in (it for cell in cells for it in cell.outputs):
        if output.output_type == "error" or output.get("name") == "stderr":
            found.append(output.get("evalue", "") + output.get("text", ""))
    return found + page.get_by_text(re.compile("Error displaying widget|javascript error")).all_text_contents()


def answer(page: Page, source: str) -> str:
    """Write an answer into the cell of the first exercise, run it, and return the verdict."""
    cell = page.locator(".jp-CodeCell").filter(has_text="def next_bits(").first
    prompt = cell.locator(".jp-InputPrompt").first
    before = prompt.text_content()
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(source + "\n\n\ncheck.next_bits(next_bits)")
    page.keyboard.press("Control+Enter")
    page.wait_for_function(
        "([prompt, before]) => /\\d/.test(prompt.textContent) && prompt.textContent !== before",
        arg=[prompt.element_handle(), before],
    )
    return (cell.locator(".jp-OutputArea-output").text_content() or "").strip()


@pytest.fixture(scope="module")
def chapter(browser: Browser, lab: Lab) -> Page:
    return run_all(browser, lab, CHAPTER)


def test_every_cell_runs_and_every_widget_is_shown(chapter: Page, lab: Lab) -> None:
    cells = saved(chapter, lab, CHAPTER)
    assert len(cells) > 50
    assert complaints(chapter, cells) == []


def test_drawings_and_a_figure_that_answers_without_the_kernel(chapter: Page) -> None:
    drawings = chapter.locator(".jp-RenderedImage img")
    assert drawings.count() >= 5
    assert all(drawings.evaluate_all("(all) => all.map((it) => it.naturalWidth > 0)"))
    figure = chapter.locator("[data-figure=masks][data-drawn]")
    before = figure.text_content()
    figure.locator("input[type=radio]").nth(1).click()
    assert figure.text_content() != before
    slider = figure.locator("input[type=range]")
    value = float(slider.input_value())
    slider.press("ArrowLeft")  # elsewhere in a notebook arrows choose a cell
    assert abs(float(slider.input_value()) - value) == 1


def test_a_control_asks_the_kernel(chapter: Page) -> None:
    chapter.get_by_text("asked for 3").wait_for()
    chapter.locator(".widget-slider .noUi-handle").press("ArrowRight")
    chapter.get_by_text("asked for 4").wait_for()


def test_a_wrong_and_a_right_answer_get_their_verdicts(chapter: Page) -> None:
    wrong = "def next_bits(logits, tokens):\n    return bits_per_token(logits, tokens)"
    assert answer(chapter, wrong).startswith("Not yet: row t is compared with token t.")
    right = "def next_bits(logits, tokens):\n    return bits_per_token(logits[:, :-1], tokens[:, 1:])"
    assert answer(chapter, right).startswith("Right: ")


def test_broken_cells_are_found_out(browser: Browser, lab: Lab) -> None:
    page = run_all(browser, lab, "broken")
    found = " ".join(complaints(page, saved(page, lab, "broken")))
    assert "javascript error" in found  # JupyterLab's words for a widget without a view
    assert "name 'undefined_name' is not defined" in found
    assert "cell 2 has not run" in found

"""Settings for all tests; the command line, the browser and a page's figure as fixtures."""

import importlib.util
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from PIL import Image
from playwright.sync_api import Browser, Locator, sync_playwright
from rich.console import Console
from rich.table import Table

# A property holds or does not, however slow the machine is today.
settings.register_profile("book", deadline=None, derandomize=True)
settings.load_profile("book")

# What is started in the background (`make test &`) does not hear Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent

# A checkout that was moved or copied has a .venv full of paths to where it was: its tests would test what is there.
found = importlib.util.find_spec("arlib")
home = "nowhere" if found is None or found.origin is None else Path(found.origin).resolve().parent.parent
if home != ROOT:
    pytest.exit(
        f"arlib comes from {home}, not from this checkout, {ROOT}. If it was moved or copied, its .venv still "
        "points to the old place: remove it (rm -rf .venv), and the next make installs it here."
    )

sys.path.append(str(ROOT / "tools"))

from chromium import CHROMIUM, PATIENCE, launch  # noqa: E402


def noise(count: int, *shape: int) -> torch.Tensor:
    """Pictures of noise, always the same: `(count, *shape) uint8`."""
    return torch.randint(256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def write_noise(folder: Path, count: int, height: int, width: int) -> torch.Tensor:
    """Pictures of noise, always the same, as 00.png, 01.png, … in a folder: `(count, height, width, 3) uint8`."""
    folder.mkdir(parents=True, exist_ok=True)
    images = noise(count, height, width, 3)
    for number, image in enumerate(images.numpy()):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    return images


def surprise(
    prior: torch.nn.Module, tokens: torch.Tensor, order: torch.Tensor | None, labels: torch.Tensor | None
) -> torch.Tensor:
    """Bits of each token of sequences by place, `(N, T)`, from the logits of a prior alone."""
    read = tokens if order is None else tokens.gather(1, order.expand_as(tokens))
    with torch.no_grad():
        chances = prior(read, order, labels).double().softmax(-1)
    return -chances.gather(2, read[..., None])[..., 0].log2()


def rows_of(table: Table) -> list[list[str]]:
    """What the cells say, line by line."""
    said = io.StringIO()
    Console(file=said, width=400).print(table)
    lines = [line for line in said.getvalue().splitlines() if "│" in line]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


def rows_of_card(weights: Path) -> dict[str, str]:
    """The table on the card beside a weights file."""
    return dict(re.findall(r"^\| ([\w -]+) \| (.*) \|$", weights.with_suffix(".md").read_text(encoding="utf-8"), re.M))


@pytest.fixture
def run(monkeypatch, capsys):
    """Call `python -m arlib …` in this process: its exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        from arlib import cli

        monkeypatch.setattr(sys, "argv", ["arlib", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")  # not "session": its event loop would be in the way of the notebooks' kernels
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        reason = "there is no Chromium on this machine, and these tests open the pages in it"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        yield launch(playwright)


@pytest.fixture(scope="module")
def site(browser: Browser) -> Path:
    folder = ROOT / "_build" / "html"
    assert (folder / "index.html").exists(), "the book is not built; `make book` builds it"
    return folder


@pytest.fixture
def figure(browser: Browser, site: Path) -> Iterator[Callable[[str, str], Locator]]:
    """Open a chapter's page and find a figure on it, figure("07-causality", "masks"). It must run without an error."""
    errors: list[str] = []
    page = browser.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.on("pageerror", lambda it: errors.append(str(it)))

    def find(chapter: str, name: str) -> Locator:
        page.goto((site / "book" / f"{chapter}.html").as_uri(), wait_until="networkidle")
        return page.locator(f'[data-figure="{name}"][data-drawn]')

    yield find
    page.close()
    assert errors == []

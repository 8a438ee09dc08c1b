"""Every page of the built site for people who cannot see it well, or not at all: axe-core finds nothing serious.

axe-core (tests/vendor) tests the rules of WCAG 2.0 and 2.1, levels A and AA, that a program can test.
"""

from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

AXE = (ROOT / "tests" / "vendor" / "axe.min.js").read_text(encoding="utf-8")
RULES = "{ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations'] }"
WIDE, NARROW = 1400, 400
EVERYWHERE = ("index", "00-tour", "07-causality", "glossary")  # also narrow, and dark


def violations(browser: Browser, address: str, width: int = WIDE, colors: str = "light") -> list[str]:
    """The serious and critical violations on a page: rule, and the first element that breaks it."""
    # Without motion: buttons fade into the dark theme after the page has loaded, and a color halfway has no contrast.
    form = {"color_scheme": colors, "reduced_motion": "reduce"}
    page = browser.new_page(viewport={"width": width, "height": 900}, **form)  # type: ignore[arg-type]
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(address)
    page.evaluate(AXE)
    found = page.evaluate(f"axe.run(document, {RULES})")["violations"]
    page.close()
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found if each["impact"] in ("serious", "critical")
    ]


def test_every_page_is_for_everybody(browser: Browser, site: Path) -> None:
    pages = [*sorted((site / "book").glob("*.html")), site / "_modules" / "arlib" / "rangecoder.html"]
    assert len(pages) > 20
    found = {page.stem: violations(browser, page.as_uri()) for page in pages}
    assert {name: faults for name, faults in found.items() if faults} == {}


@pytest.mark.parametrize("colors", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_four_pages_are_so_in_every_form(browser: Browser, site: Path, width: int, colors: str) -> None:
    found = {name: violations(browser, (site / "book" / f"{name}.html").as_uri(), width, colors) for name in EVERYWHERE}
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_a_fault_is_found(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        '<html lang="en"><title>A page</title><body><h1>A page</h1><img src="data:,"><button></button>'
        '<p style="color: #bbb; background: white">pale</p>'
    )
    found = " ".join(violations(browser, (tmp_path / "page.html").as_uri()))
    for rule in ("image-alt", "button-name", "color-contrast"):
        assert rule in found

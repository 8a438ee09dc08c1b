"""Print the built pages into one PDF, _build/pixels-tokens-bytes.pdf. `make pdf` builds the pages first.

Chromium prints page after page, in the order of _toc.yml, as a reader's own browser would; book.css has the style of
print. pypdf puts the sheets together, gives them an outline, and makes a link between pages one between sheets.
"""

import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

from chromium import CHROMIUM, PATIENCE, launch
from playwright.sync_api import Browser, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.annotations import Link
from pypdf.generic import ArrayObject, Fit, FloatObject, IndirectObject, NameObject, NullObject, RectangleObject

from arlib import chapters

SITE = chapters.ROOT / "_build" / "html"
BOOK = chapters.ROOT / "_build" / "pixels-tokens-bytes.pdf"
TITLE = "Pixels, Tokens, Bytes"
ONLY_ON_A_SCREEN = {"book/try"}

# Every picture is loaded, every formula set. A PDF knows only those places of a page that a link of the same page
# leads to, so there's one to each. Returns the headings, with the place of each.
PREPARE = """async () => {
    for (const image of document.images) image.loading = "eager";
    await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
    await globalThis.MathJax?.startup?.promise;
    await document.fonts.ready;
    const links = document.createElement("nav");
    links.hidden = true;
    for (const { id } of document.querySelectorAll(".bd-article [id]")) {
        links.append(Object.assign(document.createElement("a"), { href: `#${id}` }));
    }
    document.body.append(links);
    return [...document.querySelectorAll(".bd-article :is(h1, h2)")].map((heading) => {
        const words = heading.cloneNode(true);
        words.querySelector(".headerlink")?.remove();
        return { level: Number(heading.tagName[1]), words: words.textContent, id: heading.closest("[id]").id };
    });
}"""


@dataclass
class Page:
    """A page of the site in print: its name ("book/07-causality"), its part of the book, its headings, its sheets."""

    name: str
    part: str
    headings: list[dict[str, Any]]
    sheets: PdfReader
    first: int  # how many sheets come before


def contents() -> list[tuple[str, str]]:
    """The names of the pages in reading order, with the part of the book that each belongs to ("" for the first)."""
    part, found = "", []
    for key, value in re.findall(r"(root|caption|file): (.+)", chapters.CONTENTS.read_text(encoding="utf-8")):
        if key == "caption":
            part = value
        elif value not in ONLY_ON_A_SCREEN:
            found.append((value, part))
    return found


def margins(first: int) -> str:
    """A style: sheets of A4, with the book's title and the sheet's number at the foot. `first` sheets come before."""
    return f"""
        @page {{
            size: A4;
            margin: 16mm 16mm 18mm;
            @bottom-left {{ content: "{TITLE}"; font: 8pt sans-serif; color: #666; }}
            @bottom-right {{ content: counter(page); font: 8pt sans-serif; color: #666; }}
        }}
        @page :first {{ counter-increment: page {first + 1}; }}
    """


def print_page(browser: Browser, site: Path, name: str, part: str, first: int) -> Page:
    """Open a page of the site, and print it."""
    page = browser.new_page(color_scheme="light")
    page.set_default_timeout(PATIENCE * 1000)
    page.goto((site / f"{name}.html").as_uri(), wait_until="networkidle")
    page.wait_for_load_state("load")
    page.wait_for_function("document.querySelectorAll('[data-figure]:not([data-drawn])').length === 0")
    headings = page.evaluate(PREPARE)
    page.add_style_tag(content=margins(first))
    sheets = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True, print_background=True)))
    page.close()
    return Page(name, part, headings, sheets, first)


def places(pages: list[Page]) -> dict[tuple[str, str], tuple[int, float]]:
    """Where each anchor of each page is: the sheet, and the height on it. The anchor "" is the page's beginning."""
    found = {}
    for page in pages:
        found[page.name, ""] = page.first, float(page.sheets.pages[0].mediabox.top)
        for anchor, place in page.sheets.named_destinations.items():
            sheet = page.sheets.get_destination_page_number(place)
            if sheet is not None:
                found[page.name, anchor.lstrip("/")] = page.first + sheet, float(place.top or 0)
    return found


def target(link: Any, page: Page, site: Path) -> tuple[str, str] | str:
    """What a link of a page leads to: a page and an anchor of the book, or an address elsewhere."""
    if "/Dest" in link:
        return page.name, str(link["/Dest"]).lstrip("/")
    address = str(link["/A"].get("/URI", ""))
    if not address.startswith(site.as_uri()):
        return address
    file, anchor = urldefrag(address.removeprefix(site.as_uri() + "/"))
    return unquote(file).partition("?")[0].removesuffix(".html"), unquote(anchor)


def bind(pages: list[Page], site: Path) -> PdfWriter:
    """All sheets in one document, with links and an outline."""
    book, where, links = PdfWriter(), places(pages), []
    for page in pages:
        for number, sheet in enumerate(page.sheets.pages, page.first):
            for link in sheet.pop("/Annots", ArrayObject()):
                links.append((number, link.get_object()["/Rect"], target(link.get_object(), page, site)))
            book.add_page(sheet)
    for number, corners, leads_to in links:
        rectangle = RectangleObject(corners)
        if isinstance(leads_to, str):
            book.add_annotation(number, Link(rect=rectangle, url=leads_to))
        elif place := where.get(leads_to) or where.get((leads_to[0], "")):
            link = book.add_annotation(number, Link(rect=rectangle, target_page_index=place[0]))
            # pypdf writes the sheet's number, which is meant for links to other files. Here it's a reference.
            there = [book.pages[place[0]].indirect_reference, NameObject("/XYZ"), NullObject(), FloatObject(place[1])]
            link[NameObject("/Dest")] = ArrayObject([*there, NullObject()])
        # What is left leads to a file of the site that isn't printed.
    add_outline(book, pages, where)
    book.add_metadata({"/Title": TITLE, "/Author": f"the authors of {TITLE}"})
    book.compress_identical_objects()
    return book


def add_outline(book: PdfWriter, pages: list[Page], where: dict[tuple[str, str], tuple[int, float]]) -> None:
    """Parts, their pages, and the sections of each."""
    part: tuple[str, IndirectObject | None] = "", None
    for page in pages:
        if page.part != part[0]:
            part = page.part, book.add_outline_item(title=page.part, page_number=page.first)
        above = part[1]
        for heading in page.headings:
            sheet, top = where[page.name, "" if heading["level"] == 1 else heading["id"]]
            item = book.add_outline_item(title=heading["words"], page_number=sheet, parent=above, fit=Fit.xyz(top=top))
            above = item if heading["level"] == 1 else above


def print_book(browser: Browser, site: Path, names: list[tuple[str, str]]) -> PdfWriter:
    """The named pages of the site as one document."""
    pages: list[Page] = []
    for name, part in names:
        first = pages[-1].first + len(pages[-1].sheets.pages) if pages else 0
        pages.append(print_page(browser, site, name, part, first))
        print(f"{name}: from {first + 1}", flush=True)
    return bind(pages, site)


def main() -> int:
    """Print the whole book; 1 where it can't be."""
    if CHROMIUM is None:
        print("There is no Chromium here, and it's what prints the book: install chromium or google-chrome.")
        return 1
    if not (SITE / "index.html").exists():
        print("The book is not built: `make book` builds it.")
        return 1
    with sync_playwright() as playwright:
        book = print_book(launch(playwright), SITE, contents())
    book.write(BOOK)
    print(f"{BOOK.relative_to(chapters.ROOT)}: {len(book.pages)} sheets, {BOOK.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

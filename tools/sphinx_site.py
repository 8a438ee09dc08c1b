"""A Sphinx extension: what the site adds to the pages. Numbers, descriptions, links, and words that readers expect.

The numbers of the chapters, and the table of them, come from `arlib.chapters`, as everywhere in the book.
"""

import re
import sys
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]

sys.path.append(str(Path(__file__).resolve().parent.parent))

from arlib import chapters

HOME, GLOSSARY = "book/index", "book/glossary"
HOME_TITLE = "Pictures become tokens become bytes"
DESCRIPTION = (
    "A book of notebooks: how pictures become tokens, how a transformer learns to speak them, and how the same "
)
DESCRIPTION += "model is an image compressor. Everything runs on a laptop."
TABLE = "<!-- the table of chapters -->"
# What myst-nb writes on a folded cell, with a label that hides it from screen readers, and what the book calls it.
FOLDED = {
    ' aria-label="Toggle hidden content"': "",
    "Show code cell content": "Solution",
    "Hide code cell content": "Hide the solution",
    "Show code cell source": "Show the code",
    "Hide code cell source": "Hide the code",
}


def insert_table(app: Any, page: str, source: list[str]) -> None:
    """Where a Markdown page asks for the table of chapters, put it there; link the glossary's notes to chapters."""
    if TABLE in source[0]:
        source[0] = source[0].replace(TABLE, chapters.table())
    if page == GLOSSARY:
        source[0] = re.sub(r"^\*Chapters? [\d, andto]+\.\*$", link_numbers, source[0], flags=re.MULTILINE)


def link_numbers(note: re.Match[str]) -> str:
    """A note of the glossary, "*Chapters 6 and 7.*", with a link on each number of a chapter that is there."""
    files = chapters.files()
    return re.sub(r"\d+", lambda it: f"[{it[0]}]({files[int(it[0])]}.ipynb)" if int(it[0]) in files else it[0], note[0])


def number_title(app: Any, doctree: nodes.document) -> None:
    """Put a chapter's number before its title, and so into the sidebar; its anchors stay as they are."""
    number = chapters.number(Path(app.env.docname).name)
    title = doctree.next_node(nodes.title)
    if number and title is not None:
        title.insert(0, nodes.Text(f"{number}. "))


def describe(app: Any, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """A title and a description for search engines and previews; a solution is called one."""
    if page == HOME:
        context["title"] = HOME_TITLE
    description = DESCRIPTION if page == HOME else first_sentences(doctree)
    properties = {"og:title": re.sub("<[^>]*>", "", context.get("title", "")), "og:description": description}
    properties |= {"og:type": "website" if page == HOME else "article", "og:site_name": app.config.html_title}
    properties |= addresses(app, page, doctree)
    tags = [f'<meta name="description" content="{escape(description)}" />']
    tags += [f'<meta property="{name}" content="{escape(text)}" />' for name, text in properties.items()]
    context["metatags"] = context.get("metatags", "") + "\n".join(tags)
    for theirs, ours in FOLDED.items():
        context["body"] = context.get("body", "").replace(theirs, ours)


def addresses(app: Any, page: str, doctree: nodes.document | None) -> dict[str, str]:
    """Where a published page is, and its first picture, for previews; nothing where _config.yml names no address."""
    base = app.config.html_baseurl
    if not base:
        return {}
    found = {"og:url": f"{base.rstrip('/')}/{page}.html"}
    for image in doctree.findall(nodes.image) if doctree is not None else []:
        folder, _, name = image["uri"].rpartition("/")
        if folder.endswith("_images"):
            return found | {"og:image": f"{base.rstrip('/')}/_images/{name}"}
    return found


def name_downloads(app: Any, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """A notebook needs the folder of the book around it, which whoever downloads it should know before."""
    for button in context.get("header_buttons", []):
        for each in button.get("buttons", []):
            if each.get("text") == ".ipynb":
                each["text"] = ".ipynb (runs in the folder of the book)"


def first_sentences(doctree: nodes.document | None) -> str:
    """The beginning of a page, at most 200 letters."""
    paragraph = doctree.next_node(nodes.paragraph) if doctree is not None else None
    text = DESCRIPTION if paragraph is None else " ".join(paragraph.astext().split())
    return text if len(text) <= 200 else text[:200].rsplit(" ", 1)[0] + " …"


def add_repository(app: Any, config: Any) -> None:
    """Links to the repository and to its issues, where _config.yml says where it is."""
    if config.html_theme_options.get("repository_url"):
        config.html_theme_options |= {"use_repository_button": True, "use_issues_button": True}


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("source-read", insert_table)
    app.connect("doctree-read", number_title, priority=400)  # before Sphinx collects the titles
    app.connect("config-inited", add_repository)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", name_downloads, priority=900)  # after the theme has made the buttons
    return {"parallel_read_safe": True}

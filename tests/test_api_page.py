"""The pages of the library: every public module of arlib stands on one of them, and docstrings come out as meant."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))

from sphinx_pages import slug, to_rest  # noqa: E402


def public_modules() -> set[str]:
    """The modules and packages in the folder of arlib itself."""
    files = {path.stem for path in (ROOT / "arlib").glob("*.py")}
    packages = {path.parent.name for path in (ROOT / "arlib").glob("*/__init__.py")}
    return {name for name in files | packages if not name.startswith("_")}


def test_every_public_module_stands_on_a_page_of_the_library() -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("api-*.md"))
    assert set(re.findall(r"automodule:: arlib\.(\w+)", pages)) == public_modules()


def test_every_page_of_the_library_and_its_modules_are_listed_on_the_first() -> None:
    first = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\[`(\w+)`\]\(([\w-]+\.md)#arlib\1\)", first))
    pages = (ROOT / "book").glob("api-*.md")
    assert listed == {
        (name, page.name)
        for page in pages
        for name in re.findall(r"automodule:: arlib\.(\w+)", page.read_text(encoding="utf-8"))
    }


def test_an_indented_block_stays_as_it_is_and_a_bar_is_a_bar() -> None:
    lines = [
        "Sizes of |x|:",
        "",
        "    3 bytes  |PTB|",
        "",
        "    1 byte   version",
        "",
        "And on.",
        "- an item",
        "  of it",
    ]
    block = [".. code-block:: none", "", "    3 bytes  |PTB|", "", "    1 byte   version", ""]
    assert to_rest(lines) == ["Sizes of \\|x\\|:", "", *block, "And on.", "- an item", "  of it"]


def test_a_power_is_one_outside_of_code() -> None:
    lines = ["2^-14 to 256^-n, below 2^53.", "`2^-14` is code", "", "    2^-14"]
    power = "2\\ :sup:`−14` to 256\\ :sup:`−n`, below 2\\ :sup:`53`."
    assert to_rest(lines) == [power, lines[1], "", ".. code-block:: none", "", lines[3]]


def test_an_anchor_has_no_accents() -> None:
    assert slug("Ballé et al. 2019") == "balle-et-al-2019"
    assert slug("KV cache") == "kv-cache"

"""A Sphinx extension: anchors without accents, and docstrings as they are meant.

The docstrings of arlib are plain text with a little Markdown, which autodoc takes for reST. Most of it means the same
in both. What does not is rewritten here: an indented block stays as it is (a table of bytes), a bar is a bar, and 2^-14
is a power.
Single backticks are code by `default_role` in _config.yml.
"""

import re
import unicodedata
from typing import Any

from mdit_py_plugins.anchors.index import slugify


def slug(title: str) -> str:
    """A heading's anchor: lower case, "-" for spaces, no dots and no accents ("balle-et-al-2019")."""
    return slugify(unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode())


def to_rest(lines: list[str]) -> list[str]:
    """The lines of a docstring, as reST."""
    rewritten: list[str] = []
    block = False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not block and rewritten and not rewritten[-1]:
            rewritten += [".. code-block:: none", ""]
            block = True
        block = block and (indented or not line)
        rewritten.append(line if block else powers(line.replace("|", "\\|")))
    return rewritten


def powers(line: str) -> str:
    """2^-14 as a power, outside of code; its minus is one."""
    parts = line.split("`")
    for outside in range(0, len(parts), 2):
        parts[outside] = re.sub(r"(\d)\^(-?\w+)", raised, parts[outside])
    return "`".join(parts)


def raised(power: re.Match[str]) -> str:
    return f"{power[1]}\\ :sup:`{power[2].replace('-', '−')}`"


def rewrite(*event: Any) -> None:
    """Sphinx hands over the lines last, to be changed in place."""
    event[-1][:] = to_rest(event[-1])


def skip(app: Any, what: str, name: str, member: Any, *_: Any) -> bool | None:
    """Leave out a named tuple's fields, of which Python itself says "Alias for field number 0"."""
    return True if (getattr(member, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}

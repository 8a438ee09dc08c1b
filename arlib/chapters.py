"""The chapters: their titles, and what each costs to run, as `make timing` has measured it into `book/seconds.json`."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTENTS = ROOT / "_toc.yml"
SECONDS = ROOT / "book" / "seconds.json"
PARTS = {
    "I. Pictures become tokens": [
        "Patches",
        "Auto-encoding patches",
        "Vector quantization",
        "Binary spherical quantization",
        "A data set of tokens",
    ],
    "II. Tokens become a language": ["Predicting the next token", "Causality and its traps", "Sampling"],
    "III. Tokens become bytes": [
        "Information and codes",
        "A range coder",
        "Why a decoder goes wrong, and arithmetic that cannot",
        "An image file of our own",
    ],
    "IV. Other orders, other grids": [
        "Digits with several codebooks",
        "Any order",
        "Coarse to fine",
        "Sharper pictures, fewer bytes, and what comes next",
    ],
}


def costs() -> dict[str, int]:
    """The seconds that each measured chapter takes on two CPU cores, rounded up to fives, by the name of its file."""
    return json.loads(SECONDS.read_text(encoding="utf-8"))


def cost(chapter: str) -> str:
    """What a chapter ("07-causality") costs, in its first cell's words, in seconds on two CPU cores."""
    seconds = costs()
    if chapter not in seconds:
        return f"{chapter} is not measured yet: `make timing` does it."
    return f"All cells of {chapter} together: about {seconds[chapter]} seconds on two CPU cores. Nothing is downloaded."


def number(file: str) -> int | None:
    """The number of the chapter in a file like "07-causality"; None for any other page, and for the tour."""
    return int(file[:2]) or None if re.match(r"\d\d-", file) else None


def files() -> dict[int, str]:
    """The files of the chapters that are there, like "07-causality", by number; 0 is the tour."""
    return {int(name[:2]): name for name in re.findall(r"book/(\d\d-[\w-]+)", CONTENTS.read_text(encoding="utf-8"))}


def table() -> str:
    """All chapters as a table in Markdown: a link and the cost for those in `_toc.yml`, the others to come."""
    there, seconds = files(), costs()

    def row(number: int, title: str) -> str:
        if number not in there:
            return f"| {number} | {title} | to come |"
        return f"| {number} | [{title}]({there[number]}.ipynb) | {seconds.get(there[number], 'not measured yet')} |"

    rows = ["| | chapter | seconds |", "| ---: | --- | ---: |", row(0, "The tour")]
    number = 0
    for part, titles in PARTS.items():
        rows.append(f"| | **{part}** | |")
        for title in titles:
            number += 1
            rows.append(row(number, title))
    return "\n".join(rows)

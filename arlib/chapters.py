"""What each chapter costs to run, as `make timing` has measured it into `book/seconds.json`."""

import json
from pathlib import Path

SECONDS = Path(__file__).resolve().parent.parent / "book" / "seconds.json"


def cost(chapter: str) -> str:
    """What a chapter ("07-causality") costs, in its first cell's words, in seconds on two CPU cores."""
    seconds = json.loads(SECONDS.read_text(encoding="utf-8"))
    if chapter not in seconds:
        return f"{chapter} is not measured yet: `make timing` does it."
    return f"All cells of {chapter} together: about {seconds[chapter]} seconds on two CPU cores. Nothing is downloaded."

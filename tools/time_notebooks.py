"""Measure what the chapters cost, on two cores and with the kernel's start, into book/seconds.json.

`make timing` measures all of them, `python tools/time_notebooks.py book/00-tour.ipynb` one. Nothing is stored of what
the cells put out. Where a number has changed, the notebooks that print it are run again, by tools/run_notebooks.py. A
chapter that is too long, or chapters that are too long on average, are refused: exit code 1, and nothing is written.
"""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from arlib import chapters
from arlib.data import write_atomically

BOOK = chapters.SECONDS.parent
LONGEST, MEAN = 90, 45  # seconds


def seconds(path: Path) -> float:
    """How long all cells of a notebook take together; raises where one does."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=600, startup_timeout=600, kernel_name="python3", resources=where)
    started = time.monotonic()
    client.execute()
    return time.monotonic() - started


def round_up(measured: float) -> int:
    """Up to the next number of seconds that five divides."""
    return 5 * math.ceil(measured / 5)


def refusal(costs: dict[str, int]) -> str:
    """Why these costs are too high; "" where they are not."""
    long = [f"{name} takes {cost} seconds, more than {LONGEST}." for name, cost in costs.items() if cost > LONGEST]
    mean = sum(costs.values()) / len(costs)
    return " ".join(long) or (f"The chapters take {mean:.0f} seconds on average, over {MEAN}." if mean > MEAN else "")


def main() -> int:
    """Measure the notebooks that are named, or all chapters; 1 where the book would be too slow."""
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    if os.getloadavg()[0] > 0.5:
        print("This machine is busy with other things: the numbers will be too high.")
    everything = sorted(BOOK.glob("[0-9][0-9]-*.ipynb"))
    before = chapters.costs()
    costs = {path.stem: before[path.stem] for path in everything if path.stem in before}
    for path in [Path(name) for name in sys.argv[1:]] or everything:
        print(f"{path.stem} … ", end="", flush=True)
        measured = seconds(path)
        costs[path.stem] = round_up(measured)
        print(f"{measured:.1f} seconds")
    if reason := refusal(costs):
        print(f"{reason} Nothing is written.")
        return 1
    changed = [name for name in sorted(costs) if costs[name] != before.get(name)]
    if costs == before:
        print("The numbers in book/seconds.json hold.")
        return 0
    text = json.dumps(costs, indent=2, sort_keys=True) + "\n"
    write_atomically(chapters.SECONDS, lambda partial: partial.write_text(text, encoding="utf-8"))
    print(f"book/seconds.json has new numbers for {', '.join(changed)}. The notebooks that print them run again.")
    again = [str(BOOK / f"{name}.ipynb") for name in [*changed, "preface"]]
    return subprocess.run([sys.executable, str(Path(__file__).with_name("run_notebooks.py")), *again]).returncode


if __name__ == "__main__":
    sys.exit(main())

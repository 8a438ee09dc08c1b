"""What commands need for many pictures: `python benchmarks/memory.py [--codec digits-4x4]`.

Each command works through two folders of hard links to the book's frames, a small one and a large one. A row tells the
most memory it held at once and its pictures a second, in both folders, start and loading of weights included, and how
many times the small folder's memory the large one took: a command that reads its pictures batch by batch stays near 1.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from arlib import data


@dataclass
class Command:
    """A command that works through a folder: its arguments, by folder and codec, and which pair of counts it gets."""

    name: str
    counts: str
    arguments: Callable[[Path, str], list[object]]
    passed: int | None = None  # pictures that it works through, where that is not all of them


# A few steps are enough for the most memory that training holds.
SMALL = ["--steps", 20, "--batch-size", 16, "--width", 32, "--depth", 1]


def train(it: Path, _: str) -> list[object]:
    return ["train", "tokenizer", "--name", "x", "--out", it / "run", "--data", it / "pictures", *SMALL]


# Each finds the pictures in folder/pictures. `decompress` reads what `compress` has written.
COMMANDS = [
    Command("tokenize", "tokenize", lambda it, codec: ["tokenize", it / "pictures", it / "a.tokens"]),
    Command("evaluate", "coding", lambda it, codec: ["evaluate", "--prior", codec, "--data", it / "pictures"]),
    Command(
        "compress", "coding", lambda it, codec: ["compress", it / "pictures", it / "files", "--fit", "--prior", codec]
    ),
    Command("train", "train", train, passed=20 * 16),
    Command("decompress", "coding", lambda it, codec: ["decompress", it / "files", it / "again", "--prior", codec]),
]

# Runs a command and tells its peak on the last line: RUSAGE_CHILDREN of this very process would be that of all before.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def make(folder: Path, count: int) -> None:
    """A folder of so many pictures, hard links to the frames of train where the disk has them, and two empty ones."""
    for name in ("pictures", "files", "again"):
        (folder / name).mkdir(parents=True)
    frames = data.files("supertuxkart", "train")
    for number in range(count):
        frame = frames[number % len(frames)]
        target = folder / "pictures" / f"{number:06}{frame.suffix}"
        try:
            os.link(frame, target)
        except OSError:  # another disk
            target.symlink_to(frame)


def measure(arguments: list[object]) -> tuple[float, float]:
    """Run a command: the most memory it held in MB, and the seconds it took."""
    command = [sys.executable, "-m", "arlib", *map(str, arguments)]
    begun = time.perf_counter()
    ended = subprocess.run([sys.executable, "-c", MEASURED, *command], stdout=subprocess.PIPE, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts
    return int(ended.stdout.split()[-1]) * unit / 1e6, time.perf_counter() - begun


def parsed(counts: str) -> list[int]:
    return [int(count) for count in counts.split(",")]


def main(
    tokenize: Annotated[str, typer.Option(help="How many pictures, small and large.")] = "1000,10000",
    train: Annotated[str, typer.Option(help="How many for a few steps of training.")] = "1000,10000,100000",
    coding: Annotated[str, typer.Option(help="How many for evaluate, compress and decompress.")] = "100,1000",
    codec: Annotated[str, typer.Option(help="Whose prior; one of digits is faster, as its grids are small.")] = "book",
    only: Annotated[str | None, typer.Option(help="Some of the commands alone: tokenize,evaluate.")] = None,
    root: Annotated[
        Path | None, typer.Option("--in", help="Where the folders are made; best on the book's disk.")
    ] = None,
) -> None:
    """Print a row for each command."""
    counts = {"tokenize": parsed(tokenize), "train": parsed(train), "coding": parsed(coding)}
    table = Table("command", "pictures", "MB at most", "ratio", "pictures a second")
    with tempfile.TemporaryDirectory(dir=root) as folder:
        chosen = [command for command in COMMANDS if only is None or command.name in only.split(",")]
        for count in sorted({each for command in chosen for each in counts[command.counts]}):
            make(Path(folder, str(count)), count)
        for command in chosen:
            places = {count: Path(folder, str(count)) for count in counts[command.counts]}
            rows = [(count, *measure(command.arguments(place, codec))) for count, place in places.items()]
            for count, peak, seconds in rows:
                pace = (command.passed or count) / seconds
                line = (f"{count:,}", f"{peak:,.0f}", f"{peak / rows[0][1]:.2f}", f"{pace:,.1f}")
                table.add_row(command.name, *line)
                print(command.name, *line, flush=True)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)

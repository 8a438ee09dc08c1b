"""How long a command takes to start, next to what it can't do without: importing torch and loading the codec.

    python benchmarks/start.py --repeats 7

Each repeat starts every program once, one after the other, so that a busy minute of the machine slows them all. A
ratio is the median over the repeats of a command's time by the floor's. Seconds of the processor, of all threads, are
shown next to those of the clock: they depend less on what else the machine does.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from arlib import data

MOST = 1.3  # times the floor, for one frame
FLOOR = "import torch, and load the codec"
# As `python -m arlib` would do without what arlib/__main__.py does about garbage.
PLAIN = "from arlib.cli import main; main()"


def seconds(arguments: list[str]) -> tuple[float, float]:
    """How long a Python program takes from its start to its end: by the clock, and of the processor."""
    clock, processor = time.perf_counter(), used()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - clock, used() - processor


def used() -> float:
    """Seconds of the processor that ended children of this process have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def programs(folder: Path) -> dict[str, list[str]]:
    """What is started, in this order: `decompress` reads the file that `compress` has written."""
    frame, file, picture = data.files("supertuxkart", "valid")[0], folder / "a.ptb", folder / "a.png"
    return {
        "--help": ["-m", "arlib", "--help"],
        "compress --help": ["-m", "arlib", "compress", "--help"],
        "import torch": ["-c", "import torch"],
        FLOOR: ["-c", "import torch, arlib; arlib.load_codec()"],
        "compress": ["-m", "arlib", "compress", "--force", str(frame), str(file)],
        "decompress": ["-m", "arlib", "decompress", "--force", str(file), str(picture)],
        "decompress, garbage as in Python": ["-c", PLAIN, "decompress", "--force", str(file), str(picture)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        commands = programs(Path(folder))
        for arguments in commands.values():  # once unmeasured: files come from the disk then
            seconds(arguments)
        runs = [{name: seconds(arguments) for name, arguments in commands.items()} for _ in range(repeats)]
    print(f"Medians of {repeats} repeats; a ratio is to the time to {FLOOR}.")
    print(f"{'':34}{'clock':>10}{'ratio':>8}{'processor':>12}{'ratio':>8}")
    for name in commands:
        row = f"{name:34}"
        for which in (0, 1):
            row += f"{statistics.median(run[name][which] for run in runs):{8 + 2 * which}.2f} s"
            row += f"{ratio(runs, name, which):8.2f}"
        print(row)
    for name in ("compress", "decompress"):
        found = ratio(runs, name, 0)
        print(f"{name}: {found:.2f} times the floor; the goal of {MOST} {'holds' if found <= MOST else 'is missed'}")


def ratio(runs: list[dict[str, tuple[float, float]]], name: str, which: int) -> float:
    """The median of a program's time by the floor's in the same repeat; `which` is 0 for the clock, 1 the processor."""
    return statistics.median(run[name][which] / run[FLOOR][which] for run in runs)


if __name__ == "__main__":
    main()

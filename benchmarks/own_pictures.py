"""What to expect from 100, 1,000 and 5,900 pictures: the commands of the page "Train your own", on frames of the game.

    python benchmarks/own_pictures.py [--accelerator cuda] [--out own.json] [--counts 100,1000,5900] [--steps 2000]

The frames of `train`, every so-manieth of them, play the part of one's own pictures, those of `valid` that of the
held-out ones. Each count gets the same number of steps. A row tells what the tokenizer makes of held-out pictures, and
the bits of their tokens at the best moment of the prior's run and at its end, all from the curves and cards that the
commands write. On one GPU the whole takes a quarter of an hour.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from arlib import data


def arlib(*arguments: object) -> float:
    """Run a command; the seconds it took."""
    command = [sys.executable, "-m", "arlib", *map(str, arguments)]
    print("$ python -m arlib", shlex.join(command[3:]), flush=True)
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def curve(folder: Path, name: str) -> list[float]:
    events = EventAccumulator(str(folder / "curves"), size_guidance={"scalars": 0})
    events.Reload()
    return [event.value for event in events.Scalars(name)]


def figure(card: Path, row: str) -> float:
    """The first number of a row of a card."""
    found = re.search(rf"^\| {row} \| ([\d.,]+)", card.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return float(found[1].replace(",", ""))


def measure(count: int, folder: Path, steps: int, training: list[str]) -> dict[str, float]:
    """One row: all commands of the page on so many pictures."""
    frames = data.files("supertuxkart", "train")
    mine, held_out = folder / "mine", folder / "held-out"
    for there, paths in (
        (mine, frames[:: len(frames) // count][:count]),
        (held_out, data.files("supertuxkart", "valid")),
    ):
        there.mkdir(parents=True)
        for number, path in enumerate(paths):
            (there / f"{number:05}{path.suffix}").symlink_to(path)
    run = ["--steps", str(steps), "--batch-size", "32", *training]
    t, p = folder / "t", folder / "p"
    first = arlib("train", "tokenizer", "--name", "own", "--out", t, "--data", mine, "--valid", held_out, *run)
    weights = t / "tokenizer-own.safetensors"
    for source in (mine, held_out):
        arlib("tokenize", source, f"{source}.tokens", "--tokenizer", weights)
    arlib("tokenize", mine, f"{mine}-mirrored.tokens", "--tokenizer", weights, "--mirror")
    tokens = ["--tokens", f"{mine}.tokens", "--tokens", f"{mine}-mirrored.tokens", "--valid", f"{held_out}.tokens"]
    second = arlib("train", "prior", "--name", "own", "--out", p, *tokens, "--tokenizer", weights, *run)
    bits = curve(p, "valid bits per token")
    return {
        "pictures": count,
        "PSNR": figure(t / "tokenizer-own.md", "valid PSNR"),
        "loss": curve(p, "loss")[-1],
        "best bits": min(bits),
        "best after": (bits.index(min(bits)) + 1) / len(bits),
        "last bits": figure(p / "prior-own.md", "valid bits"),
        "tokenizer seconds": first,
        "prior seconds": second,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--workers", default="2")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--counts", default="100,1000,5900")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    training = ["--accelerator", options.accelerator, "--precision", options.precision, "--workers", options.workers]
    rows = []
    for count in map(int, options.counts.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(count, Path(folder), options.steps, training))
        print(json.dumps(rows[-1]), flush=True)
        if options.out:
            content = {"steps": options.steps, "batch size": 32, "machine": options.accelerator, "rows": rows}
            options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

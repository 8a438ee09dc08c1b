"""What passes, sizes and data buy: the ladder of chapter 6, one prior a row, all trained by `arlib.training.fit`.

    python benchmarks/ladder.py --out runs/ladder --accelerator cuda
    python benchmarks/ladder.py --out runs/ladder --accelerator cuda --rows "base;1 pass"
    python benchmarks/ladder.py --out runs/ladder --json book/_static/ladder.json

The second form trains some of the rows, say in several processes. Each row leaves a JSON file in the folder, and
`--json` puts all of them together. On a CPU they take days of one core; a row says what computed it. Bits are measured
as everywhere, teacher-forced, on all frames of valid and unseen, and on 256 frames that the row has learned from. The
samples of all rows are drawn with the same random numbers.
"""

import argparse
import csv
import json
import math
import resource
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from arlib import checkpoints, data, metrics, sampling, tokenset, training
from arlib.training import NextTokenLoss, Settings
from arlib.transformer import Prior

BATCHES = 2236  # five passes over train, sixteen frames at a time
SAMPLES = 2


@dataclass
class Row:
    """A prior and how it is trained; what differs from `base` is what the row is about."""

    name: str
    width: int = 192
    depth: int = 4
    heads: int = 3
    tracks: int = 14
    batch_size: int = 16
    steps: int = BATCHES
    learning_rate: float = 2e-3
    precision: str = "bf16-mixed"
    seed: int = 0


ROWS = [
    Row("base"),
    Row("base, another seed", seed=1),
    Row("base in float32", precision="32-true"),
    Row("1 pass", steps=447),
    Row("15 passes", steps=6708),
    Row("small", width=64, depth=2, heads=2),
    Row("large", width=384, depth=6, heads=6),
    Row("large, 15 passes", width=384, depth=6, heads=6, steps=6708),
    Row("7 tracks", tracks=7),
    Row("2 tracks", tracks=2),
    Row("recipe, 3 layers", width=128, depth=3, heads=4, batch_size=64, steps=559, learning_rate=1e-3),
    Row("recipe, 6 layers", width=128, depth=6, heads=4, batch_size=64, steps=559, learning_rate=1e-3),
]


def tokens_of(split: str) -> torch.Tensor:
    """All frames of a split, `(N, 600) int64`."""
    return tokenset.read(data.root() / "tokens" / f"{split}.tokens").grids.flatten(1)


def from_tracks(tokens: torch.Tensor, count: int) -> torch.Tensor:
    """The frames of train that belong to the first `count` tracks, in the order of their names."""
    with (data.root() / "frames" / "frames.csv").open(encoding="utf-8", newline="") as table:
        tracks = [row["track"] for row in csv.DictReader(table) if row["file"].startswith("train/")]
    assert len(tracks) == len(tokens)
    kept = sorted(set(tracks))[:count]
    return tokens[[place for place, track in enumerate(tracks) if track in kept]]


def measure(row: Row, accelerator: str, folder: Path) -> dict:
    """Train the prior of a row and say what it reaches."""
    train = from_tracks(tokens_of("train"), row.tracks)
    torch.manual_seed(row.seed)
    prior = Prior(1024, 600, row.width, row.depth, row.heads)
    settings = Settings(
        row.steps, row.batch_size, row.learning_rate, row.seed, row.precision, accelerator, checkpoint_seconds=math.inf
    )
    seconds = training.fit(NextTokenLoss(prior), train.to(torch.int32), settings, folder)
    on = next(prior.parameters()).device
    known = train[:: max(1, len(train) // 256)][:256]
    with torch.no_grad():
        bits = {
            name: metrics.bits(prior, tokens).mean().item()
            for name, tokens in {"known": known, "valid": tokens_of("valid"), "unseen": tokens_of("unseen")}.items()
        }
    memory = (
        torch.cuda.max_memory_allocated() if on.type == "cuda" else resource.getrusage(resource.RUSAGE_SELF)[2] << 10
    )
    return {
        **asdict(row),
        "frames": len(train),
        "passes": row.steps * row.batch_size / len(train),
        "parameters": checkpoints.parameter_count(prior),
        "computed on": torch.cuda.get_device_name() if on.type == "cuda" else "CPU",
        "seconds": seconds,
        "memory": memory,
        "bits": bits,
        "samples": sampling.generate(prior, SAMPLES, seed=0).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder for the rows' JSON files")
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--rows", help="names, separated by semicolons; all without it")
    parser.add_argument("--json", type=Path, help="train nothing: write all rows that are there to this file")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.json:
        rows = [json.loads(path.read_text()) for row in ROWS if (path := arguments.out / f"{row.name}.json").exists()]
        lines = ",\n".join(json.dumps(row) for row in rows)
        arguments.json.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
        return
    chosen = None if arguments.rows is None else arguments.rows.split(";")
    for row in ROWS:
        path = arguments.out / f"{row.name}.json"
        if path.exists() or (chosen is not None and row.name not in chosen):
            continue
        with tempfile.TemporaryDirectory() as folder:
            result = measure(row, arguments.accelerator, Path(folder))
        path.write_text(json.dumps(result), encoding="utf-8")
        print(row.name, {key: value for key, value in result.items() if key != "samples"}, flush=True)


if __name__ == "__main__":
    main()

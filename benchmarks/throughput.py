"""How fast this machine trains a large prior, for the arithmetic of the page "Beyond one machine".

    python benchmarks/throughput.py --accelerator cuda --precision bf16-mixed
    python benchmarks/throughput.py --width 128 --depth 6 --heads 4 --length 600 --batch-size 8 --steps 3

A prior of that shape learns from random tokens by `arlib.training.fit`, once for one step and once for `--steps` more;
the difference is what the steps take, without starting and saving. Floating-point operations are counted as six a
parameter of the blocks and token, and six a layer, channel and pair of places for attention, half of the pairs being
masked (Kaplan et al. 2020, arXiv 2001.08361).
"""

import argparse
import json
import tempfile

import torch

from arlib import training
from arlib.settings import Settings
from arlib.training import NextTokenLoss
from arlib.transformer import Prior

VOCABULARY = 1024


def operations(width: int, depth: int, length: int) -> float:
    """Floating-point operations that training takes for each token."""
    return 6 * 12 * width**2 * depth + 6 * width * depth * length


def seconds(options: argparse.Namespace, steps: int) -> float:
    """What so many steps take, with all that surrounds them."""
    torch.manual_seed(0)
    prior = Prior(VOCABULARY, options.length, options.width, options.depth, options.heads)
    tokens = torch.randint(VOCABULARY, (4 * options.batch_size, options.length), dtype=torch.int32)
    settings = Settings(steps, options.batch_size, 1e-4, 0, options.precision, options.accelerator)
    with tempfile.TemporaryDirectory() as folder:
        return training.fit(NextTokenLoss(prior), tokens, settings, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"width": 768, "depth": 14, "heads": 12, "length": 1024, "batch-size": 32, "steps": 30}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--precision", default="32-true")
    options = parser.parse_args()
    seconds(options, 1)  # what is slow the first time is not measured
    one, all_of_them = seconds(options, 1), seconds(options, 1 + options.steps)
    rate = options.steps * options.batch_size * options.length / (all_of_them - one)
    per_token = operations(options.width, options.depth, options.length)
    memory = torch.cuda.max_memory_allocated() / 1e9 if options.accelerator == "cuda" else None
    device = torch.cuda.get_device_name() if options.accelerator == "cuda" else "CPU"
    print(
        json.dumps(
            vars(options)
            | {"tokens a second": round(rate), "operations a token": per_token, "operations a second": rate * per_token}
            | {"GB at most": memory, "device": device}
        )
    )


if __name__ == "__main__":
    main()

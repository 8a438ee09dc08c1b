"""The standing challenge: how few bits a frame does a model need that ten minutes of two cores have trained?

    python benchmarks/challenge.py

The rules and the records are in log/challenge.md. Only `train` is yours to change: it gets the tokens of train and a
clock, and returns a model that is called like `arlib.Prior`, `(B, 600) int64` to logits `(B, 600, 1024)`. The rest
keeps the time, looks for leaks, and measures all frames of valid.
"""

import argparse
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from arlib import causality, checkpoints, data, metrics, tokenset, training
from arlib.training import NextTokenLoss, Settings
from arlib.transformer import Prior

MINUTES = 10
THREADS = 2


def train(tokens: torch.Tensor, elapsed: Callable[[], float], options: argparse.Namespace) -> Prior:
    """Train on `tokens (N, 600) int64` until `elapsed()`, the share of the time that is over, reaches 1."""
    torch.manual_seed(0)
    prior = Prior(1024, tokens.shape[1], options.width, options.depth, options.heads)
    loss = NextTokenLoss(prior)
    settings = Settings(10_000, options.batch_size, options.learning_rate)  # steps: those of the schedule below
    optimizers = training.make_optimizers(loss, settings)
    step = 0
    while (share := elapsed()) < 1:
        rate = training.learning_rate(round(share * settings.steps), settings)  # the clock, not the steps, sets it
        for optimizer in optimizers:
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = rate
        value = loss(tokens[training.batch_indices(len(tokens), step, settings)])
        value.backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), max_norm=1.0)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        if step % 50 == 0:
            print(f"step {step:5}  {share:4.0%} of the time  {value.item():.3f} bits", flush=True)
    print(f"{step} steps of {options.batch_size} frames")
    return prior


def tokens_of(split: str) -> torch.Tensor:
    """All frames of a split, `(N, 600) int64`."""
    return tokenset.read(data.root() / "tokens" / f"{split}.tokens").grids.flatten(1)


def processor() -> str:
    """The name of this machine's processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="fewer, to try something; records have ten")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    tokens = tokens_of("train")
    started = time.monotonic()
    model = train(tokens, lambda: (time.monotonic() - started) / (60 * options.minutes), options).eval()
    minutes = (time.monotonic() - started) / 60
    with torch.no_grad():
        leak = causality.check(model)
        bits = metrics.bits(model, tokens_of("valid")).double()
    assert leak, f"a row of this model reads a token that it is asked for: {leak}"
    assert math.isfinite(bits.sum().item())
    print(
        f"| {bits.sum(1).mean():,.1f} | {bits.mean():.3f} | {minutes:.1f} min | "
        f"{checkpoints.parameter_count(model):,} | {processor()} |"
    )


if __name__ == "__main__":
    main()

"""How sharp and how real are the pictures of the tokens? `python benchmarks/sharpness.py [--every N] [--json FILE]`.

The plain decoder of `book`, its sharp decoders, mixes of each with it, unsharp masks of several strengths and white
noise, on valid and on unseen: error (PSNR, SSIM), squared error over that of the plain decoder, power by octave, lines
of the patches' grid, patch distance with its floor, and what a fresh judge finds that learned from train.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

import arlib
from arlib import data, metrics, realism
from arlib.tokenizer import BATCH, ImageTokenizer

DECODERS = ("book-statistics", "book-adversarial")
SHARES = (0.25, 0.5, 0.75, 1.0)
AMOUNTS = (0.5, 1.0, 1.5, 2.0, 3.0)
NOISES = (4.0, 7.0)
LEARNED = 16  # the judge learns from every so many-th frame of train

Decode = Callable[[torch.Tensor], torch.Tensor]
Row = dict[str, float]


def ways(tokenizer: ImageTokenizer) -> Iterator[tuple[str, Decode]]:
    """Each way to decode, with its name: from tokens `(N, h, w)` to pictures `(N, H, W, 3) uint8`."""

    def masked(amount: float) -> Decode:
        return lambda tokens: realism.unsharp(tokenizer.decode(tokens), amount)

    def grainy(sigma: float) -> Decode:
        return lambda tokens: realism.noisy(tokenizer.decode(tokens), sigma)

    def sharp(name: str, share: float) -> Decode:
        return lambda tokens: arlib.load_decoder(name).decode(tokens, share)

    yield "book", tokenizer.decode
    for amount in AMOUNTS:
        yield f"unsharp mask {amount}", masked(amount)
    for sigma in NOISES:
        yield f"white noise {sigma:.0f}", grainy(sigma)
    for name in DECODERS:
        for share in SHARES:
            yield f"{name} {share}", sharp(name, share)


def measure(pictures: torch.Tensor, originals: torch.Tensor, plain: float) -> Row:
    """Everything but the judge; `plain` is the squared error of the plain decoder."""
    lines, octaves = realism.grid_lines(pictures), realism.octaves(pictures, originals)
    error = metrics.mse(pictures, originals).mean().item()
    return {
        "PSNR": metrics.psnr(originals, pictures).mean().item(),
        "SSIM": metrics.ssim(originals, pictures).mean().item(),
        "error": error / plain if plain else error,
        **{f"octave {number}": power for number, power in enumerate(octaves, 1)},
        **{f"{axis} {k}/5": lines[row, k - 1].item() for row, axis in enumerate(("across", "down")) for k in (1, 2)},
        "patch distance": realism.halves(pictures, originals),
    }


def main(
    every: Annotated[int, typer.Option(help="Take every N-th frame only, to be quicker.")] = 1,
    to: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file too.")] = None,
    judges: Annotated[int, typer.Option(help="Fresh judges for each way to decode; their mean is taken.")] = 1,
) -> None:
    """Print a table for valid and one for unseen, whoever wins."""
    tokenizer = arlib.load_tokenizer("book")
    learned = data.load("supertuxkart", "train")[::LEARNED]
    splits = {split: data.load("supertuxkart", split)[::every] for split in ("valid", "unseen")}
    tokens = {split: tokenizer.encode(frames) for split, frames in {"train": learned, **splits}.items()}
    plain = {split: metrics.mse(splits[split], tokenizer.decode(tokens[split])).mean().item() for split in splits}
    results: dict[str, dict[str, Row]] = {
        split: {"originals": measure(frames, frames, 0.0)} for split, frames in splits.items()
    }
    for name, decode in track(list(ways(tokenizer)), "decoding and judging", console=Console(stderr=True)):
        fakes = torch.cat([decode(batch) for batch in tokens["train"].split(BATCH)])
        pictures = {split: decode(tokens[split]) for split in splits}
        fresh = [realism.train_judge(fakes, learned, seed=seed) for seed in range(judges)]
        for split, frames in splits.items():
            row = measure(pictures[split], frames, plain[split])
            seen = [realism.places_right(judge, pictures[split], frames) for judge in fresh]
            results[split][name] = row | ({"judge": sum(seen) / judges} if judges else {})
    for split, rows in results.items():
        Console().print(table(split, rows))
    if to is not None:
        to.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def table(split: str, rows: dict[str, Row]) -> Table:
    """One row for each way to decode."""
    grid = Table(
        *("decoder", "PSNR", "SSIM", "error ×", "power by octave", "grid across", "down", "patch distance", "judge"),
        title=f"{split}: power over the originals', from coarse to fine; lines of the grid at 1/5 and 2/5",
    )
    for name, row in rows.items():
        octaves = " ".join(f"{row[f'octave {number}']:.2f}" for number in range(1, realism.OCTAVES + 1))
        lines = [f"{row[f'{axis} 1/5']:.2f} {row[f'{axis} 2/5']:.2f}" for axis in ("across", "down")]
        numbers = [f"{row['PSNR']:.2f}", f"{row['SSIM']:.3f}", f"{row['error']:.2f}"]
        judged = f"{row['judge']:.3f}" if "judge" in row else "–"
        grid.add_row(name, *numbers, octaves, *lines, f"{row['patch distance']:.4f}", judged)
    return grid


if __name__ == "__main__":
    typer.run(main)

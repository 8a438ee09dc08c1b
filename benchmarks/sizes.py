"""How large our files are, and what integers and whole bytes cost: `python benchmarks/sizes.py [--every N]`.

Of each frame's stored tokens: the bytes of its file, the ledger's rows, and the twin's bits beside the float prior's.
A clamp is an activation that left the twin's range and was set to its end; there should be none.
"""

from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track

import arlib
from arlib import data, metrics, orders, tokenset

ROWS = ["ideal", "table", "coder", "padding", "header", "checksums"]


def measure(codec: arlib.Codec, grid: torch.Tensor) -> list[float]:
    """Of a grid `(h, w)`: the rows of its ledger in bits, the float prior's bits, and the clamps."""
    ledger, tokens = codec.ledger_of_tokens(grid), orders.raster(grid[None])
    float_bits = metrics.bits(codec.prior, tokens).double().sum().item()
    return [*(ledger[row] for row in ROWS), float_bits, codec.twin.count_clamps(tokens)]


def main(
    every: Annotated[int, typer.Option(min=1, help="Take every N-th frame only.")] = 1,
    name: Annotated[str, typer.Option(help="The codec.")] = "book",
) -> None:
    """Print three lines for each split that no model was trained on."""
    codec = arlib.load_codec(name)
    for split in ("valid", "unseen"):
        grids = tokenset.read(data.root() / "tokens" / f"{split}.tokens").grids[::every]
        counted = track(grids, f"{split:6}", console=Console(stderr=True), transient=True)
        rows = torch.tensor([measure(codec, grid) for grid in counted], dtype=torch.float64)
        size, over = rows[:, :6].sum(1) / 8, rows[:, 1:4].sum(1)
        loss = (rows[:, 0] - rows[:, 6]).mean() / grids[0].numel()
        print(f"{split}: {len(grids)} files, {size.mean():.1f} bytes on the mean, {size.min():.0f} to {size.max():.0f}")
        print(f"    table, coder and padding: {over.mean():.2f} bits on the mean, {over.max():.2f} at most")
        print(f"    twin less float: {loss:+.7f} bits a token; clamps: {rows[:, 7].sum():.0f}")


if __name__ == "__main__":
    typer.run(main)

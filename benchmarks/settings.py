"""What the settings of JPEG, WebP, AVIF and JPEG XL are worth: `python benchmarks/settings.py [--every N]`.

On every N-th frame of both splits: in how many frames a setting alone wrote the best file for a limit, and in brackets
how much PSNR its peer loses without it, on average over the frames that still fit. "races" marks those that
`codecs.py` tries (see `peers.py`); the others hardly ever won, or cost too much time for what they win. The last row
is what the race loses in all by trying no more than these.
"""

import time
from typing import Annotated

import numpy as np
import peers
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from arlib import data


def worth(files: list[list[peers.File]], settings: set[str], limit: int) -> str:
    """In how many frames only these settings have the best file, and the mean loss in dB without them."""
    wins, losses = 0, []
    for tried in files:
        first = peers.best(tried, limit)
        second = peers.best([file for file in tried if file.setting not in settings], limit)
        if first is None:
            continue
        wins += second is None or second.psnr < first.psnr
        losses += [first.psnr - second.psnr] if second is not None else []
    return f"{wins} ({np.mean(losses) if losses else 0:.3f})"


def main(
    every: Annotated[int, typer.Option(min=1, help="Take every N-th frame of each split.")] = 16,
    only: Annotated[str | None, typer.Option(help="One peer.")] = None,
) -> None:
    """Print what each setting is worth."""
    limits = (300, 400, 500, 750, 1000)
    frames = torch.cat([data.load("supertuxkart", split)[::every] for split in ("valid", "unseen")])
    for peer in [only] if only else peers.PEERS:
        table = Table("setting", "races", *(f"{limit:,} B" for limit in limits), "ms a file", title=peer)
        files: list[list[peers.File]] = [[] for _ in frames]
        seconds = {}
        for setting in track(peers.PEERS[peer], peer, console=Console(stderr=True), transient=True):
            start = time.process_time()
            for tried, frame in zip(files, frames, strict=True):
                tried += peers.written(frame, [setting])
            count = sum(file.setting == setting.name for tried in files for file in tried)
            seconds[setting.name] = (time.process_time() - start) / max(count, 1)
        for setting in peers.PEERS[peer]:
            worths = [worth(files, {setting.name}, limit) for limit in limits]
            table.add_row(setting.name, "yes" * setting.races, *worths, f"{1000 * seconds[setting.name]:.1f}")
        idle = {setting.name for setting in peers.PEERS[peer] if not setting.races}
        table.add_row("all that do not race", "", *(worth(files, idle, limit) for limit in limits), "")
        Console().print(table)


if __name__ == "__main__":
    typer.run(main)

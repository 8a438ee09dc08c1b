"""Our files beside JPEG, WebP, AVIF and JPEG XL, frame by frame: `python benchmarks/codecs.py [--every N]`.

For each frame every peer is tried at a ladder of settings, and of those whose file, headers counted, is not larger than
the limit the one of the best PSNR is taken. The limits are the size of our own file of that frame, and 500, 750 and
1,000 bytes. A frame that a peer cannot write that small counts for its share alone; PSNR and SSIM are means over the
frames that fit, and beside them stand ours on the very same frames.

JPEG XL comes from pillow-jxl-plugin, which only this script needs: see requirements.txt in this folder.
"""

import io
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pillow_jxl  # noqa: F401 (registers the format)
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

import arlib
from arlib import data, metrics

LIMITS = {"ours": None, "500 B": 500, "750 B": 750, "1,000 B": 1000}
QUALITIES = [*range(0, 30, 2), *range(30, 96, 5)]
SETTINGS: dict[str, list[dict]] = {
    "JPEG": [
        {"quality": max(1, quality), "optimize": True, "progressive": progressive, "subsampling": subsampling}
        for quality in QUALITIES
        for progressive in (False, True)
        for subsampling in (0, 2)
    ],
    "WEBP": [{"quality": quality, "method": 6} for quality in QUALITIES],
    "AVIF": [{"quality": quality, "speed": 4, "subsampling": "4:2:0"} for quality in QUALITIES],
    "JXL": [{"quality": quality, "effort": 7} for quality in QUALITIES],
}


@dataclass
class File:
    """One coded frame: its size in bytes, and PSNR (dB) and SSIM of what it decodes to."""

    size: int
    psnr: float
    ssim: float


def coded(frame: torch.Tensor, kind: str, settings: dict) -> File:
    """`(100, 150, 3) uint8` written by Pillow and read again."""
    file = io.BytesIO()
    Image.fromarray(frame.numpy()).save(file, kind, **settings)
    with Image.open(file) as image:
        return measured(frame, torch.from_numpy(np.array(image.convert("RGB"))), file.tell())


def measured(frame: torch.Tensor, again: torch.Tensor, size: int) -> File:
    return File(size, metrics.psnr(frame[None], again[None]).item(), metrics.ssim(frame[None], again[None]).item())


def best(files: list[File], limit: int) -> File | None:
    """The file of the best PSNR among those that fit."""
    return max((file for file in files if file.size <= limit), key=lambda file: file.psnr, default=None)


def compare(split: str, frames: torch.Tensor, console: Console) -> Table:
    """One row for each peer and limit."""
    codec = arlib.load_codec("book")
    ours = []
    for frame in track(frames, f"{split}, ours", console=Console(stderr=True)):
        content = codec.compress(frame)
        ours.append(measured(frame, codec.decompress(content), len(content)))
    mean = sum(file.size for file in ours) / len(ours)
    title = f"{split}: our {len(ours)} files have {mean:.0f} bytes on the mean, {max(f.size for f in ours)} at the most"
    table = Table("peer", "at most", "fit", "PSNR", "ours", "difference", "SSIM", "ours", "ratio", title=title)
    for kind, ladder in SETTINGS.items():
        tried = track(frames, f"{split}, {kind}", console=Console(stderr=True))
        theirs = [[coded(frame, kind, settings) for settings in ladder] for frame in tried]
        for name, limit in LIMITS.items():
            chosen = [best(files, limit or own.size) for files, own in zip(theirs, ours, strict=True)]
            both = [(file, own) for file, own in zip(chosen, ours, strict=True) if file is not None]
            table.add_row(kind, name, f"{len(both) / len(ours):.0%}", *row(both))
    return table


def row(both: list[tuple[File, File]]) -> list[str]:
    """Means over the frames that fit, theirs and ours: PSNR and its difference, SSIM and its ratio."""
    if not both:
        return ["–"] * 6
    theirs, ours = (np.array([(file.psnr, file.ssim) for file in files]).mean(0) for files in zip(*both, strict=True))
    return [
        f"{theirs[0]:.2f} dB",
        f"{ours[0]:.2f} dB",
        f"{ours[0] - theirs[0]:+.2f} dB",
        f"{theirs[1]:.3f}",
        f"{ours[1]:.3f}",
        f"{ours[1] / theirs[1]:.2f}",
    ]


def main(every: Annotated[int, typer.Option(help="Take every N-th frame only, to be quicker.")] = 1) -> None:
    """Print a table for valid and one for unseen, whoever wins."""
    console = Console()
    for split in ("valid", "unseen"):
        console.print(compare(split, data.load("supertuxkart", split)[::every], console))


if __name__ == "__main__":
    typer.run(main)

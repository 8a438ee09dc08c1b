"""Our files beside JPEG, WebP, AVIF and JPEG XL, frame by frame: `python benchmarks/codecs.py [--every N]`.

For each frame every peer is tried at many settings, and of those whose file, headers counted, is not larger than
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
VARIANTS: dict[str, list[dict]] = {
    "JPEG": [
        {"optimize": True, "progressive": progressive, "subsampling": subsampling}
        for progressive in (False, True)
        for subsampling in (0, 2)
    ],
    "WEBP": [{"method": 6}],
    "AVIF": [{"speed": 4, "subsampling": "4:2:0"}],
    "JXL": [{"effort": 7}],
}
ENOUGH = 1.5  # the qualities are tried in their order until a file is so many times the limit


@dataclass
class File:
    """One coded frame: its size in bytes, what it decodes to, and how far that is from the frame, as PSNR in dB."""

    size: int
    again: torch.Tensor
    psnr: float


def files_below(limit: int, frame: torch.Tensor, kind: str) -> list[File]:
    """`(100, 150, 3) uint8` written by Pillow in all the ways that fit, and read again."""
    files = []
    for variant in VARIANTS[kind]:
        for quality in QUALITIES:
            file = io.BytesIO()
            Image.fromarray(frame.numpy()).save(file, kind, quality=quality, **variant)
            if file.tell() > ENOUGH * limit:
                break
            if file.tell() <= limit:
                with Image.open(file) as image:
                    files.append(read(frame, torch.from_numpy(np.array(image.convert("RGB"))), file.tell()))
    return files


def read(frame: torch.Tensor, again: torch.Tensor, size: int) -> File:
    return File(size, again, metrics.psnr(frame[None], again[None]).item())


def best(files: list[File], limit: int) -> File | None:
    """The file of the best PSNR among those that fit."""
    return max((file for file in files if file.size <= limit), key=lambda file: file.psnr, default=None)


def compare(split: str, frames: torch.Tensor, console: Console) -> Table:
    """One row for each peer and limit."""
    codec = arlib.load_codec("book")
    ours = []
    for frame in track(frames, f"{split}, ours", console=Console(stderr=True)):
        content = codec.compress(frame)
        ours.append(read(frame, codec.decompress(content), len(content)))
    sizes = [file.size for file in ours]
    title = f"{split}: our {len(sizes)} files have {np.mean(sizes):.1f} bytes on the mean, {min(sizes)} to {max(sizes)}"
    table = Table("peer", "at most", "fit", "PSNR", "ours", "difference", "SSIM", "ours", "ratio", title=title)
    for kind in VARIANTS:
        tried = track(frames, f"{split}, {kind}", console=Console(stderr=True))
        theirs = [files_below(max(1000, own.size), frame, kind) for frame, own in zip(tried, ours, strict=True)]
        for name, limit in LIMITS.items():
            chosen = [best(files, limit or own.size) for files, own in zip(theirs, ours, strict=True)]
            both = [pair for pair in zip(frames, chosen, ours, strict=True) if pair[1] is not None]
            table.add_row(kind, name, f"{len(both) / len(ours):.0%}", *row(both))
    return table


def row(both: list[tuple]) -> list[str]:
    """Means over the frames that fit, each with their file and ours: PSNR and its difference, SSIM and its ratio."""
    if not both:
        return ["–"] * 6
    frames, *pairs = zip(*both, strict=True)
    psnrs = [np.mean([file.psnr for file in files]) for files in pairs]
    ssims = [metrics.ssim(torch.stack(frames), torch.stack([file.again for file in files])).mean() for files in pairs]
    return [
        f"{psnrs[0]:.2f} dB",
        f"{psnrs[1]:.2f} dB",
        f"{psnrs[1] - psnrs[0]:+.2f} dB",
        f"{ssims[0]:.3f}",
        f"{ssims[1]:.3f}",
        f"{ssims[1] / ssims[0]:.2f}",
    ]


def main(every: Annotated[int, typer.Option(help="Take every N-th frame only, to be quicker.")] = 1) -> None:
    """Print a table for valid and one for unseen, whoever wins."""
    console = Console()
    for split in ("valid", "unseen"):
        console.print(compare(split, data.load("supertuxkart", split)[::every], console))


if __name__ == "__main__":
    typer.run(main)

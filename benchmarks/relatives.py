"""Files of digits and of CIFAR-10 pictures next to PNG and WebP: `python benchmarks/relatives.py [--count N]`.

A row for each shipped codec, over the first N pictures of test, with their labels and without. PNG and lossless WebP
keep every pixel, and we do not: the last columns give the smallest lossy WebP that is at least as good as ours in PSNR,
and in how many of the pictures there is one below quality 100. All headers count. What a file would have without its
header of 16 bytes is printed as well, because at this size the header is most of it.
"""

import io
import math
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

import arlib
from arlib import codec, data, metrics

LOSSLESS: dict[str, dict] = {"PNG": {"optimize": True}, "WEBP": {"lossless": True, "quality": 100, "method": 6}}


def size_of(picture: torch.Tensor, kind: str, **options) -> tuple[int, torch.Tensor]:
    """The bytes that Pillow needs for `(H, W, C) uint8`, and what it reads from them."""
    file, channels = io.BytesIO(), picture.shape[-1]
    Image.fromarray(picture.squeeze(-1).numpy() if channels == 1 else picture.numpy()).save(file, kind, **options)
    with Image.open(file) as image:
        again = torch.from_numpy(np.array(image.convert("L" if channels == 1 else "RGB")))
    return file.tell(), again.view_as(picture)


def webp_as_good(picture: torch.Tensor, psnr: float) -> int | None:
    """The bytes of the smallest lossy WebP whose PSNR is not below ours; None where there is none."""
    sizes = []
    for quality in range(0, 101, 5):
        size, again = size_of(picture, "WEBP", quality=quality, method=6)
        if metrics.psnr(picture[None], again[None]).item() >= psnr:
            sizes.append(size)
    return min(sizes, default=None)


def row(name: str, pictures: torch.Tensor, labels: torch.Tensor) -> list[str]:
    coder = arlib.load_codec(name)
    files, without = coder.compress_batch(pictures, labels), coder.compress_batch(pictures)
    grids = coder.tokenizer.encode(pictures)
    decoded = torch.stack([grid for grid in coder.decompress_tokens_batch(files) if isinstance(grid, torch.Tensor)])
    assert torch.equal(decoded, grids), "a file does not give its tokens back"
    again = coder.tokenizer.decode(grids)
    ratios = metrics.psnr(pictures, again)
    sizes = np.array([len(file) for file in files])
    peers = {kind: np.mean([size_of(each, kind, **how)[0] for each in pictures]) for kind, how in LOSSLESS.items()}
    lossy = [webp_as_good(each, ratio.item()) for each, ratio in zip(pictures, ratios, strict=True)]
    found = [size for size in lossy if size is not None]
    return [
        name,
        f"{sizes.mean():.1f}",
        f"{sizes.min()}–{sizes.max()}",
        f"{sizes.mean() - 16:.1f}",
        f"{np.mean([len(file) for file in without]):.1f}",
        f"{-10 * math.log10(metrics.mse(pictures, again).mean().item()):.2f} dB",
        f"{peers['PNG']:.0f} ({peers['PNG'] / sizes.mean():.1f}×)",
        f"{peers['WEBP']:.0f} ({peers['WEBP'] / sizes.mean():.1f}×)",
        f"{np.mean(found):.0f} ({np.mean(found) / sizes.mean():.1f}×)" if found else "none",
        f"{len(found) / len(lossy):.0%}",
    ]


def main(count: Annotated[int, typer.Option(help="How many pictures of each test split.")] = 200) -> None:
    table = Table("codec", "bytes", "from–to", "payload", "no label", "PSNR", "PNG", "WebP, lossless", "WebP", "found")
    sets: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    named = [name for name in codec.shipped() if name.startswith(("digits", "cifar"))]
    for name in track(named, "codecs", console=Console(stderr=True)):
        source = "digits" if name.startswith("digits") else "cifar10"
        try:
            if source not in sets:
                sets[source] = data.load(source, "test")[:count], data.labels(source, "test")[:count]
        except data.DataError as error:
            Console(stderr=True).print(f"{name} is left out. {error}")
            continue
        table.add_row(*row(name, *sets[source]))
    Console(width=160).print(table)


if __name__ == "__main__":
    typer.run(main)

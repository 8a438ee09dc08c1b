"""What `tokenize` and `evaluate` go through: the pictures of a split or of a folder, a batch at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from arlib import data
from arlib.cli.examples import moved
from arlib.cli.listing import image_files

BATCH = 64  # pictures that are in memory at a time


@dataclass
class Batch:
    """Pictures `(B, H, W, C) uint8`, their labels `(B,) int64` if any, and their files where each is one."""

    images: torch.Tensor
    labels: torch.Tensor | None
    paths: list[Path]


@dataclass
class Source:
    """So many pictures, bad files among them, and what reads them, from the first to the last batch."""

    count: int
    batches: Callable[[], Iterator[Batch]]
    labeled: bool = False


def of_set(name: str, split: str, seed: int | None = None) -> Source:
    """One split of a data set; with a seed, each picture moved a little (see `examples.moved`).

    Raises `DataError` as `data.load` does.
    """
    if name == "supertuxkart":
        paths = data.files(name, split)
        return Source(len(paths), lambda: frames(paths))
    images, labels = data.load(name, split), data.labels(name, split)
    images = images if seed is None else moved(images, name, seed)
    parts = list(zip(images.split(BATCH), labels.split(BATCH), strict=True))
    return Source(len(images), lambda: (Batch(some, theirs, []) for some, theirs in parts), labeled=True)


def frames(paths: list[Path]) -> Iterator[Batch]:
    """The book's own frames, all of which must be good."""
    for first in range(0, len(paths), BATCH):
        some = paths[first : first + BATCH]
        yield Batch(torch.stack([data.read_image(path) for path in some]), None, some)


def of_folder(folder: str, height: int, width: int, channels: int) -> Source:
    """The images of a folder and of those below it, fitted. Raises `DataError` where there is none or no folder."""
    paths = image_files(Path(folder))

    def batches() -> Iterator[Batch]:
        for good, images in data.read_batches(paths, BATCH, height, width, channels):
            yield Batch(images, None, good)

    return Source(len(paths), batches)

"""Pictures that are read while they are used: a hundred thousand of them take no more memory than a hundred."""

import hashlib
import threading
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

import torch

from arlib import data
from arlib.storage import DataError, Notice


class Examples(Protocol):
    """What is indexed like a tensor whose first axis is the examples: `(B,) int64` places to `(B, …)`."""

    @property
    def shape(self) -> Sequence[int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, places: torch.Tensor, /) -> torch.Tensor: ...


class Folder:
    """The pictures of some files, `(N, H, W, C) uint8`, each read anew whenever it is asked for.

    A run of a day must not end by one bad file. For a file that cannot be read, or shows a picture that is `held_out`
    (digests, see `digest`), the next good one stands in, always the same; a `Notice` tells of the first of each kind.
    Asking raises `DataError` where no file is good.
    """

    def __init__(
        self, paths: Sequence[Path], height: int, width: int, channels: int = 3, held_out: Collection[bytes] = ()
    ):
        self.paths = paths
        self.shape = (len(paths), height, width, channels)
        self.held_out = held_out
        self.left_out: dict[int, tuple[str, str]] = {}  # of a file's place: what kind of fault, and the reason in words
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, places: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.picture(place) for place in places.tolist()])

    def picture(self, place: int) -> torch.Tensor:
        """The picture of a file, or of the next good one: `(H, W, C) uint8`."""
        _, height, width, channels = self.shape
        for step in range(len(self)):
            number = (place + step) % len(self)
            if number in self.left_out:
                continue
            path = self.paths[number]
            try:
                image = data.read_image(path, height, width, True, channels)
            except DataError as error:
                self.leave_out(number, "bad", str(error))
                continue
            if self.held_out and digest(image) in self.held_out:
                self.leave_out(number, "held out", f"{path} shows a held-out picture, which nothing is trained on.")
                continue
            return image
        raise DataError(
            f"None of the {len(self):,} files can be used. The first: {self.left_out[min(self.left_out)][1]}"
        )

    def leave_out(self, number: int, kind: str, reason: str) -> None:
        """Remember a file that is not used, and tell of the first of its kind."""
        with self.lock:
            first = all(kind != known for known, _ in self.left_out.values())
            self.left_out[number] = (kind, reason)
        if first and len(self.left_out) < len(self):
            message = f"{reason} The next file stands in for it, and for all others like it."
            warnings.warn(message, Notice, stacklevel=2)


class Mirrored:
    """Pictures and after them their mirror images: `(2N, H, W, C) uint8`."""

    def __init__(self, pictures: Examples):
        self.pictures = pictures
        self.shape = (2 * len(pictures), *pictures.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, places: torch.Tensor) -> torch.Tensor:
        images = self.pictures[places % len(self.pictures)]
        mirrored = places >= len(self.pictures)
        return torch.where(mirrored[:, None, None, None], images.flip(2), images)


class Joined:
    """Several sets of examples as one, of each set those at the given places, `(n,) int64`, one set after the other."""

    def __init__(self, sets: Sequence[Examples], places: Sequence[torch.Tensor]):
        self.sets = sets
        self.where = torch.cat(list(places))
        self.which = torch.cat([torch.full((len(some),), number) for number, some in enumerate(places)])
        self.shape = (len(self.where), *sets[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, places: torch.Tensor) -> torch.Tensor:
        which, where = self.which[places], self.where[places]
        found = {number: self.sets[number][where[which == number]] for number in which.unique().tolist()}
        joined = next(iter(found.values())).new_empty((len(places), *self.shape[1:]))
        for number, examples in found.items():
            joined[which == number] = examples
        return joined


def digest(image: torch.Tensor) -> bytes:
    """16 bytes that stand for the pixels of a picture `(H, W, C) uint8`."""
    return hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest()

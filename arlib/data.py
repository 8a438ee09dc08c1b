"""Pictures as tensors: the book's data sets with their fixed splits, and any folder of images.

Every picture in this library is `(H, W, C) uint8`, every set of pictures `(N, H, W, C) uint8`: C is 3 for colors and 1
for the gray digits.

Sources: MNIST (LeCun, Cortes and Burges 1998); CIFAR-10 (Krizhevsky 2009, "Learning multiple layers of features from
tiny images"); the constants of the shuffle from D. Knuth, "MMIX" (in "The Art of Computer Programming", volume 1,
fascicle 1).
"""

import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from arlib.pixels import decoding, to_srgb
from arlib.storage import DataError as DataError
from arlib.storage import Notice as Notice
from arlib.storage import write_atomically as write_atomically

HEIGHT, WIDTH = 100, 150  # of a frame
SETS = {
    "supertuxkart": ("train", "valid", "unseen"),
    "digits": ("train", "valid", "test"),
    "cifar10": ("train", "valid", "test"),
}
SPLITS = SETS["supertuxkart"]
CLASSES = {
    "digits": tuple("0123456789"),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}
VALID = 5000  # how many of the published training pictures of a labeled set are "valid"
HASHES = {
    "mnist.npz": "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64",
    "data_batch_1.png": "9a148385817b16e1840832575ee46ccac2ced61a305f07d4804805773c64e9bc",
    "data_batch_2.png": "47d610b8eb06af0c885fc499afc396d55f3a029b865725720a4f10474aac9d6f",
    "data_batch_3.png": "ca5d6af61c1791820d0fa2b0a842a73ed48978b698d74c26531d2c80373d4c10",
    "data_batch_4.png": "b9342d4f3cc3db72a731ca8ceb196a37d61480ea2da598ed0b32b74339bd04a5",
    "data_batch_5.png": "183d6d9af763804a99e1a6d8af723b9cfe906a61276466041dea4511ce015144",
    "test_batch.png": "ca44572a4066ea28c710ad4dc633d2ce24469a5e869ede5cc69495b0ef4c7d09",
    "train_lables.json": "a3a0d804911c71de4b73015af980e237de5f82da7b1482a8efaf7adcc1722f45",
    "test_lables.json": "a5df9ed6f395827dd69906fe5ac740be70395ca9d841974d4351818628b48bb6",
}
SUFFIXES = {".bmp": "BMP", ".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}  # and their formats


def root() -> Path:
    """The folder `data` of the checkout, or the one that the environment variable ARLIB_DATA names.

    Raises `DataError` where there is none, as when `arlib` was installed outside its checkout.
    """
    named = os.environ.get("ARLIB_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parent.parent / "data"
    if not (folder / "frames").is_dir():
        raise DataError(
            f"No frames under {folder}. arlib reads its frames and weights from the folder 'data' of a checkout "
            "of the book: set the environment variable ARLIB_DATA to that folder."
        )
    return folder


def files(name: str, split: str) -> list[Path]:
    """The files that hold the pictures of one split, in their fixed order."""
    check_split(name, split)
    if name == "digits":
        return [root() / "digits" / "mnist.npz"]
    if name == "cifar10":
        sheets = ["test_batch"] if split == "test" else [f"data_batch_{number}" for number in range(1, 6)]
        return [root() / "cifar10" / f"{sheet}.png" for sheet in sheets]
    return sorted(path for path in (root() / "frames" / split).rglob("*") if path.suffix in SUFFIXES)


def check_split(name: str, split: str) -> None:
    """Raise `DataError` unless there is such a data set and it has such a split."""
    if name not in SETS:
        raise DataError(f"There is no data set {name!r}; there are {', '.join(SETS)}.")
    if split not in SETS[name]:
        raise DataError(f"There is no split {split!r} of {name}; there are {', '.join(SETS[name])}.")


def load(name: str, split: str) -> torch.Tensor:
    """One split of a data set, `(N, H, W, C) uint8`.

    "supertuxkart": frames of 100×150, 7,156 of "train", 256 of "valid" and 256 of "unseen" (two tracks that no model
    has met). "digits" (MNIST) is `(N, 28, 28, 1)`, "cifar10" `(N, 32, 32, 3)`; both have "train", the 5,000 of "valid"
    that were taken from their published training set, and the 10,000 of "test". Each of these splits is shuffled, once
    and for all, so that its first pictures are a fair sample: MNIST's test set as published has other writers in its
    second half.

    Models learn from "train", choices are made on "valid"; "unseen" and "test" are for the final report alone. Raises
    `DataError` where a file is missing or is not the published one, and says how to get it.
    """
    paths = files(name, split)
    if name == "supertuxkart":
        return torch.stack([read_image(path) for path in paths])
    if name == "digits":
        images = _mnist(split, "x")[..., None]
    else:
        # A sheet has a row of 1,024 pixels for each picture of 32×32.
        images = np.concatenate([np.asarray(Image.open(_published(path))) for path in paths]).reshape(-1, 32, 32, 3)
    return torch.from_numpy(images[_places(len(images), split)])


def labels(name: str, split: str) -> torch.Tensor:
    """The class of each picture of `load(name, split)`, `(N,) int64`; `CLASSES[name]` has the classes' names.

    Raises `DataError` as `load` does, and for "supertuxkart", whose frames have no classes.
    """
    check_split(name, split)
    if name not in CLASSES:
        raise DataError(f"The pictures of {name} have no labels; those of {' and '.join(CLASSES)} have.")
    if name == "digits":
        classes = _mnist(split, "y")
    else:
        part = "test" if split == "test" else "train"
        classes = np.array(json.load(_published(root() / "cifar10" / f"{part}_lables.json")))
    return torch.from_numpy(classes[_places(len(classes), split)].astype(np.int64))


def _mnist(split: str, which: str) -> np.ndarray:
    with np.load(_published(root() / "digits" / "mnist.npz")) as arrays:
        return arrays[f"{which}_{'test' if split == 'test' else 'train'}"]


def _published(path: Path) -> io.BytesIO:
    """The content of a file of a published data set, once it is known to be the right one."""
    if path.name == "mnist.npz":
        remedy = "It is a part of the book: 'git checkout data/digits' brings it back."
    else:
        remedy = "CIFAR-10 is not shipped, because its pictures have no license: 'make cifar10' fetches it (139 MB)."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. {remedy}") from None
    if hashlib.sha256(content).hexdigest() != HASHES[path.name]:
        raise DataError(f"{path} is damaged or is another file: its SHA-256 is wrong. {remedy}")
    return io.BytesIO(content)


def _places(count: int, split: str) -> np.ndarray:
    """Where the pictures of a split are among the published ones: Fisher-Yates by integers, the same everywhere."""
    order, state = list(range(count)), 0
    for last in range(count - 1, 0, -1):
        state = (6364136223846793005 * state + 1442695040888963407) % 2**64
        other = (state >> 32) * (last + 1) >> 32
        order[last], order[other] = order[other], order[last]
    return np.array({"train": order[:-VALID], "valid": order[-VALID:]}.get(split, order))


def load_folder(folder: str | Path, height: int = HEIGHT, width: int = WIDTH, channels: int = 3) -> torch.Tensor:
    """All images of a folder and of those below it, in the order of their names: `(N, height, width, channels) uint8`.

    An image of another size is scaled (Lanczos) until it covers height × width, then cut to its center. Raises
    `DataError` and gives a `Notice` as `read_images` and `folder_files` do.
    """
    return read_images(folder_files(folder), height, width, channels)[1]


def read_images(
    paths: Sequence[Path], height: int = HEIGHT, width: int = WIDTH, channels: int = 3
) -> tuple[list[Path], torch.Tensor]:
    """`read_batches` of all files at once: the good ones and their images, `(N, height, width, channels) uint8`."""
    ((good, images),) = read_batches(paths, len(paths), height, width, channels)
    return good, images


def read_batches(
    paths: Sequence[Path], size: int, height: int, width: int, channels: int = 3
) -> Iterator[tuple[list[Path], torch.Tensor]]:
    """The files that could be read, `size` of them at a time, and their images, fitted: `(B, height, width, channels)`.

    One bad file does not keep the others from being read: after the last one a `Notice` tells how many are bad and what
    is wrong with the first. Raises `DataError` where all are.
    """
    good: list[Path] = []
    images: list[torch.Tensor] = []
    bad, first = 0, ""
    for path in paths:
        try:
            images.append(read_image(path, height, width, True, channels))
            good.append(path)
        except DataError as error:
            bad, first = bad + 1, first or str(error)  # not the error, which holds all that its function knew
        if len(images) == size:
            yield good, torch.stack(images)
            good, images = [], []
    if images:
        yield good, torch.stack(images)
    if bad and bad == len(paths):
        raise DataError(first)
    if bad:
        warnings.warn(f"{bad:,} of {len(paths):,} files are left out. The first: {first}", Notice, stacklevel=2)


def folder_files(folder: str | Path) -> list[Path]:
    """The image files of a folder and of those below it, in the order of their names; `DataError` if there is none."""
    if not Path(folder).is_dir():
        raise DataError(f"{folder} is not a folder. Name a folder of images.")
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in Image.registered_extensions())
    paths = [path for path in found if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if len(paths) < len(found):
        unread = [path for path in found if path.suffix.lower() not in SUFFIXES or path.is_dir()]
        endings = ", ".join(sorted(SUFFIXES))
        message = (
            f"{folder} holds {len(unread):,} more that are not read, as {unread[0]}: images are files in {endings}."
        )
        warnings.warn(message, Notice, stacklevel=2)
    if not paths:
        raise DataError(f"{folder} holds no image. Images end in {', '.join(sorted(SUFFIXES))}.")
    return paths


def read_image(
    path: str | Path, height: int = HEIGHT, width: int = WIDTH, fit: bool = False, channels: int = 3
) -> torch.Tensor:
    """One image file as `(height, width, channels) uint8`: 3 channels are red, green and blue, 1 is gray.

    With `fit` an image of another size is scaled and cut as in `load_folder`; without it, it is refused.
    Every kind of image is turned into sRGB or gray as `pixels.to_srgb` says.
    Raises `DataError` where the file is missing, is no image, is damaged, or has another size.
    """
    with decoding(path), Image.open(path) as opened:
        image = to_srgb(opened, gray=channels == 1)
    if image.size != (width, height):
        if not fit:
            raise DataError(
                f"{path} is {image.height} pixels high and {image.width} wide, not {height} and {width}. "
                "Ask for it to be fitted (--fit): scaled to cover that size, then cut to its center."
            )
        image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image).reshape(height, width, channels))


def write_image(path: str | Path, image: torch.Tensor) -> None:
    """Write `(H, W, 3)` or gray `(H, W, 1) uint8` to a file whose ending names the format.

    A failed write leaves the old file whole.
    """
    path = Path(path)
    check_suffix(path)
    picture = Image.fromarray(image.numpy() if image.shape[2] == 3 else image[..., 0].numpy())
    kind = SUFFIXES[path.suffix.lower()]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    write_atomically(path, lambda partial: picture.save(partial, format=kind, **lossless))


def check_suffix(path: Path) -> None:
    """Raise `DataError` unless the file's ending names an image format."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path} does not end in the name of an image format ({', '.join(sorted(SUFFIXES))}).")

"""Pictures as tensors: the book's frames with their fixed splits, and any folder of images.

Every picture in this library is `(H, W, 3) uint8`, every set of pictures `(N, H, W, 3) uint8`.
"""

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

HEIGHT, WIDTH = 100, 150
SPLITS = ("train", "valid", "unseen")
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}


class DataError(ValueError):
    """A picture or a data set that cannot be used; the message says why and what to do."""


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
    """The image files of one split, in their fixed order."""
    if name != "supertuxkart":
        raise DataError(f"There is no data set {name!r}; there is 'supertuxkart'.")
    if split not in SPLITS:
        raise DataError(f"There is no split {split!r}; there are {', '.join(SPLITS)}.")
    return sorted(path for path in (root() / "frames" / split).rglob("*") if path.suffix in SUFFIXES)


def load(name: str, split: str) -> torch.Tensor:
    """One split of a data set.

    `load("supertuxkart", "valid")` is `(256, 100, 150, 3) uint8`. Models learn from "train", choices are made on
    "valid", and "unseen" (two tracks that no model has met) is for the final report alone.
    """
    return torch.stack([read_image(path) for path in files(name, split)])


def load_folder(folder: str | Path, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    """All the images of a folder and of those below it, in the order of their names: `(N, height, width, 3) uint8`.

    An image of another size is scaled (Lanczos) until it covers height × width, then cut to its centre.
    """
    return torch.stack([read_image(path, height, width, fit=True) for path in folder_files(folder)])


def folder_files(folder: str | Path) -> list[Path]:
    """The image files of a folder and of those below it, in the order of their names; `DataError` if there is none."""
    if not Path(folder).is_dir():
        raise DataError(f"{folder} is not a folder. Name a folder of images.")
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"{folder} holds no image. Images end in {', '.join(sorted(SUFFIXES))}.")
    return paths


def read_image(path: str | Path, height: int = HEIGHT, width: int = WIDTH, fit: bool = False) -> torch.Tensor:
    """One image file as `(height, width, 3) uint8`.

    With `fit` an image of another size is scaled and cut as in `load_folder`; without it, it is refused.
    Transparent parts become white, and a camera's rotation mark is obeyed.
    Raises `DataError` where the file is missing, is no image, is damaged, or has another size.
    """
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image that Pillow can read.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}.") from None
    if image.size != (width, height):
        if not fit:
            raise DataError(
                f"{path} has {image.width}×{image.height} pixels, not {width}×{height}. "
                "Ask for it to be fitted (--fit): scaled to cover that size, then cut to its centre."
            )
        image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image))


def write_image(path: str | Path, image: torch.Tensor) -> None:
    """Write `(H, W, 3) uint8` to a file whose ending names the format; a failed write leaves the old file whole."""
    path = Path(path)
    check_suffix(path)
    picture = Image.fromarray(image.numpy())
    kind = Image.registered_extensions()[path.suffix.lower()]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    write_atomically(path, lambda partial: picture.save(partial, format=kind, **lossless))


def check_suffix(path: Path) -> None:
    """Raise `DataError` unless the file's ending names an image format."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path} does not end in the name of an image format ({', '.join(sorted(SUFFIXES))}).")


def write_atomically(path: str | Path, write) -> None:
    """Call `write(partial)` with a path beside `path`, and move what it wrote to `path` when it is complete."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        partial.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from None
    finally:
        partial.unlink(missing_ok=True)

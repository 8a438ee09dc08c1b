"""Which files of a folder a command reads, and what it says of the rest."""

import os
import warnings
from pathlib import Path

from arlib import data
from arlib.storage import DataError, Notice


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder and of those below it, in the order of their names.

    A `Notice` tells what else is there and isn't read. Raises `DataError` where there is no image.
    """
    tell_unreadable(folder)
    return data.folder_files(folder)


def ptb_files(folder: Path) -> list[Path]:
    """The `.ptb` files of a folder and of those below it, in the order of their names, as `image_files`."""
    tell_unreadable(folder)
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".ptb")
    paths = [path for path in found if path.is_file()]
    if len(paths) < len(found):
        other = next(path for path in found if not path.is_file())
        message = f"{folder} holds {len(found) - len(paths):,} more that are not read, as {other}: it is no file."
        warnings.warn(message, Notice, stacklevel=2)
    if not paths:
        raise DataError(f"{folder} holds no .ptb file.")
    return paths


def tell_unreadable(folder: Path) -> None:
    """A `Notice` of the folders below one that cannot be read; `DataError` where it is that one itself."""
    errors: list[OSError] = []
    for _ in os.walk(folder, onerror=errors.append):
        pass
    if errors and errors[0].filename == str(folder):
        raise DataError(f"{folder} cannot be read: {errors[0].strerror}.")
    if errors:
        message = f"{len(errors):,} of the folders in {folder} cannot be read, as {errors[0].filename}"
        warnings.warn(f"{message}: {errors[0].strerror}.", Notice, stacklevel=3)

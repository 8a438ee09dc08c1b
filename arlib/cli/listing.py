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
    paths = only_files(folder, data.folder_files(folder))
    if not paths:
        raise DataError(f"{folder} holds no image.")
    return paths


def ptb_files(folder: Path) -> list[Path]:
    """The `.ptb` files of a folder and of those below it, in the order of their names, as `image_files`."""
    tell_unreadable(folder)
    paths = only_files(folder, sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".ptb"))
    if not paths:
        raise DataError(f"{folder} holds no .ptb file.")
    return paths


def only_files(folder: Path, paths: list[Path]) -> list[Path]:
    """The paths without folders, pipes and devices, of which a `Notice` tells: reading a pipe could wait forever."""
    others = [path for path in paths if not path.is_file() and path.exists()]
    if others:
        message = f"{folder} holds {len(others):,} more that are not read, as {others[0]}: it is no file."
        warnings.warn(message, Notice, stacklevel=3)
    return sorted(set(paths) - set(others))


def tell_unreadable(folder: Path) -> None:
    """A `Notice` of the folders below one that cannot be read; `DataError` where it is that one itself."""
    if not folder.is_dir():
        return
    errors: list[OSError] = []
    for _ in os.walk(folder, onerror=errors.append):
        pass
    if errors and errors[0].filename == str(folder):
        raise DataError(f"{folder} cannot be read: {errors[0].strerror}.")
    if errors:
        message = f"{len(errors):,} of the folders in {folder} cannot be read, as {errors[0].filename}"
        warnings.warn(f"{message}: {errors[0].strerror}.", Notice, stacklevel=3)

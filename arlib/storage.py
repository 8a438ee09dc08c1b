"""Files that are written whole or not at all, and the errors and notices of what is read."""

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError


class DataError(ValueError):
    """A picture or a data set that cannot be used; the message says why and what to do."""


class Notice(UserWarning):
    """What a command says on standard error while it goes on: files of a folder that it does without."""


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call `write(partial)` with a path beside `path`, and move what it wrote to `path` when it is complete.

    The name beside it is short and nobody else's, so that threads and long names don't collide with anything; the
    file's permissions are those that the user's umask gives. Raises `DataError` with the reason of a failed write, and
    leaves the old file whole and nothing beside it.
    """
    path = Path(path)
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        partial.touch(exist_ok=False)
        mode = partial.stat().st_mode
        write(partial)
        partial.chmod(mode)  # some writers replace the file by one that only its owner can read
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise DataError(f"{path} cannot be written: {reason}.") from None
    finally:
        with contextlib.suppress(OSError):  # what it raises would hide the reason
            partial.unlink(missing_ok=True)

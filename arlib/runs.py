"""The folder of a training run: its two last checkpoints, what it was begun with, and that one run alone uses it."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from arlib.data import DataError, Notice

CHECKPOINTS = ("last.ckpt", "previous.ckpt")  # so that one damaged file loses minutes, not the run
MAY_CHANGE = ("accelerator", "devices", "nodes", "workers", "checkpoint_seconds", "validations")
OF_A_LOSS = ("smoothness", "prices", "strength", "shift", "flips", "smoothing")


def begun_with(loss: Any, examples: tuple[Any, ...], settings: Any) -> dict[str, Any]:
    """What a run must have in common with the one that it continues: settings, model, and the examples' shapes."""
    known = {name: value for name, value in asdict(settings).items() if name not in MAY_CHANGE}
    known |= {name: plain(getattr(loss, name)) for name in OF_A_LOSS if hasattr(loss, name)}
    model = getattr(loss, "model", loss)
    known |= {"kind of model": type(model).__name__, "examples": [list(part.shape) for part in examples]}
    config = getattr(model, "config", None)
    return known | (config if isinstance(config, dict) else {})


def plain(value: Any) -> Any:
    """A tensor as a list of numbers, which can be compared and kept in a checkpoint."""
    return value.tolist() if isinstance(value, torch.Tensor) else value


def holds_a_run(folder: Path) -> bool:
    """Whether there is any checkpoint in the folder."""
    return any((folder / name).exists() for name in CHECKPOINTS)


def checkpoint_to_resume(folder: Path, now: dict[str, Any]) -> tuple[Path, int]:
    """The newest checkpoint of a folder that is whole, and its step.

    A damaged one before it is told as a `Notice`. Raises `DataError` where none is whole, or where the run was begun
    with anything else than `now`: it names what.
    """
    for path in (folder / name for name in CHECKPOINTS if (folder / name).exists()):
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            step, begun = int(stored["step"]), dict(stored["begun with"])
        except Exception:  # of a damaged file nearly anything is raised
            warnings.warn(
                f"{path} is damaged or was not written by this version; it is left out.", Notice, stacklevel=3
            )
            continue
        differing = [name for name in {**begun, **now} if begun.get(name) != now.get(name)]
        if differing:
            told = ", ".join(f"{name} {begun.get(name)} (now {now.get(name)})" for name in differing)
            raise DataError(
                f"{path} was begun with other settings: {told}. Resume it with its own, or begin another run."
            )
        return path, step
    raise DataError(f"No checkpoint in {folder} is whole. Begin again in another folder.")


def rotate(folder: Path) -> None:
    """Make room for a new last checkpoint: the last becomes the previous one."""
    last, previous = (folder / name for name in CHECKPOINTS)
    if last.exists():
        last.replace(previous)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder for one run; raises `DataError` where another process holds it. A kill lets go of it."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{folder} cannot be used: {error.strerror}.") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DataError(f"Another run is using {folder}. Name another folder.") from None
    finally:
        os.close(held)

"""The options that commands share. To read and to refuse them takes no torch, which is slow to import."""

import inspect
import os
import re
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from arlib.settings import MOST_SEED, Settings
from arlib.storage import DataError

MOST_SIDE = 4096  # pixels of a picture
MOST_COUNT = 100_000  # pictures, which are all sampled before the first is written


def checked_name(name: str) -> str:
    """The name, if it can be a part of a file's; else `DataError`, before any work begins."""
    if not re.fullmatch(r"[\w.+-]{1,100}", name):
        raise DataError(f"--name {name!r} cannot be a part of a file's name: letters, digits, '.', '-' and '_' can.")
    return name


def checked_out(out: Path) -> Path:
    """The folder, if it can be made and written to; else `DataError`, before any work begins."""
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise DataError(f"{there} is a file. Name a folder.")
    if not os.access(there, os.W_OK):
        raise DataError(f"{there} cannot be written to. Name another folder.")
    return out


def checked_size(size: str | None) -> str | None:
    """The size, if it is one; else `DataError`, before any work begins."""
    if size is not None:
        parse_size(size)
    return size


def parse_size(size: str) -> tuple[int, int]:
    """Height and width in pixels that a text like "64x96" names.

    Raises `DataError` for another text, and for sides of no pixel or too many.
    """
    sides = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", size, re.ASCII)
    if not sides or not all(1 <= int(side) <= MOST_SIDE for side in sides.groups()):
        raise DataError(f"A size is height and width like 64x96, each of 1 to {MOST_SIDE:,} pixels, not {size!r}.")
    return int(sides[1]), int(sides[2])


def checked_compiled(flag: bool) -> bool:
    """The flag, if what it asks for can be had; else `DataError`, before any work begins."""
    if flag and find_spec("numba") is None:
        raise DataError("--compiled needs numba, which is not installed: pip install numba")
    return flag


Force = Annotated[bool, typer.Option("--force", help="Replace files that are there already.")]
Compiled = Annotated[
    bool,
    typer.Option("--compiled", help="Steps as machine code: faster for many. Needs numba.", callback=checked_compiled),
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1)]  # of a generator
Name = Annotated[str, typer.Option(help="The name of the new model.", callback=checked_name)]
Out = Annotated[
    Path,
    typer.Option(help="The folder for curves, checkpoints, pictures and the trained weights.", callback=checked_out),
]
Size = Annotated[int, typer.Option(min=1)]
Depth = Annotated[int, typer.Option(min=0)]
Source = Annotated[
    str, typer.Option("--data", help="supertuxkart, digits or cifar10 (the train split), or a folder of images.")
]
Valid = Annotated[
    Path | None, typer.Option(help="A folder of held-out images to follow; every tenth of --data, if left out.")
]
PictureSize = Annotated[
    str | None,
    typer.Option("--size", help="Height and width that a folder's images get, like 64x96.", callback=checked_size),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")]

SETTINGS: dict[str, Any] = {
    "steps": Annotated[int, typer.Option(help="How many batches are seen.")],
    "batch_size": Annotated[int, typer.Option(help="Examples a step, of all processes together.")],
    "learning_rate": Annotated[float, typer.Option(help="Its highest value.")],
    "seed": Annotated[int, typer.Option(min=0, max=MOST_SEED)],
    "precision": Annotated[str, typer.Option(help="32-true, or bf16-mixed for matrix products in bfloat16.")],
    "accelerator": Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")],
    "workers": Annotated[int, typer.Option(help="Threads that read pictures ahead.")],
    "devices": Annotated[int, typer.Option(help="How many processes of this machine share each batch.")],
    "nodes": Annotated[int, typer.Option(help="How many machines share each batch, each with so many devices.")],
}
OF_MANY = ("devices", "nodes")


def takes_settings(
    steps: int, batch_size: int, learning_rate: float, many: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each of the settings, in place of its parameter `settings`.

    The three defaults are the command's own; without `many` it trains in one process alone.
    """
    own = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    names = [name for name in SETTINGS if many or name not in OF_MANY]
    defaults = {name: own.get(name, getattr(Settings, name, None)) for name in names}

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def wrapped(*arguments: Any, **given: Any) -> None:
            settings = Settings(**{name: given.pop(name, defaults[name]) for name in names})
            command(*arguments, **given, settings=settings)

        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=SETTINGS[name])
            for name in names
        ]
        mine = [one for one in inspect.signature(command).parameters.values() if one.name != "settings"]
        wrapped.__signature__ = inspect.Signature([*mine, *shared])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {one.name: one.annotation for one in [*mine, *shared]}
        return wrapped

    return wrap

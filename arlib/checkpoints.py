"""Weights: one safetensors file a model, its configuration in the file's header, and a card beside it.

Nothing here is ever pickled, so a weights file from a stranger cannot run code.
"""

import contextlib
import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from arlib.data import DataError, root, write_atomically

Model = TypeVar("Model", bound=nn.Module)

SMALL = 1024  # a number of a configuration up to which no file is too small for it
LIMITS = {  # of the numbers in a configuration; the models of the book stay far below
    "bits": (1, 18),
    "channels": (1, 3),
    "classes": (0, 65536),
    "codebook_size": (2, 2**18),
    "codebooks": (1, 64),
    "depth": (0, 256),
    "features": (1, 4096),
    "heads": (1, 256),
    "latent_dim": (1, 4096),
    "length": (1, 65536),
    "patch_size": (1, 256),
    "qualities": (0, 64),
    "refine": (0, 64),
    "scales": (1, 64),
    "sides": (1, 64),
    "size": (1, 1024),
    "vocabulary": (1, 2**18),
    "width": (1, 4096),
}


class CheckpointError(DataError):
    """Weights that are missing, damaged, or of another kind of model; the message says which."""


def save(path: str | Path, kind: str, model: Any, **extra: str) -> None:
    """Write a model's weights as float16, with its kind and its `config` in the header.

    The kinds are "tokenizer", "autoencoder", "prior", "judge" and "decoder". `extra` adds strings to the header, as a
    prior's `tokenizer`. A failed write leaves the old file whole.
    """
    weights = {name: weight.detach().half().contiguous() for name, weight in model.state_dict().items()}
    check_finite(path, weights)
    # One string: several would come in another order each time, and the file would have another hash.
    header = {"arlib": json.dumps({"kind": kind, "config": model.config, **extra}, sort_keys=True)}
    write_atomically(path, lambda partial: save_file(weights, partial, metadata=header))


def load(kind: str, name: str, build: Callable[[dict], Model]) -> Model:
    """A model in eval mode with float32 weights: `build(config)` makes it, the file fills it.

    `name` is a permanent name ("book"), the start of a file's hash ("sha256:3f9a0c"), or a path that ends in
    ".safetensors". Raises `CheckpointError` where that file is missing, damaged, or holds another kind of model,
    numbers outside of `LIMITS`, or weights that are NaN.
    """
    path = find(kind, name)
    header = read_header(path)
    if header["kind"] != kind:
        raise CheckpointError(f"{path} holds a model of kind {header['kind']!r}, not {kind!r}.")
    with whatever_is_wrong(path):
        state = {key: weight.float() for key, weight in load_file(path).items()}
    count = sum(weight.numel() for weight in state.values())
    check_config(path, header["config"], max(count, SMALL))
    with whatever_is_wrong(path), at_most(count, path):
        model = build(header["config"])
    try:
        model.load_state_dict(state)
    except RuntimeError:
        raise CheckpointError(f"The weights in {path} do not fit the configuration in its header.") from None
    check_finite(path, state)
    return model.eval()


class Header(dict[str, Any]):
    """The header of a weights file; what it does not tell is a `CheckpointError` that names the file."""

    def __init__(self, path: str | Path, content: dict[str, Any]):
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise CheckpointError(f"The header of {self.path} names no {key}.")


def read_header(path: str | Path) -> Header:
    """What a weights file's header tells: "kind", "config", and what `save` was given besides.

    Raises `CheckpointError` where it is no header that arlib wrote.
    """
    try:
        with safe_open(path, framework="pt") as weights:
            content = (weights.metadata() or {}).get("arlib")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or is no safetensors file: {error}.") from None
    if content is None:
        raise CheckpointError(f"{path} is a safetensors file, but not one that arlib wrote.")
    try:
        header = json.loads(content)
    except (ValueError, RecursionError):
        raise CheckpointError(f"The header of {path} is damaged: it is not JSON.") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"The header of {path} is no object with a kind and a config.")
    header = Header(path, header)
    if header["kind"] == "reference":
        return header  # features of real pictures (evaluation.py): no model, and no config
    if not isinstance(header["config"], dict):
        raise CheckpointError(f"The config in the header of {path} is no object.")
    for key, value in header.items():
        if key != "config" and not isinstance(value, str):
            raise CheckpointError(f"The {key} in the header of {path} is no text.")
    return header


def check_config(path: str | Path, config: Any, most: int, field: str = "config") -> None:
    """Raise `CheckpointError` for a number outside of `LIMITS`, or above `most`, which no model of so few weights has.

    What is built from such a number could take all the memory, or an hour.
    """
    if isinstance(config, dict | list):
        pairs = config.items() if isinstance(config, dict) else ((field, part) for part in config)
        for key, value in pairs:
            check_config(path, value, most, key)
        return
    known = field in LIMITS
    least, greatest = LIMITS.get(field, (-math.inf, math.inf))
    number = isinstance(config, int if known else int | float) and not isinstance(config, bool)
    if (number and not least <= config <= min(greatest, most)) or (known and not number and config is not None):
        words = f"whole number between {least} and {min(greatest, most)}" if known else f"number of at most {most}"
        raise CheckpointError(f"{field} in the header of {path} is {str(config)[:40]}; it is a {words}.")


@contextlib.contextmanager
def whatever_is_wrong(path: str | Path) -> Iterator[None]:
    """Whatever is raised while a model is built from a stranger's file is one `CheckpointError` that names it."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = str(error).rstrip(".") or "nothing is said about why"
        message = f"{path} describes no model that can be built: {type(error).__name__}, {reason}."
        raise CheckpointError(message) from None


@contextlib.contextmanager
def at_most(count: int, path: str | Path) -> Iterator[None]:
    """Stop building a model as soon as it has more than `count` weights, before they take memory or time."""
    left, thread = count, threading.get_ident()

    def spend(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        if parameter is not None and threading.get_ident() == thread:
            left -= parameter.numel()
            if left < 0:
                raise CheckpointError(
                    f"The {count:,} weights in {path} do not fit the configuration in its header, which asks for more."
                )

    handle = register_module_parameter_registration_hook(spend)
    try:
        yield
    finally:
        handle.remove()


def check_finite(path: str | Path, weights: dict[str, torch.Tensor]) -> None:
    """Raise `CheckpointError` where a weight is NaN or infinite, as after a training that diverged."""
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise CheckpointError(
                f"{path}: the weights {name} are not all finite numbers, as if training had diverged."
            )


def parse_grid(grid: object) -> tuple[int, ...]:
    """The shape that a prior's header calls its `grid`: "20×30" is (20, 30), "2×2×2" (2, 2, 2), "21" (21,).

    Raises `CheckpointError` for what is no grid of one to three sides above 0.
    """
    sides = grid.split("×") if isinstance(grid, str) else []
    if not 1 <= len(sides) <= 3 or not all(
        side.isdecimal() and side.isascii() and len(side) <= 5 and int(side) for side in sides
    ):
        raise CheckpointError(f"{grid!r} is no grid of tokens; one is written like 20×30, 2×2×2 or 21.")
    return tuple(map(int, sides))


def find(kind: str, name: str) -> Path:
    """The weights file that a name, a hash or a path stands for (see `load`)."""
    if name.endswith(".safetensors"):
        if not Path(name).is_file():
            raise CheckpointError(f"There is no file {name}.")
        return Path(name)
    shipped = sorted((root() / "weights").glob(f"{kind}-*.safetensors"))
    if name.startswith("sha256:"):
        found = [path for path in shipped if sha256(path).startswith(name.removeprefix("sha256:"))]
    else:
        found = [path for path in shipped if path.stem == f"{kind}-{name}"]
    if len(found) != 1:
        names = ", ".join(path.stem.removeprefix(f"{kind}-") for path in shipped) or "none"
        raise CheckpointError(f"There is no {kind} {name!r} in {root() / 'weights'}; there are: {names}.")
    return found[0]


def sha256(path: str | Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_card(path: str | Path, facts: dict[str, str]) -> Path:
    """Write the card of a weights file beside it: a Markdown table of facts, the file's own hash last."""
    rows = {**facts, "size": f"{Path(path).stat().st_size:,} bytes", "SHA-256": f"`{sha256(path)}`"}
    lines = [
        f"# {Path(path).stem}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {fact} |" for key, fact in rows.items()),
    ]
    card = Path(path).with_suffix(".md")
    write_atomically(card, lambda partial: partial.write_text("\n".join(lines) + "\n", encoding="utf-8"))
    return card


def parameter_count(model: nn.Module) -> int:
    """How many numbers the model has learned."""
    return sum(parameter.numel() for parameter in model.parameters())

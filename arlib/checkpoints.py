"""Weights: one safetensors file a model, its configuration in the file's header, and a card beside it.

Nothing here is ever pickled, so a weights file from a stranger cannot run code.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from arlib.data import DataError, root, write_atomically

Model = TypeVar("Model", bound=nn.Module)


class CheckpointError(DataError):
    """Weights that are missing, damaged, or of another kind of model; the message says which."""


def save(path: str | Path, kind: str, model: Any, **extra: str) -> None:
    """Write a model's weights as float16, with its kind and its `config` in the header.

    The kinds are "tokenizer", "autoencoder", "prior", "judge" and "decoder". `extra` adds strings to the header, as a
    prior's `tokenizer`. A failed write leaves the old file whole.
    """
    weights = {name: weight.detach().half().contiguous() for name, weight in model.state_dict().items()}
    # One string: several would come in another order each time, and the file would have another hash.
    header = {"arlib": json.dumps({"kind": kind, "config": model.config, **extra}, sort_keys=True)}
    write_atomically(path, lambda partial: save_file(weights, partial, metadata=header))


def load(kind: str, name: str, build: Callable[[dict], Model]) -> Model:
    """A model in eval mode with float32 weights: `build(config)` makes it, the file fills it.

    `name` is a permanent name ("book"), the start of a file's hash ("sha256:3f9a0c"), or a path that ends in
    ".safetensors". Raises `CheckpointError` where that file is missing, damaged, or holds another kind of model.
    """
    path = find(kind, name)
    header = read_header(path)
    if header["kind"] != kind:
        raise CheckpointError(f"{path} holds a model of kind {header['kind']!r}, not {kind!r}.")
    model = build(header["config"])
    state = {key: weight.float() for key, weight in load_file(path).items()}
    try:
        model.load_state_dict(state)
    except RuntimeError:
        raise CheckpointError(f"The weights in {path} do not fit the configuration in its header.") from None
    return model.eval()


def read_header(path: str | Path) -> dict[str, Any]:
    """What a weights file's header tells: "kind", "config", and what `save` was given besides."""
    try:
        with safe_open(path, framework="pt") as weights:
            header = weights.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or is no safetensors file: {error}.") from None
    if "arlib" not in header:
        raise CheckpointError(f"{path} is a safetensors file, but not one that arlib wrote.")
    return json.loads(header["arlib"])


def parse_grid(grid: object) -> tuple[int, ...]:
    """The shape that a prior's header calls its `grid`: "20×30" is (20, 30), "2×2×2" (2, 2, 2), "21" (21,).

    Raises `CheckpointError` for what is no grid of one to three sides above 0.
    """
    sides = grid.split("×") if isinstance(grid, str) else []
    if not 1 <= len(sides) <= 3 or not all(side.isdecimal() and side.isascii() and int(side) for side in sides):
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

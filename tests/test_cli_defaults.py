"""What an option is that nobody names.

The commands on the cards leave such options out, so a default is a promise: with another one they would train another
model. The table is written by hand, as nothing else in the project lists them.
"""

from collections.abc import Iterator
from typing import Any

import typer

from arlib import cli

Options = dict[str, Any]

TRAINING: Options = {"seed": 0, "precision": "32-true", "accelerator": "cpu", "workers": 1, "resume": False}
MANY: Options = TRAINING | {"devices": 1, "nodes": 1}
PICTURES: Options = {"data": "supertuxkart", "valid": None, "size": None}
SAMPLING: Options = {
    "seed": 0,
    "temperature": 1.0,
    "top-k": None,
    "top-p": None,
    "guidance": 1.0,
    "order": None,
    "at-once": 1,
}
NOT_NAMED: dict[str, Options] = {
    "train autoencoder": MANY
    | PICTURES
    | {"patch-size": 5, "latent-dim": 10, "depth": 1, "width": 64}
    | {"steps": 1000, "batch-size": 16, "learning-rate": 2e-3},
    "train tokenizer": MANY
    | PICTURES
    | {"patch-size": 5, "quantizer": "bsq", "bits": 10, "codebooks": 1, "residual": False, "latent-dim": 32}
    | {"scales": None, "cut": 0.5, "depth": 2, "width": 128, "smoothness": 1e-3, "refine": 0, "prices": None}
    | {"steps": 1000, "batch-size": 16, "learning-rate": 1e-3},
    "train prior": MANY
    | {"tokens": None, "valid": None, "tokenizer": None, "width": 128, "depth": 6, "heads": 4, "order": "raster"}
    | {"classes": False, "positions": True, "shift": True}
    | {"steps": 1000, "batch-size": 8, "learning-rate": 2e-3},
    "train judge": MANY
    | {"width": 16, "shift": 2, "data": "digits", "steps": 3000, "batch-size": 256, "learning-rate": 1.5e-3},
    "train sharp": TRAINING
    | {"tokenizer": "book", "strength": None, "depth": 2, "width": 24}
    | {"steps": 2000, "batch-size": 8, "learning-rate": 1e-3},
    "tokenize": {"tokenizer": "book", "data": None, "mirror": False, "moved": None, "quality": None}
    | {"precision": "32-true", "force": False},
    "reconstruct": {"tokenizer": "book", "fit": False, "force": False},
    "evaluate": {"tokenizer": None, "prior": None, "data": None, "split": None},
    "generate": SAMPLING
    | {"count": 4, "label": None, "from": None, "keep-rows": None, "keep": None, "mask": None}
    | {"prior": "book", "tokenizer": None, "fit": False, "compiled": False, "force": False},
    "evaluate-samples": SAMPLING | {"tokenizer": None, "count": 1000, "usefulness": False, "steps": 300},
    "compress": {"max-bytes": None, "quality": None, "prior": None, "tokenizer": None, "label": None}
    | {"fit": False, "force": False},
    "decompress": {"prior": None, "tokenizer": None, "sharp": 0.0, "decoder": "book-adversarial"}
    | {"compiled": False, "force": False},
    "info": {"prior": None, "tokenizer": None},
}


def commands(command, name: str = "") -> Iterator[tuple[str, Options]]:
    """The name of each command, and the defaults of its options by their names."""
    for inner, one in getattr(command, "commands", {}).items():
        yield from commands(one, f"{name} {inner}".strip())
    if not hasattr(command, "commands"):
        options = (one for one in command.params if one.param_type_name == "option" and not one.required)
        yield name, {one.opts[0].removeprefix("--"): one.default for one in options if one.name != "help"}


def test_what_an_option_is_that_nobody_names():
    assert dict(commands(typer.main.get_command(cli.app))) == NOT_NAMED

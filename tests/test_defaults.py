"""What an argument is that nobody names, in all rooms of the library. `test_cli_defaults` has those of the commands.

Weights files, chapters and the code of readers leave such arguments out, so a default is a promise: with another one
they would mean something else. The table is written by hand.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import arlib

OF_PICTURES = {"height": 100, "width": 150, "channels": 3}  # frames of SuperTuxKart
OF_JUDGES = {"steps": 100, "batch_size": 8, "seed": 0}
OF_PRIORS = {"vocabulary": 1024, "length": 600, "width": 128, "depth": 6, "heads": 4, "positions": True, "shift": True}
OF_PRIORS |= {"classes": 0, "any_order": False, "codebooks": 1}
MOST_TOTAL = 1 << 24
NOT_NAMED: dict[str, dict[str, Any]] = {
    "_trained.load_codec": {"name": "book"},
    "_trained.load_decoder": {"name": "book-adversarial"},
    "_trained.load_judge": {"name": "digits"},
    "_trained.load_pipeline": {"name": "book"},
    "_trained.load_prior": {"name": "book"},
    "_trained.load_tokenizer": {"name": "book"},
    "causality.check": {"batch_size": 3, "trials": 2, "seed": 0},
    "causality.influence": {"mode": "no_grad", "seed": 0},
    "checkpoints.check_config": {"field": "config"},
    "choice.choose": {"rounds": 12},
    "data.load_folder": OF_PICTURES,
    "data.read_batches": {"channels": 3},
    "data.read_image": OF_PICTURES | {"fit": False},
    "data.read_images": OF_PICTURES,
    "evaluation.usefulness": {"steps": 300, "width": 16, "seed": 0},
    "fixedpoint.Twin": {"device": "cpu"},
    "folders.Folder": {"channels": 3, "held_out": ()},
    "judges.ClassificationLoss": {"shift": 2, "flips": False, "smoothing": 0.1},
    "judges.Judge": {"classes": 10, "width": 32},
    "judges.convolution": {"side": 3},
    "losses.ReconstructionLoss": {"smoothness": 0.0},
    "metrics.bits": {"batch_size": 16},
    "metrics.frechet_extrapolated": {"parts": 4, "seed": 0},
    "metrics.frechet_floor": {"seed": 0, "repeats": 4},
    "metrics.precision_recall": {"k": 5},
    "mismatch.compare": {"total": MOST_TOTAL},
    "mismatch.tables": {"total": MOST_TOTAL},
    "quantizers.VQ": {"decay": 0.99, "commitment": 0.25, "revival": 0.1},
    "rangecoder.frequencies": {"total": MOST_TOTAL},
    "rate.ContextModel": {"width": 96},
    "realism.PatchJudge": {"width": 24, "period": 5},
    "realism.fresh_judge": OF_JUDGES,
    "realism.grid_lines": {"period": 5},
    "realism.noisy": {"seed": 0},
    "realism.train_judge": OF_JUDGES,
    "realism.unsharp": {"sigma": 1.0},
    "sampling.generate": {"seed": 0, "temperature": 1.0, "batch_size": 64, "guidance": 1.0, "at_once": 1},
    "sampling.probabilities": {"temperature": 1.0},
    "scales.Pyramid": {"sides": (1, 2, 4), "cut": 0.5},
    "settings.Settings": {"seed": 0, "precision": "32-true", "accelerator": "cpu", "devices": 1, "nodes": 1}
    | {"workers": 1, "checkpoint_seconds": 120.0, "validations": 20},
    "sharp.AdversarialLoss": {"strength": 4.0, "alone": 100, "side": 12},
    "sharp.Detail": {"features": 128, "width": 32, "depth": 2, "channels": 3},
    "sharp.SharpDecoder.decode": {"sharp": 1.0},
    "sharp.SharpDecoder.reconstruct": {"sharp": 1.0},
    "sharp.SharpLoss": {"side": 12},
    "sharp.StatisticsLoss": {"strength": 8.0, "window": 3, "side": 12},
    "sharp.balance": {"strength": 1.0},
    "sharp.random_filters": {"count": 8, "side": 5},
    "speaker.numbered": {"first": 0},
    "tokenizer.ImageTokenizer": {"patch_size": 5, "width": 128, "depth": 4, "channels": 3, "refine": 0, "qualities": 0},
    "training.fit": {"resume": False},
    "training.progress_bar": {"disable": False},
    "transformer.Cache": {"read": 0},
    "transformer.Prior": OF_PRIORS,
    "transformer.check_step": {"count": 1},
}
LEFT_OUT = {"optimizers.MatrixMuon.zero_grad", "causality.Report"}  # torch's own, and a sentence


def callables() -> Iterator[tuple[str, Callable]]:
    """All functions, classes and methods, as "room.name"; what draws, and commands and checkers, left out."""
    assert arlib.__file__ is not None
    for path in Path(arlib.__file__).parent.glob("*.py"):
        if path.stem in {"__init__", "__main__", "plots", "widgets"}:
            continue
        room = importlib.import_module(f"arlib.{path.stem}")
        own = {name: one for name, one in vars(room).items() if getattr(one, "__module__", None) == room.__name__}
        for name, one in own.items():
            members = vars(one) if isinstance(one, type) else {"__init__": one}
            for inner, member in members.items():
                if inspect.isfunction(member) and (inner == "__init__" or not inner.startswith("_")):
                    yield f"{path.stem}.{name}.{inner}".removesuffix(".__init__"), member


def defaults(function: Callable) -> dict[str, Any]:
    """What is left out and not None."""
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.default not in (inspect.Parameter.empty, None)}


def test_what_an_argument_is_that_nobody_names():
    found = {name: defaults(one) for name, one in callables() if name not in LEFT_OUT}
    assert {name: values for name, values in found.items() if values} == NOT_NAMED

"""What the commands of `train` do once they know the model: train it, keep it, and write its card."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

import arlib
from arlib import checkpoints, data, judges, metrics, orders, training
from arlib.cli import cards, moments
from arlib.cli.common import data_of
from arlib.cli.examples import Dataset
from arlib.cli.report import accuracy, bits_of, judge_figures, prior_figures, tokenizer_figures
from arlib.folders import Examples
from arlib.judges import ClassificationLoss
from arlib.rate import RateDistortionLoss
from arlib.settings import Settings
from arlib.storage import Notice
from arlib.tokenizer import ImageTokenizer
from arlib.tokenset import MappedTokenSet, TokenSet
from arlib.training import NextTokenLoss, ReconstructionLoss
from arlib.transformer import Prior

VALIDATED = 256  # how many held-out examples are measured on the way
LARGE_VALIDATED = 32  # of large ones
OVERFITTED = 1.02  # how many times the least bits of held-out tokens are too many at the end
FILE_ORDER = "shuffled 7"  # in which a prior of any order speaks files, and samples where nothing else is asked for


def from_pictures(
    kind: str,
    name: str,
    loss: ReconstructionLoss | RateDistortionLoss,
    pictures: Dataset,
    out: Path,
    settings: Settings,
    resume: bool,
) -> None:
    """Train a tokenizer or an auto-encoder; follow the error of held-out pictures."""
    held_out = pictures.held_out
    few = held_out[:: max(1, len(held_out) // (VALIDATED if held_out.shape[1] < 64 else LARGE_VALIDATED))]

    def validate() -> dict[str, float]:
        if isinstance(loss, RateDistortionLoss):
            return loss.validate(few[::8])
        return {"valid mean squared error": metrics.mse(few, loss.model.reconstruct(few)).mean().item()}

    keep = moments.reconstructions(out, loss.model, few)
    seconds = training.fit(loss, pictures.learned, settings, out, validate, resume, keep)
    if not training.first_process():
        return
    path = cards.save(out, kind, name, loss.model, **pictures.header)
    figures = tokenizer_figures(checkpoints.load(kind, str(path), ImageTokenizer.from_config), held_out)
    cards.write(path, loss.model, seconds, settings, figures, pictures.described, pictures.source)


class Sequences:
    """Grids of tokens `(N, …)` as sequences in raster order, `(N, T) int32`, those that are asked for."""

    def __init__(self, grids: Examples):
        self.grids = grids
        self.shape = (len(grids), math.prod(grids.shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, places: torch.Tensor) -> torch.Tensor:
        return orders.raster(self.grids[places]).to(torch.int32)


def from_tokens(
    name: str,
    model: Prior,
    train: MappedTokenSet,
    held_out: TokenSet | None,
    decoder: ImageTokenizer | None,
    weights: Path | None,
    out: Path,
    settings: Settings,
    resume: bool,
) -> None:
    """Train a prior; follow the bits of held-out tokens, and samples that `decoder` (of the file `weights`) paints."""

    followed: list[float] = []

    def validate() -> dict[str, float]:
        assert held_out is not None
        few = slice(None, None, max(1, len(held_out.grids) // VALIDATED))
        labels = None if held_out.labels is None else held_out.labels[few]
        followed.append(bits_of(model, held_out.grids[few], labels).mean().item())
        return {"valid bits per token": followed[-1]}

    shape = tuple(train.grids.shape[1:])
    sequences, labels = Sequences(train.grids), train.labels if model.classes is not None else None
    learned = sequences if labels is None else (sequences, labels)
    follow = None if held_out is None else validate
    keep = None if decoder is None else moments.samples(out, model, decoder, shape)
    seconds = training.fit(NextTokenLoss(model), learned, settings, out, follow, resume, keep)
    if not training.first_process():
        return
    tell_of_overfitting(followed)
    extra = {"tokenizer": f"sha256:{train.tokenizer}", "grid": "×".join(map(str, shape))}
    extra |= {"order": FILE_ORDER} if model.places is not None else {}
    path = cards.save(out, "prior", name, model, **extra)
    figures = {} if held_out is None else prior_figures(arlib.load_prior(str(path)), held_out.grids, held_out.labels)
    source = None if weights is None else data_of(str(weights))
    cards.write(path, model, seconds, settings, figures, "the data sets of tokens that the command names", source)


def tell_of_overfitting(bits: Sequence[float]) -> None:
    """Give a `Notice` where held-out tokens, followed at even distances, took clearly fewer bits earlier in the run."""
    if bits and bits[-1] > OVERFITTED * min(bits):
        best = bits.index(min(bits)) + 1
        message = (
            f"Held-out tokens took fewest bits, {min(bits):.3f}, after {best / len(bits):.0%} of what was followed, "
            f"and {bits[-1]:.3f} at the end: this prior knows its examples by heart. Train with fewer --steps, or on "
            "more of them."
        )
        warnings.warn(message, Notice, stacklevel=2)


def from_classes(name: str, loss: ClassificationLoss, source: str, out: Path, settings: Settings, resume: bool) -> None:
    """Train a judge of the pictures of `source`; follow how many of the held-out ones it gets right."""
    held_out, truth = data.load(source, "valid")[: 2 * VALIDATED], data.labels(source, "valid")[: 2 * VALIDATED]

    def validate() -> dict[str, float]:
        return {"valid accuracy": accuracy(loss.model, held_out, truth)}

    pictures = (data.load(source, "train"), data.labels(source, "train"))
    seconds = training.fit(loss, pictures, settings, out, validate, resume)
    if not training.first_process():
        return
    path = cards.save(out, "judge", name, loss.model, data=source)
    figures = judge_figures(judges.load(str(path)), source)
    cards.write(path, loss.model, seconds, settings, figures, cards.LEARNED_FROM[source], source)

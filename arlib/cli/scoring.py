"""What `evaluate-samples` puts into its table: a judge's scores, orders, and what a token costs."""

import torch
from rich.table import Table

from arlib import codec, data, evaluation, metrics, orders
from arlib.evaluation import BLIND, Scores
from arlib.transformer import Prior


def name_of_data(image: torch.Tensor) -> str:
    """The data set whose pictures have this shape, `(1, H, W, C)`; `DataError` where there is no judge for them."""
    shapes = {"28×28×1": "digits", "32×32×3": "cifar10"}
    sides = "×".join(map(str, image.shape[1:]))
    if sides not in shapes:
        raise data.DataError(f"There is no judge for pictures of {sides}; there is one for digits and one for cifar10.")
    return shapes[sides]


def order_of(name: str, count: int, length: int, seed: int) -> torch.Tensor | None:
    """The order that "raster", "random" or "shuffled 7" stands for: None, `(count, length)` or `(length,)`."""
    if name == "raster":
        return None
    if name == "random":
        return orders.random(count, length, torch.Generator().manual_seed(seed))
    return codec.named_order(name, length)


def token_figures(
    prior: Prior, tokens: torch.Tensor, order: torch.Tensor | None, labels: torch.Tensor | None
) -> tuple[str, str]:
    """Of tokens `(N, T)` by place: how many sequences are distinct, and the mean surprise of one in bits.

    The n-th is read in the n-th of the orders `(M, T)`, M ≥ N, if they differ.
    """
    kinds = f"{metrics.distinct(tokens):,} of {len(tokens):,}"
    if order is not None:
        order = order if order.dim() == 1 else order[: len(tokens)]
        tokens = orders.arrange(tokens, order)
    bits = metrics.bits(prior, tokens, 64, order, None if prior.classes is None else labels)
    return kinds, f"{bits.sum(1).mean():,.1f}"


def add_scores(table: Table, name: str, samples: Scores, again: Scores | None, real: Scores) -> None:
    """The rows that samples, reconstructions and real pictures share."""

    def row(title: str, key: str, form: str) -> None:
        values = [getattr(scores, key) if scores is not None else None for scores in (samples, again, real)]
        table.add_row(title, *["–" if value is None else format(value, form) for value in values], BLIND[key])

    row("class seen as asked", "accuracy", ".1%")
    worst = [scores.worst if scores is not None else None for scores in (samples, again)]
    classes = data.CLASSES[name]
    table.add_row(
        "… of the worst class", *["–" if one is None else f"{one[1]:.1%} ({classes[one[0]]})" for one in worst], "", ""
    )
    numbers = f"{samples.count:,}" if samples.count == real.count else f"{samples.count:,}; real: {real.count:,}"
    row(f"Fréchet distance to real (n = {numbers})", "distance", ".2f")
    row("… for endlessly many", "limit", ".2f")
    row("precision", "precision", ".2f")
    row("recall", "recall", ".2f")


def usefulness_table(name: str, images: torch.Tensor, labels: torch.Tensor, steps: int, seed: int) -> Table:
    """Three fresh judges and how many real test pictures each gets right."""
    accuracies = evaluation.usefulness(name, images, labels, steps, seed=seed)
    title = f"A fresh judge after {steps:,} steps, tested on real pictures"
    table = Table("learned from", "right", title=title, caption="It cannot see what a larger budget would change.")
    rows = {
        "samples": f"{len(images):,} samples",
        "real": f"{len(images):,} real pictures",
        "both": f"{len(images):,} of each",
    }
    for lesson, title in rows.items():
        table.add_row(title, f"{accuracies[lesson]:.1%}")
    return table

"""What `evaluate-samples` puts into its table, each figure again by another way."""

import io

import pytest
import torch
from conftest import rows_of, surprise
from rich.console import Console
from rich.table import Table

import arlib
from arlib import evaluation, orders
from arlib.cli import scoring
from arlib.evaluation import Scores


def mean_bits(prior, tokens, order, labels) -> str:
    """Of a sequence, as the table says it."""
    bits = surprise(prior, tokens, order, labels)
    return f"{bits.sum(1).mean():,.1f}"


@pytest.mark.parametrize("kind", ["raster", "one order for all", "an order each, and more of them"])
def test_a_token_costs_what_it_does_in_its_order_with_its_label(kind):
    name, length = ("digits-4x4", 16) if kind == "raster" else ("cifar-any", 64)
    prior, tokens = arlib.load_prior(name), torch.randint(256, (3, length), generator=torch.Generator().manual_seed(0))
    tokens[2] = tokens[0]
    labels = torch.tensor([1, 2, 1])
    order = {"raster": None, "one order for all": orders.shuffled(64, 3)}.get(
        kind, orders.random(5, 64, torch.Generator().manual_seed(1))
    )
    mine = order if order is None or order.dim() == 1 else order[:3]
    assert scoring.token_figures(prior, tokens, order, labels) == (
        "2 of 3", mean_bits(prior, tokens, mine, labels),
    )  # fmt: skip
    unlabeled = mean_bits(prior, tokens, mine, None)
    assert scoring.token_figures(prior, tokens, order, None)[1] == unlabeled
    assert scoring.token_figures(prior, tokens, order, labels)[1] != unlabeled


def test_scores_stand_next_to_one_another():
    samples, again = Scores(500, 0.9, (3, 0.75), 4.25, 3.5, 0.8, 0.7), Scores(500, 0.95, (8, 0.875), 2, 1.5, 0.9, 0.85)
    real = Scores(400, 0.99, (9, 0.96), 1, 0.5, 1, 1)
    blind = evaluation.BLIND
    table = Table("measure", "samples", "reconstructions", "real pictures", "what it cannot see")
    scoring.add_scores(table, "cifar10", samples, again, real)
    assert rows_of(table) == [
        ["class seen as asked", "90.0%", "95.0%", "99.0%", blind["accuracy"]],
        ["… of the worst class", "75.0% (cat)", "87.5% (ship)", "", ""],
        ["Fréchet distance to real (n = 500; real: 400)", "4.25", "2.00", "1.00", blind["distance"]],
        ["… for endlessly many", "3.50", "1.50", "0.50", blind["limit"]],
        ["precision", "0.80", "0.90", "1.00", blind["precision"]],
        ["recall", "0.70", "0.85", "1.00", blind["recall"]],
    ]
    table = Table("measure", "samples", "reconstructions", "real pictures", "what it cannot see")
    nameless = Scores(400, None, None, 4.25, 3.5, 0.8, 0.7)
    scoring.add_scores(table, "digits", nameless, None, real)
    assert [row[:4] for row in rows_of(table)][:3] == [
        ["class seen as asked", "–", "–", "99.0%"],
        ["… of the worst class", "–", "–", ""],
        ["Fréchet distance to real (n = 400)", "4.25", "–", "1.00"],
    ]


def test_pictures_are_known_by_their_shape():
    assert scoring.name_of_data(torch.zeros(1, 28, 28, 1)) == "digits"
    assert scoring.name_of_data(torch.zeros(1, 32, 32, 3)) == "cifar10"


def test_what_samples_have_taught(monkeypatch):
    asked: dict[str, object] = {}

    def usefulness(name, images, labels, steps, seed):
        asked.update(name=name, count=len(images), steps=steps, seed=seed)
        return {"samples": 0.5, "real": 0.75, "both": 0.875}

    monkeypatch.setattr(evaluation, "usefulness", usefulness)
    images, labels = torch.zeros(1200, 28, 28, 1, dtype=torch.uint8), torch.zeros(1200, dtype=torch.int64)
    said = io.StringIO()
    Console(file=said, width=100).print(scoring.usefulness_table("digits", images, labels, 3000, 4))
    assert asked == {"name": "digits", "count": 1200, "steps": 3000, "seed": 4}
    lines = [" ".join(line.replace("┃", " ").replace("│", " ").split()) for line in said.getvalue().splitlines()]
    assert " ".join(lines).endswith("It cannot see what a larger budget would change.")
    assert " ".join(lines).startswith("A fresh judge after 3,000 steps, tested on")
    for row in ("learned from right", "1,200 samples 50.0%", "1,200 real pictures 75.0%", "1,200 of each 87.5%"):
        assert row in lines

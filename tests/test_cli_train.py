"""What the commands of `train` make of their options: a model, what is minimized, and what it learns from."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from arlib import checkpoints, data, tokenset
from arlib.cli import learning
from arlib.cli.common import SHAPES
from arlib.judges import ClassificationLoss, Judge
from arlib.quantizers import BSQ, VQ, Residual
from arlib.rate import RateDistortionLoss
from arlib.scales import Pyramid
from arlib.settings import Settings
from arlib.tokenizer import ImageTokenizer
from arlib.training import ReconstructionLoss
from arlib.transformer import Prior

RUN = ["--name", "x", "--out", "run"]


@pytest.fixture
def asked(monkeypatch, tmp_path) -> SimpleNamespace:
    """What the commands ask `learning` for, in the place of the training itself; black pictures for data sets."""
    seen = SimpleNamespace(arguments=None)

    def ask(*arguments: Any) -> None:
        seen.arguments = arguments

    for name in ("from_pictures", "from_tokens", "from_classes"):
        monkeypatch.setattr(learning, name, ask)
    monkeypatch.setattr(data, "load", lambda name, split: torch.zeros(10, *SHAPES[name], dtype=torch.uint8))
    monkeypatch.chdir(tmp_path)
    return seen


def same(model: torch.nn.Module, expected: torch.nn.Module) -> bool:
    """Whether two models have the same configuration and the same weights."""
    mine, theirs = model.state_dict(), expected.state_dict()
    equal = mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    return equal and model.config == expected.config


def test_an_autoencoder_as_it_was_asked_for(run, asked):
    sizes = ["--patch-size", 4, "--latent-dim", 3, "--depth", 2, "--width", 8, "--seed", 5]
    assert run("train", "autoencoder", *RUN, "--data", "digits", *sizes, "--resume")[0] == 0
    kind, name, loss, pictures, out, settings, resume = asked.arguments
    assert (kind, name, pictures.source, out, resume) == ("autoencoder", "x", "digits", Path("run"), True)
    assert settings == Settings(1000, 16, 2e-3, seed=5)
    assert (type(loss), loss.smoothness) == (ReconstructionLoss, 0)
    torch.manual_seed(5)
    assert same(loss.model, ImageTokenizer(4, 8, 2, latent_dim=3, channels=1))


def test_a_tokenizer_as_it_was_asked_for(run, asked):
    codes = ["--quantizer", "vq", "--codebooks", 2, "--residual", "--latent-dim", 6, "--bits", 3]
    sizes = ["--patch-size", 7, "--depth", 1, "--width", 8, "--smoothness", 0.25, "--refine", 1]
    assert run("train", "tokenizer", *RUN, "--data", "digits", *codes, *sizes, "--seed", 5, "--steps", 9)[0] == 0
    kind, name, loss, pictures, out, settings, resume = asked.arguments
    assert (kind, name, pictures.source, out, resume) == ("tokenizer", "x", "digits", Path("run"), False)
    assert settings == Settings(9, 16, 1e-3, seed=5)
    assert (type(loss), loss.smoothness) == (ReconstructionLoss, 0.25)
    torch.manual_seed(5)
    expected = Residual([VQ(8, 6), VQ(8, 6)])
    assert same(loss.model, ImageTokenizer(7, 8, 1, expected, channels=1, refine=1))


def test_a_tokenizer_with_a_dial_pays_the_prices_that_it_was_given(run, asked):
    sizes = ["--patch-size", 25, "--bits", 6, "--depth", 1, "--width", 8, "--prices", "8e-4,4e-4"]
    assert run("train", "tokenizer", *RUN, *sizes)[0] == 0
    _, _, loss, pictures, *_ = asked.arguments
    assert (type(loss), pictures.source) == (RateDistortionLoss, "supertuxkart")
    assert loss.prices.tolist() == pytest.approx([8e-4, 4e-4])
    assert loss.model.config == ImageTokenizer(25, 8, 1, BSQ(6), qualities=2).config


def test_a_tokenizer_of_a_pyramid_cuts_as_often_as_it_was_told(run, asked):
    codes = ["--quantizer", "vq", "--scales", "1,2", "--cut", 0.125, "--bits", 3, "--latent-dim", 6]
    assert run("train", "tokenizer", *RUN, "--data", "digits", *codes, "--patch-size", 14)[0] == 0
    quantizer = asked.arguments[2].model.quantizer
    assert isinstance(quantizer, Pyramid)
    assert (quantizer.sides, quantizer.cut, quantizer.latent_dim) == ((1, 2), 0.125, 6)


@pytest.mark.parametrize(
    ("source", "kind", "flips"), [("digits", (1, 28, 10, 8), False), ("cifar10", (3, 32, 10, 8), True)]
)
def test_a_judge_as_it_was_asked_for(run, asked, source, kind, flips):
    options = ["--width", 8, "--shift", 3, "--seed", 5]
    assert run("train", "judge", *RUN, "--data", source, *options, "--resume")[0] == 0
    name, loss, learned, out, settings, resume = asked.arguments
    assert (name, learned, out, resume) == ("x", source, Path("run"), True)
    assert settings == Settings(3000, 256, 1.5e-3, seed=5)
    assert (type(loss), loss.shift, loss.flips) == (ClassificationLoss, 3, flips)
    torch.manual_seed(5)
    assert same(loss.model, Judge(*kind))


@dataclass
class Written:
    """A tokenizer's weights file and its tokens of ten pictures, with their labels."""

    weights: Path
    tokens: Path
    grids: torch.Tensor


def write(folder: Path, tokenizer: ImageTokenizer, grids: torch.Tensor, labels: torch.Tensor | None) -> Written:
    weights, tokens = folder / "tokenizer-t.safetensors", folder / "t.tokens"
    checkpoints.save(weights, "tokenizer", tokenizer)
    tokenset.write(tokens, grids, tokenizer.codebook_size, checkpoints.sha256(weights), labels)
    return Written(weights, tokens, grids)


@pytest.fixture
def pairs(tmp_path) -> Written:
    """Tokens of two codebooks a place."""
    grids = torch.arange(180).view(10, 3, 3, 2) % 8
    return write(tmp_path, ImageTokenizer(14, 8, 0, Residual([VQ(8, 4), VQ(8, 4)]), channels=1), grids, None)


@pytest.fixture
def pyramid(tmp_path) -> Written:
    grids = torch.arange(50).view(10, 5) % 8
    tokenizer = ImageTokenizer(14, 8, 0, Pyramid(VQ(8, 4), (1, 2), 2), channels=1)
    return write(tmp_path, tokenizer, grids, torch.arange(10) % 3)


def test_a_prior_as_it_was_asked_for(run, asked, pyramid):
    sizes = ["--width", 8, "--depth", 1, "--heads", 2, "--seed", 5, "--classes"]
    plain = [*RUN, "--tokens", pyramid.tokens, *sizes]
    assert run("train", "prior", *plain, "--no-positions", "--no-shift", "--resume")[0] == 0
    name, model, train, held_out, decoder, weights, out, settings, resume = asked.arguments
    assert (name, decoder, weights, out, resume) == ("x", None, None, Path("run"), True)
    assert settings == Settings(1000, 8, 2e-3, seed=5)
    assert torch.equal(train.grids[torch.arange(9)], pyramid.grids[:9])
    assert torch.equal(held_out.grids, pyramid.grids[9:])
    torch.manual_seed(5)
    assert same(model, Prior(8, 5, 8, 1, 2, False, False, classes=3))
    assert run("train", "prior", *plain, "--tokenizer", pyramid.weights, "--order", "scales")[0] == 0
    _, model, _, _, decoder, weights, *_ = asked.arguments
    assert weights == pyramid.weights
    assert decoder.quantizer.sides == (1, 2)
    torch.manual_seed(5)
    assert same(model, Prior(8, 5, 8, 1, 2, classes=3, scales=(1, 2)))


@pytest.mark.parametrize(
    ("order", "length", "options"),
    [("raster", 18, {}), ("places", 18, {"codebooks": 2}), ("random", 18, {"any_order": True})],
)
def test_the_orders_in_which_a_prior_can_learn(run, asked, pairs, order, length, options):
    sizes = ["--width", 8, "--depth", 1, "--heads", 1, "--order", order]
    assert run("train", "prior", *RUN, "--tokens", pairs.tokens, *sizes)[0] == 0
    torch.manual_seed(0)
    assert same(asked.arguments[1], Prior(8, length, 8, 1, 1, **options))


def test_options_of_a_prior_that_do_not_fit_its_tokens(run, asked, pairs):
    learn = ["train", "prior", *RUN, "--tokens", pairs.tokens]
    assert "The order scales needs the tokens of a pyramid" in run(*learn, "--order", "scales")[2]
    named = ["--tokenizer", pairs.weights, "--order", "scales"]
    assert "The order scales needs the tokens of a pyramid" in run(*learn, *named)[2]
    assert "have no labels" in run(*learn, "--classes")[2]
    assert "these have one" in run("train", "prior", *RUN, "--order", "places")[2]
    assert asked.arguments is None

"""The shipped models of digits do what the book says of them: a loose bound on each figure, on few digits."""

from typing import NamedTuple

import pytest
import torch

import arlib
from arlib import data, metrics, orders, sampling


class Figures(NamedTuple):
    """Measured on the test set, with some room: the error of pictures, bits a digit with its label, and a file's bytes.

    `right` is the share of samples at temperature 1 in which the judge sees the class that was asked for.
    """

    error: float
    bits: float
    size: float
    right: float


PRIORS = {
    "digits-7x7": Figures(0.0025, 195, 42, 0.88),
    "digits-4x4": Figures(0.0060, 78, 27, 0.90),
    "digits-4x4x2": Figures(0.0035, 152, 37, 0.88),
    "digits-2x2x2": Figures(0.0120, 42, 23, 0.90),
    "digits-scales": Figures(0.0105, 83, 28, 0.86),
    "digits-scales-raster": Figures(0.0105, 66, 26, 0.88),
}


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Digits of the test set and their labels."""
    return data.load("digits", "test")[:200], data.labels("digits", "test")[:200]


@pytest.fixture(scope="module")
def judge() -> arlib.Judge:
    return arlib.load_judge("digits")


def test_every_shipped_prior_of_digits_is_here():
    paths = (data.root() / "weights").glob("prior-digits-*.safetensors")
    assert {path.stem.removeprefix("prior-") for path in paths} == set(PRIORS)


def test_the_judge_sees_digits(judge, digits):
    assert (judge.classify(digits[0]) == digits[1]).double().mean() >= 0.99


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_knows_its_tokens_and_its_labels(name, digits):
    prior, tokenizer, _ = arlib.load_pipeline(name)
    images, labels = digits[0][:100], digits[1][:100]
    grids = tokenizer.encode(images)
    assert metrics.mse(images, tokenizer.decode(grids)).mean() <= PRIORS[name].error
    tokens = orders.raster(grids)
    right, none, wrong = (
        metrics.bits(prior, tokens, 100, label=each).sum(1).mean()
        for each in (labels, torch.full_like(labels, -1), (labels + 1) % 10)
    )
    assert 0.8 * PRIORS[name].bits < right < PRIORS[name].bits
    # A label saves its log2 10 bits and more: training left out only one in ten. A wrong one costs more than none.
    assert 3 < none - right < 12
    assert wrong - none > 8


def test_the_label_with_the_fewest_bits_is_the_digit(digits):
    """Bayes' rule makes a classifier of a prior with classes."""
    prior, tokenizer, _ = arlib.load_pipeline("digits-4x4")
    tokens = orders.raster(tokenizer.encode(digits[0]))
    each = [metrics.bits(prior, tokens, 100, label=torch.full((200,), label)).sum(1) for label in range(10)]
    assert (torch.stack(each).argmin(0) == digits[1]).double().mean() >= 0.96


@pytest.mark.parametrize("name", PRIORS)
def test_samples_show_the_digit_that_was_asked_for(name, judge):
    prior, tokenizer, grid = arlib.load_pipeline(name)
    labels = torch.arange(200) % 10
    tokens = sampling.generate(prior, 200, seed=0, label=labels, batch_size=200)
    assert metrics.distinct(tokens) >= 190
    seen = judge.classify(tokenizer.decode(orders.unraster(tokens, *grid)))
    assert (seen == labels).double().mean() >= PRIORS[name].right


@pytest.mark.parametrize("name", PRIORS)
def test_a_digit_is_a_small_file_and_the_file_the_digit(name, digits):
    codec = arlib.load_codec(name)
    images, labels = digits[0][:16], digits[1][:16]
    files = codec.compress_batch(images, labels)
    assert sum(map(len, files)) / len(files) <= PRIORS[name].size
    decoded = [each for each in codec.decompress_tokens_batch(files) if isinstance(each, torch.Tensor)]
    assert torch.equal(torch.stack(decoded), codec.tokenizer.encode(images))
    assert torch.equal(arlib.decompress(files[0]), codec.tokenizer.reconstruct(images[:1])[0])


def test_coarse_to_fine_takes_three_passes_and_each_picture_is_nearer(digits):
    codec = arlib.load_codec("digits-scales")
    assert (codec.passes, arlib.load_codec("digits-scales-raster").passes) == (3, 21)
    image = digits[0][:1]
    pictures = torch.stack(list(codec.progressive(codec.compress(image[0], int(digits[1][0])))))
    assert len(pictures) == 3
    errors = metrics.mse(pictures, image.expand_as(pictures))
    assert errors[0] > errors[1] > errors[2]
    assert torch.equal(pictures[2], codec.tokenizer.reconstruct(image)[0])

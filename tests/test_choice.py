"""Choosing tokens: slopes and costs against brute force, budgets kept, pictures that are better and no larger."""

import math

import pytest
import torch

import arlib
from arlib import choice, data, metrics, orders
from arlib.quantizers import BSQ, VQ, Product
from arlib.tokenizer import ImageTokenizer, to_float
from arlib.transformer import Prior

PARTS = [2, 2]


def models(codebooks: int = 2) -> tuple[Prior, ImageTokenizer]:
    torch.manual_seed(0)
    quantizer: Product | BSQ = Product([BSQ(2), BSQ(2)]) if codebooks == 2 else BSQ(4)
    tokenizer = ImageTokenizer(5, 16, 1, quantizer, refine=1, qualities=2)
    prior = Prior(quantizer.codebook_size, 12 * codebooks, 16, 1, 2, classes=2, codebooks=codebooks)
    for parameter in [*prior.parameters(), *tokenizer.decoder.parameters()]:
        torch.nn.init.normal_(parameter, std=0.3)
    return prior, tokenizer


def quantizer_of(tokenizer: ImageTokenizer) -> Product:
    assert isinstance(tokenizer.quantizer, Product)
    return tokenizer.quantizer


def pictures(count: int = 2) -> torch.Tensor:
    return torch.randint(256, (count, 15, 20, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_the_slope_of_the_error_is_what_small_steps_measure():
    _, tokenizer = models()
    pixels = to_float(pictures(1))
    signs = torch.where(torch.rand(1, 3, 4, 4) < 0.5, -1.0, 1.0)
    error, slope = choice.error_slope(tokenizer, pixels, signs)
    for place in [(0, 0, 0, 0), (0, 1, 2, 3), (0, 2, 3, 1)]:
        step = torch.zeros_like(signs)
        step[place] = 5e-2
        above, below = (choice.error_slope(tokenizer, pixels, signs + way * step)[0] for way in (1, -1))
        assert ((above - below) / 1e-1).item() == pytest.approx(slope[place].item(), rel=0.02, abs=3e-5)
    painted = tokenizer.paint(quantizer_of(tokenizer).decode(quantizer_of(tokenizer).encode(signs)))
    torch.testing.assert_close(error, (painted - pixels).square().mean((1, 2, 3)))


@pytest.mark.parametrize("codebooks", [1, 2])
def test_what_a_flip_costs_is_what_the_prior_says_of_the_flipped_sequence(codebooks):
    prior, tokenizer = models(codebooks)
    labels = torch.tensor([1, -1])
    tokens = tokenizer.encode(pictures(), 1)
    bits, dearer = choice.flip_costs(prior, tokens, labels, choice.sign_parts(tokenizer))
    sequences = orders.raster(tokens)
    torch.testing.assert_close(bits, metrics.bits(prior, sequences, label=labels).sum(1))
    assert dearer.shape == (2, 3, 4, 4)
    for picture in range(2):
        for number in range(sequences.shape[1]):
            place, book = divmod(number, codebooks)
            for bit in range(4 // codebooks):
                flipped = sequences.clone()
                flipped[picture, number] ^= 1 << bit
                one, other = (metrics.bits(prior, each, label=labels)[picture, number] for each in (sequences, flipped))
                cost = dearer[picture].flatten(0, 1)[place, book * 2 + bit]
                assert (other - one).item() == pytest.approx(cost.item(), abs=1e-4)


@pytest.mark.parametrize("rounds", [12, 32])
def test_a_budget_is_kept_where_it_can_be_and_no_picture_gets_worse(rounds):
    prior, tokenizer = models()
    images, labels = pictures(), torch.tensor([1, 1])
    latent = tokenizer.latents(images, 1)
    start = choice.flip_costs(prior, tokenizer.encode(images, 1), labels, PARTS)[0]

    def error_of(tokens: torch.Tensor) -> torch.Tensor:  # not of `decode`'s pictures: random nets leave its range
        with torch.no_grad():
            painted = tokenizer.paint(tokenizer.quantizer.decode(tokens))  # type: ignore[union-attr]
        return (painted - to_float(images)).square().mean((1, 2, 3))

    plain = error_of(tokenizer.encode(images, 1))

    def chosen(share: float) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = choice.choose(prior, tokenizer, images, latent, labels, share * start, torch.full((2,), 5e-4), rounds)
        return choice.flip_costs(prior, tokens, labels, PARTS)[0], error_of(tokens)

    for share in (1.001, 1.2, 1.5):
        bits, error = chosen(share)
        assert (bits <= share * start + 1e-3).all()
        assert (error <= plain * (1 + 1e-6)).all()
    assert (error < plain).all()
    impossible, _ = chosen(1e-3)
    assert (impossible < start).all()


def test_neighbors_take_turns_and_all_get_one():
    first, second = (choice.turn(number, torch.Size((3, 4, 5, 6))) for number in (6, 7))
    assert torch.equal(first + second, torch.ones(4, 5, 6))
    for axis in range(3):
        one, next_ = first.narrow(axis, 0, first.shape[axis] - 1), first.narrow(axis, 1, first.shape[axis] - 1)
        assert torch.equal(one + next_, torch.ones_like(one))


def test_shipped_tokens_are_chosen_better_at_the_same_size():
    """`book` on frames that no model has met: fewer errors in no more bits, and a prior that took no part agrees."""
    prior, tokenizer, other = arlib.load_prior("small"), arlib.load_tokenizer("book"), arlib.load_prior("book")
    frames = data.load("supertuxkart", "unseen")[[0, 128]]
    plain = tokenizer.encode(frames)
    budget = metrics.bits(prior, orders.raster(plain)).sum(1)
    tokens = choice.choose(prior, tokenizer, frames, tokenizer.latents(frames), None, budget, torch.full((2,), 5e-4))
    before, after = (metrics.mse(frames, tokenizer.decode(each)) for each in (plain, tokens))
    assert after.sum() < 0.97 * before.sum()
    assert (metrics.bits(prior, orders.raster(tokens)).sum(1) <= budget).all()
    grown = metrics.bits(other, orders.raster(tokens)).sum() / metrics.bits(other, orders.raster(plain)).sum()
    assert grown < 1.1


def test_codes_that_are_no_signs_are_refused():
    with pytest.raises(ValueError, match="signs"):
        choice.sign_parts(ImageTokenizer(5, 16, 1, VQ(8, 4)))


def test_an_error_of_nothing_ends_the_search_quietly():
    """Where all slopes are 0 nothing moves, and no number becomes NaN."""
    prior, tokenizer = models()
    for parameter in [*prior.parameters(), *tokenizer.decoder.parameters()]:
        torch.nn.init.zeros_(parameter)
    images = pictures()
    latent, budget = tokenizer.latents(images, 1), torch.full((2,), math.inf)
    tokens = choice.choose(prior, tokenizer, images, latent, None, budget, torch.full((2,), 5e-4))
    assert torch.equal(tokens, tokenizer.encode(images, 1))

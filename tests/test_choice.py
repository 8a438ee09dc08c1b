"""Choosing tokens: slopes and costs against brute force, budgets kept, pictures that are better and no larger."""

import itertools
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


def searched(
    prior: Prior,
    tokenizer: ImageTokenizer,
    image: torch.Tensor,
    latent: torch.Tensor,
    label: int,
    budget: float,
    price: float,
    rounds: int,
) -> torch.Tensor:
    """The search for one picture, sign by sign and in numbers: all rounds first, then the best of them."""
    height, width, bits = latent.shape
    near = [[latent[row, column].tolist() for column in range(width)] for row in range(height)]
    for row, column, first in itertools.product(range(height), range(width), range(0, bits, 2)):
        code = near[row][column][first : first + 2]
        near[row][column][first : first + 2] = [x / math.hypot(*code) * math.sqrt(2) for x in code]
    everywhere = list(itertools.product(range(height), range(width), range(bits)))
    seen = []
    for number in range(rounds):
        signs = torch.tensor(near).sign()[None]
        tokens = quantizer_of(tokenizer).encode(signs)
        error, slope = choice.error_slope(tokenizer, to_float(image[None]), signs)
        (size,), dearer = choice.flip_costs(prior, tokens, torch.tensor([label]), PARTS)
        seen.append((float(size), float(error), tokens[0]))
        price *= math.exp(max(-1, min(1, 2 * (float(size) / budget - 1))))
        pressure = {
            at: float(slope[0][at] - price / (height * width) * dearer[0][at] * signs[0][at] / 2) for at in everywhere
        }
        spread = math.sqrt(sum(x * x for x in pressure.values()) / len(pressure))
        for row, column, bit in everywhere:
            if rounds <= 20 or (row + column + bit + number) % 2 == 0:
                near[row][column][bit] -= 0.1 * (1 - number / rounds) * pressure[row, column, bit] / spread
    fitting = [one for one in seen if one[0] <= budget]
    return (min(fitting, key=lambda one: one[1]) if fitting else min(seen, key=lambda one: one[0]))[2]


@pytest.mark.parametrize(("rounds", "price"), [(12, 5e-4), (12, 0.02), (20, 0.2), (21, 5e-4)])
def test_a_search_is_the_one_written_sign_by_sign(rounds, price):
    prior, tokenizer = models()
    images, labels = pictures().transpose(1, 2), torch.tensor([1, 0])  # of 4×3 patches, of 4 bits each
    latent = tokenizer.latents(images, 1)
    start = choice.flip_costs(prior, tokenizer.encode(images, 1), labels, PARTS)[0]
    for share in (0.3, 0.95, 1.2, 5.0):
        tokens = choice.choose(prior, tokenizer, images, latent, labels, share * start, torch.full((2,), price), rounds)
        for number in range(2):
            budget = share * float(start[number])
            given = (images[number], latent[number], int(labels[number]), budget, price, rounds)
            assert torch.equal(tokens[number], searched(prior, tokenizer, *given)), (share, number)


def test_a_budget_may_be_used_up_and_a_latent_of_0_is_a_sign_as_in_the_encoder():
    prior, tokenizer = models()
    images, free = pictures(), torch.zeros(2)
    latent = tokenizer.latents(images, 1)

    def chosen(budget: torch.Tensor, rounds: int = 12) -> torch.Tensor:
        return choice.choose(prior, tokenizer, images, latent, None, budget, free, rounds)

    best = chosen(torch.full((2,), math.inf))
    bits = choice.flip_costs(prior, best, None, PARTS)[0]
    assert torch.equal(chosen(bits), best)  # where nothing costs anything, a budget changes no round
    latent[:, 1, :, ::3] = 0
    assert torch.equal(chosen(bits, rounds=1), quantizer_of(tokenizer).encode(latent))


@pytest.mark.parametrize("fast", [True, False])
def test_a_search_is_in_bfloat16_where_that_is_fast(fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": fast})
    with choice.quick():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if fast else torch.float32)


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

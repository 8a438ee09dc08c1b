"""Orders: there and back for any of them, and one shuffle that has to be the same for ever."""

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arlib import orders

LENGTHS = st.integers(1, 60)
SEEDS = st.integers(0, 2**40)


def random_tokens(count: int, length: int, seed: int) -> torch.Tensor:
    return torch.randint(1000, (count, length), generator=torch.Generator().manual_seed(seed))


def test_raster_by_hand():
    grid = torch.arange(6).view(1, 2, 3)
    assert orders.raster(grid).tolist() == [[0, 1, 2, 3, 4, 5]]
    books = torch.tensor([[[[0, 10], [1, 11]], [[2, 12], [3, 13]]]])
    assert orders.raster(books).tolist() == [[0, 10, 1, 11, 2, 12, 3, 13]]
    assert torch.equal(orders.raster(torch.arange(5)[None]), torch.arange(5)[None])


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), SEEDS)
def test_unraster_undoes_raster(shape, seed):
    grid = random_tokens(3, torch.Size(shape).numel(), seed % 2**32).unflatten(1, shape)
    assert torch.equal(orders.unraster(orders.raster(grid), *shape), grid)


def test_unraster_takes_sequences_that_fill_the_grid():
    with pytest.raises(ValueError, match="7 tokens do not fill a grid of 2×2×2"):
        orders.unraster(torch.zeros(1, 7, dtype=torch.int64), 2, 2, 2)


def test_arrange_and_restore_by_hand():
    tokens, order = torch.tensor([[10, 11, 12], [20, 21, 22]]), torch.tensor([2, 0, 1])
    assert orders.arrange(tokens, order).tolist() == [[12, 10, 11], [22, 20, 21]]
    assert orders.restore(tokens, order).tolist() == [[11, 12, 10], [21, 22, 20]]
    each = torch.tensor([[2, 0, 1], [0, 2, 1]])
    assert orders.arrange(tokens, each).tolist() == [[12, 10, 11], [20, 22, 21]]


@given(LENGTHS, SEEDS, st.booleans())
def test_restore_undoes_arrange_and_the_other_way_round(length, seed, shared):
    generator = torch.Generator().manual_seed(seed)
    tokens, order = random_tokens(4, length, seed), orders.random(4, length, generator)
    order = order[0] if shared else order
    arranged = orders.arrange(tokens, order)
    assert torch.equal(orders.restore(arranged, order), tokens)
    assert torch.equal(orders.arrange(orders.restore(tokens, order), order), tokens)
    # Token t of what is read is the one that sits at place order[t].
    places = order.expand(4, -1)
    for row, time in ((0, 0), (3, length - 1)):
        assert arranged[row, time] == tokens[row, places[row, time]]
    # The inverse order goes back too.
    assert torch.equal(orders.arrange(arranged, places.argsort(1)), tokens)


def test_known_places_come_first_by_hand():
    known, order = torch.tensor([[-1, 5, -1, 0], [7, -1, -1, -1]]), torch.tensor([[2, 3, 0, 1], [1, 2, 3, 0]])
    assert orders.known_first(known, order).tolist() == [[3, 1, 2, 0], [0, 1, 2, 3]]


@given(st.integers(1, 200), SEEDS)
def test_known_places_come_first_and_both_kinds_keep_their_order(length, seed):
    generator = torch.Generator().manual_seed(seed)
    order = orders.random(3, length, generator)
    known = torch.where(torch.rand(3, length, generator=generator) < 0.5, -1, random_tokens(3, length, seed))
    expected = [
        sorted(row, key=lambda place: some[place] < 0) for row, some in zip(order.tolist(), known.tolist(), strict=True)
    ]
    assert orders.known_first(known, order).tolist() == expected


def test_a_cast_of_tokens_survives():
    tokens = torch.arange(6, dtype=torch.int16).view(2, 3)
    assert orders.restore(tokens, torch.tensor([2, 0, 1])).dtype == torch.int16


@given(LENGTHS, st.integers(0, 2**31))
def test_random_orders_are_permutations_and_a_seed_gives_them_again(length, seed):
    first, again = (orders.random(5, length, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.dtype == torch.int64
    assert torch.equal(first.sort(1).values, torch.arange(length).expand(5, -1))


def test_random_orders_are_uniform():
    drawn = orders.random(6000, 3, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn[:, 0] * 9 + drawn[:, 1] * 3 + drawn[:, 2], minlength=27)
    assert (counts > 0).sum() == 6
    assert (counts[counts > 0] - 1000).abs().max() < 120  # four standard deviations


def test_a_shuffle_worked_out_by_hand():
    """The generator's first numbers from 0 are printed in Numerical Recipes: 3C6EF35F, 47502932, D1CCF6E9, …

    0x3C6E · 4 >> 16 = 0: places 3 and 0 change, 3 1 2 0. 0x4750 · 3 >> 16 = 0: places 2 and 0 change, 2 1 3 0.
    0xD1CC · 2 >> 16 = 1: place 1 changes with itself.
    """
    assert orders.shuffled(4, 0).tolist() == [2, 1, 3, 0]
    # The generator goes through those numbers in turn, so its first number, as a seed, gives the second at once:
    # 0x4750 · 3 >> 16 = 0: 2 1 0. 0xD1CC · 2 >> 16 = 1: as it is.
    assert orders.shuffled(3, 0x3C6EF35F).tolist() == [2, 1, 0]
    assert orders.shuffled(1, 5).tolist() == [0]


def test_a_shuffle_is_promised():
    """Files were written in these orders. If one changes, they cannot be read any more."""

    def digest(length: int, seed: int) -> str:
        order = orders.shuffled(length, seed)
        return hashlib.sha256(",".join(map(str, order.tolist())).encode()).hexdigest()[:16]

    assert digest(64, 7) == "0611db4b318b7aef"
    assert digest(600, 7) == "c0a47adf3b419d22"
    assert digest(4096, 123456789) == "ab164b13ed96a7eb"


@given(LENGTHS, SEEDS)
def test_a_shuffle_is_a_permutation(length, seed):
    order = orders.shuffled(length, seed)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(length))
    assert torch.equal(order, orders.shuffled(length, seed + 2**32))  # the state has 32 bits


def test_shuffles_of_many_seeds_are_spread():
    first = torch.stack([orders.shuffled(8, seed * 2_654_435_761) for seed in range(4000)])
    for place in range(8):
        assert (torch.bincount(first[:, place], minlength=8) - 500).abs().max() < 120


@pytest.mark.parametrize("length", [0, -1, 65_537])
def test_lengths_without_a_shuffle(length):
    with pytest.raises(ValueError, match="1 to 65,536 places"):
        orders.shuffled(length, 0)


def test_the_longest_shuffle():
    order = orders.shuffled(1 << 16, 1)
    assert torch.equal(order.sort().values, torch.arange(1 << 16))

"""Orders: from a grid of tokens to the sequence that a prior speaks, and back.

An order of T tokens is a permutation `(T,) int64`: entry t is the *place* of the token that is read at time t, its
number in the raster order of the grid.
"""

import torch


def raster(grid: torch.Tensor) -> torch.Tensor:
    """`(B, h, w)` to `(B, h * w)`: row by row from the top, each from the left, as one reads.

    `(B, h, w, c)` to `(B, h * w * c)`: the codes of a place next to each other. Sequences stay as they are.
    """
    return grid.flatten(1)


def unraster(tokens: torch.Tensor, *shape: int) -> torch.Tensor:
    """`(B, T)` to `(B, *shape)`: the inverse of `raster`. Raises `ValueError` for sequences of another length."""
    if tokens.shape[1] != torch.Size(shape).numel():
        raise ValueError(f"{tokens.shape[1]} tokens do not fill a grid of {'×'.join(map(str, shape))}.")
    return tokens.unflatten(1, shape)


def arrange(tokens: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Tokens by place `(B, T)` to reading order: token t is that of place order[t]; `order` is (T,) or (B, T)."""
    return tokens.gather(1, order.expand_as(tokens))


def restore(tokens: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Tokens in reading order `(B, T)` to tokens by place: the inverse of `arrange`."""
    return torch.empty_like(tokens).scatter(1, order.expand_as(tokens), tokens)


def known_first(known: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The order `(B, T)` with those places first whose token is known: `known (B, T)` by place, -1 where it is not."""
    missing = known.gather(1, order) < 0
    return order.gather(1, missing.long().argsort(dim=1, stable=True))


def random(count: int, length: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """`count` orders of their own, `(count, length) int64`, for training and sampling."""
    return torch.rand(count, length, generator=generator, dtype=torch.float32).argsort(dim=1)


def shuffled(length: int, seed: int) -> torch.Tensor:
    """One order `(length,) int64` that is the same on every machine and in every version of every library.

    A shuffle by Fisher and Yates, driven by the 32-bit generator x ← 1664525 x + 1013904223 (Knuth; Press et al.
    "Numerical Recipes", 2nd edition, section 7.1), of which the upper 16 bits are used. A file that is decoded in a
    random order needs such a one. Raises `ValueError` for more than 65,536 places.
    """
    if not 1 <= length <= 1 << 16:
        raise ValueError(f"An order has 1 to 65,536 places, not {length}.")
    order, state = list(range(length)), seed % (1 << 32)
    for last in range(length - 1, 0, -1):
        state = (1664525 * state + 1013904223) % (1 << 32)
        other = (state >> 16) * (last + 1) >> 16
        order[last], order[other] = order[other], order[last]
    return torch.tensor(order)

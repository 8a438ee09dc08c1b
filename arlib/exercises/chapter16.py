"""Checkers of chapter 16, "Sharper pictures, fewer bytes, and what comes next"."""

import math
from collections.abc import Callable
from typing import Any

import torch

from arlib import data
from arlib.exercises import Wrong, call, checker, number, tensor
from arlib.realism import noisy, unsharp

PERIODS = range(3, 11)  # of the grids that exercise 4 hides
CAUSES = ("nothing", "own counts", "nats", "skips")  # what may be wrong with a rate in exercise 5


@checker
def allocate(answer: Callable) -> str:
    """Exercise 1: one price for all frames, so that their bytes fit a budget."""
    # Many frames first: with few of them, one mistake can happen to look like another.
    for frames, share in ((40, 0.6), (6, 0.4), (1, 0.5), (5, 2.0), (60, 0.2)):
        sizes, errors = _dials(frames)
        least, most = sizes.min(1).values.sum().item(), sizes.max(1).values.sum().item()
        budget = round(least + share * (most - least))
        given = tensor(call(answer, sizes, errors, budget), (frames,))
        if given.dtype.is_floating_point or given.dtype == torch.bool:
            raise Wrong(f"a setting is asked for each frame, int64, and these are {given.dtype}.")
        if not ((given >= 0) & (given < sizes.shape[1])).all():
            raise Wrong(f"each frame has the settings 0 to {sizes.shape[1] - 1}, and yours go from {int(given.min())} "
                        f"to {int(given.max())}.")  # fmt: skip
        right = _one_price(sizes, errors, budget)
        bytes_, error = (_total(table, given) for table in (sizes, errors))
        best = _total(errors, right)
        spent = f"for {frames} frame{'s' * (frames > 1)} and {budget} bytes you spend {bytes_:.0f}"
        told = f"{spent} bytes and are left with an error of"
        if bytes_ > budget:
            raise Wrong(f"{spent}: that is too much.")
        if error <= best * (1 + 1e-9):
            continue
        if torch.equal(given, sizes.argmin(1)):
            raise Wrong(f"{told} {error:.4f}: that is the smallest setting of every frame, and there are bytes left.")
        if frames > 1 and (given == given[0]).all():
            raise Wrong(
                f"{told} {error:.4f}, where {best:.4f} is possible. All frames have the same setting: what "
                "they should have in common is the price of a byte."
            )
        if frames > 1 and (sizes.gather(1, given[:, None])[:, 0] <= budget / frames).all():
            raise Wrong(
                f"{told} {error:.4f}, where {best:.4f} is possible. Every frame keeps to its own {budget / frames:.0f} "
                "bytes: let the easy ones spend less, so that the hard ones can spend more."
            )
        price = _slope(sizes, errors, given)
        hint = " Is your price the smallest that fits? Search on between the last two." if price else ""
        raise Wrong(f"{told} {error:.4f}, where one price for all gives {best:.4f}.{hint}")
    return "the same price everywhere: a byte buys as much in one frame as in the next."


@checker
def cheapest(answer: Callable) -> str:
    """Exercise 2: the best sequence, where each token's bits depend on the one before it."""
    told, suspects = "", None
    for length, codes, price in ((2, 3, 1.0), *[(6, 5, 0.3), (6, 5, 1.0), (6, 5, 2.0)] * 4, (6, 4, 0.0), (1, 4, 1.0)):
        distance = torch.rand(length, codes, dtype=torch.float64)
        first = -2 * torch.rand(codes, dtype=torch.float64).log2()  # so that it matters
        then = -torch.rand(codes, codes, dtype=torch.float64).log2()
        given = tensor(call(answer, distance, first, then, price), (length,))
        if given.dtype.is_floating_point or not ((given >= 0) & (given < codes)).all():
            raise Wrong(f"tokens from 0 to {codes - 1} are asked for, not {given.tolist()}.")
        every, tokens = torch.cartesian_prod(*[torch.arange(codes)] * length).view(-1, length), given.long()
        sums = _costs(every, distance, first, then, price)
        right, cost = every[sums.argmin()], _costs(tokens[None], distance, first, then, price).item()
        # What a mistake takes for the cost. Sequences with the same pairs may tie, so costs are compared, not tokens.
        mistakes = {
            "these are the nearest codes: their bits count too.": (distance, 0 * first, 0 * then, 0.0),
            "`then[a, b]` has the bits of b after a; you read it the other way round.": (
                distance,
                first,
                then.T,
                price,
            ),
            "the first token costs `first` bits, and you count none.": (distance, 0 * first, then, price),
            "you do not weigh the bits by the price.": (distance, first, then, 1.0),
            "you minimize the bits alone: the distance counts too.": (0 * distance, first, then, 1.0),
            "that is the worst sequence, not the best.": (-distance, -first, -then, price),
        }
        fitting = [
            reason
            for reason, terms in mistakes.items()
            if _costs(tokens[None], *terms) <= _costs(every, *terms).min() + 1e-9
        ]
        if torch.equal(tokens, _greedy(distance, first, then, price)):
            fitting.append("that is greedy: each token is the best for the moment, and the next one has to pay.")
        if torch.equal(tokens, right.flip(0)):
            fitting.append("your tokens come in reverse.")
        # In a small case two mistakes may look alike: only one that explains every case is named.
        suspects = fitting if suspects is None else [reason for reason in suspects if reason in fitting]
        if cost > sums.min() + 1e-9 and not told:
            told = (
                f"for {length} tokens of {codes} codes at the price {price} you choose {tokens.tolist()}, which costs "
                f"{cost:.4f}; {right.tolist()} costs {sums.min():.4f}."
            )
    if told:
        raise Wrong(suspects[0] if suspects else told)
    return "the best way to each code of a place, from the best ways to the codes before: no sequence is cheaper."


@checker
def share(answer: Any) -> str:
    """Exercise 3: how far to go between two decoders, 1.2 dB apart, so that half a dB is lost."""
    given = number(answer)
    right = math.sqrt((10**0.05 - 1) / (10**0.12 - 1))
    mistakes = {
        0.5 / 1.2: "that takes decibels for a straight line; the error grows with the square of the share.",
        math.sqrt(0.5 / 1.2): "decibels are logarithms: work with the errors themselves, 10^(dB / 10).",
        right**2: "that is the square of the share: take its root.",
        math.sqrt(
            10**0.05 - 1
        ): "that is for a sharp decoder of perfect realism, 3.01 dB below; this one is 1.2 dB below.",
        1 - right: "that is the share of the plain picture; asked for is that of the sharp one.",
        math.sqrt((10**0.025 - 1) / (10**0.06 - 1)): "a dB is a tenth of a power of ten of the *squared* error: "
        "10^(dB / 10), not 10^(dB / 20).",
        100 * right: "that is in percent; asked for is a number between 0 and 1.",
    }
    for mistake, reason in mistakes.items():
        if math.isclose(given, mistake, rel_tol=0.004):
            raise Wrong(reason)
    if 0.001 <= abs(given - right) < 0.0101:
        raise Wrong("nearly: give three decimals.")
    if abs(given - right) >= 0.001:
        raise Wrong("that is not it. The error is D · (1 + s² · c) at the share s; which c makes it 1.2 dB at s = 1?")
    return f"s = {right:.3f}. More than half of the detail for less than half of the price."


@checker
def grid(answer: Callable) -> str:
    """Exercise 4: does a decoder paint a grid, and of what period?"""
    frames = _frames()
    cases = [
        (frames, 0, "these are originals"),
        (noisy(frames, 6.0, int(torch.randint(1000, ()))), 0, "these are noisy, and noise has no period"),
        (unsharp(frames, 1.2), 0, "these are sharpened with an unsharp mask, and have no grid"),
    ]
    periods = [PERIODS[at] for at in torch.randperm(len(PERIODS)).tolist()[:5]]
    for period, axes in zip(periods, ((1, 2), (2,), (1,), (1, 2), (2,)), strict=True):
        where = {(1, 2): "across and down", (2,): "across", (1,): "down"}[axes]
        cases.append((_painted(frames, period, axes), period, f"a pattern of {period} pixels was added, {where}"))
    for pictures, right, why in [cases[at] for at in torch.randperm(len(cases)).tolist()]:
        given = number(call(answer, pictures))
        if given == right:
            continue
        if right and given and given % right == 0:
            why += f"; it repeats after {given:.0f} as well, but the smallest period is asked for"
        elif right and given == 0:
            why += ". Average over the pictures and along the lines first: what the scene adds goes away, a grid stays"
        elif not right and given:
            why += ". Compare what you find with what chance would give"
        raise Wrong(f"you say {given:g}, and it is {right}: {why}.")
    return "grids of any period are found, across or down, and noise and sharpness are not taken for one."


@checker
def what_is_wrong(answer: Callable) -> str:
    """Exercise 5: a rate that is too good to be true."""
    for cause in [CAUSES[at] for at in torch.randint(len(CAUSES), (8,)).tolist()] + list(CAUSES):
        estimate = _estimate(cause)
        given = call(answer, estimate)
        if given not in CAUSES:
            raise Wrong(f"the answer is one of {', '.join(map(repr, CAUSES))}, not {given!r}.")
        if given != cause:
            raise Wrong(f"you say {given!r}, and it is {cause!r}: {WHY[cause]}.")
    return "the counts of another split, all codes, and the logarithm to the base 2."


WHY = {
    "nothing": "that rate is what a coder would need that knows the counts of the training tokens",
    "own counts": "its rate does not change with the training tokens; it uses the counts of the tokens that it codes, "
    "which no decoder knows",
    "nats": "a uniform choice among 8 codes has to cost 3 bits, and costs 2.079 here",
    "skips": "codes that training never showed cost nothing, though they are the dearest of all",
}


def _dials(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sizes and errors `(N, 6) float64` like those of a codec with a dial: convex, in an order of their own."""
    hard = torch.rand(frames, 1, dtype=torch.float64) * 3 + 0.3
    sizes = (torch.rand(frames, 6, dtype=torch.float64) * 180 + 60).cumsum(1).round()
    errors = hard * 2 ** (-sizes / (150 + 250 * torch.rand(frames, 1, dtype=torch.float64)))
    return sizes, errors


def _one_price(sizes: torch.Tensor, errors: torch.Tensor, budget: float) -> torch.Tensor:
    """The choice at the smallest price of a byte that fits the budget, by bisection."""
    if _total(sizes, errors.argmin(1)) <= budget:
        return errors.argmin(1)
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        fits = _total(sizes, (errors + middle * sizes).argmin(1)) <= budget
        low, high = (low, middle) if fits else (middle, high)
    return (errors + high * sizes).argmin(1)


def _total(table: torch.Tensor, chosen: torch.Tensor) -> float:
    return table.gather(1, chosen.long()[:, None]).sum().item()


def _slope(sizes: torch.Tensor, errors: torch.Tensor, chosen: torch.Tensor) -> bool:
    """Whether some price for all gives this choice."""
    chosen = chosen.long()[:, None]
    # At a price, a setting beats a larger one if it is dear enough, and a smaller one if it is cheap enough.
    more, gain = sizes - sizes.gather(1, chosen), errors.gather(1, chosen) - errors
    least = (gain / more).masked_fill(more <= 0, 0).max()
    most = (gain / more).masked_fill(more >= 0, math.inf).min()
    return bool(least <= most)


def _costs(
    tokens: torch.Tensor, distance: torch.Tensor, first: torch.Tensor, then: torch.Tensor, price: float
) -> torch.Tensor:
    """What sequences `(N, T)` cost, `(N,)`."""
    bits = first[tokens[:, 0]] + then[tokens[:, :-1], tokens[:, 1:]].sum(1)
    return distance[torch.arange(len(distance)), tokens].sum(1) + price * bits


def _greedy(distance: torch.Tensor, first: torch.Tensor, then: torch.Tensor, price: float) -> torch.Tensor:
    tokens = [(distance[0] + price * first).argmin()]
    for row in distance[1:]:
        tokens.append((row + price * then[tokens[-1]]).argmin())
    return torch.stack(tokens)


def _frames() -> torch.Tensor:
    """Sixteen frames of valid, others each time."""
    names = data.files("supertuxkart", "valid")
    return torch.stack([data.read_image(names[at]) for at in torch.randperm(len(names))[:16].tolist()])


def _painted(frames: torch.Tensor, period: int, axes: tuple[int, ...]) -> torch.Tensor:
    """The frames with a faint pattern of `period` pixels that begins anywhere, along the columns (1), rows (2) or both.

    One line in each period is darker and the rest a little lighter, so that no shorter period is in it.
    """
    pattern = torch.zeros(frames.shape[1:3])
    for axis in axes:
        line = torch.full((period,), 5.0 / (period - 1))
        line[torch.randint(period, ())] = -5.0
        length = frames.shape[axis]
        along = line.repeat(length // period + 1)[:length]
        pattern += along[:, None] if axis == 1 else along
    return (frames + pattern[..., None]).round().clamp(0, 255).to(torch.uint8)


def _estimate(cause: str) -> Callable:
    """`estimate(train, tokens, size)`: bits a token, right or with one mistake."""

    def estimate(train: torch.Tensor, tokens: torch.Tensor, size: int) -> float:
        counted = tokens if cause == "own counts" else train
        count = torch.bincount(counted.flatten(), minlength=size).double()
        shares = (count + 0.5) / (count + 0.5).sum()
        bits = -shares[tokens].log2()
        if cause == "nats":
            bits = bits * math.log(2)
        if cause == "skips":
            bits = torch.where(count[tokens] > 0, bits, 0.0)
        return bits.mean().item()

    return estimate

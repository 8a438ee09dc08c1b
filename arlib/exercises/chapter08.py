"""Checkers of chapter 8, "Sampling"."""

import math
from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import torch

from arlib.exercises import Wrong, call, checker, diagnosis, number, tensor


@checker
def temperature_for(answer: Callable) -> str:
    """Exercise 1: the temperature at which a distribution has a given entropy in bits."""
    # The first has an entropy so low that, taken for nats, it is that of another temperature in the range.
    for size, spread, wanted in [(1024, 3.0, 0.7), (1024, 3.0, 1.2), (300, 2.0, 2.5), (50, 4.0, 0.4), (2, 1.0, 3.0)]:
        logits = spread * torch.randn(size).double()
        logits[0] = logits[1:].max() + 0.5  # one that is the likeliest by far enough
        wanted *= 1 + 0.1 * torch.rand(1).item()
        bits = _entropy_at(logits, wanted)
        given = number(call(answer, logits, bits))
        case = f"for {size} codes and {bits:.3f} bits"
        if given <= 0:
            raise Wrong(f"{case} you return {given}, which is no temperature.")
        if abs(_entropy_at(logits, given) - bits) < 1e-3:
            continue
        if abs(_entropy_at(logits, 1 / given) - bits) < 1e-3:
            raise Wrong("that is 1 / temperature: it is what the logits are multiplied by, not what divides them.")
        if abs(_entropy_at(logits, given) * math.log(2) - bits) < 1e-3:
            raise Wrong("at your temperature the entropy is that many nats; take the logarithm to the base 2.")
        if abs(given - bits) < 1e-6:
            raise Wrong("you return the bits themselves; the temperature at which the entropy is that is asked for.")
        if given < 0.051 or given > 19.5:
            raise Wrong(
                f"{case} you end at an edge of the range, at {given:.4f}. Which half do you keep? The entropy rises "
                "with the temperature if the logits are divided by it."
            )
        found = _entropy_at(logits, given)
        if abs(found - bits) < 0.05:
            raise Wrong(
                f"{case} your temperature is right to {abs(found - bits):.4f} bits; a thousandth is asked for. "
                "Do you halve often enough?"
            )
        raise Wrong(f"{case} the entropy at your temperature, {given:.4f}, is {found:.3f} bits.")
    return "the entropy at that temperature is what was asked for."


@checker
def typical(answer: Callable) -> str:
    """Exercise 2: locally typical sampling."""
    for size, spread, p in [(1024, 2.5, 0.3), (200, 2.0, 0.9), (1024, 1.5, 0.95), (40, 2.0, 0.02), (12, 1.0, 0.5)]:
        shares = _telling(size, spread, p)
        given = tensor(call(answer, shares, p), (size,), torch.float64)
        case = f"for {size} codes and p = {p}"
        if given.isnan().any():
            raise Wrong(f"{case} some of what you return is NaN. Was everything dropped?")
        if (given < 0).any():
            raise Wrong(f"{case} a probability is below 0.")
        right = _typical(shares, p)
        if torch.equal(given > 0, right > 0) and not torch.allclose(given, right, atol=1e-9):
            if torch.allclose(given / given.sum(), right, atol=1e-9):
                total = given.sum().item()
                raise Wrong(f"{case} the right codes are kept, and their probabilities sum to {total:.3f}, not to 1.")
            raise Wrong(f"{case} the right codes are kept, but not in the proportions they had.")
        if torch.allclose(given, right, atol=1e-9):
            continue
        raise Wrong(f"{case} {_not_typical(given > 0, right > 0, shares, p)}")
    return "what is kept has a surprise near the entropy, and reaches p."


@checker
def lonely(answer: Any) -> str:
    """Exercise 3: top-p = 0.9 keeps one code, though the entropy is at least 1.4 bits."""
    shares = _probabilities(answer, "lonely")
    if shares.dim() != 1 or len(shares) > 1024:
        raise Wrong(f"a single list of at most 1024 probabilities is asked for, and this has {tuple(shares.shape)}.")
    ordered = shares.sort(descending=True).values
    # What the more probable ones have, as top-p asks it, but without a logarithm and a softmax before: 0.9 stays 0.9.
    before = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)[:-1]])
    kept = int((before < 0.9).sum())
    bits = -torch.special.xlogy(shares, shares).sum().item() / math.log(2)
    if kept > 1 and ordered[0] > 0.9 - 1e-6:
        raise Wrong("your likeliest code falls short of 0.9 by a rounding error. Go a little above.")
    if kept > 1:
        raise Wrong(f"top-p = 0.9 keeps {kept} of your codes. One alone has to reach it.")
    if bits < 1.4:
        raise Wrong(f"one code is kept, but the entropy is {bits:.3f} bits. Spread what is left over more codes.")
    return "one code is kept, and the prior was far from sure: p says nothing of how the rest is spread."


@checker
def greedy_trap(first: Any, then: Any) -> str:
    """Exercise 4: a world of three symbols whose likeliest sequence is ten times as probable as the greedy one."""
    first, then = _probabilities(first, "first"), _probabilities(then, "then")
    if first.shape != (3,):
        raise Wrong(f"first is three probabilities, and this has the shape {tuple(first.shape)}.")
    if then.shape != (3, 3):
        raise Wrong(f"then is three lists of three probabilities, and this has the shape {tuple(then.shape)}.")
    greedy = [int(first.argmax())]
    while len(greedy) < 4:
        greedy.append(int(then[greedy[-1]].argmax()))

    def probability(sequence: Any) -> float:
        return first[sequence[0]].item() * math.prod(then[i, j].item() for i, j in pairwise(sequence))

    best = max(product(range(3), repeat=4), key=probability)
    ratio = probability(best) / probability(greedy)
    if ratio <= 1 + 1e-9:
        raise Wrong("here the greedy sequence is the likeliest. Let a good first step lead to where nothing is sure.")
    if ratio < 10 - 1e-9:  # ten, but for rounding, is ten
        raise Wrong(
            f"greedy goes {_listed(greedy)}, and {_listed(best)} is {ratio:.1f} times as probable; "
            "ten times is asked for."
        )
    return "greedy decoding misses the likeliest sequence by far."


FAULTS = {
    "A": "top-p comes before the temperature",
    "B": "honest",
    "C": "the temperature multiplies",
    "D": "the code that crosses the line is dropped",
    "E": "the last code is never drawn",
}
HINTS = {
    "top-p comes before the temperature": "Give it temperature 2 and p = 0.7, and count how many codes it draws.",
    "honest": "Try all four settings; where do its counts differ from what the probabilities say?",
    "the temperature multiplies": "Give it temperature 2 and no cut. Do its counts become more equal, or less?",
    "the code that crosses the line is dropped": "Give it temperature 1 and p = 0.7. What do its codes have together?",
    "the last code is never drawn": "Give it temperature 1 and p = 1, and look at the last code.",
}


def samplers() -> dict[str, Callable]:
    """Five samplers, A to E, one of them well: `(logits (V,), u (N,), temperature, p)` to codes `(N,) int64`."""
    return {letter: _sampler(fault) for letter, fault in FAULTS.items()}


def _sampler(fault: str) -> Callable:
    def cut(shares: torch.Tensor, p: float) -> torch.Tensor:
        ordered, codes = shares.sort(descending=True, stable=True)
        before = ordered.cumsum(0) - ordered
        kept = before < p
        if fault == "the code that crosses the line is dropped":
            kept = before + ordered <= p
            kept[0] = True
        return torch.zeros_like(shares).scatter(0, codes, torch.where(kept, ordered, 0.0))

    def sampler(logits: torch.Tensor, u: torch.Tensor, temperature: float, p: float) -> torch.Tensor:
        logits = logits.double()
        if fault == "top-p comes before the temperature":
            shares = (cut(logits.softmax(0), p).log() / temperature).softmax(0)
        elif fault == "the temperature multiplies":
            shares = cut((logits * temperature).softmax(0), p)
        else:
            shares = cut((logits / temperature).softmax(0), p)
        ends = shares.cumsum(0)
        codes = torch.searchsorted(ends, u.double() * ends[-1], right=True)
        return codes.clamp(max=len(logits) - 2) if fault == "the last code is never drawn" else codes

    return sampler


@checker
def diagnoses(answer: Any) -> str:
    """Exercise 5: the faults of the samplers A to E, a dictionary of names."""
    diagnosis(answer, FAULTS, HINTS)
    return "each is what you say. Four words and even numbers were enough."


def _entropy_at(logits: torch.Tensor, temperature: float) -> float:
    shares = (logits / temperature).softmax(-1)
    return -torch.special.xlogy(shares, shares).sum().item() / math.log(2)


def _keep(shares: torch.Tensor, keys: torch.Tensor, p: float) -> torch.Tensor:
    """The fewest codes, the smallest key first, that reach p together, scaled up to a sum of 1."""
    codes = keys.argsort(stable=True)
    before = shares[codes].cumsum(0) - shares[codes]
    kept = torch.zeros_like(shares)
    kept[codes] = torch.where(before < p, shares[codes], 0.0)
    return kept / kept.sum()


def _typical(shares: torch.Tensor, p: float) -> torch.Tensor:
    return _keep(shares, (-shares.log2() - _entropy_at(shares.log(), 1.0)).abs(), p)


def _telling(size: int, spread: float, p: float) -> torch.Tensor:
    """Probabilities for which each mistake keeps other codes, so that it can be told; of few codes, any."""
    for _ in range(20):
        shares = (spread * torch.randn(size).double()).softmax(-1)
        keys = _mistakes(shares).values()
        kept = torch.stack([_typical(shares, p), *(_keep(shares, key, p) for key in keys), shares]) > 0
        apart = (kept[:, None] ^ kept).sum(-1) + 3 * torch.eye(len(kept), dtype=torch.int64)
        if apart.min() > 2:
            break
    return shares


def _mistakes(shares: torch.Tensor) -> dict[str, torch.Tensor]:
    """Wrong keys by which to sort codes, by what is said of them."""
    bits = _entropy_at(shares.log(), 1.0)
    return {
        "you keep the likeliest codes: that is top-p. "
        "(Is the absolute value missing, has the surprise the wrong sign, or is it the probability itself?)": -shares,
        "you keep the unlikeliest codes: the absolute value is missing, so what lies far below comes first.": shares,
        "you sort from the farthest; the nearest to the entropy come first.": -(-shares.log2() - bits).abs(),
        "the surprise is in nats and the entropy in bits; they can only be compared in the same unit.": (
            -shares.log() - bits
        ).abs(),
        "the surprise is in bits and the entropy in nats; they can only be compared in the same unit.": (
            -shares.log2() - bits * math.log(2)
        ).abs(),
    }


def _not_typical(kept: torch.Tensor, right: torch.Tensor, shares: torch.Tensor, p: float) -> str:
    """What was done to keep these codes and not the right ones, as far as it can be told."""
    if not kept.any():
        return "nothing is kept. The code that crosses the line stays, so one always does."
    for reason, keys in _mistakes(shares).items():
        if torch.equal(kept, _keep(shares, keys, p) > 0):
            return reason
    if not (kept & ~right).any() and right.sum() - kept.sum() == 1:
        return "one is missing: the code that crosses the line stays, so that p is reached."
    if not (right & ~kept).any() and kept.sum() - right.sum() == 1:
        return "one too many is kept: the one that crosses the line is the last."
    if kept.sum() == right.sum():
        return "as many codes are kept as should be, but not these. Are they back in their places after sorting?"
    return f"you keep {int(kept.sum())} codes, and {int(right.sum())} are the nearest that reach p."


def _probabilities(values: Any, name: str) -> torch.Tensor:
    """The reader's probabilities as float64, each row with a sum of 1. Raises `Wrong` for anything else."""
    if values is None or values is ...:
        raise Wrong(f"{name}: nothing here yet.")
    try:
        found = torch.as_tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{name} must be a list of numbers, or lists of the same length.") from None
    if not found.dim() or not found.numel():
        raise Wrong(f"{name} must be a list of numbers, and this is none.")
    if not (found >= 0).all():
        raise Wrong(f"{name}: a probability is not below 0, and each of these has to be one.")
    sums = found.sum(-1)
    if not torch.allclose(sums, torch.ones_like(sums), atol=1e-6):
        raise Wrong(
            f"{name}: probabilities sum to 1, and yours to {sums.flatten()[(sums - 1).abs().argmax()].item():.4f}."
        )
    return found


def _listed(sequence: Any) -> str:
    return "".join(map(str, sequence))

"""Checkers of chapter 15, "Coarse to fine"."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from arlib import Prior
from arlib.exercises import Wrong, call, checker, number, tensor


@checker
def price(answer: Callable) -> str:
    """Exercise 1: the mutual information of two tokens given a coarse one, in bits."""
    for trial in range(6):
        joint = torch.rand(3, 4, 5, dtype=torch.float64).pow(4)
        if trial % 2:
            joint[torch.rand(joint.shape) < 0.4] = 0.0
        joint = joint / joint.sum()
        given = number_or_nan(call(answer, joint))
        right = _information(joint)
        if math.isnan(given):
            raise Wrong(
                "for a table that holds a probability of 0 you get NaN: 0 · log 0 counts as 0. `torch.special.xlogy` "
                "or a sum over the entries above 0 does that."
            )
        weightless = sum(_information(part[None] / part.sum()) for part in joint) / len(joint)
        entropies = [_entropy(joint.sum(axis)) - _entropy(joint.sum((1, 2))) for axis in (2, 1)]
        mistakes = {
            right * math.log(2): "these are nats: take the logarithm to the base 2.",
            -right: "the sign is wrong: drawing apart costs more bits, not fewer.",
            _information(joint.sum(0, keepdim=True)): "that is the price when the coarse token is *not* known. Given "
            "c, the two are drawn from p(a | c) and p(b | c).",
            weightless: "you average over the coarse tokens as if they were equally likely; weigh each by p(c).",
            sum(entropies): "that is what is paid, p(a | c) and p(b | c) together; asked for is how much of it is "
            "too much.",
            _entropy(joint) - _entropy(joint.sum((1, 2))): "that is what the two cost when they are drawn together.",
        }
        for mistake, reason in mistakes.items():
            if math.isclose(given, mistake, rel_tol=1e-6) and not math.isclose(given, right, rel_tol=1e-6):
                raise Wrong(reason)
        if not math.isclose(given, right, rel_tol=1e-6, abs_tol=1e-9):
            raise Wrong(f"for a random table you get {given:.4f} bits, and it is {right:.4f}.")
    return "what is paid apart less what is paid together, weighed by how often each coarse token comes."


@checker
def gets_worse(grid: Any, codebook: Any) -> str:
    """Exercise 2: a map and a codebook for which the second scale makes the sum worse."""
    if grid is ... or codebook is ... or grid is None or codebook is None:
        raise Wrong("there is nothing here yet. Hand in a map and a codebook.")
    values = tensor(grid, (4, 4)).double()
    if not isinstance(codebook, torch.Tensor) or codebook.dim() != 1 or not 2 <= len(codebook) <= 8:
        raise Wrong("a codebook of 2 to 8 numbers is asked for, a tensor of one dimension.")
    if not (values.isfinite().all() and codebook.isfinite().all()):
        raise Wrong("all numbers have to be finite.")
    if len(codebook.unique()) < len(codebook):
        raise Wrong("two codes are equal; that is one code.")
    errors = _errors(values, codebook.double())
    told = f"the mean squared errors after 1, 2 and 3 scales are {', '.join(f'{error:.4g}' for error in errors)}"
    if errors[1] <= errors[0]:
        near = " Your codebook holds 0, and a cell may choose it: then no scale can do harm." * (0 in codebook)
        raise Wrong(f"{told}: the second scale does no harm.{near}")
    return f"{told}. Without a code near 0, a scale that has nothing to say must say something."


@checker
def rectangles(answer: Callable) -> str:
    """Exercise 3: source and block for maps that are not square."""
    # A square first, then what tells heights from widths, and what does not nest.
    cases: list[list[tuple[int, int]]] = [[(1, 1), (2, 2)], [(1, 1), (2, 3), (4, 6)], [(1, 1), (3, 2), (5, 7)]]
    cases += [[(1, 2), (2, 4)], [(2, 3), (5, 8), (20, 30)]]
    for shapes in cases:
        result = call(answer, shapes)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise Wrong("two tensors are asked for: source and block.")
        source, block = _rectangles(shapes)
        given_source = tensor(result[0], tuple(source.shape), torch.int64)
        given_block = tensor(result[1], tuple(block.shape), torch.int64)
        where = f"for maps of {', '.join(f'{h}×{w}' for h, w in shapes)} (height × width)"
        for name, given, right in (("block", given_block, block), ("source", given_source, source)):
            wrong = (given != right).nonzero().flatten().tolist()
            if not wrong:
                continue
            t = wrong[0]
            hint = ""
            if name == "source" and t < shapes[0][0] * shapes[0][1]:
                hint = " All tokens of the first map read nothing, -1."
            elif name == "source" and given[t] >= 0 and block[given[t]] == block[t]:
                hint = " That is a token of its own map, which is drawn at the same time."
            elif name == "source" and block[t] > 1 and given[t] >= 0 and block[given[t]] < block[t] - 1:
                hint = " That token lies two maps up: add where the next coarser map begins."
            elif name == "source":
                hint = " Token (row, column) of a map is number row × width + column in it: its width, not its height."
            raise Wrong(f"{where} {name}[{t}] is {given[t]}, and it has to be {right[t]}.{hint}")
    return "each cell reads the one above it, one map coarser, whatever their shapes."


@checker
def subsampled(answer: Callable) -> str:
    """Exercise 4: are the coarse tokens of these pyramids copies of the fine ones?"""
    sides = [1, 2, 4]
    fine = torch.randint(8, (50, 4, 4))
    apart = torch.cat([torch.randint(8, (50, 5)), fine.flatten(1)], 1)
    cases = [
        (apart, False, "their coarse tokens are drawn apart from the fine ones, and only now and then equal to one"),
        (_subsample(fine, lambda cell: 0), True, "every coarse token is the top left one of the cells under it"),
        (_subsample(fine, lambda cell: cell // 2), True, "every coarse token is the middle one of the cells under it"),
        (_subsample(fine, lambda cell: cell - 1), True, "every coarse token is the last one of the cells under it"),
        (_first_map_only(fine), False, "the 1×1 map is a copy, but the 2×2 map says something new"),
        (_other_order(fine), False, "the coarse tokens occur among the fine ones, but elsewhere for every picture"),
    ]
    for tokens, right, why in [cases[index] for index in torch.randperm(len(cases)).tolist()]:
        given = call(answer, tokens, sides)
        if isinstance(given, torch.Tensor) and given.numel() == 1:
            given = given.item()
        if not isinstance(given, bool):
            raise Wrong(f"True or False is asked for, and this is of type {type(given).__name__}.")
        if given != right:
            raise Wrong(f"you say {given} of 50 pyramids, and it is {right}: {why}.")
    return "copies are found wherever in the cell they are taken from, and chance is not taken for one."


@checker
def guided(answer: Callable) -> str:
    """Exercise 5: guidance that does something."""
    prior = Prior(8, 5, 16, 1, 2, classes=3, scales=(1, 2))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(std=0.5)
        tokens, label = torch.randint(8, (6, 5)), torch.tensor([0, 1, 2, 1, 2, 0])
        for guidance in (6.5, 1.0, 0.0, 3.0):
            given = tensor(call(answer, prior, tokens, label, guidance), (6, 5, 8))
            c, u = prior(tokens, label=label), prior(tokens)
            zeros = prior(tokens, label=torch.zeros_like(label))
            right = u + guidance * (c - u)
            mistakes = [
                (c, "guidance still does nothing: whatever its strength, these are the logits with the label."),
                (u, "guidance still does nothing: these are the logits without a label, whatever its strength."),
                (
                    u + (1 + guidance) * (c - u),
                    "that is the other convention, in which 0 is no guidance; here it is 1.",
                ),
                (c + guidance * (c - u), "that is the other convention, in which 0 is no guidance; here it is 1."),
                (c + guidance * (u - c), "c and u have changed places."),
                (zeros + guidance * (c - zeros), "you took class 0 for no label; no label is -1, or label=None."),
            ]
            if torch.allclose(given, right, atol=1e-4):
                continue
            for mistake, reason in mistakes:
                if torch.allclose(given, mistake, atol=1e-4):
                    raise Wrong(reason)
            apart = (given - right).abs().max()
            raise Wrong(f"at guidance {guidance} the logits are off by up to {apart:.3g} from u + guidance · (c - u).")
    return "u + guidance · (c - u), with u from a pass that has no label."


@checker
def two_passes(answer: Any) -> str:
    """Exercise 6: the 24 orders of four numbers, two pixels a pass."""
    given = number(answer)
    pairs = 4 - math.log2(12)  # the first two pixels are drawn from 16 pairs, of which 12 may be
    right = pairs + 1.0  # and then two pixels from two numbers that are left
    paid = 4 + 2
    mistakes = {
        float(paid): "that is what the two passes pay; asked for is how much of it is too much.",
        math.log2(24): "that is what the pictures are worth; asked for is what is paid beyond it.",
        8 - math.log2(24): "that is the price of a single pass for all four pixels.",
        pairs: "that is the price of the first pass alone.",
        1.0: "that is the price of the second pass alone.",
        right * math.log(2): "these are nats: take the logarithm to the base 2.",
        2 * pairs: "the second pass is dearer than the first: it has two numbers left for two pixels.",
    }
    for mistake, reason in mistakes.items():
        if math.isclose(given, mistake, rel_tol=2e-3):
            raise Wrong(reason)
    if abs(given - right) >= 2e-3:
        raise Wrong(
            "that is not the price. What does each pixel of a pass cost, given what was drawn in the passes before?"
        )
    return f"{paid} bits are paid and log2 24 = {math.log2(24):.3f} are needed: {right:.3f} too many."


def number_or_nan(answer: Any) -> float:
    """The reader's number, NaN too, as a table with zeros gives it."""
    if isinstance(answer, float | torch.Tensor) and torch.as_tensor(answer).numel() == 1:
        value = float(answer)
        if math.isnan(value):
            return value
    return number(answer)


def _entropy(joint: torch.Tensor) -> float:
    return -torch.special.xlogy(joint, joint).sum().item() / math.log(2)


def _information(joint: torch.Tensor) -> float:
    """I(A; B | C) of p(c, a, b), in bits."""
    apart = _entropy(joint.sum(2)) + _entropy(joint.sum(1))
    return apart - _entropy(joint.sum((1, 2))) - _entropy(joint)


def _errors(values: torch.Tensor, codebook: torch.Tensor) -> list[float]:
    """The mean squared error of the sum after each of the scales 1, 2, 4; maps are enlarged by repeating cells."""
    left, errors = values, []
    for side in (1, 2, 4):
        small = F.adaptive_avg_pool2d(left[None, None], side)[0, 0]
        codes = codebook[(small[..., None] - codebook).abs().argmin(-1)]
        left = left - codes.repeat_interleave(4 // side, 0).repeat_interleave(4 // side, 1)
        errors.append(left.square().mean().item())
    return errors


def _rectangles(shapes: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    source, block, first = [-1] * (shapes[0][0] * shapes[0][1]), [0] * (shapes[0][0] * shapes[0][1]), 0
    for scale in range(1, len(shapes)):
        (height, width), (above, across) = shapes[scale], shapes[scale - 1]
        for row in range(height):
            for column in range(width):
                source.append(first + row * above // height * across + column * across // width)
                block.append(scale)
        first += above * across
    return torch.tensor(source), torch.tensor(block)


def _subsample(fine: torch.Tensor, place: Callable[[int], int]) -> torch.Tensor:
    """Pyramids `(N, 21)` whose coarse cells copy the token at `place(cell)` among the rows and columns under them."""
    maps = []
    for side in (1, 2):
        cell = 4 // side
        at = torch.tensor([number * cell + place(cell) for number in range(side)])
        maps.append(fine[:, at][:, :, at].flatten(1))
    return torch.cat([*maps, fine.flatten(1)], 1)


def _first_map_only(fine: torch.Tensor) -> torch.Tensor:
    return torch.cat([fine[:, :1, 0], torch.randint(8, (len(fine), 4)), fine.flatten(1)], 1)


def _other_order(fine: torch.Tensor) -> torch.Tensor:
    """The coarse tokens are some of the fine ones, from places that change from picture to picture."""
    tokens = fine.flatten(1)
    at = torch.rand(len(fine), 16).argsort(1)[:, :5]
    return torch.cat([tokens.gather(1, at), tokens], 1)

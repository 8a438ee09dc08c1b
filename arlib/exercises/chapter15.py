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
        weightless = sum(_information(part[None] / part.sum()) for part in joint)
        entropies = [_entropy(joint.sum(axis)) - _entropy(joint.sum((1, 2))) for axis in (2, 1)]
        mistakes = {
            right * math.log(2): "these are nats: take the logarithm to the base 2.",
            -right: "the sign is wrong: drawing apart costs more bits, not fewer.",
            _information(joint.sum(0, keepdim=True)): "that is the price when the coarse token is *not* known. Given "
            "c, the two are drawn from p(a | c) and p(b | c).",
            weightless / len(joint): "you average over the coarse tokens as if they were equally likely; weigh each by "
            "p(c).",
            weightless: "you add up the prices of the coarse tokens; weigh each by p(c).",
            right / 2: "that is the price for each token; asked for is that of both together.",
            _information(joint.movedim(1, 0)): "you take the second axis for c; it is the first one.",
            _information(joint.movedim(2, 0)): "you take the last axis for c; it is the first one.",
            sum(entropies): "that is what is paid, p(a | c) and p(b | c) together; asked for is how much of it is "
            "too much.",
            _entropy(joint) - _entropy(joint.sum((1, 2))): "that is what the two cost when they are drawn together.",
        }
        for mistake, reason in mistakes.items():
            if math.isclose(given, mistake, rel_tol=1e-5) and not math.isclose(given, right, rel_tol=1e-5):
                raise Wrong(reason)
        if not math.isclose(given, right, rel_tol=1e-5, abs_tol=1e-6):  # p + 1e-8 in a logarithm will do
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
    if errors[1] <= errors[0] * (1 + 1e-9):  # rounding alone is no harm
        near = " Your codebook holds 0, and a cell may choose it: then no scale can do harm." * (0 in codebook)
        raise Wrong(f"{told}: the second scale does no harm.{near}")
    return f"{told}. Without a code near 0, a scale that has nothing to say must say something."


@checker
def rectangles(answer: Callable) -> str:
    """Exercise 3: source and block for maps that are not square."""
    # A square first, then what tells heights from widths, and what does not nest.
    cases: list[list[tuple[int, int]]] = [[(1, 1), (2, 2)], [(1, 1), (2, 3), (4, 6)], [(1, 1), (3, 2), (5, 7)]]
    cases += [[(1, 2), (2, 4)], [(2, 3), (5, 8), (20, 30)], [(1, 1), (2, 3), (5, 8), (20, 30)]]
    for shapes in cases:
        result = call(answer, shapes)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise Wrong("two tensors are asked for: source and block.")
        source, block = _rectangles(shapes)
        given_source = tensor(result[0], tuple(source.shape), torch.int64)
        given_block = tensor(result[1], tuple(block.shape), torch.int64)
        if torch.equal(given_source, block) and torch.equal(given_block, source):
            raise Wrong("source and block have changed places: source comes first.")
        where = f"for maps of {', '.join(f'{h}×{w}' for h, w in shapes)} (height × width)"
        for name, given, right in (("block", given_block, block), ("source", given_source, source)):
            wrong = (given != right).nonzero().flatten().tolist()
            if wrong:
                t = wrong[0]
                hint = _about_source(shapes, t, given, right, block) if name == "source" else ""
                raise Wrong(f"{where} {name}[{t}] is {given[t]}, and it has to be {right[t]}.{hint}")
    return "each cell reads the one above it, one map coarser, whatever their shapes."


@checker
def subsampled(answer: Callable) -> str:
    """Exercise 4: are the coarse tokens of these pyramids copies of the fine ones?"""
    fine = torch.randint(8, (50, 4, 4))
    every = fine.flatten(1)
    new = torch.randint(8, (50, 5))
    moved = every[:, [5, 15, 12, 3, 0]]  # of each quarter, a token of the opposite one
    top_left = _subsample(fine, lambda cell: 0)
    but_once = top_left.clone()
    but_once[7, 2] = (but_once[7, 2] + 1) % 8
    larger = torch.randint(8, (50, 6, 6))
    cases = [
        ([1, 2, 4], torch.cat([new, every], 1), False, "their coarse tokens equal fine ones only by chance"),
        ([1, 2, 4], top_left, True, "every coarse token is the top left one of the cells under it"),
        ([1, 2, 4], _subsample(fine, lambda cell: cell // 2), True, "every coarse token is the middle one under it"),
        ([1, 2, 4], _subsample(fine, lambda cell: cell - 1), True, "every coarse token is the last one under it"),
        ([1, 2, 4], torch.cat([moved, every], 1), True, "every coarse token is a copy, if not of one under it"),
        ([1, 2, 4], torch.cat([top_left[:, :1], new[:, 1:], every], 1), False, "only the 1×1 map is a copy"),
        ([1, 2, 4], torch.cat([new[:, :1], top_left[:, 1:]], 1), False, "only the 2×2 map is a copy"),
        ([1, 2, 4], _other_order(fine), False, "the tokens are copies, but from another place in every picture"),
        ([1, 2, 4], but_once, False, "one of the coarse tokens is no copy in one of the pictures"),
        ([1, 3, 6], _subsample(larger, lambda cell: 0, (1, 3, 6)), True, "every coarse token is the top left one"),
        ([1, 3, 6], torch.cat([new, new, larger.flatten(1)], 1), False, "their coarse tokens are no copies"),
    ]
    for sides, tokens, right, why in [cases[index] for index in torch.randperm(len(cases)).tolist()]:
        given = call(answer, tokens, sides)
        if type(given).__module__ in ("torch", "numpy") and getattr(given, "shape", None) in ((), (1,)):
            given = given.item()
        if not isinstance(given, bool):
            raise Wrong(f"one True or False is asked for, and this is of type {type(given).__name__}.")
        if given != right:
            raise Wrong(f"for 50 pyramids of the sides {sides} you say {given}, and it is {right}: {why}.")
    return "copies are found wherever they are taken from, and chance is not taken for one."


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
                (c + guidance * (c - u), "that is the other convention, in which 0 is no guidance; here it is 1."),
                (c + guidance * (u - c), "c and u have changed places."),
                (zeros + guidance * (c - zeros), "you took class 0 for no label; no label is -1, or label=None."),
                (
                    u + (guidance - 1) * (c - u),
                    "you use guidance - 1: in this convention 1 is the prior with its label, as it is.",
                ),
                (
                    (u + guidance * (c - u)).log_softmax(-1),
                    "these are logarithms of probabilities; asked for are the logits, u + guidance · (c - u).",
                ),
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
        -right: "the sign is wrong: too much is paid, not too little.",
        right / 4: "that is the price of one pixel; asked for is that of a picture.",
        right / 2: "that is the price of one pass; asked for is that of a picture.",
        8 - math.log2(24) - right: "that is what is saved over a single pass; asked for is what two passes still "
        "cost too much.",
    }
    for mistake, reason in mistakes.items():
        if math.isclose(given, mistake, rel_tol=2e-3):
            raise Wrong(reason)
    if 2e-3 <= abs(given - right) < 0.0101:
        raise Wrong("nearly: give three digits after the point.")
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


def _about_source(
    shapes: list[tuple[int, int]], t: int, source: torch.Tensor, right: torch.Tensor, block: torch.Tensor
) -> str:
    """Why token t of these maps does not read what `source` says."""
    scale, given = int(block[t]), int(source[t])
    if scale == 0:
        return " All tokens of the first map read nothing, -1."
    if 0 <= given < len(block) and block[given] == scale:
        return " That is a token of its own map, which is drawn at the same time."
    if 0 <= given < len(block) and block[given] < scale - 1:
        return " That token lies two maps up: add where the next coarser map begins."
    above, across = shapes[scale - 1]
    first, its = sum(height * width for height, width in shapes[: scale - 1]), block == scale
    row, column = (right[its] - first) // across, (right[its] - first) % across
    mixed = (row * above + column, column * above + row)
    if any(torch.equal(source[its] - first, numbers) for numbers in mixed):
        return " Token (row, column) of a map is number row × width + column in it: its width, not its height."
    at = t - first - above * across
    here = divmod(at, shapes[scale][1])
    return (
        f" It is in row {here[0]}, column {here[1]} of its map, and above it lies row {row[at]}, column {column[at]}."
    )


def _subsample(fine: torch.Tensor, place: Callable[[int], int], sides: tuple[int, ...] = (1, 2, 4)) -> torch.Tensor:
    """Pyramids `(N, T)` whose coarse cells copy the token at `place(cell)` among the rows and columns under them."""
    maps = []
    for side in sides:
        cell = sides[-1] // side
        at = torch.tensor([number * cell + place(cell) for number in range(side)])
        maps.append(fine[:, at][:, :, at].flatten(1))
    return torch.cat(maps, 1)


def _other_order(fine: torch.Tensor) -> torch.Tensor:
    """The coarse tokens are some of the fine ones, from places that change from picture to picture."""
    tokens = fine.flatten(1)
    at = torch.rand(len(fine), 16).argsort(1)[:, :5]
    return torch.cat([tokens.gather(1, at), tokens], 1)

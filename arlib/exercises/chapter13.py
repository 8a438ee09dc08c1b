"""Checkers of chapter 13, "Digits with several codebooks"."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

import arlib
from arlib import data, metrics, orders
from arlib.exercises import Wrong, call, checker, tensor
from arlib.tokenizer import ImageTokenizer, to_uint8
from arlib.transformer import Prior

TELLS = {
    "right": "the right decoder gives pictures that are near the real ones; no other one does",
    "view": "through a view an edited token changes scattered places of the picture",
    "transposed": "through a transposed permute an edit at the upper right shows at the lower left",
    "books": "with exchanged books an edit shows where it should, and yet the picture is wrong: look at both",
}


@checker
def diagnose(answer: Callable) -> str:
    """Exercise 1: what is wrong with a decoder of 4×4×2 tokens."""
    names = list(TELLS)
    for number in [*torch.randperm(len(names)).tolist(), *torch.randint(len(names), (3,)).tolist()]:
        name = names[number]
        given = call(answer, patient(name))
        if not isinstance(given, str) or given not in TELLS:
            found = repr(given) if isinstance(given, str) else f"something of type {type(given).__name__}"
            raise Wrong(f"one of {', '.join(map(repr, TELLS))} is asked for, and you return {found:.60}.")
        if given != name:
            raise Wrong(f"a decoder whose diagnosis is {name!r} you call {given!r}. Remember: {TELLS[name]}.")
    return "you tell a sound decoder from a view, a transposed permute and exchanged books."


def patient(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """A decoder of 4×4×2 tokens with the illness of that name."""
    tokenizer = _tokenizer("digits-4x4x2")

    @torch.no_grad()
    def decode(grid: torch.Tensor) -> torch.Tensor:
        vectors = tokenizer.quantizer.decode(grid.flip(-1) if name == "books" else grid)  # type: ignore[union-attr]
        if name == "view":
            channels_first = vectors.reshape(len(vectors), -1, *vectors.shape[1:3])
        else:
            channels_first = vectors.permute((0, 3, 2, 1) if name == "transposed" else (0, 3, 1, 2))
        return to_uint8(tokenizer.decoder(channels_first).permute(0, 2, 3, 1))

    return decode


@checker
def book_by_book(answer: Callable) -> str:
    """Exercise 2: the order that reads all of one book before the next."""
    for h, w, c in [(2, 2, 2), (3, 5, 2), (4, 2, 3), (1, 4, 2), (3, 2, 1)]:
        length = h * w * c
        case = f"for h, w, c = {h}, {w}, {c}"
        given = call(answer, h, w, c)
        if isinstance(given, torch.Tensor) and given.dim() > 1:
            raise Wrong(f"{case} the shape is {tuple(given.shape)}; flatten it to ({length},).")
        order = tensor(given, (length,), torch.int64)
        if not torch.equal(order.sort().values, torch.arange(length)):
            raise Wrong(f"{case} the order does not name each place from 0 to {length - 1} once.")
        numbers = torch.arange(length).view(h, w, c)
        right = numbers.permute(2, 0, 1).flatten()
        if torch.equal(order, right):
            continue
        mistakes = {
            "that is raster order, the books of a place together; all of book 1 comes first.": numbers.flatten(),
            "you read the columns of each book from the top; rows come first.": numbers.permute(2, 1, 0).flatten(),
            "that is the inverse: entry t has to be the place that is read at time t.": right.argsort(),
            "the books are read from the last to the first.": numbers.flip(-1).permute(2, 0, 1).flatten(),
        }
        for reason, mistake in mistakes.items():
            if torch.equal(order, mistake):
                raise Wrong(f"{case} {reason}")
        raise Wrong(f"{case} you return {order.tolist()}, and it is {right.tolist()}.")
    return "book after book, and each of them row by row."


@checker
def cheapest_label(answer: Callable) -> str:
    """Exercise 3: the label under which a prior needs the fewest bits."""
    prior, tokenizer = _prior("digits-2x2x2"), _tokenizer("digits-2x2x2")
    start = int(torch.randint(9000, ()))
    tokens = orders.raster(tokenizer.encode(data.load("digits", "test")[start : start + 120]))
    bits = costs(prior, tokens)
    totals = bits.sum(-1)
    right = totals.argmin(1)
    given = tensor(call(answer, prior, tokens), (120,), torch.int64)
    agree = (given == right).double().mean().item()
    if agree > 0.99:
        accuracy = (right == data.labels("digits", "test")[start : start + 120]).double().mean().item()
        return f"{accuracy:.0%} of 120 digits are recognized, by a prior that nobody asked to."
    mistakes = {
        "those are the dearest labels: the fewest bits are asked for.": totals.argmax(1),
        "you are off by one: does your first column belong to no label, -1?": right + 1,
        "you count the first token alone; sum over all of them.": bits[..., 0].argmin(1),
        "you count the last token alone; sum over all of them.": bits[..., -1].argmin(1),
    }
    for reason, mistake in mistakes.items():
        if (given == mistake).double().mean().item() > 0.8:
            raise Wrong(reason)
    place = int((given != right).nonzero()[0])
    raise Wrong(
        f"{1 - agree:.0%} of 120 digits get another label than the cheapest. One of them costs "
        f"{totals[place].min():.1f} bits as a {int(right[place])}; you call it a {int(given[place])}."
    )


@torch.no_grad()
def costs(prior: Prior, tokens: torch.Tensor) -> torch.Tensor:
    """The bits of each token under each of ten labels, `(B, 10, T)`."""
    each = [metrics.bits(prior, tokens, 250, label=torch.full((len(tokens),), digit)) for digit in range(10)]
    return torch.stack(each, dim=1)


@checker
def without_label(answer: Callable) -> str:
    """Exercise 4: the bits of a sequence whose label is not known, from those under each label."""
    for scale, shift in [(5.0, 60.0), (1.0, 30.0), (20.0, 80.0), (0.0, 40.0), (50.0, 5000.0)]:
        bits = shift + scale * torch.rand(6, 10).double()
        right = math.log2(10) - torch.logsumexp(-bits * math.log(2), dim=1) / math.log(2)
        given = tensor(call(answer, bits), (6,))
        if not given.isfinite().all():
            raise Wrong(
                f"for costs of about {shift:.0f} bits you return {given[0].item()}: 2 to the power of -{shift:.0f} "
                "is 0 in floating point. Take torch.logsumexp, or subtract the smallest cost first."
            )
        if torch.allclose(given.double(), right, atol=1e-4):
            continue
        if torch.allclose(given.double(), (2**-bits).mean(1), rtol=1e-3, atol=0):
            raise Wrong("that is the probability; its cost in bits, minus its logarithm to the base 2, is asked for.")
        as_nats = math.log(10) - torch.logsumexp(-bits, dim=1)
        mistakes = {
            "that is the mean of the bits; the mean of the probabilities is asked for.": bits.mean(1),
            "that is the cheapest label; the nine others have a share in the probability too.": bits.amin(1),
            "that sums the ten probabilities; each class has only a tenth, which costs log2 10 bits.": right
            - math.log2(10),
            "a tenth for each class makes a sequence dearer, not cheaper: the sign of log2 10.": right
            - 2 * math.log2(10),
            "these are nats: the logarithm is to the base 2.": right * math.log(2),
            "these are nats, and the tenth for each class is missing too.": (right - math.log2(10)) * math.log(2),
            "the bits went into exp as if they were nats: multiply them by the logarithm of 2.": as_nats,
            "the bits went into exp as if they were nats: multiply them by the logarithm of 2 there too.": as_nats
            / math.log(2),
            "the bits went into exp as if they were nats: multiply them by the logarithm of 2. Then mind the tenth "
            "that each class has.": (as_nats - math.log(10)) / math.log(2),
            "that is the cheapest label plus log2 10: near, but the other labels help a little.": bits.amin(1)
            + math.log2(10),
            "the sign is wrong: a cost in bits is positive.": -right,
        }
        for reason, mistake in mistakes.items():
            if torch.allclose(given.double(), mistake, atol=1e-4):
                raise Wrong(reason)
        listed = [round(value, 1) for value in bits[0].tolist()]
        raise Wrong(f"for the costs {listed} you return {given[0].item():.3f}, and it is {right[0].item():.3f}.")
    return "the mean of ten probabilities, in bits, and large costs do not break it."


SETS = {"A": "hot", "B": "copies", "C": "cold", "D": "no prior", "E": "prior"}
WHY = {
    "A": "A has the lowest accuracy and the highest FD of all, and a recall that scribbles have",
    "B": "B has the lowest FD, and both precision and recall are near those of real digits: little is lost here",
    "C": "C has only 467 distinct samples, and a recall of 0.18",
    "D": "D has little precision, and yet three of four are the right class, which scribbles are not",
    "E": "E is nearly as good as real digits, and a little worse than B in accuracy and in precision",
}


@checker
def name_the_sets(answer: Any) -> str:
    """Exercise 5: five rows of a table, and what they are."""
    if answer is None or answer is ...:
        raise Wrong("there is no answer yet.")
    if not isinstance(answer, dict):
        raise Wrong("a dict from the letters to the names is asked for.")
    if any(answer.get(letter) is None or answer[letter] is ... for letter in SETS):
        raise Wrong("not every letter has a name yet.")
    for letter, name in SETS.items():
        if not isinstance(answer[letter], str) or answer[letter] not in SETS.values():
            raise Wrong(f"{letter}: {answer[letter]!r} is none of {', '.join(map(repr, sorted(SETS.values())))}.")
        if answer[letter] != name:
            raise Wrong(f"{letter} is not {answer[letter]!r}. {WHY[letter]}.")
    return "no single column would have been enough for that."


@cache
def _tokenizer(name: str) -> ImageTokenizer:
    return arlib.load_tokenizer(name)


@cache
def _prior(name: str) -> Prior:
    return arlib.load_prior(name)

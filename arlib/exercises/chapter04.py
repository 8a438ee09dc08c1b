"""Checkers of chapter 4, "Binary spherical quantization"."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from arlib.exercises import Wrong, call, checker, diagnosis, number, tensor
from arlib.metrics import entropy
from arlib.quantizers import BSQ

BITS = 10


NAMES = {
    "A": ("zero", lambda z: _through(F.normalize(z, dim=-1), z.sign())),
    "B": ("gradient along z", lambda z: _through(z, _ones(z))),
    "C": ("no corner", lambda z: torch.tanh(3 * F.normalize(z, dim=-1)) / BITS**0.5),
    "D": ("fine", lambda z: _through(F.normalize(z, dim=-1), _ones(z))),
    "E": ("no gradient", lambda z: _ones(F.normalize(z, dim=-1)) / BITS**0.5),
}
HINTS = {
    "fine": "Its values are corners, at zero too, and its gradient is orthogonal to every latent: look again.",
    "no gradient": "Call it on a latent with requires_grad=True: has what it returns a grad_fn?",
    "gradient along z": "Take the gradient of a random weighted sum of its values, and the inner product of that "
    "gradient with the latent.",
    "no corner": "Compare the absolute values of what it returns with 1/√10.",
    "zero": "Try a latent in which some numbers are exactly 0.",
}


def patients() -> dict[str, Callable]:
    """Exercise 1's five quantizers, by letter: each takes latents `(N, 10)`."""
    return {letter: quantize for letter, (_, quantize) in NAMES.items()}


@checker
def diagnose(answer: Any) -> str:
    """Exercise 1: what is wrong with each of five quantizers."""
    diagnosis(answer, {letter: name for letter, (name, _) in NAMES.items()}, HINTS)
    return "value, zero, gradient, direction: four questions find the four faults."


def _ones(z: torch.Tensor) -> torch.Tensor:
    return torch.where(z >= 0, 1.0, -1.0)


def _through(way: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """The corner of the signs, with the gradient of `way`."""
    return signs / BITS**0.5 + (way - way.detach())


@checker
def second_nearest(answer: Callable) -> str:
    """Exercise 2: the index of the second nearest corner, for latents of any length and 2 to 16 dimensions."""
    for bits, length in ((3, 1.0), (10, 1.0), (16, 50.0), (2, 0.01)):
        z = torch.randn(40, bits)
        z = F.normalize(z, dim=-1) * length * (0.5 + torch.rand(40, 1))
        with _where(f"with {bits} dimensions"):
            index = tensor(call(answer, z), (40,), torch.int64)
        nearest = _index(z)
        order = z.abs().argsort(-1)
        weakest, next_one = order[:, 0], order[:, 1]
        right = nearest ^ 2**weakest
        if torch.equal(index, right):
            continue
        mistakes = {
            "that is the nearest corner, and the second nearest is asked for.": nearest,
            "you flip the number farthest from zero, which costs the most.": nearest ^ 2 ** z.abs().argmax(-1),
            "you flip the smallest number, and the most negative one is not the one nearest to zero: take absolute "
            "values.": nearest ^ 2 ** z.argmin(-1),
            "that is the corner on the other side, the farthest of all.": 2**bits - 1 - nearest,
            "the corner is right, but the highest bit comes first; bit 0 has to count 1.": _reversed(right, bits),
            "every bit is the wrong way round: bit i is 1 where z[i] is positive or zero.": 2**bits - 1 - right,
            "you flip the number second nearest to zero, which gives the third nearest corner.": nearest ^ 2**next_one,
            "you flip two bits, and one is enough.": right ^ 2**next_one,
            "that is the dimension of the bit to flip; its bit has to be flipped in the index.": weakest,
            "that is what the flipped bit counts; the index of the whole corner is asked for.": 2**weakest,
            "you flip the right dimension, counted from the wrong end: bit i counts 2^i.": nearest
            ^ 2 ** (bits - 1 - weakest),
        }
        for reason, wrong in mistakes.items():
            if torch.equal(index, wrong):
                raise Wrong(reason)
        for wrong in (nearest + 2**weakest, nearest - 2**weakest, nearest | 2**weakest, nearest & ~(2**weakest)):
            if torch.equal(index, wrong):
                raise Wrong(
                    "to flip a bit is to make a 0 of a 1 and a 1 of a 0; yours does one of the two. `^` does both."
                )
        row = int((index != right).nonzero()[0])
        shown = [round(value, 3) for value in z[row].tolist()]
        raise Wrong(f"for z = {shown} you get {index[row].item()}, and it is {right[row].item()}.")
    return "one bit is flipped, that of the number nearest to zero."


@contextmanager
def _where(words: str) -> Iterator[None]:
    """Say in which case an answer raised; other complaints hold for every case."""
    try:
        yield
    except Wrong as wrong:
        if str(wrong).startswith("your function raised"):
            raise Wrong(f"{words}, {wrong}") from wrong
        raise


@checker
def fools_factorized(answer: Any) -> str:
    """Exercise 3: latents with a factorized entropy of 10 bits and an exact one of at most 1.2, of six codes."""
    index = BSQ(BITS).encode(_latents(answer, 1000))
    bits = (index[:, None] >> torch.arange(BITS)) & 1
    ones = bits.double().mean(0)
    wrong = (ones - 0.5).abs() > 1e-9
    if wrong.any():
        bit = int(wrong.nonzero()[0])
        raise Wrong(
            f"bit {bit} is 1 in {ones[bit].item():.1%} of the latents. For 10 bits it must be half of them, exactly."
        )
    codes = len(index.unique())
    if codes < 6:
        raise Wrong(f"each bit is 1 in half of the latents, but there are {codes} codes, and six are the fewest.")
    exact = entropy(index)
    if exact > 1.2 + 1e-9:
        raise Wrong(
            f"each bit is 1 in half of the latents, and there are {codes} codes, but their exact entropy is "
            f"{exact:.2f} bits: let a few of them come far more often than the rest."
        )
    return "ten bits if you count bit by bit, and little more than one in truth."


@checker
def loses_sign(answer: Any) -> str:
    """Exercise 4: the smallest positive float32 whose straight-through value is not positive."""
    given = number(answer)
    z = torch.tensor(given, dtype=torch.float32)
    if given <= 0:
        raise Wrong("a positive number is asked for.")
    if z.item() != given:
        raise Wrong(f"{given!r} is no float32; the nearest one is {z.item()!r}.")
    if _estimate(z) > 0:
        raise Wrong(
            f"for this z the value is {_estimate(z).item():.3g}, so the sign is right. How large must z be before a "
            "float32 has no digits left for 0.316?"
        )
    # Below 2^22 the neighbors of a float32 are a quarter away or nearer, so something of 0.316 is left.
    candidates = torch.arange(2**23, 2**24 + 4) / 2
    smallest = candidates[_estimate(candidates) <= 0][0].item()
    if given > smallest:
        raise Wrong("the sign is lost there, but a smaller number loses it too.")
    return "from there on a float32 is a whole number, and 0.316 is rounded away. On the sphere no z is that large."


def _estimate(z: torch.Tensor) -> torch.Tensor:
    """The straight-through value of a positive float32 among ten, computed as `z + (q - z)`."""
    return z + (torch.tensor(BITS**-0.5) - z)


@checker
def lowest_first(answer: Callable) -> str:
    """Exercise 5: indices with the highest bit first become indices with the lowest bit first."""
    passed = 0
    for bits, shape in ((10, (4, 9)), (12, (30,)), (40, (3, 2, 5)), (1, (6,))):
        right = torch.randint(2**bits, shape)
        right.view(-1)[0] = 1  # only dimension 0 is positive
        theirs = _reversed(right, bits)
        with _where(f"with {bits} bits"):
            index = tensor(call(answer, theirs, bits), shape, torch.int64)
        if torch.equal(index, right):
            passed = bits
            continue
        short = torch.tensor([int(f"{value:b}"[::-1], 2) for value in theirs.flatten().tolist()]).view(shape)
        mistakes = {
            "these are the indices as they came; nothing has changed.": theirs,
            "you flip every bit, from 0 to 1 and from 1 to 0. Reverse their order instead.": 2**bits - 1 - theirs,
            "zeros at the front are lost: the index 1 of ten bits is 0000000001, and its reverse is 512.": short,
            "the order is right, but every bit is the wrong way round.": 2**bits - 1 - right,
            "you reverse the order of the indices. Reverse the bits inside each of them.": theirs.flip(-1),
        }
        for reason, wrong in mistakes.items():
            if torch.equal(index, wrong):
                raise Wrong(reason)
        at = int((index != right).flatten().nonzero()[0])
        theirs_at, got, expected = (values.flatten()[at].item() for values in (theirs, index, right))
        told = f"with {bits} bits, index {theirs_at} has to become {expected}, and you get {got}."
        if passed == 12:
            told += " With 10 and with 12 bits you are right: is every number an int64, and no float or int32?"
        elif passed:
            told = f"that is right for {passed} bits; {told}"
        raise Wrong(told)
    return "any number of bits from 1 to 40, in any shape."


def _index(z: torch.Tensor) -> torch.Tensor:
    """The index of each latent, `(..., d)` to `(...)`, the lowest bit first."""
    return ((z >= 0).long() * torch.tensor([2**i for i in range(z.shape[-1])])).sum(-1)


def _reversed(index: torch.Tensor, bits: int) -> torch.Tensor:
    """The index with its bits in the opposite order."""
    return sum(((index >> i) & 1) << (bits - 1 - i) for i in range(bits))  # type: ignore[return-value]


def _latents(answer: Any, most: int) -> torch.Tensor:
    """Latents `(N, 10)` with N from 1 to `most`, as float32. Raises `Wrong` for anything else."""
    if answer is None or answer is ...:
        raise Wrong("there is nothing here yet.")
    if not isinstance(answer, torch.Tensor):
        try:
            answer = torch.tensor(answer)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise Wrong(f"a tensor is asked for, and this is of type {type(answer).__name__}.") from None
    if answer.is_complex():
        raise Wrong("real numbers are asked for, and these are complex.")
    if answer.dim() != 2 or answer.shape[1] != BITS or not 1 <= len(answer) <= most:
        shape = tuple(answer.shape)
        raise Wrong(f"latents (N, {BITS}) are asked for, with N from 1 to {most}, and the shape is {shape}.")
    z = answer.detach().float()
    if not z.isfinite().all():
        raise Wrong("only finite numbers are allowed (and float32 ends at 3.4e38).")
    if ((z == 0) | (z == 1)).all() and (z == 0).any() and (z == 1).any():
        raise Wrong("these are bits, and latents are asked for: a negative number for a 0, a positive one for a 1.")
    if (answer.detach() == 0).any():
        raise Wrong("no zeros are allowed.")
    if (z == 0).any():
        raise Wrong("no zeros are allowed, and in float32 some of these numbers are rounded to zero.")
    return z

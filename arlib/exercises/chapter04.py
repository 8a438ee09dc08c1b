"""Checkers of chapter 4, "Binary spherical quantization"."""

from collections.abc import Callable
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
    "no gradient": "Ask what it returns for a latent with requires_grad=True: does autograd know where that is from?",
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
    for bits, length in ((10, 1.0), (3, 1.0), (16, 50.0), (2, 0.01)):
        z = torch.randn(40, bits)
        z = F.normalize(z, dim=-1) * length * (0.5 + torch.rand(40, 1))
        index = tensor(call(answer, z), (40,), torch.int64)
        nearest = _index(z)
        right = nearest ^ 2 ** z.abs().argmin(-1)
        if torch.equal(index, right):
            continue
        mistakes = {
            "that is the nearest corner, and the second nearest is asked for.": nearest,
            "you flip the number farthest from zero, which costs the most.": nearest ^ 2 ** z.abs().argmax(-1),
            "you flip the smallest number, and the most negative one is not the one nearest to zero: take absolute "
            "values.": nearest ^ 2 ** z.argmin(-1),
            "that is the corner on the other side, the farthest of all.": 2**bits - 1 - nearest,
            "the corner is right, but the highest bit comes first; bit 0 has to count 1.": _reversed(right, bits),
        }
        for reason, wrong in mistakes.items():
            if torch.equal(index, wrong):
                raise Wrong(reason)
        row = int((index != right).nonzero()[0])
        shown = [round(value, 3) for value in z[row].tolist()]
        raise Wrong(f"for z = {shown} you get {index[row].item()}, and it is {right[row].item()}.")
    return "one bit is flipped, that of the number nearest to zero."


@checker
def fools_factorised(answer: Any) -> str:
    """Exercise 4: latents with a factorised entropy of 10 bits and an exact one of at most 1.2, of six codes."""
    index = BSQ(BITS).encode(_latents(answer, 1000))
    bits = (index[:, None] >> torch.arange(BITS)) & 1
    ones = bits.double().mean(0)
    wrong = (ones - 0.5).abs() > 1e-9
    if wrong.any():
        bit = int(wrong.nonzero()[0])
        raise Wrong(
            f"bit {bit} is 1 in {ones[bit].item():.1%} of the latents; the factorised entropy is 10 bits only where "
            "each bit is 1 in exactly half of them."
        )
    codes = len(index.unique())
    if codes < 6:
        raise Wrong(f"each bit is 1 in half of the latents, but there are {codes} codes, and six are asked for.")
    exact = entropy(index)
    if exact > 1.2 + 1e-9:
        raise Wrong(
            f"each bit is 1 in half of the latents, and there are {codes} codes, but their exact entropy is "
            f"{exact:.2f} bits: they come too equally."
        )
    return "ten bits if one believes the bits one by one, and little more than one in truth."


@checker
def loses_sign(answer: Any) -> str:
    """Exercise 5: the smallest positive float32 whose straight-through value is not positive."""
    given = number(answer)
    z = torch.tensor(given, dtype=torch.float32)
    if given <= 0:
        raise Wrong("a positive number is asked for.")
    if z.item() != given:
        raise Wrong(f"{given!r} is no float32; the nearest one is {z.item()!r}.")
    if _estimate(z) > 0:
        raise Wrong(
            f"for this z the value is {_estimate(z).item():.3g}, so the sign is right. How large has z to be before a "
            "float32 has no digits left for 0.316?"
        )
    # Below 2^22 the neighbours of a float32 are a quarter away or nearer, so something of 0.316 is left.
    candidates = torch.arange(2**23, 2**24 + 4) / 2
    smallest = candidates[_estimate(candidates) <= 0][0].item()
    if given > smallest:
        raise Wrong("the sign is lost there, but there is a smaller number for which it is lost, too.")
    return "from there on whole numbers have no room for 0.316; on the sphere that cannot happen."


def _estimate(z: torch.Tensor) -> torch.Tensor:
    """The straight-through value of a positive float32 among ten, computed as `z + (q - z)`."""
    return z + (torch.tensor(BITS**-0.5) - z)


@checker
def lowest_first(answer: Callable) -> str:
    """Exercise 5: indices with the highest bit first become indices with the lowest bit first."""
    for bits, shape in ((10, (4, 9)), (12, (30,)), (40, (3, 2, 5)), (1, (6,))):
        right = torch.randint(2**bits, shape)
        right.view(-1)[0] = 1  # only dimension 0 is positive
        theirs = _reversed(right, bits)
        index = tensor(call(answer, theirs, bits), shape, torch.int64)
        if torch.equal(index, right):
            continue
        short = torch.tensor([int(f"{value:b}"[::-1], 2) for value in theirs.flatten().tolist()]).view(shape)
        mistakes = {
            "these are the indices as they came; nothing has changed.": theirs,
            "each bit is turned from 0 to 1 and from 1 to 0, and it is their order that has to be turned.": 2**bits
            - 1
            - theirs,
            "zeros at the front are lost: the index 1 of ten bits is 0000000001, and its reverse is 512.": short,
            "the order is right, but every bit is the wrong way round.": 2**bits - 1 - right,
        }
        for reason, wrong in mistakes.items():
            if torch.equal(index, wrong):
                raise Wrong(reason)
        if bits != BITS and torch.equal(index, _reversed(theirs % 2**BITS, BITS)):
            raise Wrong(f"that is right for {BITS} bits, and wrong for {bits}.")
        at = int((index != right).flatten().nonzero()[0])
        theirs_at, got, expected = (values.flatten()[at].item() for values in (theirs, index, right))
        raise Wrong(f"with {bits} bits, index {theirs_at} has to become {expected}, and you get {got}.")
    return "right for 1 to 40 bits, in any shape."


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
    if (answer.detach() == 0).any():
        raise Wrong("no zeros are allowed.")
    if (z == 0).any():
        raise Wrong("no zeros are allowed, and in float32 some of these numbers are rounded to zero.")
    return z

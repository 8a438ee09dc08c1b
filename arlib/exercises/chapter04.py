"""Checkers of chapter 4, "Binary spherical quantization"."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from arlib.exercises import Wrong, call, checker, number, tensor
from arlib.metrics import entropy
from arlib.quantizers import BSQ

BITS = 10


@checker
def binarise(answer: Callable) -> str:
    """Exercise 1: exactly ±1/√d forward, the projected gradient backward."""
    for dimension, scale in ((2, 1.0), (10, 0.3), (7, 30.0), (10, 1e9)):
        z = torch.randn(20, dimension) * scale
        z[0, 0] = 0.0
        z.requires_grad_(True)
        quantized = tensor(_called_on(answer, z), (20, dimension), torch.float32)
        _values(quantized.detach(), z.detach(), scale)
        if not quantized.requires_grad:
            raise Wrong("no gradient gets through: autograd sees a constant.")
        gradient = torch.randn(20, dimension)
        (found,) = torch.autograd.grad(quantized, z, gradient, allow_unused=True)
        if found is None:
            raise Wrong("no gradient gets through to z.")
        _gradient(found, gradient, z.detach())
    return "the corners bit for bit, and a gradient that is orthogonal to the latent."


@checker
def index_of(answer: Callable) -> str:
    """Exercise 2: the indices of the codes of latents, for 1 to 40 bits and three dtypes."""
    for bits in (10, 12, 25, 31, 32, 40, 24, 8, 3, 1):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            z = torch.randn(4, 9, bits).to(dtype)
            powers = torch.tensor([2**i for i in range(bits)])
            z[0, 0] = 1.0
            right = ((z >= 0).long() * powers).sum(-1)
            case = f"for {bits} bits of {str(dtype).removeprefix('torch.')}"
            index = tensor(_index_by(answer, z), (4, 9), torch.int64)
            if torch.equal(index, right):
                continue
            if torch.equal(index, ((z >= 0).long() * powers.flip(0)).sum(-1)):
                raise Wrong("the highest bit comes first; bit 0 has to count 1.")
            if torch.equal(index, 2**bits - 1 - right):
                raise Wrong("the bits are the wrong way round: 1 is for positive numbers.")
            if torch.equal(index, right + 1):
                raise Wrong("all are one too high: code 0, with no bit set, has index 0.")
            if torch.equal(index, 2 * right):
                raise Wrong("all are twice too high: bit 0 has to count 1, and yours counts 2.")
            if (index < 0).any():
                raise Wrong(f"{case} some indices are negative: a sum has passed the end of its integer dtype.")
            raise Wrong(
                f"{case} {(index != right).sum().item()} of 36 indices are wrong. Is bit i counted 2^i, and is "
                "everything between the comparison and the sum an int64?"
            )
        z = torch.zeros(2, 3, bits)
        z[1] = -torch.zeros(bits)
        if (tensor(call(answer, z), (2, 3), torch.int64) != 2**bits - 1).any():
            raise Wrong("zero (and minus zero, its equal) counts as positive.")
    return "right for 1 to 40 bits, in three dtypes, and at zero."


@checker
def entropy_of(answer: Callable) -> str:
    """Exercise 3: the entropy of the mean distribution over codes, in bits."""
    for count, bits, spread in ((50, 4, 3.0), (300, 10, 2.0), (1, 10, 0.1), (2, 2, 2000.0)):
        logits = torch.randn(count, bits).double() * spread
        if count == 1:
            logits += 3  # one likely code, and many rare ones
        elif bits > 2:
            logits[:, 1] = logits[:, 0]  # bits that depend on each other
        else:
            logits = torch.tensor([[spread, spread], [-spread, -spread]]).double()
        ones = torch.sigmoid(logits)
        table = _codes(ones)
        right = _entropy(table.mean(0))
        of_bits = _entropy(torch.stack([ones.mean(0), 1 - ones.mean(0)]))
        hard = entropy(((logits >= 0).long() * torch.tensor([2**i for i in range(bits)])).sum(-1))
        mistakes = {
            right * math.log(2): "these are nats: take the logarithm to the base 2.",
            of_bits: "that is the factorised entropy: the bits are taken as if they were independent of each other.",
            sum(map(_entropy, table)) / count: "that is the mean of the latents' entropies; asked for is the entropy "
            "of the mean, so average the probabilities first.",
            -right: "the sign is wrong.",
            hard: "that is the entropy of the likeliest codes; each latent has a probability for every code.",
        }
        result = call(answer, logits)
        if isinstance(result, float | torch.Tensor) and torch.as_tensor(result).isnan().any():
            raise Wrong("that is no number (nan): 0 times the logarithm of 0 counts as 0.")
        given = number(result)
        if not math.isclose(given, right, rel_tol=1e-5, abs_tol=1e-5):
            for mistake, reason in mistakes.items():
                if math.isclose(given, mistake, rel_tol=1e-6, abs_tol=1e-6):
                    raise Wrong(reason)
            if count == 1 and abs(given - right) < 0.1:
                raise Wrong(
                    "that is nearly it, but not where most codes are rare: their small probabilities count, too. "
                    "Is there a clamp or a sum in the logarithm that is too large for them?"
                )
            raise Wrong(f"for {count} latents of {bits} bits you get {given:.4f} bits, and it is {right:.4f}.")
    return "the entropy of the mean of the products."


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
    if _through(z) > 0:
        raise Wrong(
            f"for this z the value is {_through(z).item():.3g}, so the sign is right. How large has z to be before a "
            "float32 has no digits left for 0.316?"
        )
    # Below 2^22 the neighbours of a float32 are a quarter away or nearer, so something of 0.316 is left.
    candidates = torch.arange(2**23, 2**24 + 4) / 2
    smallest = candidates[_through(candidates) <= 0][0].item()
    if given > smallest:
        raise Wrong("the sign is lost there, but there is a smaller number for which it is lost, too.")
    return "from there on whole numbers have no room for 0.316; on the sphere that cannot happen."


def _through(z: torch.Tensor) -> torch.Tensor:
    """The straight-through value of a positive float32 among ten, computed as `z + (q - z)`."""
    return z + (torch.tensor(BITS**-0.5) - z)


@checker
def share_wrong(answer: Any) -> str:
    """Exercise 6: the share of 12-bit codes that a float16 dot product gets wrong."""
    codes = torch.arange(4096)
    powers = torch.tensor([2**i for i in range(12)])
    bits = codes[:, None] // powers % 2

    def wrong(dtype: torch.dtype) -> int:
        return int(((bits.to(dtype) * powers.to(dtype)).sum(-1).long() != codes).sum())

    right = wrong(torch.float16) / 4096
    given = number(answer)
    mistakes = {
        float(wrong(torch.float16)): "that is how many; divide by the 4096 codes.",
        wrong(torch.bfloat16) / 4096: "that is for bfloat16.",
        1 - right: "that is the share of those that are right.",
        100 * right: "that is in per cent.",
        0.0: "not at twelve bits: try an odd number above 2048.",
        0.5: "that is what bfloat16 does to ten bits; float16 keeps three digits more.",
    }
    if abs(given - right) > 1e-6:
        for mistake, reason in mistakes.items():
            if math.isclose(given, mistake, abs_tol=1e-6):
                raise Wrong(reason)
        raise Wrong("that is not the share that is measured: make all 4096 codes' bits, and compare the indices.")
    return f"{right:.2f}, measured again: half of the numbers above 2048 are odd, and float16 has none of them."


def _index_by(answer: Callable, z: torch.Tensor) -> Any:
    """The answer's indices of z. Raises `Wrong` with a reason of its own where only ten bits can be done."""
    try:
        return call(answer, z)
    except Wrong as wrong:
        bits = z.shape[-1]
        if bits != BITS and callable(answer) and "raised" in str(wrong):
            raise Wrong(f"right for {BITS} bits, but for {bits} {wrong}") from wrong
        raise


def _called_on(answer: Callable, z: torch.Tensor) -> Any:
    """The answer's result on z itself: its gradient must come back to z."""
    before = z.detach().clone()

    def on_z() -> Any:
        return answer(z)

    result = call(on_z if callable(answer) else answer)
    if not torch.equal(z.detach(), before):
        raise Wrong("your function has changed the latents that it was given.")
    return result


def _values(value: torch.Tensor, z: torch.Tensor, scale: float) -> None:
    """Raise `Wrong` unless the value is z's corner, bit for bit."""
    dimension = z.shape[-1]
    right = torch.where(z >= 0, 1.0, -1.0) / dimension**0.5
    if torch.equal(value, right):
        return
    if torch.equal(value, z.sign() / dimension**0.5):
        raise Wrong("zero must give +1/√d, and yours gives 0, as torch.sign does.")
    if torch.equal(value, torch.where(z > 0, 1.0, -1.0) / dimension**0.5):
        raise Wrong("zero must give +1/√d, and yours gives -1/√d.")
    if torch.equal(value, -right):
        raise Wrong("the values have the wrong sign.")
    if torch.allclose(value, right * dimension**0.5):
        raise Wrong("the values are ±1; ±1/√d is asked for.")
    if torch.allclose(value, right, atol=1e-4):
        raise Wrong(
            "the values are the corners but for rounding errors, and bit for bit is asked for. "
            "Write the sum so that what is added is exactly zero."
        )
    if scale > 1e6:
        raise Wrong("for a large latent the values are not the corners any more: z + (q - z) has lost all digits of q.")
    raise Wrong("the values are not ±1/√d with the signs of z.")


def _gradient(found: torch.Tensor, gradient: torch.Tensor, z: torch.Tensor) -> None:
    """Raise `Wrong` unless the gradient is the projected one."""
    length = z.norm(dim=-1, keepdim=True)
    unit = F.normalize(z, dim=-1)
    right = gradient - unit * (unit * gradient).sum(-1, keepdim=True)

    def like(other: torch.Tensor) -> bool:
        return torch.allclose(found, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))

    if torch.allclose(found, right, rtol=1e-3, atol=1e-4):
        return
    known = {
        "no gradient gets through: it is zero everywhere.": torch.zeros_like(right),
        "that is the plain straight-through gradient; its part along z is still in it.": gradient,
        "that is divided by the length of z, as the sphere's is; here it is not.": right / length,
        "the gradient is √d times too small: the scale stands outside the estimator.": right / z.shape[-1] ** 0.5,
        "the gradient has the wrong sign.": -right,
        "that is the part along z; asked for is what remains without it.": gradient - right,
        "that is cut off where |z| > 1, and not projected.": gradient * (z.abs() <= 1),
    }
    for reason, wrong in known.items():
        if like(wrong):
            raise Wrong(reason)
    raise Wrong("the values are right, but the gradient is not g - u (u · g), for each latent by itself.")


def _codes(ones: torch.Tensor) -> torch.Tensor:
    """From the probability of each bit, `(N, d)`, that of each code, `(N, 2^d)`."""
    table = torch.ones(len(ones), 1, dtype=ones.dtype)
    for one in ones.T[:, :, None]:
        table = torch.cat([table * (1 - one), table * one], dim=1)
    return table


def _entropy(probabilities: torch.Tensor) -> float:
    """The sum of -p log2 p over all entries, in bits."""
    p = probabilities[probabilities > 0].double()
    return -(p * p.log2()).sum().item()


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

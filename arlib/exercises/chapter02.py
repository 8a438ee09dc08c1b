"""Checkers of chapter 2, "Auto-encoding patches"."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

import arlib
from arlib import exercises
from arlib.exercises import Wrong, call, checker, tensor
from arlib.patches import unpatchify
from arlib.tokenizer import ImageTokenizer

Patient = Callable[[torch.Tensor], torch.Tensor]


# ---- Exercise 1: from any linear auto-encoder to principal directions ------------------------------------------------


@checker
def to_principal(answer: Callable) -> str:
    """Exercise 1: the same linear auto-encoder, with principal directions of what it paints."""
    for size, k in ((4, 2), (12, 3), (20, 6)):
        data = torch.randn(400, size) * torch.linspace(3, 1, size)
        data = data - data.mean(0)
        encoder, decoder = torch.randn(k, size) / size**0.5, torch.randn(size, k) / k**0.5
        found = call(answer, encoder, decoder, data)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise Wrong("two matrices are asked for, the encoder's and the decoder's.")
        new_encoder, new_decoder = found
        for name, matrix, shape in (("encoder", new_encoder, (k, size)), ("decoder", new_decoder, (size, k))):
            if isinstance(matrix, torch.Tensor) and tuple(matrix.shape) == shape[::-1]:
                raise Wrong(f"the {name} has to be {shape}; yours is its transpose.")
            tensor(matrix, shape, torch.float32)
        gram = new_decoder.T @ new_decoder
        gap = (new_decoder @ new_encoder - decoder @ encoder).abs().max()
        if gap > 1e-3:
            right = torch.linalg.svd(data, full_matrices=False)[2][:k]
            if torch.allclose(new_decoder @ new_encoder, right.T @ right, atol=1e-3):
                raise Wrong(
                    "that is PCA of the data. This auto-encoder is not at its minimum: it gives something else, "
                    "and has to go on giving it."
                )
            if torch.allclose(new_encoder, new_decoder.T, atol=1e-3):
                raise Wrong(
                    "your encoder is your decoder transposed, so together they are a projection. This auto-encoder is "
                    "none: start from decoder @ encoder."
                )
            raise Wrong(f"decoder @ encoder has changed, by up to {gap:.2g}: the same picture has to come out.")
        if not torch.allclose(gram, torch.eye(k), atol=1e-3):
            lengths = gram.diag().sqrt()
            if torch.allclose(gram, gram.diag().diag(), atol=1e-3):
                raise Wrong(f"the decoder's columns must have length 1; theirs go from {lengths.min():.2f} upwards.")
            raise Wrong("the decoder's columns are not at right angles to each other.")
        latents = data @ new_encoder.T
        covariance = latents.T @ latents / len(data)
        spread = covariance.diag()
        if (covariance - spread.diag()).abs().max() > 1e-3 * spread.max():
            raise Wrong(
                "the decoder's columns are orthonormal, but the latents are still correlated: of all orthonormal "
                "bases of this subspace one is asked for."
            )
        if (spread[1:] > spread[:-1] * (1 + 1e-4)).any():
            raise Wrong("the latents are uncorrelated, but their variances have to fall from the first to the last.")
    return "the same pictures come out, and the numbers are in PCA's order."


# ---- Exercise 2: bits where they are needed --------------------------------------------------------------------------


def shared(variances: list[float], bits: int, less: int = 4) -> list[int]:
    """Each bit to the number of which most is left; the gains of a number only fall, so greed is best here.

    A bit leaves one part in `less` of a number's error: 4 is right for a squared one.
    """
    share = [0] * len(variances)
    for _ in range(bits):
        left = _each_left(variances, share, less)
        share[left.index(max(left))] += 1
    return share


def _each_left(variances: list[float], share: list[int], less: int = 4) -> list[float]:
    return [variance / less**given for variance, given in zip(variances, share, strict=True)]


def _left(variances: list[float], share: list[int]) -> float:
    return sum(_each_left(variances, share))


@checker
def share_bits(answer: Callable) -> str:
    """Exercise 2: a budget of bits, shared among numbers of given variances."""
    cases = [([16.0, 1.0], 3), ([3.0, 3.0, 3.0], 5), ([1.0, 9.0, 0.01, 4.0], 6)]
    cases += [
        ((torch.rand(n) ** 3 * 10 + 1e-3).tolist(), budget) for n, budget in ((5, 0), (6, 11), (10, 10), (10, 40))
    ]
    for variances, budget in cases:
        found = call(answer, list(variances), budget)
        found = found.tolist() if hasattr(found, "tolist") else found
        if not isinstance(found, list | tuple) or len(found) != len(variances):
            raise Wrong(f"a list of {len(variances)} numbers of bits is asked for.")
        if any(isinstance(given, bool) or given != int(given) or given < 0 for given in found):
            raise Wrong(f"bits are whole numbers from 0 up, and these are {list(found)}.")
        share = [int(given) for given in found]
        case = f"for variances {[round(variance, 2) for variance in variances]} and {budget} bits"
        if sum(share) != budget:
            raise Wrong(f"{case} you have given out {sum(share)}.")
        best = shared(variances, budget)
        if _left(variances, share) <= _left(variances, best) * (1 + 1e-6):
            continue
        mistakes = []
        if max(share) - min(share) <= 1:
            mistakes = ["you share evenly, and a bit is worth more where more variance is left."]
        elif sorted(share) == sorted(best):
            mistakes = ["the numbers of bits are right, but they are in another order than the variances."]
        elif max(share) == budget:
            mistakes = ["one number gets all the bits: after each bit, only a quarter of its error is left."]
        elif share == shared(variances, budget, less=2):
            mistakes = ["a bit halves the *error*; squared, a quarter is left, not a half."]
        reason = mistakes[0] if mistakes else _better(variances, share)
        raise Wrong(
            f"{case} your {share} leaves {_left(variances, share):.3g}, and {best} leaves "
            f"{_left(variances, best):.3g}: {reason}"
        )
    return "no other share of the same bits leaves less."


def _better(variances: list[float], share: list[int]) -> str:
    """In words, the bit that does most good elsewhere; the numbers are counted from 0."""
    left = _each_left(variances, share)
    giver = min((k for k, given in enumerate(share) if given), key=lambda k: left[k])
    taker = left.index(max(left))
    return (
        f"number {giver} would lose {3 * left[giver]:.2g} with a bit less, and number {taker} would gain "
        f"{0.75 * left[taker]:.2g} by it."
    )


# ---- Exercise 3: six patients ----------------------------------------------------------------------------------------


@cache
def _linear() -> ImageTokenizer:
    return arlib.load_autoencoder("linear-5")


@torch.no_grad()
def _paint(patches: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor] = lambda z: z) -> torch.Tensor:
    """Patches (N, 75) through `linear-5`, with something done to its ten numbers."""
    net = _linear()
    squares = unpatchify(patches[:, None, None].float(), 5).permute(0, 3, 1, 2)
    return net.decoder(change(net.encoder(squares))).permute(0, 2, 3, 1).flatten(1)


def _a(patches: torch.Tensor) -> torch.Tensor:
    return _paint(patches, lambda z: torch.cat([z[:, :7], torch.zeros_like(z[:, 7:])], 1))


def _b(patches: torch.Tensor) -> torch.Tensor:
    return _paint(patches) - _paint(torch.zeros(1, 75))


def _c(patches: torch.Tensor) -> torch.Tensor:
    return _paint(patches, lambda z: F.dropout(z, 0.1))


def _d(patches: torch.Tensor) -> torch.Tensor:
    return _paint(patches)


def _e(patches: torch.Tensor) -> torch.Tensor:
    return 0.7 * _paint(patches) + 0.3 * patches


def _f(patches: torch.Tensor) -> torch.Tensor:
    return F.relu(_paint(patches))


PATIENTS: dict[str, Patient] = {"A": _a, "B": _b, "C": _c, "D": _d, "E": _e, "F": _f}
DISEASES = {"A": "dead numbers", "B": "no bias", "C": "dropout", "D": "healthy", "E": "leak", "F": "ReLU at the end"}
HINTS = {
    "dead numbers": "How many dimensions do its pictures have? Look at the singular values.",
    "no bias": "What does it paint for a patch of zeros?",
    "dropout": "Show it the same patch twice.",
    "healthy": "Its pictures have ten dimensions around a mean, the same each time: nothing is wrong with it.",
    "leak": "Show it noise. Can ten numbers hold that?",
    "ReLU at the end": "Our pixels go from -0.5 to 0.5. Which values come out?",
}


@checker
def diagnosis(answer: Any) -> str:
    """Exercise 3: what is wrong with each of six auto-encoders, from what they paint."""
    exercises.diagnosis(answer, DISEASES, HINTS)
    return "all six, by what they paint for inputs that you chose."


# ---- Exercise 4: how often a pixel is painted ------------------------------------------------------------------------


def _counts(size: int, kernel: int, stride: int) -> list[int]:
    return F.conv_transpose1d(torch.ones(1, 1, size), torch.ones(1, 1, kernel), stride=stride)[0, 0].int().tolist()


@checker
def overlaps(answer: Callable) -> str:
    """Exercise 4: how many inputs of a transposed convolution reach each output."""
    for size, kernel, stride in ((3, 3, 2), (4, 2, 2), (3, 5, 2), (5, 4, 2), (2, 5, 5), (4, 1, 3), (6, 6, 3)):
        found = call(answer, size, kernel, stride)
        found = found.tolist() if hasattr(found, "tolist") else found
        right = _counts(size, kernel, stride)
        case = f"for {size} inputs, kernel {kernel}, stride {stride}"
        if not isinstance(found, list | tuple):
            raise Wrong("a list of counts is asked for.")
        found = list(found)
        if found == right:
            continue
        if found == _counts(size, stride, kernel):
            raise Wrong(f"{case} kernel and stride have changed places.")
        if len(found) != len(right):
            raise Wrong(
                f"{case} you have {len(found)} outputs, and there are {len(right)}: the last input starts at "
                f"{(size - 1) * stride} and reaches {kernel} outputs."
            )
        at = next(k for k, count in enumerate(right) if found[k] != count)
        inputs = [k for k in range(size) if k * stride <= at < k * stride + kernel]
        reached = f"by input{'s' * (len(inputs) > 1)} {', '.join(map(str, inputs))}" if inputs else "by none"
        raise Wrong(f"{case} you have {found}, and output {at} is reached {reached}, so it should be {right}.")
    return "away from the ends the count is even exactly where the stride divides the kernel."


# ---- Exercise 5: the best answer to another question -----------------------------------------------------------------


def _absolute(guess: torch.Tensor, pictures: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return torch.einsum("n,n...->...", weights, (pictures - guess).abs())


def _possible(count: int, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Pictures, their probabilities, and which is the best of them.

    That isn't the most probable one, and the middle of the values isn't where half of the unsorted weights is reached:
    else two mistakes were one. (Of three pictures no weight is above a half, so the middle one is right.)
    """
    while True:
        pictures, weights = torch.rand(count, *shape), torch.rand(count) + 0.05
        if count == 3:
            weights = torch.tensor([0.3, 0.36, 0.34])[torch.randperm(3)]
        weights = weights / weights.sum()
        totals = torch.stack([_absolute(picture, pictures, weights).sum() for picture in pictures])
        apart = count == 3 or _half(weights) not in ((count - 1) // 2, count // 2)
        if totals.argmin() != weights.argmax() and apart:
            return pictures, weights, int(totals.argmin())


def _half(weights: torch.Tensor) -> int:
    """Where half of the weight is reached, in the order that they are in."""
    return int((weights.cumsum(0) < 0.5).sum())


def _misplaced(pictures: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted median of somebody who sorts the values, and not the weights with them."""
    return pictures.sort(0).values[_half(weights)]


@checker
def least_absolute(answer: Callable) -> str:
    """Exercise 5: the picture whose expected absolute error is least."""
    for count, shape in ((3, (2, 2)), (5, (3, 4)), (8, (4, 4, 3))):
        pictures, weights, best = _possible(count, shape)
        found = tensor(call(answer, pictures, weights), shape, torch.float32)
        cost = _absolute(found, pictures, weights)
        least = torch.stack([_absolute(picture, pictures, weights) for picture in pictures]).amin(0)
        if (cost <= least + 1e-5).all():
            continue
        mean = torch.einsum("n,n...->...", weights, pictures)
        mistakes = [
            (mean, "that is the mean, which is best for *squared* errors."),
            (pictures.mean(0), "that is the mean, and without the weights."),
            (pictures.median(0).values, "that is the median, but each picture counts as much as the others."),
            (
                _misplaced(pictures, weights),
                "you have sorted the values, and left the weights as they were: sort them too.",
            ),
            (pictures[weights.argmax()], "that is the most probable picture."),
            (pictures[best], "that is the best of the pictures; each pixel may choose its own."),
        ]
        for wrong, reason in mistakes:
            if torch.allclose(found, wrong, atol=1e-5):
                raise Wrong(reason)
        at = int((cost - least).argmax())
        values = [f"{value:.2f}" for value in pictures.flatten(1)[:, at]]
        raise Wrong(
            f"a pixel that is {', '.join(values)} with probabilities {', '.join(f'{w:.2f}' for w in weights)} costs "
            f"{cost.flatten()[at]:.3f} by your {found.flatten()[at]:.2f}, and {least.flatten()[at]:.3f} is possible."
        )
    return "the weighted median: it is a value that one of the pictures has, not a mixture."

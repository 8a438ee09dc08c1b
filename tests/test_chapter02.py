"""Chapter 2, "Auto-encoding patches": its checkers refuse wrong answers with a reason, its figure counts as it does."""

import base64
import itertools
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

import arlib
from arlib.exercises import chapter02 as check
from arlib.metrics import psnr
from arlib.patches import patchify

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "02-auto-encoding"
NOTEBOOK = ROOT / "book" / f"{CHAPTER}.ipynb"


# ---- Wrong answers, and why they are wrong ---------------------------------------------------------------------------


def principal(encoder, decoder, data):
    painted = data @ encoder.T @ decoder.T
    basis = torch.linalg.svd(painted, full_matrices=False)[2][: len(encoder)].T
    return basis.T @ decoder @ encoder, basis


def pca_of_data(encoder, decoder, data):
    """The chapter's own PCA."""
    directions = torch.linalg.eigh(torch.cov(data.T))[1].flip(1)[:, : len(encoder)]
    return directions.T, directions


def only_orthonormal(encoder, decoder, data):
    basis, _ = torch.linalg.qr(decoder)
    return basis.T @ decoder @ encoder, basis


def singular_vectors(encoder, decoder, data):
    """What the chapter reads off the decoder with a penalty."""
    basis = torch.linalg.svd(decoder, full_matrices=False)[0]
    return basis.T @ decoder @ encoder, basis


def smallest_first(encoder, decoder, data):
    new_encoder, new_decoder = principal(encoder, decoder, data)
    return new_encoder.flip(0), new_decoder.flip(1)


def whitened(encoder, decoder, data):
    new_encoder, new_decoder = principal(encoder, decoder, data)
    lengths = (data @ new_encoder.T).std(0)
    return new_encoder / lengths[:, None], new_decoder * lengths


def orthogonal_only(encoder, decoder, data):
    return encoder, torch.linalg.qr(decoder)[0]


def as_a_projection(encoder, decoder, data):
    basis = principal(encoder, decoder, data)[1]
    return basis.T, basis


PRINCIPAL = [
    (as_a_projection, "together they are a projection"),
    (pca_of_data, "PCA of the data"),
    (only_orthonormal, "still correlated"),
    (singular_vectors, "still correlated"),
    (smallest_first, "have to fall"),
    (whitened, "must have length 1"),
    (orthogonal_only, "has changed"),
    (lambda encoder, decoder, data: (encoder, decoder), "not at right angles"),
    (lambda *inputs: tuple(matrix.T for matrix in principal(*inputs)), "its transpose"),
    (lambda *inputs: principal(*inputs)[1], "two matrices"),
    (lambda *inputs: None, "returns nothing yet"),
]


def evenly(variances, bits):
    return [bits // len(variances) + (k < bits % len(variances)) for k in range(len(variances))]


def all_to_one(variances, bits):
    return [bits * (k == variances.index(max(variances))) for k in range(len(variances))]


def in_falling_order(variances, bits):
    return sorted(check.shared(variances, bits), reverse=True)


def by_halves(variances, bits):
    remains, share = list(variances), [0] * len(variances)
    for _ in range(bits):
        at = remains.index(max(remains))
        remains[at] /= 2
        share[at] += 1
    return share


def by_share(variances, bits):
    return [round(bits * variance / sum(variances)) for variance in variances]


def by_floored_share(variances, bits):
    share = [int(bits * variance / sum(variances)) for variance in variances]
    for k in range(bits - sum(share)):
        share[k % len(share)] += 1
    return share


SHARES = [
    (evenly, "you share evenly"),
    (all_to_one, "one number gets all"),
    (in_falling_order, "in another order"),
    (by_halves, "a quarter is left, not a half"),
    (by_share, "Not yet"),
    (by_floored_share, "number 1 would lose 0.11 with a bit less, and number 3 would gain 0.75 by it"),
    (lambda variances, bits: check.shared(variances, bits)[::-1], "in another order"),
    (lambda variances, bits: [bits] * len(variances), "you have given out"),
    (lambda variances, bits: [bits / len(variances)] * len(variances), "whole numbers"),
    (lambda variances, bits: bits, "a list of 2"),
    (lambda variances, bits: None, "returns nothing yet"),
]


def diagnosed(**changes):
    return {**check.DISEASES, **changes}


DIAGNOSES = [
    (dict.fromkeys("ABCDEF", ...), "no diagnosis yet"),
    ({"A": "healthy"}, "the keys"),
    (..., "a dictionary"),
    (diagnosed(A="ill"), "none of the names"),
    (diagnosed(A="healthy"), "singular values"),
    (diagnosed(B="healthy"), "a patch of zeros"),
    (diagnosed(C="leak"), "the same patch twice"),
    (diagnosed(D="leak"), "nothing is wrong with it"),
    (diagnosed(E="healthy"), "Show it noise"),
    (diagnosed(F="no bias"), "Which values come out"),
    (diagnosed(E=...), "1 still without a name"),
]


def counted(size, kernel, stride):
    counts = [0] * ((size - 1) * stride + kernel)
    for first in range(0, size * stride, stride):
        for at in range(first, first + kernel):
            counts[at] += 1
    return counts


OVERLAPS = [
    (lambda size, kernel, stride: counted(size, stride, kernel), "changed places"),
    (lambda size, kernel, stride: counted(size, kernel, stride)[: size * stride], "reaches 3 outputs"),
    (lambda size, kernel, stride: [kernel / stride] * ((size - 1) * stride + kernel), "reached by input 0, so"),
    (lambda size, kernel, stride: [kernel // stride] * ((size - 1) * stride + kernel), "output 2 is reached by inputs"),
    (lambda size, kernel, stride: counted(size, kernel, 1), "the last input starts at 4 and reaches 3 outputs"),
    (lambda size, kernel, stride: [1] * 3, "you have 3 outputs"),
    (lambda size, kernel, stride: 3, "a list of counts"),
    (lambda size, kernel, stride: None, "returns nothing yet"),
]


def mean_of(pictures, weights):
    """The chapter's own answer, for squared errors."""
    return torch.einsum("n,n...->...", weights, pictures)


def best_whole(pictures, weights):
    costs = torch.stack([mean_of((pictures - one).abs(), weights).sum() for one in pictures])
    return pictures[costs.argmin()]


def weighted_median(pictures, weights):
    values, order = pictures.sort(0)
    first = (weights[order].cumsum(0) < 0.5).sum(0, keepdim=True)
    return values.gather(0, first)[0]


MEDIANS = [
    (mean_of, "*squared* errors"),
    (lambda pictures, weights: pictures.mean(0), "without the weights"),
    (lambda pictures, weights: pictures[weights.argmax()], "most probable picture"),
    (best_whole, "each pixel may choose"),
    (lambda pictures, weights: pictures.sort(0).values[(weights.cumsum(0) < 0.5).sum()], "sort them too"),
    (lambda pictures, weights: pictures.sort(0).values[len(pictures) // 2], "counts as much as the others"),
    (lambda pictures, weights: torch.zeros_like(pictures[0]), "is possible"),
    (lambda pictures, weights: pictures, "the shape is"),
    (lambda pictures, weights: None, "returns nothing yet"),
]

WRONG = [
    *[(check.to_principal, *case) for case in PRINCIPAL],
    *[(check.share_bits, *case) for case in SHARES],
    *[(check.diagnosis, *case) for case in DIAGNOSES],
    *[(check.overlaps, *case) for case in OVERLAPS],
    *[(check.least_absolute, *case) for case in MEDIANS],
]


@pytest.mark.parametrize(("checker", "answer", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answer, reason):
    verdict = checker(answer)
    assert not verdict
    assert reason in str(verdict)


def test_a_median_without_weights_is_refused():
    """With three pictures the two medians may agree, with eight they do not."""
    verdict = check.least_absolute(lambda pictures, weights: pictures.median(0).values)
    assert not verdict
    assert "counts as much as the others" in str(verdict)


@pytest.mark.parametrize(
    ("checker", "answer"),
    [
        (check.to_principal, principal),
        (check.to_principal, lambda *inputs: tuple(-matrix for matrix in principal(*inputs))),
        (check.share_bits, check.shared),
        (check.share_bits, lambda variances, bits: torch.tensor(check.shared(variances, bits))),
        (check.share_bits, lambda variances, bits: np.array(check.shared(variances, bits))),
        (check.diagnosis, check.DISEASES),
        (check.overlaps, counted),
        (check.overlaps, lambda *sizes: torch.tensor(counted(*sizes))),
        (check.least_absolute, weighted_median),
    ],
)
def test_a_right_answer_passes(checker, answer):
    assert checker(answer)


def test_greed_shares_bits_best():
    """Against every share there is."""
    for variances, bits in (([4.0, 1.0, 0.3], 6), ([1.0, 1.0, 1.0], 4), ([0.02, 9.0, 3.0, 3.0], 7)):
        left = {
            share: sum(variance / 4**given for variance, given in zip(variances, share, strict=True))
            for share in itertools.product(range(bits + 1), repeat=len(variances))
            if sum(share) == bits
        }
        assert left[tuple(check.shared(variances, bits))] == pytest.approx(min(left.values()))


# ---- The figure ------------------------------------------------------------------------------------------------------


def figure_data() -> dict:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        for output in cell.get("outputs", []):
            page = output.get("data", {}).get("text/html", "")
            if 'data-figure="bit-budget"' in page:
                found = re.search(r"^const data = (.*);$", page, re.MULTILINE)
                assert found is not None
                return json.loads(found[1])
    raise AssertionError("the notebook has no figure")


def unpacked(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def decibels(numbers: int, bits: int) -> float:
    """The frame's PSNR from the figure's data, worked out apart from it."""
    data = figure_data()
    directions, deviations = torch.tensor(data["directions"]), torch.tensor(data["deviations"])
    codes = unpacked(data["codes"]).view(600, 10)[:, :numbers].int() // 2 ** (8 - bits)
    latents = ((codes + 0.5) / 2**bits * 2 - 1) * 3 * deviations[:numbers]
    made = ((latents @ directions[:numbers] + torch.tensor(data["mean"]) + 0.5) * 255).round().clamp(0, 255)
    original = patchify(unpacked(data["original"]).view(1, 100, 150, 3), 5).view(600, 75).float()
    return (10 * torch.log10(255**2 / (made - original).square().mean())).item()


def test_more_bits_make_a_better_picture():
    assert decibels(10, 1) < decibels(10, 3) < decibels(10, 5) < decibels(10, 8)
    assert decibels(1, 8) < decibels(3, 8) < decibels(10, 8)
    frame = arlib.data.load("supertuxkart", "valid")[230:231]
    network = psnr(arlib.load_autoencoder("linear-5").reconstruct(frame), frame).item()  # ten numbers, not rounded
    assert network - 2 < decibels(10, 8) < network


def tried(it) -> None:
    """Move a figure's two sliders with the keyboard, and compare what it says."""
    sliders = it.locator("input[type=range]")
    for numbers, bits in ((10, 8), (10, 2), (4, 5), (0, 1)):
        for at, (value, first) in enumerate(((numbers, 0), (bits, 1))):
            sliders.nth(at).focus()
            it.page.keyboard.press("Home")
            for _ in range(value - first):
                it.page.keyboard.press("ArrowRight")
        assert it.locator('[data-name="bits"]').inner_text() == str(numbers * bits)
        shown = float(it.locator('[data-name="psnr"]').inner_text())
        assert shown == pytest.approx(decibels(numbers, bits), abs=0.06)


@pytest.mark.browser
def test_bit_budget(figure):
    tried(figure(CHAPTER, "bit-budget"))

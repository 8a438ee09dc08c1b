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


def all_but_the_largest_smallest_first(encoder, decoder, data):
    new_encoder, new_decoder = principal(encoder, decoder, data)
    order = [0, *range(len(encoder) - 1, 0, -1)]
    return new_encoder[order], new_decoder[:, order]


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
    (all_but_the_largest_smallest_first, "have to fall"),
    (whitened, "must have length 1"),
    (orthogonal_only, "has changed"),
    (lambda encoder, decoder, data: (encoder, decoder), "not at right angles"),
    (lambda *inputs: tuple(matrix.T for matrix in principal(*inputs)), "its transpose"),
    (lambda *inputs: principal(*inputs)[1], "two matrices"),
    (lambda *inputs: (*principal(*inputs), inputs[2].mean(0)), "two matrices"),
    (lambda *inputs: tuple(matrix.double() for matrix in principal(*inputs)), "the dtype is"),
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


def one_bit_astray(variances, bits):
    return [2, 2, 0, 2] if len(variances) == 4 else check.shared(variances, bits)


SHARES = [
    (
        evenly,
        "for variances [1.0, 9.0, 0.01, 4.0] and 6 bits your [2, 2, 1, 1] leaves 1.63, and [1, 3, 0, 2] leaves 0.651: "
        "you share evenly",
    ),
    (one_bit_astray, "number 0 would lose 0.19 with a bit less, and number 1 would gain 0.42 by it"),
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


def without_an_end(size, kernel, stride):
    """Counts inputs beyond the last one, too."""
    return [
        sum(k * stride <= at < k * stride + kernel for k in range(size + kernel))
        for at in range((size - 1) * stride + kernel)
    ]


OVERLAPS = [
    (lambda size, kernel, stride: counted(size, stride, kernel), "changed places"),
    (
        lambda size, kernel, stride: counted(size, kernel, stride)[: size * stride],
        "you have 6 outputs, and there are 7: the last input starts at 4 and reaches 3 outputs",
    ),
    (
        lambda size, kernel, stride: counted(size, 3, stride),
        "you have 9 outputs, and there are 8: the last input starts at 6 and reaches 2 outputs",
    ),
    (lambda size, kernel, stride: [kernel / stride] * ((size - 1) * stride + kernel), "reached by input 0, so"),
    (
        lambda size, kernel, stride: [kernel // stride] * ((size - 1) * stride + kernel),
        "output 2 is reached by inputs 0, 1, so it should be [1, 1, 2, 1, 2, 1, 1]",
    ),
    (
        lambda size, kernel, stride: [min(at // stride, 1) + 1 for at in range((size - 1) * stride + kernel)],
        "output 3 is reached by input 1, so it should be [1, 1, 2, 1, 2, 1, 1]",
    ),
    (without_an_end, "output 6 is reached by input 2, so it should be [1, 1, 2, 1, 2, 1, 1]"),
    (
        lambda size, kernel, stride: [max(count, 1) for count in counted(size, kernel, stride)],
        "output 1 is reached by none, so it should be [1, 0, 0, 1, 0, 0, 1, 0, 0, 1]",
    ),
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
    (lambda pictures, weights: weighted_median(pictures, weights).double(), "the dtype is"),
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


def test_the_pixel_that_is_told_is_one_where_the_answer_costs_too_much():
    """One pixel is off by a little, and of all pixels it costs the least."""

    def answer(pictures, weights):
        best = weighted_median(pictures, weights)
        cheapest = mean_of((pictures - best).abs(), weights).argmin()
        best.view(-1)[cheapest] += 0.01
        return best

    reason = check.least_absolute(answer).reason
    told = re.search(r"that is (.*) with probabilities (.*) costs (.*) by your (.*), and (.*) is possible", reason)
    assert told is not None
    values, weights = (np.array(told[k].split(", "), float) for k in (1, 2))
    cost, mine, least = (float(told[k]) for k in (3, 4, 5))
    assert cost > least
    assert (weights * abs(values - mine)).sum() == pytest.approx(cost, abs=0.02)  # of numbers with two places
    assert min((weights * abs(values - value)).sum() for value in values) == pytest.approx(least, abs=0.02)


@pytest.mark.parametrize(("count", "shape"), [(5, (3, 4)), (8, (4, 4, 3))])
def test_no_two_mistakes_are_one(count, shape):
    """The best picture is not the most probable one, and weights left as they were do not lead to the median."""
    for _ in range(60):
        pictures, weights, best = check._possible(count, shape)
        assert weights.min() > 0
        assert weights.sum().item() == pytest.approx(1)
        assert best != weights.argmax()
        values, misplaced = pictures.sort(0).values, check._misplaced(pictures, weights)
        assert not torch.equal(misplaced, values[(count - 1) // 2])
        assert not torch.equal(misplaced, values[count // 2])


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


# ---- The six patients ------------------------------------------------------------------------------------------------


def dimensions(pictures):
    return torch.linalg.matrix_rank(pictures - pictures.mean(0), rtol=1e-4).item()


def test_the_healthy_patient_paints_as_the_library_does():
    frame = arlib.data.load("supertuxkart", "valid")[230:231].float() / 255 - 0.5
    net = arlib.load_autoencoder("linear-5")
    with torch.no_grad():
        painted = net.decoder(net.encoder(frame.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
    made = check.PATIENTS["D"](patchify(frame, 5).view(600, 75))
    assert torch.allclose(made, patchify(painted, 5).view(600, 75), atol=1e-5)


def test_each_patient_has_its_disease_and_no_other():
    """What each paints of noise, of zeros, and of one patch many times."""
    noise = torch.rand(300, 75) - 0.5
    made = {letter: patient(noise) for letter, patient in check.PATIENTS.items()}
    healthy = check.PATIENTS["D"]
    letters = {name: letter for letter, name in check.DISEASES.items()}
    assert {name: dimensions(made[letter]) for name, letter in letters.items() if name != "ReLU at the end"} == {
        "dead numbers": 7, "no bias": 10, "dropout": 10, "healthy": 10, "leak": 75,
    }  # fmt: skip
    black = {letter: patient(torch.zeros(1, 75)).abs().max().item() for letter, patient in check.PATIENTS.items()}
    assert {letter for letter, most in black.items() if most < 1e-5} == {letters["no bias"]}
    assert torch.allclose(made[letters["no bias"]] - made["D"], -healthy(torch.zeros(1, 75)), atol=1e-5)
    kinds = {letter: patient(noise[:1].expand(2000, -1)) for letter, patient in check.PATIENTS.items()}
    kinds = {letter: many.mul(1000).round().unique(dim=0, return_counts=True)[1] for letter, many in kinds.items()}
    assert {letter for letter, counts in kinds.items() if len(counts) > 1} == {letters["dropout"]}
    most = kinds[letters["dropout"]].max() / 2000
    assert 0.25 < most < 0.45  # each of ten numbers is kept in nine of ten cases: all in 0.9¹⁰, 35 %
    lost, leaked = ((made[letter] - noise).square().mean() for letter in ("D", letters["leak"]))
    assert leaked / lost == pytest.approx(0.7**2, rel=1e-3)
    assert made[letters["ReLU at the end"]].min() == 0
    assert made["D"].min() < 0


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

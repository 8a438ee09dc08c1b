"""Chapter 4: wrong answers are told why, and its figure shows what `arlib` computes."""

import base64
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import arlib
from arlib import tokenset
from arlib.exercises import chapter04 as check
from arlib.quantizers import BSQ

CHAPTER = "04-binary-spherical-quantization"
NOTEBOOK = Path(__file__).resolve().parent.parent / "book" / f"{CHAPTER}.ipynb"


def corner(z):
    return torch.where(z >= 0, 1.0, -1.0) / z.shape[-1] ** 0.5


def tangent(z):
    unit = F.normalize(z, dim=-1).detach()
    return z - unit * (unit * z).sum(-1, keepdim=True)


def exactly(value, way):
    """`value` forward, the gradient of `way` backward."""
    return value.detach() + (way - way.detach())


# Exercise 1's five quantizers, told apart by whoever reads their code.
DIAGNOSIS = {"A": "zero", "B": "gradient along z", "C": "no corner", "D": "fine", "E": "no gradient"}
DIAGNOSES = [
    ({**DIAGNOSIS, "A": "fine"}, "in which some numbers are exactly 0"),
    ({**DIAGNOSIS, "B": "fine"}, "the inner product of that gradient with the latent"),
    ({**DIAGNOSIS, "C": "fine"}, "absolute values of what it returns"),
    ({**DIAGNOSIS, "D": "no corner"}, "look again"),
    ({**DIAGNOSIS, "E": "gradient along z"}, "a grad_fn"),
    ({**DIAGNOSIS, "E": "broken"}, "none of the names"),
    (dict.fromkeys("ABCDE", ...), "no diagnosis yet"),
    (corner, "a dictionary"),
]


def powers_of(z):
    return torch.tensor([2**i for i in range(z.shape[-1])])


def index_of(z):
    """The chapter's `encode`, for any number of bits."""
    return ((z >= 0).long() * powers_of(z)).sum(-1)


def flipped(z, bit):
    return index_of(z) ^ 2**bit


def second(z):
    return flipped(z, z.abs().argmin(-1))


SECONDS = [
    (index_of, "that is the nearest corner"),
    (lambda z: flipped(z, z.abs().argmax(-1)), "farthest from zero"),
    (lambda z: flipped(z, z.argmin(-1)), "take absolute values"),
    (lambda z: index_of(-z), "on the other side"),
    (lambda z: mirrored(second(z), z.shape[-1]), "the highest bit comes first"),
    (lambda z: flipped(z, z.argmax(-1)), "for z = ["),
    (lambda z: second(z).to(torch.uint8).long(), "for z = ["),  # right for 3 dimensions
    (lambda z: ((z >= 0).long() * powers_of(torch.zeros(10))).sum(-1), "with 3 dimensions, your function raised"),
    (lambda z: 2 ** z.shape[-1] - 1 - second(z), "every bit is the wrong way round"),
    (lambda z: flipped(z, z.abs().argsort(-1)[:, 1]), "the third nearest corner"),
    (lambda z: second(z) ^ 2 ** z.abs().argsort(-1)[:, 1], "you flip two bits"),
    (lambda z: z.abs().argmin(-1), "that is the dimension"),
    (lambda z: 2 ** z.abs().argmin(-1), "what the flipped bit counts"),
    (lambda z: flipped(z, z.shape[-1] - 1 - z.abs().argmin(-1)), "from the wrong end"),
    (lambda z: index_of(z) + 2 ** z.abs().argmin(-1), "`^` does both"),
    (lambda z: index_of(z) - 2 ** z.abs().argmin(-1), "`^` does both"),
    (lambda z: index_of(z) | 2 ** z.abs().argmin(-1), "`^` does both"),
    (lambda z: index_of(z) & ~(2 ** z.abs().argmin(-1)), "`^` does both"),
    (lambda z: second(z).float(), "the dtype is"),
    (lambda z: second(z)[0], "the shape is"),
    (corner, "the shape is"),
    (lambda z: None, "returns nothing yet"),
]


def mirrored(index, bits):
    return torch.tensor([int(f"{value:0{bits}b}"[::-1], 2) for value in index.flatten().tolist()]).view(index.shape)


def without_zeros(index, bits):
    return torch.tensor([int(f"{value:b}"[::-1], 2) for value in index.flatten().tolist()]).view(index.shape)


ORDERS = [
    (lambda index, bits: index, "nothing has changed"),
    (lambda index, bits: 2**bits - 1 - index, "Reverse their order instead"),
    (without_zeros, "zeros at the front"),
    (lambda index, bits: 2**bits - 1 - mirrored(index, bits), "every bit is the wrong way round"),
    (lambda index, bits: mirrored(index % 1024, 10), "right for 10 bits; with 12 bits, index"),
    (lambda index, bits: mirrored(index, bits) ^ 1, "with 10 bits, index 512 has to become 1, and you get 0."),
    (lambda index, bits: index.flip(-1), "the bits inside each of them"),
    (lambda index, bits: BSQ(bits).encode(BSQ(bits).decode(index).flip(-1)), "with 40 bits, your function raised"),
    (lambda index, bits: in_float(index, bits), "with 40 bits, index"),
    (lambda index, bits: in_float(index, bits), "is every number an int64"),
    (lambda index, bits: mirrored(index, bits).int(), "the dtype is"),
    (lambda index, bits: mirrored(index, bits).flatten(), "the shape is"),
    (lambda index, bits: index_of(index), "the shape is"),
    (lambda index, bits: None, "returns nothing yet"),
]


def in_float(index, bits):
    powers = 2.0 ** torch.arange(bits)
    return (index[..., None] // powers.flip(0) % 2 * powers).sum(-1).long()


HALVES = torch.tensor([[1.0, -1.0] * 5, [-1.0, 1.0] * 5])
SIX = BSQ(10).decode(torch.tensor([0, 1023, 5, 1018, 9, 1014]))
RARE = torch.cat([SIX, SIX[:2].repeat(200, 1)])
FOOLING = [
    (torch.ones(1, 10), "bit 0 is 1 in 100.0%"),
    (HALVES, "there are 2 codes"),
    (torch.cat([RARE, RARE[:1]]), "half of them, exactly"),
    (SIX, "2.58 bits: let a few of them"),
    (torch.ones(1001, 10), "with N from 1 to 1000"),
    (torch.ones(10), "latents (N, 10)"),
    (HALVES * torch.tensor([0.0] + [1.0] * 9), "no zeros"),
    ((HALVES > 0).float(), "these are bits"),
    (RARE.double() * 1e-60, "rounded to zero"),
    (RARE * 1j, "complex"),
    (..., "nothing here yet"),
    ("latents", "a tensor is asked for"),
]

LOST = [
    (2.0**23, "the sign is right"),
    (8_000_000, "the sign is right"),
    (1e9, "a smaller number loses it too"),
    (2**23 + 2, "a smaller number loses it too"),
    (2**23 + 0.5, "no float32"),
    (-(2.0**23) - 1, "a positive number"),
    (0, "a positive number"),
    (float("inf"), "one finite number"),
    (..., "no number yet"),
]

WRONG = [
    *[(check.diagnose, *case) for case in DIAGNOSES],
    *[(check.second_nearest, *case) for case in SECONDS],
    *[(check.fools_factorized, *case) for case in FOOLING],
    *[(check.loses_sign, *case) for case in LOST],
    *[(check.lowest_first, *case) for case in ORDERS],
]


@pytest.mark.parametrize(("checker", "answer", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answer, reason):
    verdict = checker(answer)
    assert not verdict
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("checker", "answer"),
    [
        (check.diagnose, DIAGNOSIS),
        (check.second_nearest, second),
        (check.second_nearest, lambda z: BSQ(z.shape[-1]).encode(second_corner(z))),
        (check.fools_factorized, RARE),
        (check.fools_factorized, RARE.tolist()),
        (check.fools_factorized, torch.cat([SIX, SIX[:2].repeat(497, 1)])),  # 1000 latents
        (check.loses_sign, 2**23 + 1),
        (check.loses_sign, torch.tensor(2.0**23 + 1)),
        (check.lowest_first, mirrored),
    ],
)
def test_a_right_answer_passes(checker, answer):
    assert checker(answer)


def second_corner(z):
    """The second nearest corner by all distances on the sphere, as exercise 2 says that nobody has to."""
    bits = z.shape[-1]
    corners = BSQ(bits).decode(torch.arange(2**bits))
    distances = torch.cdist(F.normalize(z.double(), dim=-1), corners.double())
    return corners[distances.topk(2, largest=False).indices[:, 1]]


def test_the_latent_that_is_told_is_one_whose_index_is_wrong():
    told = []

    def answer(z):
        index = second(z)
        index[7] ^= 5  # two bits, which is no mistake that has a name
        shown = ", ".join(str(round(value, 3)) for value in z[7].tolist())
        told.append(f"for z = [{shown}] you get {index[7]}, and it is {BSQ(z.shape[-1]).encode(second_corner(z))[7]}.")
        return index

    assert check.second_nearest(answer).reason == told[0]


def test_the_five_quantizers_have_the_faults_that_they_are_said_to_have():
    z = torch.randn(50, 10, requires_grad=True)
    values = {letter: quantize(z) for letter, quantize in check.patients().items()}
    right = corner(z)
    assert {letter for letter, value in values.items() if not torch.allclose(value, right, atol=1e-5)} == {"C"}
    zeros = {letter: quantize(torch.zeros(1, 10)) for letter, quantize in check.patients().items()}
    assert {letter for letter, value in zeros.items() if not torch.allclose(value, corner(torch.zeros(1, 10)))} == {
        "A",
        "C",
    }
    assert not values["E"].requires_grad
    for letter, orthogonal in {"A": True, "B": False, "D": True}.items():
        weights = torch.randn(50, 10)
        (gradient,) = torch.autograd.grad((values[letter] * weights).sum(), z)
        assert (((gradient * z).sum(-1).abs() < 1e-3).all()) == orthogonal
        (librarys,) = torch.autograd.grad((BSQ(10)(z) * weights).sum(), z)
        assert torch.allclose(gradient, librarys if orthogonal else weights, atol=1e-5)


def data_of(name):
    """The data that the committed notebook has put into a figure."""
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        for output in cell.get("outputs", []):
            page = output.get("data", {}).get("text/html", "")
            if f'data-figure="{name}"' in page:
                found = re.search(r"^const data = (.*);$", page, re.MULTILINE)
                assert found is not None
                return json.loads(found[1])
    raise AssertionError(f"the notebook has no figure {name}")


def unpacked(text, *shape):
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), np.uint8).copy()).view(*shape)


def shown(figure, name):
    return figure.locator(f'[data-name="{name}"]').inner_text()


@pytest.mark.browser
def test_the_bits_of_a_code_and_its_patch(figure):
    bits = figure(CHAPTER, "code-bits")
    data = data_of("code-bits")
    tokenizer = arlib.load_tokenizer("book")
    times = torch.bincount(tokenset.read(arlib.data.root() / "tokens" / "train.tokens").grids.flatten(), minlength=1024)
    code = data["start"]
    for flips in ([], [0, 9], [3], [1, 2, 4, 5, 6]):
        for bit in flips:
            bits.locator(f'[data-bit="{bit}"]').focus()
            bits.page.keyboard.press("Space")
            code ^= 1 << bit
        assert shown(bits, "index") == str(code)
        pressed = [bits.locator(f'[data-bit="{bit}"]').get_attribute("aria-pressed") for bit in range(10)]
        latent = torch.tensor([[1.0 if state == "true" else -1.0 for state in pressed]])
        assert BSQ(10).encode(latent).item() == code
        assert sum(map(int, shown(bits, "sum").split(" + "))) == code
        assert shown(bits, "times") == f"{times[code]:,} of {times.sum():,}"
        patch = tokenizer.decode(torch.full((1, 9, 9), code))[0, 20:25, 20:25]
        mean = patch.double().mean((0, 1))
        color = torch.tensor([float(part) for part in shown(bits, "color").split(", ")])
        assert (color - mean).abs().max() <= 1.5  # half for its rounding, and a gray level for another machine's
        stored = unpacked(data["patches"], 1024, 5, 5, 3)[code]
        assert (stored.int() - patch.int()).abs().max() <= 1


@pytest.mark.browser
def test_every_bit_is_shown_with_the_patch_it_leads_to(figure):
    bits = figure(CHAPTER, "code-bits")
    data = data_of("code-bits")
    patches = unpacked(data["patches"], 1024, 75)
    canvases = bits.locator("canvas")
    canvases.nth(10).wait_for()  # a count does not wait for the figure to be drawn
    assert canvases.count() == 11
    for number in range(11):
        pixels = canvases.nth(number).evaluate(
            "c => [...c.getContext('2d').getImageData(0, 0, 5, 5).data].filter((_, at) => at % 4 < 3)"
        )
        code = data["start"] if number == 0 else data["start"] ^ (1 << (number - 1))
        assert pixels == patches[code].tolist()

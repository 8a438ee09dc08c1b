"""Chapter 4: wrong answers are told why, and its two figures show what `arlib` computes."""

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
from arlib import metrics, tokenset
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


def in_place(z):
    with torch.no_grad():
        z.clamp_(-1, 1)
    return corner(z)


BINARISE = [
    (lambda z: torch.sign(z) / z.shape[-1] ** 0.5, "yours gives 0, as torch.sign"),
    (lambda z: exactly(torch.where(z > 0, 1.0, -1.0) / z.shape[-1] ** 0.5, tangent(z)), "yours gives -1/√d"),
    (lambda z: exactly(-corner(z), tangent(z)), "values have the wrong sign"),
    (lambda z: exactly(corner(z), -tangent(z)), "gradient has the wrong sign"),
    (corner, "autograd sees a constant"),
    (lambda z: exactly(corner(z), tangent(z)) * z.shape[-1] ** 0.5, "the values are ±1;"),
    (lambda z: z + (corner(z) - z).detach(), "bit for bit"),
    (lambda z: exactly(corner(z), z), "its part along z is still in it"),
    (lambda z: exactly(corner(z), F.normalize(z, dim=-1)), "divided by the length"),
    (lambda z: exactly(corner(z), tangent(z) / z.shape[-1] ** 0.5), "√d times too small"),
    (lambda z: exactly(corner(z), z - tangent(z)), "the part along z"),
    (lambda z: exactly(corner(z), 0 * z), "it is zero everywhere"),
    (lambda z: exactly(corner(z), F.hardtanh(z)), "cut off"),
    (lambda z: exactly(corner(z), z - z.mean(-1, keepdim=True)), "not g - u (u · g)"),
    (in_place, "changed the latents"),
    (lambda z: exactly(corner(z), tangent(z))[0], "the shape is"),
    (lambda z: None, "returns nothing yet"),
]


def powers_of(z, dtype=torch.int64):
    return torch.tensor([2**i for i in range(z.shape[-1])]).to(dtype)


INDICES = [
    (lambda z: ((z >= 0).long() * powers_of(z).flip(0)).sum(-1), "highest bit comes first"),
    (lambda z: ((z < 0).long() * powers_of(z)).sum(-1), "the wrong way round"),
    (lambda z: ((z > 0).long() * powers_of(z)).sum(-1), "counts as positive"),
    (lambda z: ((z >= 0).float() @ powers_of(z).float()).long(), "for 25 bits of float32"),
    (lambda z: ((z >= 0).bfloat16() * powers_of(z).bfloat16()).sum(-1).long(), "for 10 bits of float32"),
    (lambda z: ((z >= 0).int() * powers_of(z).int()).sum(-1, dtype=torch.int32).long(), "for 32 bits"),
    (lambda z: ((z >= 0).to(torch.uint8) * powers_of(z, torch.uint8)).sum(-1), "indices are wrong"),
    (lambda z: ((z >= 0).to(torch.int8) * powers_of(z, torch.int8)).sum(-1), "are negative"),
    (lambda z: (z >= 0).float() @ powers_of(z).float(), "the dtype is torch.float32"),
    (lambda z: (z >= 0).long() * powers_of(z), "the shape is"),
    (lambda z: ((z >= 0).long() * powers_of(z)).sum(-1) + 1, "one too high"),
    (lambda z: ((z >= 0).long() * powers_of(z)).sum(-1) * 2, "bit 0 has to count 1, and yours counts 2"),
    (lambda z: ((z >= 0).long() * 2 ** torch.arange(10)).sum(-1), "right for 10 bits, but for 12"),
    (lambda z: ((z >= 0).int() * powers_of(z).int()).sum(-1, dtype=torch.int32), "the dtype is torch.int32"),
    (lambda z: None, "returns nothing yet"),
]


def table_of(logits):
    table = torch.ones(len(logits), 1, dtype=logits.dtype)
    for one in torch.sigmoid(logits).T[:, :, None]:
        table = torch.cat([table * (1 - one), table * one], dim=1)
    return table


def entropy(p, log=torch.log2):
    p = p[p > 0]
    return -(p * log(p)).sum()


def factorised(logits):
    ones = torch.sigmoid(logits).mean(0)
    return entropy(ones) + entropy(1 - ones)


def with_nan(logits):
    p = table_of(logits).mean(0)
    return -(p * p.log2()).sum()


def with_a_clamp(logits):
    p = table_of(logits).mean(0)
    return -(p * p.clamp_min(1e-5).log2()).sum()


def of_hard_codes(logits):
    return metrics.entropy(((logits >= 0).long() * powers_of(logits)).sum(-1))


ENTROPIES = [
    (lambda logits: entropy(table_of(logits).mean(0), torch.log), "nats"),
    (factorised, "factorised"),
    (lambda logits: entropy(table_of(logits)) / len(logits), "mean of the latents' entropies"),
    (lambda logits: -entropy(table_of(logits).mean(0)), "the sign"),
    (of_hard_codes, "the likeliest codes"),
    (with_nan, "(nan)"),
    (with_a_clamp, "most codes are rare"),
    (lambda logits: entropy(table_of(logits).mean(0)) + 0.1, "and it is"),
    (lambda logits: None, "returns nothing yet"),
]

HALVES = torch.tensor([[1.0, -1.0] * 5, [-1.0, 1.0] * 5])
SIX = BSQ(10).decode(torch.tensor([0, 1023, 5, 1018, 9, 1014]))
RARE = torch.cat([SIX, SIX[:2].repeat(200, 1)])
FOOLING = [
    (torch.ones(1, 10), "bit 0 is 1 in 100.0%"),
    (HALVES, "there are 2 codes"),
    (torch.cat([RARE, RARE[:1]]), "exactly half"),
    (SIX, "2.58"),
    (torch.ones(1001, 10), "with N from 1 to 1000"),
    (torch.ones(10), "latents (N, 10)"),
    (torch.zeros(4, 10), "no zeros"),
    (RARE.double() * 1e-60, "rounded to zero"),
    (RARE * 1j, "complex"),
    (..., "nothing here yet"),
    ("latents", "a tensor is asked for"),
]

LOST = [
    (2.0**23, "the sign is right"),
    (8_000_000, "the sign is right"),
    (1e9, "there is a smaller number"),
    (2**23 + 2, "there is a smaller number"),
    (2**23 + 0.5, "no float32"),
    (-(2.0**23) - 1, "a positive number"),
    (float("inf"), "one finite number"),
    (..., "no number yet"),
]

SHARES = [
    (1024, "divide by"),
    (0.75, "those that are right"),
    (25, "in per cent"),
    (0.8125, "bfloat16"),
    (0, "not at twelve bits"),
    (0.5, "what bfloat16 does to ten"),
    (0.3, "not the share that is measured"),
    (..., "no number yet"),
]

WRONG = [
    *[(check.binarise, *case) for case in BINARISE],
    *[(check.index_of, *case) for case in INDICES],
    *[(check.entropy_of, *case) for case in ENTROPIES],
    *[(check.fools_factorised, *case) for case in FOOLING],
    *[(check.loses_sign, *case) for case in LOST],
    *[(check.share_wrong, *case) for case in SHARES],
]


@pytest.mark.parametrize(("checker", "answer", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answer, reason):
    verdict = checker(answer)
    assert not verdict
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("checker", "answer"),
    [
        (check.index_of, lambda z: sum((z[..., i] >= 0).long() << i for i in range(z.shape[-1]))),
        (check.entropy_of, lambda logits: entropy(table_of(logits).mean(0)).item()),
        (check.fools_factorised, RARE),
        (check.fools_factorised, RARE.tolist()),
        (check.entropy_of, lambda logits: entropy(table_of(logits).mean(0) + 1e-12)),
        (check.loses_sign, 2**23 + 1),
        (check.loses_sign, torch.tensor(2.0**23 + 1)),
        (check.share_wrong, np.float64(0.25)),
    ],
)
def test_another_right_answer_passes(checker, answer):
    assert checker(answer)


def test_an_autograd_function_is_a_right_answer_too():
    class Projected(torch.autograd.Function):
        @staticmethod
        def forward(context, z):
            context.save_for_backward(z)
            return corner(z)

        @staticmethod
        def backward(context, gradient):
            (z,) = context.saved_tensors
            unit = F.normalize(z, dim=-1)
            return gradient - unit * (unit * gradient).sum(-1, keepdim=True)

    assert check.binarise(Projected.apply)


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
        colour = torch.tensor([float(part) for part in shown(bits, "colour").split(", ")])
        assert (colour - mean).abs().max() <= 1.5  # half for its rounding, and a grey level for another machine's
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


@pytest.mark.browser
def test_the_codes_in_use_while_a_codebook_collapses(figure):
    collapse = figure(CHAPTER, "collapse")
    data = data_of("collapse")
    slider = collapse.locator("input[type=range]")
    slider.focus()
    moves = {"": 0, "ArrowRight": 1, "End": len(data["steps"]) - 1, "ArrowLeft": len(data["steps"]) - 2, "Home": 0}
    for key, at in moves.items():
        if key:
            collapse.page.keyboard.press(key)
        assert collapse.locator("output").first.inner_text() == str(data["steps"][at])
        for side, name in enumerate(("vq", "bsq")):
            used = unpacked(data[name], -1, 1024)[at].nonzero().flatten()
            assert shown(collapse, f"{name}-used") == f"{round(1024 * metrics.codebook_usage(used, 1024))} of 1024"
            assert float(shown(collapse, f"{name}-error")) == data["errors"][side][at]


def test_the_recorded_codebook_collapses_and_the_bits_do_not():
    data = data_of("collapse")
    vq, bsq = ((unpacked(data[name], -1, 1024) > 0).sum(1) for name in ("vq", "bsq"))
    assert vq[0] > 700
    assert vq[1:].min() < vq[0] / 3
    assert bsq[-1] > 4 * bsq[0]

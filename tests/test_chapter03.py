"""Chapter 3, "Vector quantization": its checkers refuse wrong answers with a reason, its figure trains as it does."""

import copy
import json
import math
import re
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F

from arlib.exercises import chapter03 as check

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "03-vector-quantization"
NOTEBOOK = ROOT / "book" / f"{CHAPTER}.ipynb"


# ---- Wrong answers, and why they are wrong ---------------------------------------------------------------------------


def diagnosed(**changes):
    return {**check.DISEASES, **changes}


DIAGNOSES = [
    (dict.fromkeys("ABCDEF", ...), "no diagnosis yet"),
    ({"A": "healthy"}, "the keys"),
    (..., "a dictionary"),
    (diagnosed(A="ill"), "none of the names"),
    (diagnosed(A="healthy"), "Compare the sizes"),
    (diagnosed(D="leak"), "Nothing is wrong with its gradients"),
    (diagnosed(B="no commitment"), "What of its loss reaches the codes"),
    (diagnosed(C="no copy line"), "What of q's gradient reaches the codes"),
    (diagnosed(E=...), "1 still without a name"),
    (diagnosed(E=torch.ones(2)), "none of the names"),
]


def split(codes, counts, step):
    dead = (counts == 0).nonzero().flatten()
    crowded = counts.argsort(descending=True)[: len(dead)]
    new = codes.clone()
    new[dead] = codes[crowded] + step
    new[crowded] = codes[crowded] - step
    return new


def in_place(codes, counts, step):
    codes.copy_(split(codes, counts, step))
    return codes


def only_dead(codes, counts, step):
    new = split(codes, counts, step)
    return torch.where((counts == 0)[:, None], new, codes)


def fewest_first(codes, counts, step):
    dead = (counts == 0).nonzero().flatten()
    crowded = counts.argsort()[: len(dead)]
    new = codes.clone()
    new[dead] = codes[crowded] + step
    new[crowded] = codes[crowded] - step
    return new


def after_the_move(codes, counts, step):
    dead = (counts == 0).nonzero().flatten()
    crowded = counts.argsort(descending=True)[: len(dead)]
    new = codes.clone()
    new[crowded] -= step
    new[dead] = new[crowded] + step
    return new


def all_to_one(codes, counts, step):
    dead, top = (counts == 0).nonzero().flatten(), counts.argmax()
    new = codes.clone()
    new[dead] = codes[top] + step
    if len(dead):
        new[top] = codes[top] - step
    return new


def as_revival(codes, counts, step):
    """The chapter's revival, which knows nothing of crowds."""
    dead = (counts == 0).nonzero().flatten()
    new = codes.clone()
    new[dead] = torch.randn(len(dead), codes.shape[1])
    return new


def one_too_late(codes, counts, step):
    dead = (counts == 0).nonzero().flatten()
    crowded = counts.argsort(descending=True)[1 : len(dead) + 1]
    new = codes.clone()
    new[dead] = codes[crowded] + step
    new[crowded] = codes[crowded] - step
    return new


def last_of_none(codes, counts, step):
    """Where no code is unused, `[-0:]` is all of them."""
    dead = (counts == 0).nonzero().flatten()
    new = codes.clone()
    new[dead] = codes[counts.argsort()[-len(dead) :].flip(0)] + step
    new[counts.argsort()[-len(dead) :]] -= step
    return new


def spoils_step(codes, counts, step):
    new = split(codes, counts, step)
    step.neg_()
    return new


def first_pair(codes, counts, step):
    new, low, high = codes.clone(), counts.argmin(), counts.argmax()
    if counts[low] == 0:
        new[low], new[high] = codes[high] + step, codes[high] - step
    return new


SPLITS = [
    (one_too_late, "the most used code has been left out"),
    (last_of_none, "your function raised RuntimeError"),
    (spoils_step, "the step that came in"),
    (None, "a function is asked for"),
    (in_place, "have been changed"),
    (only_dead, "has to move, too"),
    (fewest_first, "sort the other way"),
    (after_the_move, "where the used one *was*"),
    (all_to_one, "all unused codes went to the most used one"),
    (lambda codes, counts, step: split(codes, counts, -step), "the sign of the step"),
    (lambda codes, counts, step: codes, "nothing has moved"),
    (lambda codes, counts, step: None, "returns nothing yet"),
    (as_revival, "for counts ["),
    (first_pair, "for 12 codes, 5 of them unused, only the first pair"),
    (lambda codes, counts, step: split(codes, counts, step[0]), "a step is a whole vector"),
    (lambda codes, counts, step: split(codes, counts, step).double(), "the dtype is"),
]

NEEDED = [
    (..., "no number yet"),
    (1014, "unless no code comes twice"),
    (1024, "come twice"),
    (4713, "one token less"),
    (4713.04, "round up"),
    (7689, "all codes take"),
    (11, "where one percent is seen"),  # 1.07 %, and after 10 tokens 0.97 %
    (11_808, "a hundredth of *one code*"),  # 0.009998 of one
    (5000, "more than needed: after 5000 tokens the expected share is 99.24%"),
    (4700, "too few: after 4700 tokens the expected share is 98.99%"),
    (0, "too few: after 0 tokens the expected share is 0.00%"),
    (4714.5, "a little too many"),
    (4715, "a little too many"),
    (-4714, "can't be negative"),
]


def expanded(z, codes):
    """The chapter's own."""
    return (codes.square().sum(-1) - 2 * z @ codes.T).argmin(-1)


def centered_in_half(z, codes):
    center = codes.mean(0)
    return expanded(z - center, codes - center)


NEAREST = [
    (expanded, "for bfloat16 at 10 from zero"),
    (lambda z, codes: expanded(z.float(), codes.float()), "take away from z and codes"),
    (lambda z, codes: torch.cdist(z.float(), codes.float()).argmax(-1), "farthest"),
    (lambda z, codes: z @ codes.mT, "shape"),
    (lambda z, codes: centered_in_half(z.float(), codes.float()).int(), "the dtype is"),
    (lambda z, codes: torch.full((len(z),), len(codes)), "some numbers are no codes"),
    (lambda z, codes: expanded(z.float() - z.float().mean(0), codes.float() - codes.float().mean(0)), "lose the same"),
    (lambda z, codes: None, "returns nothing yet"),
]


def by_gradients_off(vq):
    vq.requires_grad_(False)


def by_eval(vq):
    vq.eval()


FREEZING = [
    (lambda vq: None, "forward itself moves these codes"),
    (by_gradients_off, "forward itself moves these codes"),
    (by_eval, "eval() lasts until"),
    (lambda vq: setattr(vq.eval(), "train", lambda: vq), "whole.train() now raises TypeError"),
    (lambda vq: (shut(vq), torch.set_grad_enabled(False)), "turned off for everything"),
    (lambda vq: copy.deepcopy(vq).eval(), "a copy that it returns"),
    (..., "a function is asked for"),
]


def no_update(vq):
    vq.update = lambda latent, index: None


def shut(vq):
    vq.eval()
    vq.train = lambda mode=True: vq


def greedy(z, first, second):
    one = torch.cdist(z, first).argmin(-1)
    return torch.stack([one, torch.cdist(z - first[one], second).argmin(-1)], -1)


def apart(z, first, second):
    return torch.stack([torch.cdist(z, first).argmin(-1), torch.cdist(z, second).argmin(-1)], -1)


def pairs(z, first, second):
    best = torch.cdist(z, (first[:, None] + second).flatten(0, 1)).argmin(-1)
    return torch.stack([best // len(second), best % len(second)], -1)


def turned_where_they_differ(z, first, second):
    found = pairs(z, first, second)
    return found if len(first) == len(second) else found.flip(-1)


PAIRS = [
    (turned_where_they_differ, "for tables of 5 and 9 codes some numbers are no codes"),
    (
        lambda z, first, second: pairs(z, first, second) - torch.tensor([len(first), len(second)]),  # from the end
        "some numbers are no codes",
    ),
    (
        lambda z, first, second: torch.tensor([len(first), len(second)]).expand(len(z), 2),
        "for tables of 8 and 8 codes some numbers are no codes",
    ),
    (lambda z, first, second: pairs(z, first, second).int(), "the dtype is"),
    (greedy, "that is the greedy choice"),
    (apart, "their sum"),
    (lambda z, first, second: pairs(z, second, first), "the other way round"),
    (lambda z, first, second: pairs(z, first, second).flip(-1), "the other way round"),
    (lambda z, first, second: greedy(z, second, first).flip(-1), "from the other end"),
    (lambda z, first, second: torch.zeros(len(z), 2, dtype=torch.int64), "is possible"),
    (lambda z, first, second: pairs(z, first, second)[:, 0], "the shape is"),
]

WRONG = [
    *[(check.diagnosis, *case) for case in DIAGNOSES],
    *[(check.split, *case) for case in SPLITS],
    *[(check.tokens_needed, *case) for case in NEEDED],
    *[(check.nearest_anywhere, *case) for case in NEAREST],
    *[(check.freeze, *case) for case in FREEZING],
    *[(check.best_pair, *case) for case in PAIRS],
]


@pytest.mark.parametrize(("checker", "answer", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answer, reason):
    verdict = checker(answer)
    assert not verdict
    assert reason in str(verdict)


@pytest.mark.parametrize(
    ("checker", "answer"),
    [
        (check.diagnosis, check.DISEASES),
        (check.split, split),
        (check.tokens_needed, torch.tensor(4714)),
        (check.nearest_anywhere, lambda z, codes: centered_in_half(z.float(), codes.float())),
        (check.nearest_anywhere, lambda z, codes: torch.cdist(z.double(), codes.double()).argmin(-1)),
        (check.nearest_anywhere, lambda z, codes: (z[:, None] - codes).square().sum(-1).argmin(-1)),
        (check.freeze, shut),
        (check.freeze, no_update),
        (check.best_pair, pairs),
    ],
)
def test_a_right_answer_passes(checker, answer):
    assert checker(answer)


@pytest.mark.parametrize(
    ("size", "case", "more"), [(4, "for counts [", ""), (40, "for 40 codes, 20 of them unused,", ", …")]
)
def test_the_code_that_is_told_is_one_that_is_wrong(size, case, more):
    """One code is off by a little, and of all codes it is the nearest to zero."""
    off: list = []

    def answer(codes, counts, step):
        new = split(codes, counts, step)
        if len(codes) == size:
            at = new.square().sum(-1).argmin().item()
            right = new[at].clone()
            new[at] += 0.05
            off[:] = at, *(f"({', '.join(f'{it:.2f}' for it in one[:4].tolist())}{more})" for one in (new[at], right))
        return new

    reason = check.split(answer).reason
    at, made, right = off
    assert reason.startswith(case)
    assert reason.endswith(f"code {at} is at {made} and should be at {right}.")


def test_the_latent_that_is_told_is_one_whose_pair_is_wrong():
    """One pair is wrong, and no latent lies nearer to its best pair."""
    off: list = []

    def answer(z, first, second):
        found, gaps = pairs(z, first, second), torch.cdist(z, (first[:, None] + second).flatten(0, 1))
        at = gaps.amin(-1).argmin()
        best = gaps[at].min()
        other = (gaps[at] + 9 * (gaps[at] < best + 0.05)).argmin()
        found[at, 0], found[at, 1] = other // len(second), other % len(second)
        off[:] = *z[at].tolist(), gaps[at, other].item(), best.item()
        return found

    reason = check.best_pair(answer).reason
    told = re.fullmatch(
        r"for the latent \((.*), (.*)\) the sum of your pair is (.*) away, and (.*) is possible.", reason
    )
    assert told is not None
    assert [float(it) for it in told.groups()] == pytest.approx(off, abs=0.006)
    assert float(told[3]) > float(told[4])


def test_codes_that_rounding_takes_for_the_nearest_are_right():
    """Of the codes that are nearly as near as the nearest one, the farthest."""

    def answer(z, codes):
        gaps = (z.double()[:, None] - codes.double()).square().sum(-1)
        return gaps.masked_fill(gaps > 1.004 * gaps.amin(-1, keepdim=True), -1).argmax(-1)

    assert check.nearest_anywhere(answer)


def test_codes_lie_as_far_from_zero_as_the_words_say():
    found = []

    def answer(z, codes):
        found.append((z.dtype, z.double().mean(0).norm().item(), codes.double().mean(0).norm().item()))
        return torch.cdist(z.double(), codes.double()).argmin(-1)

    assert check.nearest_anywhere(answer)
    assert [dtype for dtype, *_ in found] == [torch.float32, torch.bfloat16, torch.float32, torch.float32]
    for k, offset in enumerate((0, 10, 100, 3000)):
        assert found[k][1:] == pytest.approx((offset, offset), abs=1)


# Of q's gradient and of the loss's, how much reaches z and the codes. One part is 2 (z - q) / n, the loss's at z.
# "late loss" compares z with z + (q - z).detach(): its first term pushes z away by one part.
REACHES = {
    "swapped": (1, 0, 1, 0.25),
    "late loss": (1, 0, 0.25 - 1, 0),
    "leak": (1, 1, 0.25, 1),
    "healthy": (1, 0, 0.25, 1),
    "no copy line": (0, 1, 0.25, 1),
    "no commitment": (1, 0, 0, 1),
}


@pytest.mark.parametrize("letter", list("ABCDEF"))
def test_a_patients_gradients_are_those_of_its_disease(letter):
    """Worked out by hand; its q and the size of its loss are right."""
    z, codes = torch.randn(50, 3, requires_grad=True), torch.randn(7, 3, requires_grad=True)
    upstream = torch.randn(50, 3)
    one_hot = F.one_hot((z[:, None] - codes).square().sum(-1).argmin(-1), 7).float()
    right = one_hot @ codes.detach()
    part = 2 * (z.detach() - right) / z.numel()

    def gradients(value):
        found = torch.autograd.grad(value, (z, codes), retain_graph=True, allow_unused=True)
        return [torch.zeros_like(of) if it is None else it for it, of in zip(found, (z, codes), strict=True)]

    q, loss = check.PATIENTS[letter](z, codes)
    assert torch.allclose(q, right, atol=1e-6)
    assert loss.item() == pytest.approx(1.25 * (z - right).square().mean().item(), rel=1e-5)
    to_z, to_codes, loss_to_z, loss_to_codes = REACHES[check.DISEASES[letter]]
    for found, wanted in zip(
        [*gradients((q * upstream).sum()), *gradients(loss)],
        [to_z * upstream, to_codes * one_hot.T @ upstream, loss_to_z * part, loss_to_codes * -one_hot.T @ part],
        strict=True,
    ):
        assert torch.allclose(found, wanted, atol=1e-6)


# ---- The figure ------------------------------------------------------------------------------------------------------


def chapters_own() -> dict:
    """`simulate` and its data, from the notebook's own cell."""
    cell = next(cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if "def simulate" in cell.source)
    names: dict = {"torch": torch, "math": math}
    exec(cell.source, names)
    return names


def figure_data() -> dict:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        for output in cell.get("outputs", []):
            page = output.get("data", {}).get("text/html", "")
            if 'data-figure="codes"' in page:
                found = re.search(r"^const data = (.*);$", page, re.MULTILINE)
                assert found is not None
                return json.loads(found[1])
    raise AssertionError("the notebook has no figure")


@pytest.mark.browser
def test_the_page_trains_as_the_chapter_does(figure):
    own, data = chapters_own(), figure_data()
    points, noise, picks = (torch.tensor(data[key]) for key in ("points", "noise", "picks"))
    playground = figure(CHAPTER, "codes")
    starts, betas = ["far", "tiny", "data"], [0, 0.25, 1]
    slider = playground.locator("input[type=range]")
    for start, ema, revival, beta in [(0, 0, 0, 1), (2, 1, 1, 0), (1, 0, 1, 2), (0, 1, 0, 1)]:
        for group, index in enumerate((start, ema, revival, beta)):
            playground.locator("fieldset").nth(group).locator("input").nth(index).check()
        path = own["simulate"](
            points.double(), noise.double(), picks, starts[start], ema == 1, revival == 1, betas[beta]
        )
        for key, step in (("Home", 0), ("ArrowRight", 1), ("End", 200)):
            slider.focus()
            playground.page.keyboard.press(key)
            used = len(path[step][2].unique())
            assert playground.locator('[data-name="used"]').inner_text() == str(used)
            shown = float(playground.locator('[data-name="error"]').inner_text())
            assert shown == pytest.approx(path[step][3].item(), abs=2e-3)
    assert playground.locator("svg circle").count() == len(points)


def test_revival_keeps_more_codes_in_the_plane():
    own = chapters_own()
    data = figure_data()
    points, noise, picks = (torch.tensor(data[key]) for key in ("points", "noise", "picks"))
    used = {
        revival: len(
            own["simulate"](points.double(), noise.double(), picks, "far", False, revival, 0.25)[-1][2].unique()
        )
        for revival in (False, True)
    }
    assert used[False] < 12 < 20 < used[True]

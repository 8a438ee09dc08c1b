"""Chapter 3, "Vector quantization": its checkers refuse wrong answers with a reason, its figure trains as it does."""

import copy
import json
import math
import re
from pathlib import Path

import nbformat
import pytest
import torch

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
    (as_revival, "should be at"),
    (first_pair, "only the first pair"),
    (lambda codes, counts, step: split(codes, counts, step[0]), "a step is a whole vector"),
]

NEEDED = [
    (..., "no number yet"),
    (1014, "unless no code comes twice"),
    (1024, "come twice"),
    (4713, "one token less"),
    (4713.04, "round up"),
    (7689, "all codes take"),
    (5000, "more than needed: after 5000 tokens"),
    (4700, "too few: after 4700 tokens"),
    (4714.5, "a little too many"),
    (4715, "a little too many"),
    (-4714, "can't be negative"),
]


def expanded(z, codes):
    """The chapter's own."""
    return (codes.square().sum(-1) - 2 * z @ codes.T).argmin(-1)


def centerd_in_half(z, codes):
    center = codes.mean(0)
    return expanded(z - center, codes - center)


NEAREST = [
    (expanded, "Not yet"),
    (lambda z, codes: expanded(z.float(), codes.float()), "take away from z and codes"),
    (lambda z, codes: torch.cdist(z.float(), codes.float()).argmax(-1), "farthest"),
    (lambda z, codes: z @ codes.mT, "shape"),
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


PAIRS = [
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
        (check.nearest_anywhere, lambda z, codes: centerd_in_half(z.float(), codes.float())),
        (check.nearest_anywhere, lambda z, codes: torch.cdist(z.double(), codes.double()).argmin(-1)),
        (check.nearest_anywhere, lambda z, codes: (z[:, None] - codes).square().sum(-1).argmin(-1)),
        (check.freeze, shut),
        (check.freeze, no_update),
        (check.best_pair, pairs),
    ],
)
def test_a_right_answer_passes(checker, answer):
    assert checker(answer)


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

"""Chapter 15, "Coarse to fine": its checkers refuse wrong answers with a reason, its figure agrees with the codec."""

import itertools
import math
from pathlib import Path

import nbformat
import pytest
import torch

import arlib
from arlib import sampling, scales
from arlib.exercises import chapter15 as check

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "15-coarse-to-fine"


@pytest.fixture(scope="module")
def sources():
    notebook = nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


# ---- Wrong answers, and why they are wrong ---------------------------------------------------------------------------


def entropy(p):
    return -torch.special.xlogy(p, p).sum() / math.log(2)


def right_price(joint):
    return entropy(joint.sum(2)) + entropy(joint.sum(1)) - entropy(joint.sum((1, 2))) - entropy(joint)


def with_nan(joint):
    c = joint.sum((1, 2), keepdim=True)
    apart = joint.sum(2, keepdim=True) * joint.sum(1, keepdim=True) / c
    return (joint * (joint / apart).log2()).sum()


PRICES = [
    (lambda j: right_price(j) * math.log(2), "these are nats"),
    (lambda j: -right_price(j), "the sign is wrong"),
    (lambda j: right_price(j.sum(0, keepdim=True)), "*not* known"),
    (lambda j: sum(right_price(part[None] / part.sum()) for part in j) / 3, "weigh each by p(c)"),
    (lambda j: entropy(j.sum(2)) + entropy(j.sum(1)) - 2 * entropy(j.sum((1, 2))), "how much of it is"),
    (lambda j: entropy(j) - entropy(j.sum((1, 2))), "drawn together"),
    (with_nan, "0 · log 0 counts as 0"),
    (lambda j: 1.0, "for a random table"),
    (lambda j: j, "number is asked for"),
]

GRIDS = [
    ((..., ...), "nothing here yet"),
    (  # the chapter's own
        (
            torch.tensor([[6, 6, 0, 0], [6, 5, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]).float(),
            torch.tensor([-4.0, -2, -1, 0, 1, 2, 4]),
        ),
        "does no harm. Your codebook holds 0",
    ),
    ((torch.ones(4, 4), torch.tensor([1.0, 1.0])), "two codes are equal"),
    ((torch.ones(3, 3), torch.tensor([1.0, 2.0])), "the shape is (3, 3)"),
    ((torch.ones(4, 4), torch.arange(9.0)), "2 to 8 numbers"),
    ((torch.ones(4, 4), torch.tensor([2.0, -1.0])), "does no harm"),
    ((torch.full((4, 4), math.nan), torch.tensor([2.0, -1.0])), "finite"),
]


def tables(shapes, stride=1, below=False, swapped=False, first_reads=-1, local=False):
    """Right, but for what the options break."""
    source, block, first = [], [], 0
    for scale, (height, width) in enumerate(shapes):
        above, across = shapes[max(scale - 1, 0)]
        for row, column in itertools.product(range(height), range(width)):
            r, c = row * above // height, column * across // width
            number = r * (above if stride == 0 else across) + c if not swapped else c * above + r
            parent = number + (0 if local else first)
            parent = parent + above * across if below else parent
            source.append(first_reads if scale == 0 else parent)
            block.append(scale)
        if scale:
            first += above * across
    return torch.tensor(source), torch.tensor(block)


RECTANGLES = [
    (lambda shapes: tables(shapes, stride=0), "its width, not its height"),
    (lambda shapes: tables(shapes, swapped=True), "its width, not its height"),
    (lambda shapes: tables(shapes, local=True), "add where the next coarser map begins"),
    (lambda shapes: tables(shapes, below=True), "a token of its own map"),
    (lambda shapes: tables(shapes, first_reads=0), "read nothing, -1"),
    (lambda shapes: (tables(shapes)[0], tables(shapes)[1] + 1), "block[0] is 1"),
    (lambda shapes: tables(shapes)[0], "two tensors"),
    (lambda shapes: (tables(shapes)[0].float(), tables(shapes)[1]), "the dtype"),
    (lambda shapes: scales.tables([height for height, _ in shapes]), "the shape is"),
]


def top_left_alone(tokens, sides):
    fine, coarse = tokens[:, 5:].view(-1, 4, 4), tokens[:, 1:5].view(-1, 2, 2)
    return bool((fine[:, ::2, ::2] == coarse).all())


def occurs(tokens, sides):
    """Whether each coarse token is somewhere among the fine ones."""
    return bool((tokens[:, :5, None] == tokens[:, None, 5:]).any(-1).all())


def first_map(tokens, sides):
    fine = tokens[:, -(sides[-1] ** 2) :]
    return bool((fine == tokens[:, :1]).all(0).any())


SUBSAMPLED = [
    (top_left_alone, "you say False"),
    (occurs, "elsewhere for every picture"),
    (first_map, "the 2×2 map says something new"),
    (lambda tokens, sides: False, "you say False"),
    (lambda tokens, sides: True, "you say True"),
    (lambda tokens, sides: tokens[:, :5] == tokens[:, 5:10], "True or False is asked for"),
    (lambda tokens, sides: "yes", "True or False is asked for"),
]


def pasted(prior, tokens, label, guidance):
    """The exercise's own broken code."""
    both, labels = torch.cat([tokens, tokens]), torch.cat([label, label])
    c, u = prior(both, label=labels).chunk(2)
    return u + guidance * (c - u)


def by(combine):
    return lambda prior, tokens, label, guidance: combine(prior(tokens, label=label), prior(tokens), guidance)


GUIDANCE = [
    (pasted, "still does nothing"),
    (by(lambda c, u, s: (1 + s) * c - s * u), "the other convention"),
    (by(lambda c, u, s: c + s * (c - u)), "the other convention"),
    (by(lambda c, u, s: c + s * (u - c)), "changed places"),
    (by(lambda c, u, s: u), "without a label, whatever"),
    (
        lambda prior, tokens, label, s: sampling.guide(
            prior(tokens, label=label), prior(tokens, label=torch.zeros_like(label)), s
        ),
        "class 0 for no label",
    ),
    (by(lambda c, u, s: s * c), "off by up to"),
    (by(lambda c, u, s: c[:, -1]), "the shape is"),
]

PASSES = [
    (6, "what the two passes pay"),
    (4.585, "what the pictures are worth"),
    (3.415, "a single pass for all four"),
    (0.415, "the first pass alone"),
    (1.0, "the second pass alone"),
    (0.981, "these are nats"),
    (0.83, "dearer than the first"),
    (2.2, "that is not the price"),
    (..., "there is no number yet"),
]

WRONG = [
    *((check.price, (answer,), reason) for answer, reason in PRICES),
    *((check.gets_worse, answers, reason) for answers, reason in GRIDS),
    *((check.rectangles, (answer,), reason) for answer, reason in RECTANGLES),
    *((check.subsampled, (answer,), reason) for answer, reason in SUBSAMPLED),
    *((check.guided, (answer,), reason) for answer, reason in GUIDANCE),
    *((check.two_passes, (answer,), reason) for answer, reason in PASSES),
]


@pytest.mark.parametrize(("checker", "answers", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answers, reason):
    verdict = checker(*answers)
    assert not verdict
    assert reason in verdict.reason


RIGHT = [
    (check.price, (right_price,)),
    (check.gets_worse, (torch.full((4, 4), 2.0), torch.tensor([2.0, 5.0]))),
    (check.rectangles, (tables,)),
    (check.guided, (by(lambda c, u, s: (1 - s) * u + s * c),)),
    (check.two_passes, (7.415 - 6,)),
]


@pytest.mark.parametrize(("checker", "answers"), RIGHT)
def test_other_right_answers_are_right(checker, answers):
    assert checker(*answers)


def test_the_chapters_own_tables_are_no_answer(sources):
    names = {"torch": torch}
    exec(next(source for source in sources if source.startswith("def tables_by_hand")).split("\n\n\n")[0], names)
    assert not check.rectangles(names["tables_by_hand"])


def test_random_grids_seldom_get_worse():
    torch.manual_seed(0)
    codebook = torch.tensor([-2.0, -1, 0, 1, 2])
    assert not any(check.gets_worse(torch.randn(4, 4), codebook) for _ in range(50))


# ---- The figure ------------------------------------------------------------------------------------------------------


def shown(figure, name):
    return figure.locator(f'[data-name="{name}"]').text_content()


@pytest.mark.browser
def test_progressive(figure):
    it = figure(CHAPTER, "progressive")
    slider, label = it.get_by_role("slider", name="passes"), it.get_by_label("7", exact=True)
    codec = arlib.load_codec("digits-scales")
    images, labels = arlib.data.load("digits", "test"), arlib.data.labels("digits", "test")
    label.check()
    size = len(codec.compress(images[(labels == 7).nonzero()[1, 0]], 7))
    read = []
    for key, tokens in [("Home", 0), ("ArrowRight", 1), ("ArrowRight", 5), ("End", 21)]:
        slider.press(key)
        assert shown(it, "tokens") == f"{tokens} of 21"
        bytes_read, whole = map(int, shown(it, "bytes").split(" of "))
        assert abs(whole - size) <= 1  # a token may differ on another machine
        read.append(bytes_read)
    assert read[0] == 16
    assert read[-1] == whole
    assert read == sorted(read)
    assert shown(it, "seen") == "a 7, right is 7"
    assert float(shown(it, "error")) < 0.02


@pytest.mark.browser
def test_the_figure_fits_a_phone(figure):
    it = figure(CHAPTER, "progressive")
    it.page.set_viewport_size({"width": 400, "height": 800})
    box = it.bounding_box()
    for part in it.locator("canvas, svg").all():
        inside = part.bounding_box()
        assert box["x"] <= inside["x"]
        assert inside["x"] + inside["width"] <= box["x"] + box["width"]

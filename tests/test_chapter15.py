"""Chapter 15, "Coarse to fine": its checkers refuse wrong answers with a reason, its figure agrees with the codec."""

import itertools
import math
from pathlib import Path

import nbformat
import numpy as np
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
    (lambda j: (right_price(j) * math.log(2)).float(), "these are nats"),
    (lambda j: -right_price(j), "the sign is wrong"),
    (lambda j: right_price(j.sum(0, keepdim=True)), "*not* known"),
    (lambda j: sum(right_price(part[None] / part.sum()) for part in j) / 3, "weigh each by p(c)"),
    (lambda j: entropy(j.sum(2)) + entropy(j.sum(1)) - 2 * entropy(j.sum((1, 2))), "how much of it is"),
    (lambda j: entropy(j) - entropy(j.sum((1, 2))), "drawn together"),
    (with_nan, "0 · log 0 counts as 0"),
    (lambda j: sum(right_price(part[None] / part.sum()) for part in j), "add up"),
    (lambda j: right_price(j.permute(1, 0, 2)), "the second axis for c"),
    (lambda j: right_price(j.permute(2, 0, 1)), "the last axis for c"),
    (lambda j: right_price(j) / 2, "both together"),
    (lambda j: torch.stack([right_price(part[None]) for part in j]), "one finite number"),
    (lambda j: 1.0, "for a random table"),
    (lambda j: j, "number is asked for"),
]

GRIDS = [
    ((..., ...), "nothing here yet"),
    ((torch.ones(4, 4), ...), "nothing here yet"),
    ((..., torch.tensor([1.0, 3])), "nothing here yet"),
    ((torch.ones(4, 4), None), "nothing here yet"),
    ((None, torch.tensor([1.0, 3])), "nothing here yet"),
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
    ((torch.ones(4, 4), torch.tensor([1.0, 0.0])), "1, 2 and 3 scales are 0, 0, 0: the second scale does no harm"),
    (  # a tie, which rounding makes worse by its last bit
        (torch.full((4, 4), 0.3, dtype=torch.float64), torch.tensor([0.6, 0.0], dtype=torch.float64)),
        "does no harm",
    ),
    (([[1.0] * 4] * 4, torch.tensor([1.0, 3])), "a tensor is asked for"),
    ((torch.ones(4, 4), [1.0, 3]), "a tensor of one dimension"),
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


def whole_steps(shapes):
    """The cell above by r // (height // coarser height), as if every map nested."""
    source, block = tables(shapes)
    first = 0
    for scale, ((above, across), (height, width)) in enumerate(itertools.pairwise(shapes), 1):
        rows = (torch.arange(height) // (height // above)).clamp(max=above - 1)
        columns = (torch.arange(width) // (width // across)).clamp(max=across - 1)
        source[block == scale] = (first + rows[:, None] * across + columns).flatten()
        first += above * across
    return source, block


def last_begins(shapes):
    """Forgets all maps but one where it counts where the next coarser map begins."""
    source, block = tables(shapes)
    for scale in range(3, len(shapes)):
        source[block == scale] -= sum(height * width for height, width in shapes[: scale - 2])
    return source, block


def beyond(shapes):
    source, block = tables(shapes)
    source[-1] = len(source)
    return source, block


RECTANGLES = [
    (
        whole_steps,
        "for maps of 1×1, 3×2, 5×7 (height × width) source[10] is 2, and it has to be 1. "
        "It is in row 0, column 3 of its map, and above it lies row 0, column 0.",
    ),
    (beyond, "source[4] is 5, and it has to be 0. It is in row 1, column 1 of its map, and above it lies row 0, col"),
    (
        last_begins,
        "1×1, 2×3, 5×8, 20×30 (height × width) source[47] is 6, and it has to be 7. That token lies two maps",
    ),
    (lambda shapes: (tables(shapes)[1], tables(shapes)[1]), "source[0] is 0, and it has to be -1"),
    (lambda shapes: torch.stack(tables(shapes)), "two tensors"),
    (lambda shapes: (tables(shapes)[0], tables(shapes)[1].int()), "the dtype"),
    (lambda shapes: tables(shapes)[::-1], "have changed places"),
    (lambda shapes: tables(shapes, stride=0), "its width, not its height"),
    (lambda shapes: tables(shapes, swapped=True), "its width, not its height"),
    (lambda shapes: tables(shapes, local=True), "add where the next coarser map begins"),
    (lambda shapes: tables(shapes, below=True), "a token of its own map"),
    (lambda shapes: tables(shapes, first_reads=0), "read nothing, -1"),
    (lambda shapes: (tables(shapes)[0], tables(shapes)[1] + 1), "block[0] is 1"),
    (lambda shapes: tables(shapes)[0], "two tensors"),
    (lambda shapes: (tables(shapes)[0].float(), tables(shapes)[1]), "the dtype"),
    (lambda shapes: tuple(each.numpy() for each in tables(shapes)), "a tensor is asked for"),
    (lambda shapes: scales.tables([height for height, _ in shapes]), "the shape is"),
]


def copies(tokens, sides, share=1.0):
    """Right at a share of 1: whether each coarse token is, in that share of the pictures, a copy from some place."""
    coarse, fine = tokens[:, : -(sides[-1] ** 2)], tokens[:, -(sides[-1] ** 2) :]
    same = (coarse[:, :, None] == fine[:, None]).double().mean(0)
    return bool((same >= share).any(1).all())


def top_left_alone(tokens, sides):
    grid, first = tokens[:, -(sides[-1] ** 2) :].view(-1, sides[-1], sides[-1]), 0
    for side in sides[:-1]:
        step = sides[-1] // side
        if not torch.equal(grid[:, ::step, ::step].flatten(1), tokens[:, first : first + side**2]):
            return False
        first += side**2
    return True


def under_it_alone(tokens, sides):
    """Whether each coarse token copies one of those in its cell."""
    grid, first = tokens[:, -(sides[-1] ** 2) :].view(-1, sides[-1], sides[-1]), 0
    for side in sides[:-1]:
        step = sides[-1] // side
        for row, column in itertools.product(range(side), repeat=2):
            cell = grid[:, row * step : (row + 1) * step, column * step : (column + 1) * step].flatten(1)
            if not (cell == tokens[:, first : first + 1]).all(0).any():
                return False
            first += 1
    return True


def occurs(tokens, sides):
    """Whether each coarse token is somewhere among the fine ones."""
    fine = sides[-1] ** 2
    return bool((tokens[:, :-fine, None] == tokens[:, None, -fine:]).any(-1).all())


def one_map(first, end):
    """Whether the tokens of one of the coarse maps are copies."""
    return lambda tokens, sides: copies(torch.cat([tokens[:, first:end], tokens[:, -(sides[-1] ** 2) :]], 1), sides)


SUBSAMPLED = [
    (top_left_alone, "you say False"),
    (under_it_alone, "if not of one under it"),
    (occurs, "you say True"),
    (one_map(0, 1), "you say True"),
    (one_map(1, 5), "only the 2×2 map is a copy"),
    (lambda tokens, sides: copies(tokens, sides, 0.9), "in one of the pictures"),
    (lambda tokens, sides: copies(tokens[:, :21], [1, 2, 4]), "of the sides [1, 3, 6]"),
    (lambda tokens, sides: False, "you say False"),
    (lambda tokens, sides: True, "you say True"),
    (lambda tokens, sides: tokens[:, :5] == tokens[:, 5:10], "one True or False is asked for"),
    (lambda tokens, sides: torch.bool, "one True or False is asked for, and this is of type dtype"),
    (lambda tokens, sides: "yes", "one True or False is asked for"),
    (lambda tokens, sides: int(copies(tokens, sides)), "one True or False is asked for"),
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
    (by(lambda c, u, s: u + 6.5 * (c - u)), "at guidance 1.0 the logits are off by up to"),
    (by(lambda c, u, s: 1 + u + s * (c - u)), "at guidance 6.5 the logits are off by up to 1 from"),
    (by(lambda c, u, s: u), "without a label, whatever"),
    (
        lambda prior, tokens, label, s: sampling.guide(
            prior(tokens, label=label), prior(tokens, label=torch.zeros_like(label)), s
        ),
        "class 0 for no label",
    ),
    (by(lambda c, u, s: u + (s - 1) * (c - u)), "you use guidance - 1"),
    (by(lambda c, u, s: (u + s * (c - u)).log_softmax(-1)), "logarithms of probabilities"),
    (by(lambda c, u, s: (u + s * (c - u)).numpy()), "a tensor is asked for"),
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
    (-1.415, "the sign is wrong"),
    (0.354, "the price of one pixel"),
    (0.7075, "the price of one pass"),
    (2, "saved over a single pass"),
    (1.41, "three digits"),
    (1.42, "three digits"),
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
    (check.price, (lambda joint: right_price(joint + 1e-9),)),
    (check.price, (lambda joint: right_price(joint).numpy(),)),
    (check.gets_worse, (torch.full((4, 4), 2.0), torch.tensor([2.0, 5.0]))),
    (check.gets_worse, (torch.full((4, 4), 2.0), torch.tensor([2.0, 5, 6, 7, 8, 9, 10, 11]))),
    (check.rectangles, (tables,)),
    (check.gets_worse, (torch.zeros(4, 4).long(), torch.tensor([1, 3]))),
    (check.rectangles, (lambda shapes: list(tables(shapes)),)),
    (check.subsampled, (copies,)),
    (check.subsampled, (lambda tokens, sides: torch.tensor(copies(tokens, sides)),)),
    (check.subsampled, (lambda tokens, sides: np.bool_(copies(tokens, sides)),)),
    (check.guided, (by(lambda c, u, s: (1 - s) * u + s * c),)),
    (check.two_passes, (7.415 - 6,)),
]


@pytest.mark.parametrize(("checker", "answers"), RIGHT)
def test_other_right_answers_are_right(checker, answers):
    assert checker(*answers)


def test_price_is_asked_of_probabilities_some_of_which_are_0():
    asked = []

    def answer(joint):
        asked.append(joint)
        return right_price(joint)

    assert check.price(answer)
    for joint in asked:
        assert joint.dtype == torch.float64
        assert joint.sum().item() == pytest.approx(1)
    assert {bool((joint == 0).any()) for joint in asked} == {False, True}


def test_of_a_wrong_block_nothing_is_said_about_sources():
    verdict = check.rectangles(lambda shapes: (tables(shapes)[0], tables(shapes)[1] + 1))
    assert verdict.reason.endswith("block[0] is 1, and it has to be 0.")


def test_the_pyramids_of_exercise_4_are_what_is_said_of_them():
    asked = []

    def answer(tokens, sides):
        asked.append((tokens, sides))
        return copies(tokens, sides)

    assert check.subsampled(answer)
    found = []
    for tokens, sides in asked:
        assert tokens.shape == (50, sum(side**2 for side in sides))
        if sides == [1, 2, 4]:
            grid = tokens[:, 5:].view(-1, 4, 4)
            for name, one, four in (("top left", 0, 0), ("middle", 2, 1), ("last", 3, 1)):
                coarse = torch.cat([grid[:, one, one, None], grid[:, four::2, four::2].flatten(1)], dim=1)
                found += [name] * torch.equal(tokens[:, :5], coarse)
    assert sorted(found) == ["last", "middle", "top left"]


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

"""Chapter 16, "Sharper pictures, fewer bytes, and what comes next": its checkers explain, its figure answers."""

import math
import re
from pathlib import Path

import nbformat
import pytest
import torch

import arlib
from arlib import metrics, realism, sharp
from arlib.exercises import chapter16 as check

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "16-sharper-pictures"


@pytest.fixture(scope="module")
def sources():
    notebook = nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


# ---- Wrong answers, and why they are wrong ---------------------------------------------------------------------------


def spent(sizes, chosen):
    return sizes.gather(1, chosen[:, None]).sum()


def at_price(sizes, errors, budget, rounds=60, high=1e4):
    """The choice at the smallest price that fits, found by so many halvings."""
    low = 0.0
    if spent(sizes, errors.argmin(1)) <= budget:
        return errors.argmin(1)
    for _ in range(rounds):
        middle = (low + high) / 2
        fits = spent(sizes, (errors + middle * sizes).argmin(1)) <= budget
        low, high = (low, middle) if fits else (middle, high)
    return (errors + high * sizes).argmin(1)


def same_for_all(sizes, errors, budget):
    fitting = [setting for setting in range(sizes.shape[1]) if sizes[:, setting].sum() <= budget]
    return torch.full((len(sizes),), fitting[-1] if fitting else 0)


def each_its_part(sizes, errors, budget):
    fits = sizes <= budget / len(sizes)
    fits[:, 0] = True
    return errors.masked_fill(~fits, math.inf).argmin(1)


def largest_step_first(sizes, errors, budget):
    """Greedy by error, not by error for a byte."""
    chosen = torch.zeros(len(sizes), dtype=torch.int64)
    while True:
        better = torch.clamp(chosen + 1, max=sizes.shape[1] - 1)
        gain = (errors.gather(1, chosen[:, None]) - errors.gather(1, better[:, None]))[:, 0]
        for frame in gain.argsort(descending=True).tolist():
            trial = chosen.clone()
            trial[frame] = better[frame]
            if better[frame] != chosen[frame] and spent(sizes, trial) <= budget:
                chosen = trial
                break
        else:
            return chosen


ALLOCATIONS = [
    (same_for_all, "All frames have the same setting"),
    (each_its_part, "Every frame keeps to its own"),
    (largest_step_first, "where one price for all gives"),
    (lambda sizes, errors, budget: errors.argmin(1), "that is too much"),
    (lambda sizes, errors, budget: sizes.argmin(1), "there are bytes left"),
    (lambda sizes, errors, budget: at_price(sizes, errors, 0.8 * budget), "the smallest that fits"),
    (lambda sizes, errors, budget: at_price(sizes, errors, budget).double(), "int64"),
    (lambda sizes, errors, budget: at_price(sizes, errors, budget) + 6, "yours go from"),
    (lambda sizes, errors, budget: torch.full((len(sizes),), 6), "settings 0 to 5, and yours go from 6 to 6"),
    (lambda sizes, errors, budget: at_price(sizes, errors, budget) * (len(sizes) > 6), "for 6 frames and"),
    (lambda sizes, errors, budget: at_price(sizes, errors, budget)[:, None], "the shape is"),
    (lambda sizes, errors, budget: at_price(sizes, errors, budget).tolist(), "a tensor is asked for"),
    (lambda sizes, errors, budget: 0.1, "a tensor is asked for"),
    (lambda sizes, errors, budget: ..., "returns nothing yet"),
]


def greedy(distance, first, then, price):
    tokens = [(distance[0] + price * first).argmin()]
    for row in distance[1:]:
        tokens.append((row + price * then[tokens[-1]]).argmin())
    return torch.stack(tokens)


def best(distance, first, then, price):
    cost, came_from = distance[0] + price * first, []
    for row in distance[1:]:
        cost, before = (cost[:, None] + price * then).min(0)
        cost = cost + row
        came_from.append(before)
    tokens = [cost.argmin()]
    for before in reversed(came_from):
        tokens.append(before[tokens[-1]])
    return torch.stack(tokens[::-1])


SEQUENCES = [
    (greedy, "that is greedy"),
    (lambda d, f, t, p: d.argmin(1), "the nearest codes"),
    (lambda d, f, t, p: best(d, f, t.T, p), "the other way round"),
    (lambda d, f, t, p: best(d, 0 * f, t, p), "count none"),
    (lambda d, f, t, p: best(d, f, t, 1.0), "by the price"),
    (lambda d, f, t, p: best(0 * d, f, t, 1.0), "the bits alone"),
    (lambda d, f, t, p: best(-d, -f, -t, p), "the worst sequence"),
    (lambda d, f, t, p: best(d, f, t, p).flip(0), "in reverse"),
    (lambda d, f, t, p: best(d, f, t, p).double(), "tokens from 0"),
    (lambda d, f, t, p: torch.full((len(d),), d.shape[1]), "tokens from 0 to 2 are asked for, not [3, 3]"),
    (lambda d, f, t, p: torch.full((len(d),), -1), "tokens from 0 to 2 are asked for, not [-1, -1]"),
    (lambda d, f, t, p: best(d, f, t, p).tolist(), "a tensor is asked for"),
    (lambda d, f, t, p: d.min(1).values.sum(), "the shape is"),
    (lambda d, f, t, p: torch.zeros(len(d), dtype=torch.int64), "you choose [0, "),
]

SHARES = [
    (0.417, "a straight line"),
    (0.645, "decibels are logarithms"),
    (0.3834, "take its root"),
    (0.349, "perfect realism"),
    (0.381, "of the plain picture"),
    (0.633, "a tenth of a power of ten"),
    (61.9, "in percent"),
    (0.625, "three decimals"),
    (0.614, "three decimals"),
    (0.9, "which c makes it 1.2 dB"),
    (..., "no number yet"),
]


def strengths(pictures, periods=range(3, 11), axes=(1, 2), order=2):
    found: dict[int, float] = {}
    for period in periods:
        for along in axes:
            line = pictures.double().mean(-1).mean((0, along)).diff(n=order)
            folded = line[: len(line) // period * period].view(-1, period)
            strength = folded.mean(0).var() * len(folded) / folded.var(0).mean()
            found[period] = max(strength.item(), found.get(period, 0))
    return found


def strongest(pictures, least=20.0, **options):
    found = strengths(pictures, **options)
    period = max(found, key=found.get)
    return period if found[period] > least else 0


GRIDS = [
    (lambda pictures: 0, "Average over the pictures"),
    (lambda pictures: 5, "you say 5"),
    (lambda pictures: strongest(pictures, least=0.0), "with what chance would give"),
    (lambda pictures: strongest(pictures, axes=(1,)), "Average over the pictures"),
    (lambda pictures: strongest(pictures, axes=(2,)), "Average over the pictures"),
    (lambda pictures: 5 * (strongest(pictures, periods=(5,)) > 0), "and it is"),
    (lambda pictures: 2 * strongest(pictures), "but the smallest period"),
    (lambda pictures: str(strongest(pictures)), "one finite number"),
    (lambda pictures: realism.grid_lines(pictures)[:, 1].max(), "you say"),  # the chapter's own measure
    (lambda pictures: None, "returns nothing yet"),
]


def diagnose(estimate, skip=(), cut=1.0):
    evenly, zeros = torch.arange(800) % 8, torch.zeros(800, dtype=torch.int64)
    if "nats" not in skip and estimate(evenly, evenly, 8) < 2.9:
        return "nats"
    surprised = estimate(zeros, zeros + 5, 8)
    if "skips" not in skip and surprised == 0:
        return "skips"
    return "own counts" if "own counts" not in skip and surprised < cut else "nothing"


DIAGNOSES = [
    (lambda estimate: "nothing", "you say 'nothing'"),
    (lambda estimate: diagnose(estimate, skip=("nats",)), "has to cost 3 bits"),
    (lambda estimate: diagnose(estimate, skip=("skips",)), "never showed cost nothing"),
    (lambda estimate: diagnose(estimate, skip=("own counts",)), "no decoder knows"),
    (lambda estimate: diagnose(estimate, cut=100.0), "and it is 'nothing'"),
    (lambda estimate: diagnose(estimate).upper(), "the answer is one of"),
    (lambda estimate: diagnose(estimate) == "nothing", "the answer is one of"),
    (lambda estimate: estimate(1, 2, 3), "your function raised"),
    (lambda estimate: ..., "returns nothing yet"),
]

WRONG = [
    *((check.allocate, answer, reason) for answer, reason in ALLOCATIONS),
    *((check.cheapest, answer, reason) for answer, reason in SEQUENCES),
    *((check.share, answer, reason) for answer, reason in SHARES),
    *((check.grid, answer, reason) for answer, reason in GRIDS),
    *((check.what_is_wrong, answer, reason) for answer, reason in DIAGNOSES),
]


@pytest.mark.parametrize(("checker", "answer", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answer, reason):
    verdict = checker(answer)
    assert not verdict
    assert reason in verdict.reason


RIGHT = [
    (check.allocate, at_price),
    (check.allocate, lambda sizes, errors, budget: at_price(sizes, errors, budget).int()),
    (check.cheapest, best),
    (check.share, 0.6192),
    (check.share, torch.tensor(0.619)),
    (check.grid, strongest),
    (check.grid, lambda pictures: torch.tensor(strongest(pictures, order=1))),
    (check.what_is_wrong, diagnose),
]


@pytest.mark.parametrize(("checker", "answer"), RIGHT)
def test_other_right_answers_are_right(checker, answer):
    assert checker(answer)


def test_of_a_choice_without_a_price_nothing_is_said_about_the_price():
    assert check.allocate(largest_step_first).reason[-5:-1].isdecimal()  # it ends with what is possible


def test_one_frame_is_not_told_what_many_have_in_common():
    for _ in range(5):
        reason = check.allocate(
            lambda sizes, errors, budget: at_price(sizes, errors, budget) - int(len(sizes) == 1)
        ).reason
        assert "for 1 frame and" in reason
        assert "All frames have" not in reason
        assert "Every frame keeps" not in reason


def test_a_dial_is_convex():
    """Sizes are whole and rise, errors fall, and a byte buys less than the one before it."""
    sizes, errors = check._dials(300)
    assert sizes.dtype == errors.dtype == torch.float64
    assert torch.equal(sizes, sizes.round())
    assert (sizes > 0).all()
    assert (errors > 0).all()
    steps, gains = sizes.diff(dim=1), -errors.diff(dim=1)
    assert (steps > 0).all()
    assert (gains > 0).all()
    assert ((gains / steps).diff(dim=1) < 0).all()


def test_the_bits_of_exercise_2_are_float64_and_not_negative():
    asked = []

    def answer(*inputs):
        asked.append(inputs)
        return best(*inputs)

    assert check.cheapest(answer)
    for *tables, _ in asked:
        for table in tables:
            assert table.dtype == torch.float64
            assert (table >= 0).all()


WHAT_IT_IS = [
    (lambda pictures: 0, r"you say 0, and it is (\d+): a pattern of \1 pixels was added, [a-z ]+\. Average over"),
    (
        lambda pictures: 2 * strongest(pictures),
        r"and it is (\d+): a pattern of \1 pixels was added, [a-z ]+; it repeats after \d+ as well, but the smallest",
    ),
    (
        lambda pictures: 11 * (strongest(pictures) > 0),
        r"you say 11, and it is (\d+): a pattern of \1 pixels was added, (across|down|across and down)\.$",
    ),
    (lambda pictures: strongest(pictures, least=0.0), r"and it is 0: these are [a-z ,]+\. Compare what you find with"),
]


@pytest.mark.parametrize(("answer", "pattern"), WHAT_IT_IS)
def test_it_is_said_what_the_pictures_were(answer, pattern):
    assert re.search(pattern, check.grid(answer).reason)


@pytest.mark.parametrize("period", range(3, 11))
@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
def test_a_painted_grid_has_its_period_and_is_faint(period, axes):
    """One line of each period is darker, the others are lighter by so much that the mean stays."""
    painted = check._painted(torch.full((2, 100, 150, 3), 128, dtype=torch.uint8), period, axes).double()
    for axis in (1, 2):
        line = painted.mean(3 - axis)[0, :, 0]
        if axis not in axes:
            assert (line == line[0]).all()
            continue
        alike = [shift for shift in range(1, 11) if (line[shift:] == line[:-shift]).all()]
        assert alike == list(range(period, 11, period))
        assert (line < line.mean()).double().mean() < 0.5
    assert painted.min() == 128 - 5 * len(axes)
    assert painted.max() <= 128 + 3 * len(axes)
    assert abs(painted[:, : 10 * period, : 10 * period].mean() - 128) < 0.5 * len(axes)


def test_the_right_estimate_is_a_probability():
    """Of all codes together: so a coder could spend as much."""
    train = torch.tensor([0, 0, 0, 1])
    estimate = check._estimate("nothing")
    assert sum(2 ** -estimate(train, torch.tensor([code]), 4) for code in range(4)) == pytest.approx(1)
    assert estimate(train, torch.tensor([0]), 4) < estimate(train, torch.tensor([1]), 4) < 3


def test_no_choice_of_the_frames_beats_one_price_where_it_spends_everything():
    """By trying out all of them."""
    torch.manual_seed(0)
    sizes, errors = check._dials(5)
    every = torch.cartesian_prod(*[torch.arange(6)] * 5)
    total = sizes[torch.arange(5), every].sum(1)
    error = errors[torch.arange(5), every].sum(1)
    for price in (1e-4, 1e-3, 1e-2):
        chosen = (errors + price * sizes).argmin(1)
        budget = spent(sizes, chosen).item()
        found = at_price(sizes, errors, budget)
        assert errors.gather(1, found[:, None]).sum() == pytest.approx(error[total <= budget].min().item())


def test_the_chapters_own_greedy_choice_is_no_answer(sources):
    names = {"torch": torch, "math": math}
    exec(next(source for source in sources if source.startswith("def choose")), names)
    assert not check.cheapest(names["choose"])
    assert "raised" in check.cheapest(names["choose"]).reason


# ---- The figure ------------------------------------------------------------------------------------------------------


def shown(figure, name):
    return float(figure.locator(f'[data-name="{name}"]').text_content().split()[0])


@pytest.mark.browser
def test_sharpness(figure):
    it = figure(CHAPTER, "sharpness")
    slider = it.get_by_role("slider", name="share")
    frame = arlib.data.read_image(arlib.data.files("supertuxkart", "valid")[8 * 13])[None]
    decoder = sharp.load("book-statistics")
    tokens = decoder.tokenizer.encode(frame)
    plain = decoder.decode(tokens, sharp=0)
    ways = {
        "statistics": decoder.decode(tokens),
        "unsharp mask": realism.unsharp(plain, 1.2),
        "adversarial": sharp.load("book-adversarial").decode(tokens),
    }
    it.get_by_label("a", exact=True).check()
    for way, sharpened in ways.items():
        it.get_by_label(way, exact=True).check()
        for key, part in (("Home", 0.0), ("End", 1.0), ("ArrowLeft", 0.95)):
            slider.press(key)
            mixed = sharp.mix(plain, sharpened, part)
            # A token, or a gray level, may differ on another machine.
            assert shown(it, "psnr") == pytest.approx(metrics.psnr(mixed, frame).item(), abs=0.1)
            assert shown(it, "gradient") == pytest.approx(realism.gradient_energy(mixed, frame), abs=0.03)


@pytest.mark.browser
def test_the_figure_fits_a_phone(figure):
    it = figure(CHAPTER, "sharpness")
    it.page.set_viewport_size({"width": 400, "height": 800})
    box = it.bounding_box()
    for part in it.locator("canvas").all():
        inside = part.bounding_box()
        assert box["x"] <= inside["x"]
        assert inside["x"] + inside["width"] <= box["x"] + box["width"]

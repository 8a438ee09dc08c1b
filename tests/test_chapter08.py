"""Chapter 8, "Sampling": its checkers refuse wrong answers with a reason, and its figure answers as arlib does."""

import json
import math
import re
from itertools import combinations
from pathlib import Path

import nbformat
import pytest
import torch

import arlib
from arlib import fixedpoint, sampling, tokenset
from arlib.exercises import chapter08 as check

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "08-sampling"


def entropy(shares):
    return -torch.special.xlogy(shares, shares).sum().item() / math.log(2)


# ---- Wrong answers, and why they are wrong ---------------------------------------------------------------------------


def bisect(logits, wanted, measure, halvings=60, high=20.0):
    low = 0.05
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if measure(logits / middle) < wanted else (low, middle)
    return middle


def bits_at(logits):
    return entropy(logits.softmax(-1))


TEMPERATURES = [
    (lambda logits, bits: 1 / bisect(logits, bits, bits_at), "that is 1 / temperature"),
    (lambda logits, bits: bisect(logits, bits / math.log(2), bits_at), "that many nats"),
    (lambda logits, bits: bits, "you return the bits themselves"),
    (lambda logits, bits: 1.0, "the entropy at your temperature, 1.0000, is"),
    (lambda logits, bits: bisect(logits, bits, lambda scaled: -bits_at(scaled)), "you end at an edge of the range"),
    (lambda logits, bits: bisect(logits, bits, bits_at, 12), "Do you halve often enough"),
    (
        lambda logits, bits: bisect(logits, bits, bits_at, high=2.0),  # enough for the first two cases
        "the entropy at your temperature, 2.0000, is",
    ),
    (lambda logits, bits: 0.0, "you return 0.0, which is no temperature"),
    (lambda logits, bits: -1.0, "which is no temperature"),
    (lambda logits, bits: float("nan"), "one finite number is asked for"),
    (lambda logits, bits: logits, "number is asked for"),
]


def keep(shares, keys, p, crossing=1, scale=True, back=True):
    codes = keys.argsort(stable=True)
    count = int((shares[codes].cumsum(0) - shares[codes] < p).sum()) + crossing - 1
    kept = torch.zeros_like(shares)
    if back:
        kept[codes[:count]] = shares[codes[:count]]
    else:
        kept[:count] = shares[codes[:count]]
    return kept / kept.sum() if scale else kept


def distance(shares):
    return (-shares.log2() - entropy(shares)).abs()


TYPICALS = [
    (lambda s, p: keep(s, -s, p), "that is top-p"),
    (lambda s, p: keep(s, -distance(s), p), "you sort from the farthest"),
    (lambda s, p: keep(s, (-s.log() - entropy(s)).abs(), p), "the surprise is in nats and the entropy in bits"),
    (lambda s, p: keep(s, (-s.log2() - entropy(s) * math.log(2)).abs(), p), "in bits and the entropy in nats"),
    (lambda s, p: keep(s, (s.log2() - entropy(s)).abs(), p), "that is top-p. .*has the surprise the wrong sign"),
    (lambda s, p: keep(s, (s - entropy(s)).abs(), p), "that is top-p. .*or is it the probability itself"),
    (lambda s, p: keep(s, -s.log2() - entropy(s), p), "that is top-p. .Is the absolute value missing"),
    (lambda s, p: keep(s, entropy(s) + s.log2(), p), "you keep the unlikeliest codes"),
    (
        lambda s, p: (keep(s, distance(s), p) > 0).double() / (keep(s, distance(s), p) > 0).sum(),
        "not in the proportions",
    ),
    (lambda s, p: keep(s, distance(s), p) ** 2 / (keep(s, distance(s), p) ** 2).sum(), "not in the proportions"),
    (lambda s, p: keep(s, distance(s), p).tolist(), "a tensor is asked for"),
    (lambda s, p: keep(s, distance(s), p, scale=False), "the right codes are kept, and their probabilities sum to 0"),
    (lambda s, p: keep(s, distance(s), p, crossing=2), "one too many is kept"),
    (lambda s, p: keep(s, distance(s), p, crossing=0, scale=False), "one is missing|nothing is kept"),
    (lambda s, p: keep(s, distance(s), p, back=False), "Are they back in their places"),
    (lambda s, p: keep(s, distance(s), 0.3), "for 200 codes and p = 0.9 "),  # 0.3 is the first case's
    (lambda s, p: keep(s, distance(s), 0.1), "p = 0.3 you keep [0-9]+ codes, and [0-9]+ are the nearest"),
    (lambda s, p: s, "and [0-9]+ are the nearest"),
    (lambda s, p: s * 0 / 0, "NaN"),
    (lambda s, p: s.float(), "the dtype is torch.float32"),
]

LONELY = [
    ([0.95] + [0.05 / 1023] * 1023, "the entropy is 0.7"),
    (torch.tensor([0.9] + [0.1 / 1023] * 1023), "by a rounding error. Go a little above"),
    ([0.95, 0.05], "one code is kept, but the entropy is 0.2"),
    ([0.85] + [0.15 / 1023] * 1023, "keeps 34[0-9] of your codes"),
    ([1 / 1024] * 1024, "keeps 92[0-9] of your codes"),
    ([0.9001] + [0.0999 / 5000] * 5000, "at most 1024 probabilities"),
    ([0.9, 0.2], "yours to 1.1"),
    ([1.1, -0.1], "a probability is not below 0"),
    (..., "nothing here yet"),
    ("many", "must be a list of numbers"),
    (0.9, "must be a list of numbers, and this is none"),
    ([], "must be a list of numbers, and this is none"),
]

SURE = [[0.0, 1.0, 0.0]] * 3
FLAT = [[0.34, 0.33, 0.33]] * 3
TRAPS = [
    (([0.5, 0.3, 0.2], FLAT), "here the greedy sequence is the likeliest"),
    (
        ([0.34, 0.33, 0.33], [[0.6, 0.2, 0.2], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        "times as probable; ten times is asked",
    ),
    (([1.0, 0.0, 0.0], SURE), "here the greedy sequence is the likeliest"),
    (([0.5, 0.5], SURE), "first is three probabilities"),
    (([0.4, 0.3, 0.3], [0.4, 0.3, 0.3]), "then is three lists"),
    (([0.4, 0.3, 0.3], [[0.5, 0.5, 0.5]] * 3), "yours to 1.5"),
    ((..., SURE), "nothing here yet"),
]


def named(**changed):
    """The right names of the samplers, some of them changed."""
    return check.FAULTS | changed


DIAGNOSES = [
    (dict.fromkeys("ABCDE", ...), "there is no diagnosis yet"),
    (named(A="honest"), "A is not 'honest'. Give it temperature 2 and p = 0.7"),
    (named(B="the temperature multiplies"), "Try all four settings"),
    (named(C="honest"), "temperature 2 and no cut"),
    (named(D="top-p comes before the temperature"), "temperature 1 and p = 0.7"),
    (named(E="honest"), "look at the last code"),
    (named(E="ill"), "none of the names"),
    (named(E=...), "1 still without a name"),
    ("honest", "a dictionary with the keys"),
]

WRONG = [
    *((check.temperature_for, (answer,), reason) for answer, reason in TEMPERATURES),
    *((check.typical, (answer,), reason) for answer, reason in TYPICALS),
    *((check.lonely, (answer,), reason) for answer, reason in LONELY),
    *((check.greedy_trap, answers, reason) for answers, reason in TRAPS),
    *((check.diagnoses, (answer,), reason) for answer, reason in DIAGNOSES),
]


@pytest.mark.parametrize(("checker", "answers", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answers, reason):
    verdict = checker(*answers)
    assert not verdict
    assert re.search(reason, str(verdict)), verdict


def test_other_right_answers_pass():
    for _ in range(5):
        assert check.temperature_for(lambda logits, bits: torch.tensor(bisect(logits, bits, bits_at)))
        assert check.typical(lambda shares, p: keep(shares, distance(shares), p))
    assert check.lonely(torch.tensor([0.0999 / 900] * 900 + [0.9001]))
    assert check.lonely([0.9] + [0.1 / 1023] * 1023)  # 0.9 is reached, if only just
    world = torch.tensor([[0.35, 0.33, 0.32], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    assert check.greedy_trap(torch.tensor([0.4, 0.35, 0.25]), world)
    # 0.4 over 0.4 · 0.4 · 0.5 · 0.5 is ten, and with floats 9.999999999999998.
    assert check.greedy_trap([0.4, 0.4, 0.2], [[0.3, 0.3, 0.4], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]])
    assert check.diagnoses(named())


def test_the_samplers_do_what_their_names_say():
    """Counts of a thousand even numbers for 1/2, 1/4, 1/8, 1/8, by hand; at temperature 2 their roots are taken."""
    logits, u = torch.tensor([4.0, 2.0, 1.0, 1.0]).log(), (torch.arange(1000) + 0.5) / 1000
    plain, warm = [500, 250, 125, 125], [369, 261, 185, 185]  # 2 / (2 + √2 + 1 + 1) = 0.369
    settings = [(1, 1.0), (2, 1.0), (1, 0.7), (2, 0.7)]
    right = [plain, warm, [667, 333, 0, 0], [453, 320, 227, 0]]
    expected = {
        "A": [*right[:3], [586, 414, 0, 0]],
        "B": right,
        "C": [plain, [727, 182, 45, 45], *right[2:3], [1000, 0, 0, 0]],
        "D": [*right[:2], [1000, 0, 0, 0], [586, 414, 0, 0]],
        "E": [[500, 250, 250, 0], [369, 261, 370, 0], *right[2:]],
    }
    for letter, sampler in check.samplers().items():
        for (temperature, p), counts in zip(settings, expected[letter], strict=True):
            found = sampler(logits, u, temperature, p).bincount(minlength=4)
            assert (found - torch.tensor(counts)).abs().max() <= 1, (letter, temperature, p)


def test_the_samplers_keep_the_rule_where_a_number_falls_on_an_end():
    half, samplers = torch.tensor([0.0, 0.25, 0.5, 0.75]), check.samplers()
    for sampler in samplers.values():  # two of four equal codes have 0.5 together, so none crosses the line
        assert sampler(torch.zeros(4), half, 1, 0.5).tolist() == [0, 0, 1, 1]
    # Of 1/8, 1/8, 1/4, 1/2 top-p = 0.7 keeps the last two, and D the last: u = 0 draws none that was dropped.
    logits = torch.tensor([1.0, 1.0, 2.0, 4.0]).log()
    drawn = {letter: sampler(logits, torch.zeros(1), 1, 0.7).item() for letter, sampler in samplers.items()}
    assert drawn == {"A": 2, "B": 2, "C": 2, "D": 3, "E": 2}


def test_each_mistake_keeps_codes_of_its_own_in_the_first_case():
    for _ in range(60):
        shares = check._telling(1024, 2.5, 0.3)
        nats, mixed = -shares.log() - entropy(shares), -shares.log2() - entropy(shares) * math.log(2)
        keys = [distance(shares), -shares, shares, -distance(shares), nats.abs(), mixed.abs()]
        kept = [keep(shares, key, 0.3) > 0 for key in keys] + [shares > 0]
        assert all((one != other).sum() > 2 for one, other in combinations(kept, 2))


# ---- The figure ------------------------------------------------------------------------------------------------------


def shown(figure, name):
    return figure.locator(f'[data-name="{name}"]').text_content()


@pytest.fixture(scope="module")
def places():
    """Name, logits and token of each place in the figure, computed again from the stored frame."""
    frame = tokenset.read(arlib.data.root() / "tokens" / "valid.tokens").grids.flatten(1)[230]
    logits = fixedpoint.Twin(arlib.load_prior("book"))(frame[None, :300])[0]
    at = {"sky": (2, 14), "edge": (9, 20), "leaves": (2, 24)}
    return {name: (logits[30 * row + column], frame[30 * row + column].item()) for name, (row, column) in at.items()}


def test_the_figures_logits_are_the_twins(places):
    notebook = nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)
    [html] = [
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if 'data-figure="truncation"' in output.get("data", {}).get("text/html", "")
    ]
    assert len(html) < 150_000
    [values] = re.findall(r"^const data = (.*);$", html, re.MULTILINE)
    data = json.loads(values)
    assert [place["name"] for place in data["places"]] == list(places)
    for place in data["places"]:
        logits, came = places[place["name"]]
        assert place["logits"] == logits.tolist()
        assert place["came"] == came


def agrees(figure, places, name):
    """The figure's numbers are those of arlib.sampling at the setting that its sliders tell; returns the setting."""
    words = [figure.get_by_role("slider", name=label).get_attribute("aria-valuetext") for label in CONTROLS]
    temperature, k, p = float(words[0]), None if words[1] == "all" else int(words[1]), float(words[2])
    logits, came = places[name]
    shares = sampling.probabilities(logits / 1024, temperature, top_k=k, top_p=p if p < 1 else None)
    likeliest = logits.argsort(descending=True, stable=True)[:40]
    assert shown(figure, "entropy") == f"{entropy(shares) + 0.0:.2f}"
    assert shown(figure, "kept") == str(int((shares > 0).sum()))
    warm = sampling.probabilities(logits / 1024, temperature)
    assert shown(figure, "mass") == f"{warm[shares > 0].sum():.3f}"
    assert shown(figure, "likeliest") == f"{shares.max():.3f}"
    assert shown(figure, "came") == (f"{shares[came]:.4f}" if shares[came] else "0, it is cut off")
    assert shown(figure, "outside") == f"{max(0.0, 1 - shares[likeliest].sum().item()):.3f}"
    return temperature, k, p


CONTROLS = ["temperature", "top-k", "top-p"]


@pytest.mark.browser
def test_truncation_by_keyboard(figure, places):
    it = figure(CHAPTER, "truncation")
    temperature, k, p = (it.get_by_role("slider", name=label) for label in CONTROLS)
    assert agrees(it, places, "edge") == (1.0, None, 1.0)
    moves = [
        ("sky", temperature, ["ArrowRight"] * 10, (2.0, None, 1.0)),
        ("sky", p, ["ArrowLeft"] * 2, (2.0, None, 0.9)),
        ("edge", k, ["ArrowLeft"] * 7, (2.0, 10, 0.9)),
        ("leaves", temperature, ["Home"] + ["ArrowRight"] * 4, (0.5, 10, 0.9)),
        ("leaves", k, ["Home"], (0.5, 1, 0.9)),
        ("leaves", k, ["End", "ArrowLeft", "ArrowLeft"], (0.5, 200, 0.9)),
        ("edge", p, ["Home"], (0.5, 200, 0.05)),
        ("sky", temperature, ["End"], (3.0, 200, 0.05)),
        ("leaves", p, ["End", "ArrowLeft"], (3.0, 200, 0.95)),
        ("leaves", k, ["End"], (3.0, None, 0.95)),
    ]
    for name, control, keys, setting in moves:
        it.get_by_label(name, exact=True).focus()
        it.page.keyboard.press("Space")
        for key in keys:
            control.press(key)
        assert agrees(it, places, name) == setting


@pytest.mark.browser
def test_truncation_changes_place_by_arrow_keys(figure, places):
    it = figure(CHAPTER, "truncation")
    it.get_by_label("edge", exact=True).focus()
    it.page.keyboard.press("ArrowRight")
    agrees(it, places, "leaves")
    it.page.keyboard.press("ArrowRight")  # round to the first
    agrees(it, places, "sky")


def test_the_controls_button_draws_with_the_settings_of_its_sliders():
    """In JupyterLab there are five sliders and a button."""
    import ipywidgets  # type: ignore[import-untyped]

    notebook = nbformat.read(Path(__file__).parent.parent / "book" / "08-sampling.ipynb", as_version=4)
    source = next(cell.source for cell in notebook.cells if "def control" in cell.source).split('\n\n\nif "JPY')[0]
    names = {"ipywidgets": ipywidgets}
    exec("def control" + source.split("def control")[1], names)
    drawn = []
    names["complete"] = lambda **settings: drawn.append(settings)
    *sliders, button, _ = names["control"]().children
    assert [slider.description for slider in sliders] == ["frame", "rows kept", "temperature", "top-p", "seed"]
    sliders[0].value, sliders[2].value = 7, 0.5
    button.click()
    assert drawn == [{"number": 7, "rows": 10, "temperature": 0.5, "p": 1.0, "seed": 0}]

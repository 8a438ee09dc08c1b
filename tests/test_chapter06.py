"""Chapter 6, "Predicting the next token": its checkers refuse wrong answers with a reason, its figure answers."""

import json
import math
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch

import arlib
from arlib.exercises import chapter06 as check
from arlib.transformer import Prior

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "06-next-token"


@pytest.fixture(scope="module")
def sources():
    notebook = nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


# ---- Wrong answers, and why they are wrong ---------------------------------------------------------------------------


def smoothed(counts, lower, d, back=None, floor=True, empty=True):
    """The right table; the options break it."""
    total, kinds = counts.sum(1, keepdim=True), (counts > 0).sum(1, keepdim=True)
    kept = (counts - d).clamp(min=0) if floor else counts - d * (counts > 0 if back == "none" else 1)
    collected = {"none": 0, "one": d, "equal": d * kinds / len(lower)}.get(back, d * kinds * lower)
    if back == "one":
        collected = d * lower
    table = (kept + collected) / total
    return torch.where(total > 0, table, lower) if empty else table


def added(counts, lower, more):
    """The counts with something added to each."""
    table = (counts + more) / (counts + more).sum(1, keepdim=True)
    return torch.where(counts.sum(1, keepdim=True) > 0, table, lower)


def one_row_halved(counts, lower, d):
    table = smoothed(counts, lower, d)
    table[-2] /= 2  # the last one with counts
    return table


INTERPOLATED = [
    (lambda counts, lower, d: None, "returns nothing yet"),
    (lambda counts, lower, d: smoothed(counts, lower, d, empty=False), "0 / 0"),
    (lambda counts, lower, d: torch.where(counts.sum(1, keepdim=True) > 0, (counts - d) / 9, lower), "negative"),
    (lambda counts, lower, d: smoothed(counts, lower, d, back="none"), "has to be given out again"),
    (lambda counts, lower, d: smoothed(counts, lower, d, back="one"), "has to be given out again"),
    (one_row_halved, "a row adds up to 0.500, not to 1"),
    (lambda counts, lower, d: smoothed(counts, lower, d, back="equal"), "in equal parts"),
    (lambda counts, lower, d: smoothed(counts, torch.ones(1) / len(lower), d), "knows nothing of its own"),
    (lambda counts, lower, d: (counts + lower) / (counts.sum(1, keepdim=True) + 1), "you add something"),
    (lambda counts, lower, d: (counts + 1) / (counts.sum(1, keepdim=True) + len(lower)), "of its own"),
    (lambda counts, lower, d: (counts + len(lower) * lower) / (counts.sum(1, keepdim=True) + len(lower)), "you add"),
    (lambda counts, lower, d: added(counts, lower, 1), "you add something"),
    (lambda counts, lower, d: added(counts, lower, d), "you add something"),
    (lambda counts, lower, d: added(counts, lower, d * lower), "you add something"),
    (lambda counts, lower, d: smoothed(counts, lower, d / 2), "and not"),
    (lambda counts, lower, d: smoothed(counts, lower, d)[0], "the shape is"),
    (lambda counts, lower, d: counts.nothing, "raised AttributeError"),
]


def above(height, width, shift=1, edge=-1):
    rows = torch.arange(height * width) - width + shift
    rows[:width] = edge
    return rows


ROWS = [
    (lambda height, width: ..., "returns nothing yet"),
    (lambda height, width: above(height, width, shift=0), "start vector"),
    (lambda height, width: torch.arange(height * width) - width, "start vector"),
    (lambda height, width: above(height, width, edge=0), "have nothing above them"),
    (lambda height, width: torch.arange(height * width) - width + 1, "have nothing above them"),
    (lambda height, width: torch.arange(height * width) + 1, "later row"),
    (
        lambda height, width: above(height, width, shift=2),
        "a grid of 2 × 3, row 3 is asked for token 3. The token above it is read by row 1, and yours is 2.",
    ),
    (
        lambda height, width: above(height * width // 3, 3),
        "a grid of 20 × 30, row 3 is asked for token 3. Nothing is above it, so -1 is asked for, and yours is 1.",
    ),
    (lambda height, width: torch.arange(height * width), "row 0 is asked for token 0. Nothing is above it"),
    (lambda height, width: above(height, width).float(), "int64"),
    (lambda height, width: above(height, width).view(height, width), "the shape is"),
]

RIGHT_NAMES = dict(check.PATIENTS)
MISTAKES = [
    ({"A": ..., "B": ..., "C": ..., "D": ...}, "no diagnosis yet"),
    (None, "a dictionary"),
    (RIGHT_NAMES | {"A": "sees the answer"}, "Divide its losses by ours"),
    (RIGHT_NAMES | {"C": "another unit"}, "how frequent tokens are"),
    (RIGHT_NAMES | {"B": "large first weights"}, "gets below 3 bits"),
    (RIGHT_NAMES | {"D": "targets of other frames"}, "sure of itself"),
    (RIGHT_NAMES | {"D": "tired"}, "none of the names"),
    (RIGHT_NAMES | {"D": ...}, "still without a name"),
]

PERPLEXITIES = [
    (lambda bits: None, "returns nothing yet"),
    (lambda bits: bits.mean(), "that is the mean in bits"),
    (lambda bits: bits.mean().exp(), "e to the mean"),
    (lambda bits: (2**bits).mean(), "as much as a million others"),
    (lambda bits: (2 ** bits.mean(1)).mean(), "each frame's perplexity"),
    (lambda bits: (2 ** bits.double().mean(1)).mean(), "each frame's perplexity"),
    (lambda bits: 2 ** bits.mean(1), "over all tokens of all frames, and these are 5"),
    (lambda bits: 2**bits, "one number is asked for"),
    (lambda bits: 2 ** bits.sum(), "2 to the sum"),
    (lambda bits: 2 ** -bits.mean(), "its sign is right"),
    (lambda bits: 3 ** bits.mean(), "it is"),
]


def weights(v, t, w, d, tied=False, start=True, norms=True, positions=True, hidden=4, out=True, last=True):
    tables = v * w * (1 if tied else 2) + t * w * positions + w * start
    return tables + d * (3 * w * w + w * w * out + 2 * hidden * w * w) + (2 * d + last) * w * norms


PARAMETERS = [
    (lambda v, t, w, d: None, "returns nothing yet"),
    (lambda v, t, w, d: weights(v, t, w, d, tied=True), "as large as the embedding"),
    (lambda v, t, w, d: weights(v, t, w, d, start=False), "6 too few, as many as the start vector has"),
    (lambda v, t, w, d: weights(v, t, w, d, last=False), "6 too few, as many as the start vector has, or the norm"),
    (lambda v, t, w, d: weights(v, t, w, d, start=False, norms=False), "36 too few, as many as the norms and the"),
    (lambda v, t, w, d: weights(v, t, w, d, norms=False), "30 too few, as many as all norms together"),
    (lambda v, t, w, d: weights(v, t, w, d, positions=False), "as the positions have"),
    (lambda v, t, w, d: weights(v, t, w, d, hidden=0), "the perceptrons"),
    (lambda v, t, w, d: weights(v, t, w, d, out=False), "goes through one more"),
    (lambda v, t, w, d: weights(v, t, w, d) + (2 * d + 1) * w, "It only scales"),
    (lambda v, t, w, d: weights(v, t, w, d) + 9 * w * d, "what biases would have"),
    (lambda v, t, w, d: weights(v, t, w, d) + 9 * w * d + v, "what biases would have"),
    (lambda v, t, w, d: weights(v, t, w, 1), "you count one block"),
    (lambda v, t, w, d: 2 * weights(v, t, w, d), "and you count"),
]

WRONG = [
    *((check.interpolated, answer, reason) for answer, reason in INTERPOLATED),
    *((check.rows_above, answer, reason) for answer, reason in ROWS),
    *((check.first_losses, answer, reason) for answer, reason in MISTAKES),
    *((check.perplexity, answer, reason) for answer, reason in PERPLEXITIES),
    *((check.parameters, answer, reason) for answer, reason in PARAMETERS),
]


@pytest.mark.parametrize(("checker", "answer", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answer, reason):
    verdict = checker(answer)
    assert not verdict
    assert reason in verdict.reason


def test_the_numbers_of_a_verdict_on_a_table_are_those_of_its_counts():
    def answer(counts, lower, d):
        table = smoothed(counts, lower, d)
        table[:-1, 4] += table[:-1, 3] / 2  # the last row has no counts
        table[:-1, 3] /= 2
        return table

    for _ in range(5):  # the counts are others each time
        reason = check.interpolated(answer).reason
        words = r"counts (.*), lower = (.*) and a discount of 0.75, token ([34]) has (.*), and not (.*)\.$"
        [found] = re.findall(words, reason)
        counts, lower, place, right, given = map(json.loads, found)
        taken = 0.75 * sum(count > 0 for count in counts)
        chances = [(max(count - 0.75, 0) + taken * p) / sum(counts) for count, p in zip(counts, lower, strict=True)]
        assert right == pytest.approx(chances[place], abs=2e-3)  # `lower` is rounded
        assert abs(given - right) == pytest.approx(chances[3] / 2, abs=2e-3)


RIGHT = [
    (check.interpolated, smoothed),
    (check.interpolated, lambda counts, lower, d: smoothed(counts, lower, d).float()),
    (check.rows_above, above),
    (check.rows_above, lambda height, width: above(height, width).int()),
    (check.first_losses, RIGHT_NAMES),
    (check.perplexity, lambda bits: 2 ** bits.mean()),
    (check.perplexity, lambda bits: math.exp(math.log(2) * bits.mean())),
    (check.parameters, weights),
]


@pytest.mark.parametrize(("checker", "answer"), RIGHT)
def test_other_right_answers_are_right(checker, answer):
    assert checker(answer)


def functions_of(sources, *starts):
    names = {"torch": torch, "math": math, "F": torch.nn.functional}
    for start in starts:
        exec(next(source for source in sources if start in source), names)
    return names


def test_the_chapters_own_functions_are_no_answers(sources):
    names = functions_of(sources[:4], "def neighbors")
    exec(next(source for source in sources if "def discounted" in source).split("\n\n\nlearned")[0], names)
    for name in ("discounted", "context"):
        assert not check.interpolated(names[name])
        assert not check.rows_above(names[name])


def test_the_losses_of_the_clinic_show_what_the_patients_have():
    losses = check.clinic()
    healthy = losses["healthy"]
    assert abs(healthy[0] - 10) < 0.1
    for mine, its in zip(healthy, losses["A"], strict=True):
        assert its == pytest.approx(mine * math.log(2), rel=0.05)
    assert losses["B"][-1] < 3
    assert losses["C"][-1] > healthy[-1] + 1
    assert losses["D"][0] > 15


# ---- The chapter against things outside of it ------------------------------------------------------------------------


def test_the_chapters_tables_count_what_a_loop_counts(sources):
    names = functions_of(sources, "def neighbors")
    tokens = torch.randint(3, (2, 600), generator=torch.Generator().manual_seed(0))
    known = names["neighbors"](tokens)
    counts = names["Counts"](known, ("left", "above"))
    times, kinds = counts.of(known, torch.tensor([0]), torch.tensor([1024]))
    seen: dict[tuple, list[int]] = {}
    for frame in tokens.tolist():
        for place, token in enumerate(frame):
            pair = (frame[place - 1] if place else 1024, frame[place - 30] if place >= 30 else 1024)
            seen.setdefault(pair, []).append(token)
    flat = [
        (frame[place - 1] if place else 1024, frame[place - 30] if place >= 30 else 1024)
        for frame in tokens.tolist()
        for place in range(600)
    ]
    assert times[:, 0].tolist() == [len(seen[pair]) for pair in flat]
    assert kinds[:, 0].tolist() == [len(set(seen[pair])) for pair in flat]


def test_the_ladder_has_the_rows_that_the_chapter_reads():
    rows = {row["name"]: row for row in json.loads((ROOT / "book" / "_static" / "ladder.json").read_text())}
    assert len(rows) == 12
    for row in rows.values():
        prior = Prior(1024, 600, row["width"], row["depth"], row["heads"])
        assert row["parameters"] == sum(parameter.numel() for parameter in prior.parameters())
        assert row["passes"] == pytest.approx(row["steps"] * row["batch_size"] / row["frames"])
        assert [len(sample) for sample in row["samples"]] == [600, 600]
        assert set(row["bits"]) == {"known", "valid", "unseen"}


# ---- The figure and the control --------------------------------------------------------------------------------------


def shown(figure, name):
    return figure.locator(f'[data-name="{name}"]').text_content()


@pytest.mark.browser
def test_a_head_looks_at_the_token_above(figure):
    it = figure(CHAPTER, "heads")
    slider = it.get_by_role("slider", name="head")
    slider.press("Home")
    found = {}
    for _ in range(12):
        found[slider.get_attribute("aria-valuetext")] = (shown(it, "most"), shown(it, "share"))
        slider.press("ArrowRight")
    assert len(found) == 12
    most, share = found["block 0, head 1"]
    assert most == "the token above"
    assert 35 < int(share.split()[0]) < 55
    assert it.locator("svg rect").count() == 6 * 13


@pytest.mark.browser
def test_the_figure_fits_a_phone(figure):
    it = figure(CHAPTER, "heads")
    it.page.set_viewport_size({"width": 400, "height": 900})
    box, inside = it.bounding_box(), it.locator("svg").bounding_box()
    assert box["x"] <= inside["x"]
    assert inside["x"] + inside["width"] <= box["x"] + box["width"] + 1


def test_the_sliders_show_the_frame_and_the_place_that_are_chosen(sources):
    """In JupyterLab there are two sliders, and moving one calls `look`."""
    import ipywidgets  # type: ignore[import-untyped]

    source = next(source for source in sources if "def control" in source).split('\n\n\nif "JPY')[0]
    looked: list[tuple[int, int]] = []
    valid = torch.zeros(20, 600)
    names: dict[str, Any] = {"ipywidgets": ipywidgets, "valid": valid}
    names["look"] = lambda number, place: looked.append((number, place))
    exec(source.replace("(176, 0,", "(5, 0,"), names)
    number, place, _ = names["control"]().children
    assert looked[-1] == (5, 405)
    place.value = 17
    number.value = 3
    assert looked[-2:] == [(5, 17), (3, 17)]


@pytest.mark.parametrize("place", [0, 405, 599])
def test_what_the_sliders_call_draws_a_frame_and_five_tokens(sources, capsys, place):
    tokens = torch.randint(1024, (2, 600), generator=torch.Generator().manual_seed(0))
    decoder, looked = arlib.load_tokenizer("book"), torch.zeros(12, 601)
    names: dict[str, Any] = {"plt": plt, "torch": torch, "math": math, "arlib": arlib, "orders": arlib.orders}
    names |= {"valid": tokens, "decoder": decoder, "looked": looked}
    with torch.no_grad():
        for start in ("def attention_of", "def variants", "def show_attention", "def look"):
            exec(next(source for source in sources if start in source), names)
        names["look"](1, place)
    axes = plt.gcf().axes
    assert len(axes) == 6
    logits = names["book"](tokens[1:2])[0, place].detach()
    best = logits.softmax(-1).topk(5).values
    assert [axis.get_title() for axis in axes[1:]] == [f"{chance:.0%}" for chance in best.tolist()]
    rank = int((logits > logits[tokens[1, place]]).sum()) + 1
    assert f"the real token is number {rank} of 1,024" in capsys.readouterr().out
    # Orange only over what has been read, and at the first place over nothing.
    heat = np.asarray(axes[0].images[1].get_array()).reshape(600, 4)[:, 3]
    assert (heat[place:] == 0).all()
    assert [share == 1 for share in heat.tolist()].count(True) == (1 if place else 0)
    plt.close("all")


def test_the_records_that_the_chapter_names_are_those_of_the_log_and_the_cards():
    text = nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)
    challenge = next(cell.source for cell in text.cells if "A standing challenge" in cell.source)
    records = (ROOT / "log" / "challenge.md").read_text(encoding="utf-8").split("## Records")[1]
    record = records.split("\n| ")[3].split(" |")[0]
    assert f"is {record};" in challenge
    for name, words in (("small", "`small` needs"), ("book", "`book`, trained for 81 minutes,")):
        card = (ROOT / "data" / "weights" / f"prior-{name}.md").read_text(encoding="utf-8")
        bits = card.split("per token, ")[1].split(" per frame")[0]
        assert f"{words} {bits}" in challenge

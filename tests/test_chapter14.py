"""Chapter 14, "Any order": its checkers refuse wrong answers with a reason, its figure and its control answer."""

import base64
import json
import math
import re
from pathlib import Path

import ipywidgets  # type: ignore[import-untyped]
import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import arlib
from arlib import metrics, orders, plots, sampling, tokenset
from arlib.exercises import chapter14 as check

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "14-any-order"


def notebook():
    return nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)


def cells(tag):
    return [cell.source for cell in notebook().cells if tag in cell.metadata.get("tags", [])]


# ---- Wrong answers, and why they are wrong ---------------------------------------------------------------------------


def in_order(joint, tokens, order):
    joint, before, bits = joint.permute(*order.tolist()), joint.sum(), []
    for token in tokens[order].tolist():
        joint = joint[token]
        bits.append(-(joint.sum() / before).log2())
        before = joint.sum()
    return torch.stack(bits)


def alone(joint, tokens, order):
    sums = [joint.sum([p for p in range(joint.dim()) if p != place]) for place in order.tolist()]
    return torch.stack([-s[tokens[place]].log2() for s, place in zip(sums, order.tolist(), strict=True)])


def in_raster(joint, tokens, order):
    return in_order(joint, tokens, torch.arange(len(order)))


def arranged_only(joint, tokens, order):
    """Permutes the tokens and not the axes: the picture is another one."""
    return in_order(joint, tokens[order], torch.arange(len(order)))


def axes_only(joint, tokens, order):
    """Permutes the axes and not the tokens."""
    return in_order(joint.permute(*order.tolist()), tokens, torch.arange(len(order)))


def given_all_others(joint, tokens, order):
    """Each token after all the others, read or not."""
    bits = []
    for place in order.tolist():
        line = joint[tuple(slice(None) if at == place else token for at, token in enumerate(tokens.tolist()))]
        bits.append(-(line[tokens[place]] / line.sum()).log2())
    return torch.stack(bits)


IN_ORDERS = [
    (in_raster, "in raster order, whatever"),
    (lambda j, t, o: in_order(j, t, o.argsort()), "by the inverse order"),
    (lambda j, t, o: in_order(j, t, o)[o.argsort()], "asked for in reading order"),
    (lambda j, t, o: in_order(j, t, o) * math.log(2), "these are nats"),
    (lambda j, t, o: -in_order(j, t, o), "the sign is wrong"),
    (lambda j, t, o: in_order(j, t, o).cumsum(0), "all tokens so far"),
    (alone, "each token costs that much alone"),
    (arranged_only, "together, not one of them"),
    (axes_only, "together, not one of them"),
    (given_all_others, "given all the other tokens"),
    (lambda j, t, o: 2 ** -in_order(j, t, o), "these are probabilities"),
    (lambda j, t, o: in_order(j, t, o) + 1, "the sum is the surprise of the whole picture"),
    (lambda j, t, o: in_order(j, t, o).mean().expand(len(o)), "split among the tokens in another way"),
    (lambda j, t, o: in_order(j, t, o).float().mean().expand(len(o)), "split among the tokens in another way"),
    (lambda j, t, o: in_order(j, t, o).sum(), "the shape is"),
    (lambda j, t, o: ..., "returns nothing yet"),
]


def what_is_wrong(loss):
    by_place = torch.randint(50, (3, 12))
    given: dict[str, torch.Tensor] = {}

    def parrot(tokens, order):
        given.update(tokens=tokens, order=order.expand_as(tokens))
        return 100.0 * F.one_hot(tokens, 50)

    cost = loss(parrot, by_place)
    if not torch.equal(given["tokens"], by_place.gather(1, given["order"])):
        return "places"
    return "targets" if cost > 1 else "nothing"


def only_the_cost(loss):
    cost = loss(lambda tokens, order: 100.0 * F.one_hot(tokens, 50), torch.randint(50, (3, 12)))
    return "targets" if cost > 1 else "nothing"


def only_the_places(loss):
    by_place, given = torch.randint(50, (3, 12)), {}

    def listen(tokens, order):
        given["right"] = torch.equal(tokens, by_place.gather(1, order.expand_as(tokens)))
        return torch.zeros(*tokens.shape, 50)

    loss(listen, by_place)
    return "nothing" if given["right"] else "places"


def by_the_chapters_check(loss):
    """The chapter's tool, which looks at models."""
    prior = arlib.Prior(50, 12, width=16, depth=1, heads=2, any_order=True)
    loss(prior, torch.randint(50, (3, 12)))
    return "nothing" if arlib.causality.check(prior, positions=[0, 5], trials=1).ok else "places"


WRONGS = [
    (only_the_cost, "you say 'nothing'; it is 'places'"),
    (only_the_places, "it is 'targets'"),
    (by_the_chapters_check, "of a loss that"),
    (lambda loss: "targets" if what_is_wrong(loss) == "nothing" else what_is_wrong(loss), "it is 'nothing'"),
    (lambda loss: "nothing", "without calling the loss"),
    (lambda loss: loss(lambda t, order: torch.zeros(*t.shape, 50), torch.randint(50, (3, 12))), "is asked for, and"),
    (lambda loss: loss(lambda t: t, torch.zeros(3, 12, dtype=torch.int64)), "raised TypeError"),
    (lambda loss: np.array([1, 2]), '"nothing", "targets" or "places" is asked for'),
    (lambda loss: ..., "returns nothing yet"),
]


def ask_slowly(prior, tokens, order, count):
    n = tokens.shape[1]
    padded = torch.cat([tokens, torch.zeros(len(tokens), 1, dtype=torch.int64)], dim=1)
    rows = [prior(padded, torch.cat([order[:n], asked[None]]))[:, n] for asked in order[n : n + count]]
    return torch.stack(rows, dim=1)


def in_one_pass(prior, tokens, order, count):
    n = tokens.shape[1]
    padded = torch.cat([tokens, torch.zeros(len(tokens), count, dtype=torch.int64)], dim=1)
    return prior(padded, order[: n + count])[:, n:]


def greedily(prior, tokens, order, count):
    """Each place after the likeliest token of the one before."""
    rows = []
    for asked in order[tokens.shape[1] :][:count]:
        rows.append(ask_slowly(prior, tokens, torch.cat([order[: tokens.shape[1]], asked[None]]), 1)[:, 0])
        tokens = torch.cat([tokens, rows[-1].argmax(-1, keepdim=True)], dim=1)
    return torch.stack(rows, dim=1)


ASKS = [
    (in_one_pass, "one pass over made-up tokens"),
    (greedily, "do they see each other"),
    (lambda p, t, o, c: ask_slowly(p, t, o, c).flip(1), "come backwards"),
    (lambda p, t, o, c: ask_slowly(p, t, o.roll(1), c), "your logits differ"),
    (lambda p, t, o, c: ask_slowly(p, t, o, c) + 1, r"with 3 tokens read and 4 .* by up to 1\. Row"),
    (lambda p, t, o, c: ask_slowly(p, t, o, c) * (t.shape[1] > 0), "with 0 tokens read and 3 places asked for"),
    (lambda p, t, o, c: ask_slowly(p, t, o, c)[:, 0], "the shape is"),
    (lambda p, t, o, c: p.ask(t, p.new_cache(2, o), c), "AttributeError"),
    (lambda p, t, o, c: ..., "returns nothing yet"),
]


@pytest.fixture(scope="module")
def totals():
    return check._totals()


def orders_of(totals):
    best = (totals[:, 7] - totals.min(1).values).mean().item()
    return {
        best: "told which of the 16",
        best - 16: "not 16",
        -(best - 4): "the sign is wrong",
        (best - 4) / 64: "per token",
        (best - 4) * 20: "the sum over the pictures",
        best * 20 - 4: "each picture has to say",
        best - math.log(16): "its natural logarithm",
        (totals[:, 7].mean() - totals.mean(0).min()).item() - 4: "one for all pictures",
        (totals[:, 7].mean() - totals.mean(0).min()).item(): "one for all pictures",
        (totals.mean() - totals.min(1).values.mean()).item() - 4: "against the average order",
        (totals[:, 7] - totals.max(1).values).mean().item() - 4: "the dearest order",
        totals[:, 7].mean().item(): "that is not what it comes to",
    }


MOST = [
    ((8, 129), r"not the most.* that makes 95\."),  # 2 + 31 · 3
    ((8, 120), "so it has 2n - 1"),
    ((16, 112), "so it has 2n - 1"),  # 2n in each round but the first
    ((64, 127), "the first round reads the start alone"),
    ((8, 128), "fewer than 2n rows"),
    ((64, 128), "never read"),
    ((113, 8), "the other way around"),
    ((8, 112), "reads the start vector"),
    ((64, 64), "another n takes more"),
    ((1, 129), "instruction tokens"),
    ((2, 95), "another n takes more"),
    ((3, 100), "n is one of"),
    ((8, 121), "never read"),
    (113, "two numbers"),
    ((..., ...), "no number yet"),
    (..., "nothing here yet"),
]


@pytest.mark.parametrize(
    ("checker", "answer", "reason"),
    [(check.in_order, *case) for case in IN_ORDERS]
    + [(check.what_is_wrong, *case) for case in WRONGS]
    + [(check.ask_slowly, *case) for case in ASKS]
    + [(check.most_rows, *case) for case in MOST],
)
def test_wrong_answers_are_told_why(checker, answer, reason, capsys):
    verdict = checker(answer)
    assert not verdict
    assert re.search(reason, verdict.reason), verdict.reason


def test_right_answers_are_right_again_and_again():
    for _ in range(3):
        assert check.in_order(in_order)
        assert check.what_is_wrong(what_is_wrong)
        assert check.ask_slowly(ask_slowly)
    for most in ((8, 113), [8.0, 113], torch.tensor([8, 113]), np.array([8, 113])):
        assert check.most_rows(most)


def test_n_is_8():
    assert check.most_rows((8, 113)).reason.startswith("n = 8 takes 113 rows where 64 would do")  # 8 + 7 · 15


def test_an_order_is_not_its_own_inverse():
    """Or answers that read by the inverse, or by place, would be right."""
    asked = []

    def answer(joint, tokens, order):
        asked.append(order)
        return in_order(joint, tokens, order)

    assert check.in_order(answer)
    assert check.in_order(answer)
    for order in asked:
        assert len(order) == 2 or not torch.equal(order, order.argsort())


def test_two_sick_losses_do_what_is_said_of_them():
    by_place = torch.randint(50, (20, 12))
    given: dict[str, torch.Tensor] = {}

    def prior(read, order):
        given.update(read=read, order=order)
        after = torch.cat([read[:, 1:], read[:, :1]], dim=1)
        return 100.0 * F.one_hot(after, 50)

    assert "the token after its own" in check.TOLD[check._targets_late.__doc__ or ""]
    assert check._targets_late(prior, by_place) < 1e-6
    assert "the place of the one before it" in check.TOLD[check._places_late.__doc__ or ""]
    check._places_late(prior, by_place)
    read, order = given["read"], given["order"]
    assert torch.equal(read[:, :-1], by_place.gather(1, order[:, 1:]))
    assert torch.equal(read[:, -1:], by_place.gather(1, order[:, :1]))  # and the first that of the last


def test_the_best_of_16_orders(totals):
    right = (totals[:, 7] - totals.min(1).values).mean().item() - 4
    assert check.best_of_orders(right)
    for value, reason in orders_of(totals).items():
        verdict = check.best_of_orders(value)
        assert not verdict
        assert reason in verdict.reason, (value, right)
    assert "no number yet" in check.best_of_orders(...).reason
    assert "one finite number" in check.best_of_orders("3").reason


def test_stubs_and_solutions(capsys):
    """Each stub is told that nothing is there yet; each solution is right."""
    test = tokenset.read(arlib.data.root() / "tokens" / "cifar10-test.tokens")
    known = {
        "torch": torch, "F": F, "math": math, "check": check, "metrics": metrics, "orders": orders,
        "tokens": orders.raster(test.grids), "labels": test.labels, "many": arlib.load_prior("cifar-any"),
    }  # fmt: skip
    torch.set_grad_enabled(False)
    try:
        for tag, word in (("exercise", "Not yet"), ("solution", "Right")):
            assert len(cells(tag)) == 5
            for source in cells(tag):
                exec(source, dict(known))
                assert capsys.readouterr().out.startswith(word), source
    finally:
        torch.set_grad_enabled(True)


# ---- The control for JupyterLab --------------------------------------------------------------------------------------


@pytest.fixture
def control(monkeypatch):
    """The cells of the control, run with what they need, and the pictures that it shows."""
    monkeypatch.setattr(plt, "show", lambda: None)
    matplotlib.use("Agg")
    test = tokenset.read(arlib.data.root() / "tokens" / "cifar10-test.tokens")
    tokenizer = arlib.load_tokenizer("cifar")
    middle = torch.zeros(8, 8, dtype=torch.bool)
    middle[2:6, 2:6] = True
    known = {
        "torch": torch, "plt": plt, "ipywidgets": ipywidgets, "sampling": sampling,
        "tokens": orders.raster(test.grids), "labels": test.labels, "many": arlib.load_prior("cifar-any"),
        "names": arlib.data.CLASSES["cifar10"], "holes": {"a hole in the middle": middle},
        "paint": lambda tokens: tokenizer.decode(orders.unraster(tokens, 8, 8)), "gray": 128,
        "plots": plots,
    }  # fmt: skip
    (covered,) = [source for source in (cell.source for cell in notebook().cells) if "def covered" in source]
    exec(covered[covered.index("gray") : covered.index("\n\n\ncases")], known)
    for source in cells("lab-control"):
        exec(source, known)
    shown = []
    monkeypatch.setattr(plots, "show_images", lambda images, *words, **more: shown.append(images))
    return known, shown


def test_a_hole_is_completed_and_the_rest_is_kept(control):
    known, _ = control
    hole = torch.zeros(8, 8, dtype=torch.bool)
    hole[:3, 5:] = True
    for label, guidance in ((None, 1.0), (3, 4.0), (-1, 1.0)):
        five = known["complete"](4, hole, label, guidance, seed=1)
        assert five.shape == (5, 32, 32, 3)
        assert (five[1][:12, 20:] == 128).all()
        assert torch.equal(five[1][12:], five[0][12:])
        # Far from the hole the decoder paints what it painted before.
        assert all(torch.equal(way[28:, :4], five[0][28:, :4]) for way in five[2:])
        assert not torch.equal(five[2], five[3])


def test_the_button_completes_the_board(control):
    known, shown = control
    board, go = known["board"], known["go"]
    assert sum(each.value for each in board) == 16
    for each in board:
        each.value = False
    board[0].value = True
    known["number"].value, known["asked"].value, known["pull"].value = 7, 2, 3.0
    go.click()
    known["asked"].value = -2  # the picture's own label
    go.click()
    assert len(shown) == 2
    for five in shown:
        assert torch.equal(five[0], known["paint"](known["tokens"][[7]])[0])
        gray = (five[1] == 128).all(-1)
        assert gray[:4, :4].all()
        assert gray.sum() < 40


# ---- The figure ------------------------------------------------------------------------------------------------------


def figure_data():
    (html,) = [
        output.data["text/html"]
        for cell in notebook().cells if cell.cell_type == "code"
        for output in cell.outputs if 'data-figure="filling"' in output.get("data", {}).get("text/html", "")
    ]  # fmt: skip
    found = re.search(r"^const data = (.*);$", html, re.MULTILINE)
    assert found is not None
    return json.loads(found[1])


def test_the_figures_bits_are_those_of_the_files():
    data, codec = figure_data(), arlib.load_codec("cifar-any")
    assert codec.order is not None
    assert data["order"] == codec.order.tolist()
    test = tokenset.read(arlib.data.root() / "tokens" / "cifar10-test.tokens")
    names = arlib.data.CLASSES["cifar10"]
    for name, bits in zip(data["names"], data["bits"], strict=True):
        number = torch.eq(torch.as_tensor(test.labels), names.index(name)).nonzero()[2, 0]
        ledger = codec.ledger_of_tokens(test.grids[number], names.index(name))
        assert bits[-1] == pytest.approx(ledger["label"] + ledger["ideal"] + ledger["table"], abs=0.1)
        assert bits == sorted(bits)


def test_the_last_guess_is_the_picture():
    data = figure_data()
    pictures, guesses = (base64.b64decode(data[name]) for name in ("pictures", "guesses"))
    size, stages = 32 * 32 * 3, len(data["stages"])
    assert len(pictures) == 4 * size
    assert len(guesses) == 4 * stages * size
    for number in range(4):
        last = ((number + 1) * stages - 1) * size
        assert guesses[last : last + size] == pictures[number * size : (number + 1) * size]


def shown(it, name):
    return it.locator(f'[data-name="{name}"]').text_content()


@pytest.mark.browser
def test_filling(figure):
    it, data = figure(CHAPTER, "filling"), figure_data()
    slider = it.get_by_role("slider", name="passes")
    for number, name in enumerate(data["names"]):
        it.get_by_label(name).focus()
        it.page.keyboard.press("Space")
        slider.press("Home")
        assert shown(it, "tokens") == "0 of 64"
        assert shown(it, "last") == "none yet"
        assert shown(it, "bits") == f"{data['label']:.1f}"
        slider.press("ArrowRight")
        assert shown(it, "last") == f"row {data['order'][0] // 8}, column {data['order'][0] % 8}"
        slider.press("End")
        assert shown(it, "tokens") == "64 of 64"
        assert shown(it, "bits") == f"{data['bits'][number][-1]:.1f}"

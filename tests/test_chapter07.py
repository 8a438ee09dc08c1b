"""Chapter 7: wrong answers and what is said about them, its figure, and what its notebook defines."""

import itertools
import json
import math
import re
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F

from arlib import causality
from arlib.exercises import chapter07

CHAPTER = "07-causality"
NOTEBOOK = Path(__file__).resolve().parent.parent / "book" / f"{CHAPTER}.ipynb"
LENGTH, VOCABULARY = chapter07.LENGTH, chapter07.VOCABULARY


def bits(rows, targets):
    return F.cross_entropy(rows.flatten(0, 1), targets.flatten()) / math.log(2)


def search(others=None, tolerance=0.0, lawful=False, own=True, turned=False, base=0):
    """A solution of exercise 2 with a mistake in it; `others(token)` are the tokens that it tries."""

    def leaks(prior):
        tokens = torch.full((1, prior.length), base)
        before, found = prior(tokens), set()
        for place in range(prior.length):
            for other in range(prior.vocabulary) if others is None else others(base):
                edited = tokens.clone()
                edited[0, place] = other
                changed = ((prior(edited) - before)[0].abs() > tolerance).any(dim=-1)
                rows = range(prior.length) if lawful else range(place + own)
                found |= {(place, row) if turned else (row, place) for row in rows if changed[row]}
        return found

    return leaks


def only_their_own(prior):
    """Looks for rows that know their own token, and for nothing else."""
    return {(row, token) for row, token in search()(prior) if row == token}


def rows_from_the_start(prior):
    """Takes the row after the start for row 0."""
    return {(row - 1, token) for row, token in search(lawful=True)(prior) if row - 1 <= token}


def all_at_once(prior):
    """Edits every token from a place on, so that it takes the first changed row for a leak of that place alone."""
    tokens = torch.zeros(1, prior.length, dtype=torch.int64)
    found = set()
    for place in range(prior.length):
        for other in range(1, prior.vocabulary):
            edited = tokens.clone()
            edited[0, place:] = other
            changed = (prior(edited) != prior(tokens))[0].any(dim=-1)
            found |= {(row, place) for row in range(place + 1) if changed[row]}
    return found


def named(**changed):
    """The right names of the patients, some of them changed."""
    return chapter07.FAULTS | changed


def triangle(length, diagonal=0):
    return torch.ones(length, length, dtype=torch.bool).tril(diagonal)


def honest(tokens):
    return F.pad(F.one_hot(tokens, VOCABULARY).float(), (0, 0, 1, 0))[:, :-1].cumsum(dim=1)


def own(tokens):
    return F.one_hot(tokens, VOCABULARY).float().cumsum(dim=1)


def own_last(tokens):
    """Its only leak: the last row knows its own token."""
    logits = honest(tokens)
    logits[:, -1] += F.one_hot(tokens[:, -1], VOCABULARY)
    return logits


def whispers(sign):
    """An honest model, but for what row 0 is told of the last token."""

    def model(tokens):
        logits = honest(tokens)
        logits[:, 0] += 0.1 * sign(tokens[:, -1]).float()[:, None]
        return logits

    return model


def four_tokens(tokens):
    """Each row adds up the four tokens before it, and row 0 knows the last: by hand, 86 of 120 rows stay unchanged."""
    logits = honest(tokens)
    logits[:, 4:] -= honest(tokens)[:, :-4]
    return logits + whispers(lambda last: last)(tokens) - honest(tokens)


COUNTER = itertools.count()


WRONG = [
    (chapter07.next_bits, lambda logits, tokens: bits(logits, tokens), "row t is compared with token t."),
    (chapter07.next_bits, lambda logits, tokens: bits(logits[:, 1:], tokens[:, :-1]), "shifted the other way"),
    (chapter07.next_bits, lambda logits, tokens: bits(logits[:, :-2], tokens[:, 2:]), "one of the two shifts"),
    (chapter07.next_bits, lambda logits, tokens: bits(logits, tokens.roll(-1, 1)), "the first one is taken for it"),
    (chapter07.next_bits, lambda logits, tokens: bits(logits, F.pad(tokens[:, 1:], (0, 1))), "a 0 is taken for it"),
    (chapter07.next_bits, lambda logits, tokens: bits(logits[:, :-1], tokens[:, 1:]) * math.log(2), "nats"),
    (chapter07.next_bits, lambda logits, tokens: 18 * bits(logits[:, :-1], tokens[:, 1:]), "the sum over all tokens"),
    (chapter07.next_bits, lambda logits, tokens: 6 * bits(logits[:, :-1], tokens[:, 1:]), "the sum of each sequence"),
    (chapter07.next_bits, lambda logits, tokens: 6 / 7 * bits(logits[:, :-1], tokens[:, 1:]), "isn't predicted"),
    (chapter07.next_bits, lambda logits, tokens: 4.0, "rows 0 to T - 2 against tokens 1 to T - 1"),
    (chapter07.next_bits, lambda logits, tokens: bits(logits[:, :-1], tokens), "your function raised"),
    (chapter07.leaks, search(others=lambda token: [token + 1]), "whether it's a"),
    (
        chapter07.leaks,
        search(others=lambda token: (1 + torch.randint(15, (2,))).tolist()),
        "Put each of the 16 tokens there",
    ),
    (chapter07.leaks, search(tolerance=1e-5), "a leak of a millionth of a millionth"),
    (chapter07.leaks, search(lawful=True), "may know token"),
    (chapter07.leaks, search(own=False), "a row that knows its own token"),
    (chapter07.leaks, search(turned=True), "turned round"),
    (chapter07.leaks, lambda prior: set(), "a row that knows its own token"),
    (chapter07.leaks, lambda prior: torch.zeros(6, 6), "a set of pairs"),
    (chapter07.leaks, lambda prior: causality.influence(prior).triu().nonzero().tolist(), "whether it's a"),
    (chapter07.leaks, rows_from_the_start, "the prior is honest: row 0 doesn't know token 0."),
    (chapter07.leaks, only_their_own, "roll: row 0 knows token 5, and that stays unseen."),
    (
        chapter07.leaks,
        lambda prior: search()(prior) - {(5, 5)},
        "no shift: row 5 knows token 5, and that stays unseen.",
    ),
    (
        chapter07.leaks,
        lambda prior: prior(torch.zeros(1, 5, dtype=torch.int64)),
        "this prior reads tokens (B, 6) int64, not (1, 5)",
    ),
    (
        chapter07.leaks,
        lambda prior: prior(torch.zeros(6, dtype=torch.int64)),
        "this prior reads tokens (B, 6) int64, not (6,)",
    ),
    (chapter07.leaks, lambda prior: prior(torch.full((1, 6), 16)), "tokens lie in [0, 16)"),
    (chapter07.leaks, lambda prior: prior(torch.full((1, 6), -1)), "tokens lie in [0, 16)"),
    (chapter07.leaks, all_at_once, "Edit one token at a time"),
    (chapter07.diagnoses, dict.fromkeys("ABCDE", ...), "there is no diagnosis yet"),
    (chapter07.diagnoses, named(A="honest", C="mask made for 8 places"), "A is not 'honest'. Edit the last tokens but"),
    (chapter07.diagnoses, named(B="remembers three tokens"), "Edit token 5"),
    (chapter07.diagnoses, named(C="shifted twice"), "is anything filled on the diagonal"),
    (chapter07.diagnoses, named(D="honest"), "Edit token 4 and then token 8"),
    (chapter07.diagnoses, named(E="honest"), "Edit token 0"),
    (chapter07.diagnoses, named(E="ill"), "none of the names"),
    (chapter07.diagnoses, named(E=...), "1 still without a name"),
    (chapter07.masks, triangle, "two masks are asked for"),
    (chapter07.masks, lambda length: (triangle(length), ~triangle(length), ...), "two masks are asked for"),
    (
        chapter07.masks,
        lambda length: (triangle(length, 1), triangle(length)),
        "scaled_dot_product_attention still lets a place read later ones",
    ),
    (chapter07.masks, lambda length: (triangle(length), triangle(length)), "both masks are the same"),
    (chapter07.masks, lambda length: (~triangle(length), triangle(length)), "the two are swapped"),
    (chapter07.masks, lambda length: (triangle(length, -1), ~triangle(length, -1)), "gives NaN"),
    (chapter07.masks, lambda length: (triangle(length).T, ~triangle(length).T), "upside down"),
    (chapter07.masks, lambda length: (triangle(length, 1), ~triangle(length, 1)), "read later ones"),
    (chapter07.masks, lambda length: (triangle(length), ~triangle(length, 1)), "MultiheadAttention still lets"),
    (chapter07.masks, lambda length: (triangle(length) & ~triangle(length, -2), ~triangle(length)), "all before it"),
    (chapter07.masks, lambda length: (triangle(length).float(), ~triangle(length)), "torch.float32"),
    (chapter07.sly, None, "there is no model yet"),
    (chapter07.sly, ..., "there is no model yet"),
    (chapter07.sly, four_tokens, "of the rows 0.72 stay unchanged, and 0.3 to 0.7 would pass"),
    (chapter07.sly, honest, "it keeps the rule"),
    (chapter07.sly, own, "rows know their own token"),
    (chapter07.sly, own_last, "whatever else it does, row 0 does not know"),
    (chapter07.sly, lambda tokens: honest(tokens) + next(COUNTER), "two passes over the same tokens"),
    (chapter07.sly, lambda tokens: honest(tokens) + own(tokens)[:, -1:], "row 1 knows more"),
    (chapter07.sly, lambda tokens: whispers(lambda last: last)(tokens) - honest(tokens), "the loose check sees it"),
    (chapter07.sly, lambda tokens: own(tokens)[:, :-1], "the shape is"),
    (chapter07.sly, lambda tokens: honest(tokens) / 0, "NaN or infinite"),
    (chapter07.sly, lambda tokens: honest(tokens.flip(1)).flip(1), "row 1 knows more than it may as well"),
    (chapter07.sly, torch.nn.Identity, "that's a class. Hand in a model made of it: Identity()"),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(check, answer, reason):
    for _ in range(3):  # the input is another each time
        verdict = check(answer)
        assert not verdict
        assert reason in verdict.reason, verdict


def test_other_right_answers_pass():
    assert chapter07.masks(lambda length: torch.stack([triangle(length), ~triangle(length)]))
    assert chapter07.next_bits(lambda logits, tokens: bits(logits[:, :-1], tokens[:, 1:]).item())
    assert chapter07.leaks(search())
    assert chapter07.leaks(search(base=5))
    assert chapter07.leaks(lambda prior: [list(pair) for pair in search()(prior)])
    assert chapter07.diagnoses(named())
    for _ in range(10):  # no luck: row 0 knows one bit, or whether it is a certain token
        assert chapter07.sly(whispers(lambda last: last % 2))
        assert chapter07.sly(whispers(lambda last: last == VOCABULARY - 1))


def test_the_patients_have_what_they_are_said_to_have():
    """By hand: which tokens some rows know."""
    squares = {letter: causality.influence(model) > 0 for letter, model in chapter07.patients().items()}
    known = {
        letter: [square[row].nonzero().flatten().tolist() for row in (3, 7, 8)] for letter, square in squares.items()
    }
    assert known == {
        "A": [[0, 1, 2], [0, 1, 2, 3, 4, 5, 6], list(range(11))],
        "B": [[0, 1], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6]],
        "C": [[0, 1, 2], [0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6, 7]],
        "D": [[0, 1, 2, 4], [0, 1, 2, 3, 4, 5, 6, 8], [0, 1, 2, 3, 4, 5, 6, 7]],
        "E": [[0, 1, 2], [4, 5, 6], [5, 6, 7]],
    }


@pytest.fixture(scope="module")
def cells() -> dict[str, str]:
    """The notebook's cells by their tags, each tag's together."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    sources: dict[str, str] = {}
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", []):
            sources[tag] = sources.get(tag, "") + cell.source + "\n"
    return sources


@pytest.fixture(scope="module")
def models(cells) -> dict:
    """What the cells define from which the figure is drawn."""
    names: dict = {"torch": torch, "F": F, "nn": torch.nn, "causality": causality, "plots": None}
    exec("from torch import nn\n" + cells["figure-models"], names)
    return names


def test_the_loose_check_is_the_checkers(cells):
    names: dict = {"torch": torch, "VOCABULARY": VOCABULARY}
    exec(cells["loose"], names)
    tokens, places = torch.randint(VOCABULARY, (1, LENGTH)), torch.randint(1, LENGTH - 1, (50,))
    for prior in (honest, own):
        assert names["loose_share"](prior, tokens, places) == chapter07.loose_share(prior, tokens, places)


def ranges(numbers: list[int]) -> str:
    """As the figure says it: "0–2, 5"."""
    runs = [[place for _, place in run] for _, run in itertools.groupby(enumerate(numbers), lambda it: it[1] - it[0])]
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs) or "none"


def expected(models: dict, name: str, row: int) -> dict[str, str]:
    """What the figure has to say, by `arlib` and by the attention's own weights."""
    attend, shift = models["menu"][name]
    torch.manual_seed(1)  # any weights will do
    knows = causality.influence(models["Tiny"](attend, shift)) > 0
    known = knows[row].nonzero().flatten().tolist()
    return {
        "reads": ranges((attend(torch.zeros(LENGTH, LENGTH))[row] > 0).nonzero().flatten().tolist()),
        "later": f"{100 * attend(torch.zeros(LENGTH, LENGTH)).triu(1)[row].sum().item():.2g}%",
        "knows": ranges(known),
        "leaks": ranges([token for token in known if token >= row]),
        "model": ranges(knows.triu().any(dim=1).nonzero().flatten().tolist()),
    }


@pytest.mark.browser
def test_the_masks_figure_says_what_arlib_finds(figure, models):
    masks = figure(CHAPTER, "masks")
    slider, buttons = masks.locator("input[type=range]"), masks.locator("input[type=radio]")
    names = list(models["menu"])
    assert buttons.count() == len(names)
    buttons.first.focus()
    for name in names:
        slider.focus()
        slider.press("Home")
        for row in range(LENGTH):
            if row in (0, 1, 5, LENGTH - 1):
                wanted = expected(models, name, row)
                said = {key: masks.locator(f"[data-name={key}]").inner_text() for key in wanted}
                assert said == wanted, (name, row)
            slider.press("ArrowRight")
        buttons.nth(names.index(name)).focus()
        if name != names[-1]:
            masks.page.keyboard.press("ArrowRight")


@pytest.mark.browser
def test_the_masks_figure_says_what_the_places_hold(figure):
    masks = figure(CHAPTER, "masks")
    holds = masks.locator("[data-name=holds]")
    masks.locator("input[type=range]").focus()
    assert holds.inner_text() == "start, tokens 0–4"
    masks.page.keyboard.press("Home")
    assert holds.inner_text() == "start"
    masks.locator("input[type=radio]").first.focus()
    masks.page.keyboard.press("ArrowRight")
    assert holds.inner_text() == "token 0"
    masks.page.keyboard.press("ArrowRight")
    assert holds.inner_text() == f"token {LENGTH - 1}"


def test_the_figures_data_are_small():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    pages = [
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    data = [
        json.loads(found[1]) for page in pages for found in re.finditer(r"^const data = (.*);$", page, re.MULTILINE)
    ]
    assert len(data) == 1
    assert max(len(page) for page in pages) < 150_000
    assert [len(panel["reads"]) for panel in data[0]["panels"]] == [LENGTH] * 8

"""Chapter 9, "Information and codes": its checkers refuse wrong answers with a reason, its figure spends its budget."""

import heapq
import itertools
import math
from fractions import Fraction
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from arlib.exercises import chapter09 as check

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "09-information"


@pytest.fixture(scope="module")
def sources():
    notebook = nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def right_words(lengths, free=0, increasing=True):
    """Canonical words; the options break them."""
    if sum(Fraction(1, 2**length) for length in lengths) > 1:
        return None
    words, before = [""] * len(lengths), 0
    order = sorted(range(len(lengths)), key=lambda place: lengths[place]) if increasing else range(len(lengths))
    for place in order:
        free <<= max(lengths[place] - before, 0)
        before = lengths[place]
        words[place] = f"{free % 2**before:0{before}b}"
        free += 1
    return words


def other_words(lengths):
    """All bits turned round: another right code."""
    words = right_words(lengths)
    return words and tuple(word.translate({48: "1", 49: "0"}) for word in words)


def trusting_words(lengths):
    """Right where it is given what the exercise promises."""
    assert lengths
    assert min(lengths) >= 1
    return right_words(lengths)


WORDS = [
    (lambda lengths: None, "returns nothing yet"),
    (lambda lengths: ..., "returns nothing yet"),
    (lambda lengths: right_words(lengths, increasing=False), "begins the word"),
    (lambda lengths: ["0" * length for length in lengths], "begins the word"),
    (lambda lengths: (words := right_words(lengths)) and sorted(words, key=len), "not in the same places"),
    (lambda lengths: (words := right_words(lengths)) and [word.lstrip("0") or "0" for word in words], "pad with zeros"),
    (lambda lengths: right_words(lengths) or ["0"] * len(lengths), "there is no such code"),
    (lambda lengths: right_words(lengths) if sum(0.5**n for n in lengths) < 1 else None, "there is a code"),
    (lambda lengths: (words := right_words(lengths)) and [int(word, 2) for word in words], "strings of the letters"),
    (lambda lengths: (words := right_words(lengths)) and set(words), "ask for"),
    (lambda lengths: (words := right_words(lengths)) and words[:-1], "ask for"),
    (lambda lengths: [""] if len(lengths) == 1 else right_words(lengths), "words for [5] have the lengths [0]"),
    (lambda lengths: lengths[99], "raised IndexError"),
]


def right_kl(p, q):
    pairs = [(a, b) for a, b in zip(p.tolist(), q.tolist(), strict=True) if a]
    return sum(a * math.log2(a / b) if b else math.inf for a, b in pairs)


def trusting_kl(p, q):
    assert p.dtype == q.dtype == torch.float64
    assert p.sum().item() == pytest.approx(1)
    assert q.sum().item() == pytest.approx(1)
    return right_kl(p, q)


def cross_entropy(p, q):
    return right_kl(p, q) - torch.special.xlogy(p, p).sum().item() / math.log(2)


KL = [
    (lambda p, q: right_kl(p, q) * math.log(2), "these are nats"),
    (lambda p, q: right_kl(q, p), "that is KL(q ‖ p)"),
    (lambda p, q: -right_kl(p, q), "the sign is wrong"),
    (cross_entropy, "the cross-entropy"),
    (lambda p, q: (p * (p / q).log2()).mean(), "a mean over the codes"),
    (lambda p, q: (p * (p / q).log2()).sum(), "you get NaN"),
    (lambda p, q: right_kl(p, (q + 1e-9) / (q + 1e-9).sum()), "the fine is infinite"),
    (lambda p, q: math.inf if (q == 0).any() else right_kl(p, q), "what never comes costs nothing"),
    (lambda p, q: (p - q).abs().sum(), "you get"),
    (lambda p, q: -right_kl(q, p), "you weigh by q"),
    (lambda p, q: (p[p > 0] / q[p > 0]).log2().sum(), "weigh each by p"),
    (lambda p, q: p * (p / q).log2(), "number is asked for"),
    (lambda p, q: "0.5", "one finite number is asked for, and this is '0.5'"),
    (lambda p, q: True, "this is True or False"),
    (lambda p, q: None, "returns nothing yet"),
    (lambda p: p.sum(), "raised TypeError"),
]

WEIGHTS = [
    (..., "nothing here yet"),
    ([50, 25, 13, 12], "none is longer"),
    ([35, 33, 27, 5], "one is 1 bit longer"),  # the chapter's own
    ([0.5, 0.25, 0.25], "whole numbers"),
    ([1, 1], "of these words none is longer"),
    ([1, 1, 1, 2, 3, 5, 8, 13, 21], "that depends on how ties are broken"),
    ([1], "2 to 12 weights"),
    ([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233], "2 to 12 weights"),
    ([0, 1, 2], "at least 1"),
    ([1, 1, 2, 3, 5, 8, 13, 21], "two bits are asked for"),
    ("abc", "whole numbers"),
]


def adaptive(tokens, codes, peek=0, wrap=False, start=0.5, whole=False):
    """Right, but for what the options break."""
    seen = torch.full((codes, codes), start).double()
    before, bits = (tokens[-1].item() if wrap else 0), 0.0
    for token in tokens.tolist():
        seen[before, token] += peek
        bits -= math.log2(seen[before, token] / (seen[:, token].sum() if whole else seen[before].sum()))
        seen[before, token] += 1 - peek
        before = token
    return bits


def colleague(tokens, codes):
    """The exercise's own broken code."""
    left = tokens.roll(1)
    seen = torch.full((codes, codes), 0.5)
    bits = 0.0
    for before, token in zip(left.tolist(), tokens.tolist(), strict=True):
        seen[before, token] += 1
        bits -= math.log2(seen[before, token] / seen[before].sum())
    return bits


def of_pairs(tokens, codes):
    seen, bits = torch.full((codes, codes), 0.5).double(), 0.0
    for before, token in itertools.pairwise(tokens.tolist()):
        bits -= math.log2(seen[before, token] / seen[before].sum())
        seen[before, token] += 1
    return bits


def always_after_0(tokens, codes):
    """One row of counts for all: single tokens, not pairs."""
    seen, bits = torch.full((codes,), 0.5).double(), 0.0
    for token in tokens.tolist():
        bits -= math.log2(seen[token] / seen.sum())
        seen[token] += 1
    return bits


SIZES = [
    (colleague, "Nothing has changed"),
    (lambda tokens, codes: adaptive(tokens, codes, peek=1), "still counted before it is paid for"),
    (lambda tokens, codes: adaptive(tokens, codes, wrap=True), "The last token still stands"),
    (lambda tokens, codes: adaptive(tokens, codes) * math.log(2), "these are nats"),
    (lambda tokens, codes: adaptive(tokens, codes) / len(tokens), "the mean of a token"),
    (lambda tokens, codes: adaptive(tokens, codes) / 2, "more than 1: no decoder"),
    (lambda tokens, codes: adaptive(tokens, codes) + 1, "another model"),
    (lambda tokens, codes: adaptive(tokens, codes, start=1.0), "your counts start at 1"),
    (of_pairs, "The first token is never paid for"),
    (always_after_0, "it has to move on"),
    (lambda tokens, codes: adaptive(tokens, codes, whole=True), "Kraft's sum over all"),
    (lambda tokens, codes: len(tokens) * math.log2(codes), "every token costs the same"),
    (
        lambda tokens, codes: adaptive(tokens, codes) if len(tokens) > 1 else 0.0,
        "over all messages of 1 token of 2 codes is 2.000. The first token is never paid for",
    ),
    (lambda tokens, codes: torch.tensor([1.0, 2.0]), "one finite number"),
    (lambda tokens, codes: None, "returns nothing yet"),
]

CROSSING = [
    (..., "there is no number yet"),
    (2_279_808 / 12, "divided bytes by bits"),
    (2 * 2_279_808 / 12, "divided bytes by bits, and counted the whole file"),
    (16 * 2_279_808 / 12, "not 16"),
    (8 * 2_279_808 / 0.02, "a number of tokens"),
    (8 * 2_279_808 / 0.02 / 600 / 600, "0.02 bits are for a token"),
    (2533, "0.02 bits are for a token"),  # rounded down
    (64 * 2_279_808 / 12, "one byte"),
    (8 * 2_279_808 / 600, "costs 0.02 bits more"),
    (75_738, "not where the two cross"),  # the chapter's own number
    ("many", "one finite number"),
]

WRONG = [
    *((check.words, answer, reason) for answer, reason in WORDS),
    *((check.kl, answer, reason) for answer, reason in KL),
    *((check.breaks_shannon, answer, reason) for answer, reason in WEIGHTS),
    *((check.honest_size, answer, reason) for answer, reason in SIZES),
    *((check.smaller_weights, answer, reason) for answer, reason in CROSSING),
]


@pytest.mark.parametrize(("checker", "answer", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answer, reason):
    verdict = checker(answer)
    assert not verdict
    assert reason in verdict.reason


RIGHT = [
    (check.words, right_words),
    (check.words, other_words),
    (check.words, trusting_words),
    (check.kl, right_kl),
    (check.kl, trusting_kl),
    (check.kl, lambda p, q: torch.tensor(right_kl(p, q))),
    (check.kl, lambda p, q: np.float64(right_kl(p, q))),
    (check.kl, lambda p, q: (p * (p / q).log2()).nansum()),
    (check.breaks_shannon, [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]),
    (check.breaks_shannon, [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 113]),  # of 256: a word of ten bits, and 8 of surprise
    (check.breaks_shannon, torch.tensor([144, 89, 55, 34, 21, 13, 8, 5, 3, 2, 1, 1])),
    (check.honest_size, adaptive),
    (check.honest_size, lambda tokens, codes: torch.tensor(adaptive(tokens, codes))),
    (check.smaller_weights, 1_519_872),
    (check.smaller_weights, 1_519_871),  # the last at which it is the better one
    (check.smaller_weights, 1_519_871.6),
]


@pytest.mark.parametrize(("checker", "answer"), RIGHT)
def test_other_right_answers_are_right(checker, answer):
    assert checker(answer)


def test_the_praise_has_the_right_numbers():
    words = "1,519,872 frames: 18,238,464 bits saved once, 12 lost with every frame."
    assert check.smaller_weights(1_519_872).reason == words
    reason = check.breaks_shannon([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 113]).reason
    assert reason.startswith("a word is 2 bits longer than")


def test_two_right_codes_of_equal_weights_need_not_have_equal_lengths():
    """So an answer to exercise 3 may hang on a tie, and all ways of breaking them are looked at."""
    assert check._longer([2, 2, 1, 1], [2, 2, 3, 3]) == {0}  # lengths 2, 2, 2, 2 or 1, 2, 3, 3
    assert check._longer([2, 2, 1, 1], [1, 1, 1, 1]) == {1, 2}
    # By hand: lengths 4, 4, 3, 2, 1 where each tie is won by what was joined, 3, 3, 2, 2, 2 where it loses.
    assert check._longer([1, 1, 1, 2, 3], [0, 0, 0, 0, 0]) == {3, 4}
    assert check._longer([1, 1, 2, 4, 8, 8], [0, 0, 0, 0, 0, 0]) == {4, 5}  # 5, 5, 4, 3, 2, 1 or 4, 4, 3, 2, 2, 2


def test_the_checkers_huffman_codes_are_the_best_there_are():
    """Against a search: all lengths whose mean is least are Huffman's, for one way of breaking ties or another."""
    generator = torch.Generator().manual_seed(1)
    every = itertools.product(range(1, 6), repeat=6)
    allowed = [lengths for lengths in every if sum(Fraction(1, 2**n) for n in lengths) == 1]
    several = 0
    for most in (2, 3, 4, 5, 6, 8, 10, 30):
        weights = torch.randint(1, most + 1, (6,), generator=generator).tolist()
        others = torch.randint(5, (6,), generator=generator).tolist()
        costs = [sum(map(int.__mul__, weights, lengths)) for lengths in allowed]
        best = [lengths for lengths, cost in zip(allowed, costs, strict=True) if cost == min(costs)]
        worst = {max(map(int.__sub__, lengths, others)) for lengths in best}
        assert check._longer(weights, others) == worst
        several += len(worst) > 1
    assert several > 0


def names_of(sources, *starts):
    names = {"torch": torch, "math": math, "heapq": heapq, "itertools": itertools, "Fraction": Fraction}
    for start in starts:
        exec(next(source for source in sources if source.startswith(start)).split("\n\n\n")[0], names)
    return names


def test_the_chapters_own_functions_are_no_answers(sources):
    names = names_of(sources, "def huffman", "def on_the_way", "def sent", "def own_entropy", "def overspent")
    assert not check.words(names["huffman"])
    assert not check.kl(names["on_the_way"])
    for name in ("sent", "on_the_way", "own_entropy", "overspent"):
        assert not check.honest_size(names[name])


def test_the_chapters_sum_is_the_sum_over_all_messages(sources):
    """The recurrence against a sum over histograms, for a world too large to list its messages."""
    overspent = names_of(sources, "def overspent")["overspent"]
    n, total = 12, Fraction(0)
    for a in range(n + 1):
        for b in range(n + 1 - a):
            for c in range(n + 1 - a - b):
                parts = (a, b, c, n - a - b - c)
                ways = math.factorial(n) // math.prod(map(math.factorial, parts))
                total += ways * math.prod(Fraction(part, n) ** part for part in parts)
    assert overspent(4, n) == total


# ---- The figure ------------------------------------------------------------------------------------------------------


def shown(figure, name):
    return figure.locator(f'[data-name="{name}"]').text_content()


def set_lengths(figure, lengths):
    for name, length in zip(("sky", "road", "grass", "tree", "kart"), lengths, strict=True):
        slider = figure.get_by_role("slider", name=name)
        slider.press("Home")
        for _ in range(length - 1):
            slider.press("ArrowRight")


@pytest.mark.browser
def test_kraft(figure):
    it = figure(CHAPTER, "kraft")
    it.get_by_label("halves", exact=True).check()
    set_lengths(it, [1, 2, 3, 4, 4])
    assert shown(it, "spent") == "all of it"
    assert shown(it, "mean") == shown(it, "entropy") == "1.875 bits"
    assert shown(it, "verdict") == "yes"
    for word in ("0", "10", "110", "1110", "1111"):
        assert it.get_by_text(f": {word} (takes").count() == 1
    set_lengths(it, [1, 1, 3, 4, 6])
    assert shown(it, "spent") == "77/64"
    assert shown(it, "verdict").startswith("no")
    assert it.get_by_text("no room for a word").count() == 3
    it.get_by_label("nearly sure", exact=True).check()
    set_lengths(it, [1, 3, 3, 3, 3])
    p = [0.96, 0.01, 0.01, 0.01, 0.01]
    assert shown(it, "mean") == "1.080 bits"
    assert shown(it, "entropy") == f"{-sum(x * math.log2(x) for x in p):.3f} bits"


@pytest.mark.browser
def test_the_figure_fits_a_phone(figure):
    it = figure(CHAPTER, "kraft")
    it.page.set_viewport_size({"width": 400, "height": 900})
    box, inside = it.bounding_box(), it.locator("svg").bounding_box()
    assert box["x"] <= inside["x"]
    assert inside["x"] + inside["width"] <= box["x"] + box["width"]

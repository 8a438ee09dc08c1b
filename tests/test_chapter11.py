"""Chapter 11, on arithmetic: its checkers refuse wrong answers with a reason."""

import itertools
import math
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch

from arlib.exercises import chapter11 as check
from arlib.fixedpoint import FixedPointError, Twin
from arlib.transformer import Prior

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = "11-arithmetic"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(ROOT / "book" / f"{CHAPTER}.ipynb", as_version=4)


ORDERS = [
    (..., "nothing here yet"),
    (None, "nothing here yet"),
    ("12", "a list of numbers is asked for"),
    ([], "1 to 5 numbers are asked for"),
    ([2.0**29, -(2.0**29), 1, 2, 4, 8], "these are 6"),
    ([1e10, 1, -1e10], "too large"),
    ([1e8, 123_456_789, 1], "float32 has no 123456789.0"),
    ([0.1, 0.2, 0.3], "float32 has no 0.1"),
    ([1e8, 1, -1e8], "give 2 sums (0, 1)"),  # the chapter's own
    ([1, 2, 4, 8, 16], "give 1 sum (31)"),
    ([16], "give 1 sum (16)"),
    ([1e9, 1, -1e9], "give 2 sums (0, 1)"),  # not too large yet
    ([2.0**29, 1, 2, 4, 8], "What does a large number do"),  # without its opposite
    ([2.0**29, -(2.0**29), 1, 1, 1], "give 4 sums (0, 1, 2, 3)"),
    ([1, math.nan], "one finite number"),
    ([1, "two"], "one finite number"),
]

NEAR = 1 / 16 / (600 * 1024) / 1000
APART = [
    (..., "no number yet"),
    (NEAR * 1024, "each of them has a boundary"),
    (1.03e-7, "each of them has a boundary"),
    (NEAR * 600, "a frame has 600 tokens"),
    (NEAR * 256, "in the wrong place"),
    (NEAR * 1000, "one in 1,000 frames is asked for"),
    (NEAR * 16, "the chance per logit"),
    (1 / 16 / 1000, "that is for one logit a frame"),
    (1 / NEAR, "the other way round"),
    (4.8e-6, "then 4.7e+04 logits round apart"),  # the chapter's own measurement
    (NEAR / 2, "a whole step apart"),
    (NEAR * 2, "not two"),
    (1 / 16 / 1024, "one logit a token"),
    (1 / 16 / 600, "600 logits in all"),
    (1 / 16, "every logit rounds apart"),
    (1e-12, "then 0.0098 logits round apart"),
    (0, "above zero"),
    ("small", "one finite number"),
]


def right_quotient(number, divisor, proposal):
    while proposal * divisor > number:
        proposal = proposal - 1
    while (proposal + 1) * divisor <= number:
        proposal = proposal + 1
    return proposal


def once(number, divisor, proposal):
    if proposal * divisor > number:
        return proposal - 1
    return proposal + 1 if (proposal + 1) * divisor <= number else proposal


def only_down(number, divisor, proposal):
    while proposal * divisor > number:
        proposal = proposal - 1
    return proposal


def only_once_up(number, divisor, proposal):
    while proposal * divisor > number:
        proposal = proposal - 1
    return proposal + 1 if (proposal + 1) * divisor <= number else proposal


def twice_the_way(number, divisor, proposal):
    found = right_quotient(number, divisor, proposal)
    return found if abs(found - proposal) < 2 else found + found - proposal


def to_zero(number, divisor, proposal):
    found = right_quotient(abs(number), divisor, abs(proposal))
    return -found if number < 0 else found


def one_more_below_zero(number, divisor, proposal):
    """Forgets that a quotient may be whole."""
    found = right_quotient(abs(number), divisor, abs(proposal))
    return -found - 1 if number < 0 else found


def below_zero(number, divisor, proposal, below):
    """By the sizes, and by what is taken for a negative quotient."""
    found = right_quotient(abs(number), divisor, abs(proposal))
    if not below:
        return found
    return -found if found * divisor == abs(number) else -found - 1


def by_the_proposals_sign(number, divisor, proposal):
    return below_zero(number, divisor, proposal, proposal < 0)


def by_either_sign(number, divisor, proposal):
    return below_zero(number, divisor, proposal, number < 0 or proposal < 0)


def nothing_at_all(number, divisor, proposal):
    return right_quotient(number, divisor, proposal) if number != 0 else 1


def strict(number, divisor, proposal):
    found = right_quotient(number, divisor, proposal)
    return found - 1 if found * divisor == number else found


def strictly_up(number, divisor, proposal):
    while proposal * divisor > number:
        proposal = proposal - 1
    while (proposal + 1) * divisor < number:
        proposal = proposal + 1
    return proposal


def rounded_up(number, divisor, proposal):
    found = right_quotient(number, divisor, proposal)
    return found if found * divisor == number else found + 1


def from_zero(number, divisor, proposal):
    found = 0
    while (found + 1) * divisor <= number:
        found = found + 1
    return found - 20 if number < 0 else found


def nearest(number, divisor, proposal):
    found = right_quotient(number, divisor, proposal)
    return found + 1 if 2 * (number - found * divisor) > divisor else found


def endless(number, divisor, proposal):
    while proposal * divisor != number:
        proposal = proposal + 1
    return proposal


def by_hand(number, divisor, proposal):
    """Another right one, by the remainder."""
    rest = number - proposal * divisor
    while rest < 0:
        rest, proposal = rest + divisor, proposal - 1
    while rest >= divisor:
        rest, proposal = rest - divisor, proposal + 1
    return proposal


def up_first(number, divisor, proposal):
    """And another, which goes up before it goes down, by how much it has too much."""
    rest = number - proposal * divisor
    while rest >= divisor:
        rest, proposal = rest - divisor, proposal + 1
    excess = 0 - rest
    while excess > 0:
        excess, proposal = excess - divisor, proposal - 1
    return proposal


QUOTIENTS = [
    (lambda number, divisor, proposal: ..., "returns nothing yet"),
    (lambda number, divisor, proposal: proposal, "for 100 by 7, proposal 15 you return the proposal, which is 1 off"),
    (lambda number, divisor, proposal: number // divisor, "no division here"),
    (lambda number, divisor, proposal: divmod(number, divisor)[0], "no division here"),
    (lambda number, divisor, proposal: math.floor(number / divisor), "no division here"),
    (lambda number, divisor, proposal: int(number) // int(divisor), "no float"),
    (lambda number, divisor, proposal: number * (1 / 7), "no float"),
    (once, "How long must one repair?"),
    (only_once_up, "for 100 by 7, proposal 9 you come nearer, to 10, and stop; it is 14"),
    (twice_the_way, "for 100 by 7, proposal 19 you get 9, but 10 · 7 is no more than 100: it is 14"),
    (only_down, "you return the proposal, which is 1 off"),
    (to_zero, "for -100 by 7, proposal -15 you get -14. Rounding *down* goes away from zero here: -15"),
    (one_more_below_zero, "you get -15, and -98 is just -14 · 7: compare with ≤"),
    (by_the_proposals_sign, "for -1 by 7, proposal 0 you get 0. Rounding *down*"),
    (by_either_sign, "for 6 by 7, proposal -2 you come nearer, to -1"),
    (nothing_at_all, "for 0 by 7, proposal 3 you come nearer, to 1"),
    (strict, "98 is just 14 · 7: compare with ≤"),
    (strictly_up, "98 is just 14 · 7: compare with ≤"),
    (rounded_up, "15 · 7 is more than 100"),
    (from_zero, "no more than -100"),
    (nearest, "14 · 7 is more than 97"),
    (endless, "takes too long"),
    (lambda number, divisor, proposal: 14.0, "a whole number is asked for"),
    (lambda number: number, "raised TypeError"),
]

TRUTH = check.DIAGNOSES
DIAGNOSES = [
    (dict.fromkeys("ABCDE", ...), "no diagnosis yet"),
    ({"A": "healthy"}, 'the keys "A" to "E"'),
    ({**TRUTH, "A": "healthy"}, "exactly between two units"),
    ({**TRUTH, "B": "healthy"}, "too large for an activation"),
    ({**TRUTH, "C": "wraps around"}, "on ties, on large sums"),
    ({**TRUTH, "D": "healthy"}, "above 2^24"),
    ({**TRUTH, "E": "rounds ties up"}, "not whole units"),
    ({**TRUTH, "E": "sick"}, "none of the names"),
    ({**TRUTH, "E": ...}, "1 still without a name"),
]

LONGEST = [
    (..., "no number yet"),
    (2**31, "multiplied by a weight"),
    (2**33, "multiplied by a value"),
    (2047, "one more fits"),
    (2049, "one too many"),
    (1024, "one bit too careful"),
    (600, "how long a frame is"),
    (2**53, "how many terms fit"),
    (12, "12 is safe, but more is too"),
    (1, "1 is safe, but more is too"),
    (0, "one token at least"),
    (-2048, "one token at least"),
    (4096, "one bit too many"),
    (11, "the exponent"),
    (2050, "no less than 2^53"),
    (2048.0005, "round it down"),
]

WRONG = [
    (checker, answer, reason)
    for checker, answers in (
        (check.orders, ORDERS),
        (check.apart, APART),
        (check.quotient, QUOTIENTS),
        (check.patients, DIAGNOSES),
        (check.longest, LONGEST),
    )
    for answer, reason in answers
]


@pytest.mark.parametrize(("checker", "answer", "reason"), WRONG)
def test_a_wrong_answer_is_told_why(checker, answer, reason):
    verdict = checker(answer)
    assert not verdict
    assert reason in verdict.reason


RIGHT = [
    (check.orders, [2.0**29, -(2.0**29), 1, 2, 4]),
    (check.orders, (4, 2, 1, -(2.0**29), 2.0**29)),
    (check.orders, torch.tensor([2.0**29, -(2.0**29), 1, 2, 4])),
    (check.apart, 1.017e-10),
    (check.apart, torch.tensor(NEAR)),
    (check.quotient, right_quotient),
    (check.quotient, by_hand),
    (check.quotient, up_first),
    (check.patients, dict(TRUTH)),
    (check.longest, 2048),
    (check.longest, (2**53 - 1) // (2**20 * (2**22 - 1))),
]


@pytest.mark.parametrize(("checker", "answer"), RIGHT)
def test_a_right_answer_is_right(checker, answer):
    assert checker(answer)


SAID = [
    (check.orders, [2.0**29, -(2.0**29), 1, 2, 4], "8 different sums of the same 5 numbers"),
    (check.apart, NEAR, "ε = 1.0e-10"),
    (check.longest, 2048, "2,048 tokens: the sum is then at most 2^53 - 2,147,483,648."),  # 2^31
]


@pytest.mark.parametrize(("checker", "answer", "words"), SAID)
def test_what_is_said_of_a_right_answer_is_true(checker, answer, words):
    assert words in checker(answer).reason


def test_the_chapters_own_functions_are_no_answers(notebook):
    names: dict[str, Any] = {"torch": torch, "math": math, "np": np, "itertools": itertools}
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    for start in ("def root", "def requantized", "def fixed"):
        source = next(source for source in sources if start in source)
        exec(source[source.index(start) :].split("\n\n\n")[0], names)
    for name in ("root", "requantized", "fixed"):
        assert not check.quotient(names[name])
        assert not check.quotient(lambda number, divisor, proposal, name=name: names[name](number, divisor))
    assert not check.longest(9007199254740992)
    assert not check.apart(8e-06)


def product(x, w):
    """What the rule says, in Python's own integers."""
    sums = [[sum(a * b for a, b in zip(row, other, strict=True)) for other in w] for row in x]
    limit = 2**22 - 1
    return [[max(-limit, min(limit, round(each / 2**16))) for each in row] for row in sums]


def test_the_healthy_product_is_the_rule_and_the_others_are_not():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-(2**22), 2**22, (50, 3), generator=generator)
    w = torch.randint(-(2**17), 2**17, (50, 3), generator=generator)
    w[:25] = 2**15 * w[:25].sign()  # ties
    expected = torch.tensor(product(x.tolist(), w.tolist())).double()
    for name, each in check.PRODUCTS.items():
        same = torch.equal(each(x.double(), w.double()), expected)
        assert same == (TRUTH[name] == "healthy"), name
    small = torch.randint(0, 100, (20, 8), generator=generator).double() * 2**16
    sound = check.PRODUCTS["C"](small, small[:5] / 2**16)
    for each in check.PRODUCTS.values():  # so questions have to be asked
        assert torch.equal(each(small, small[:5] / 2**16), sound)


def test_a_sick_product_has_one_illness():
    """A question finds one of them, whatever else is asked."""
    largest, big = 2**22 - 1, 2**21
    questions = [  # activations, weights, what the rule says, and who says something else
        ([1], [2**15], 0, "rounds ties up"),
        ([3], [2**14], 1, "rounds toward zero"),
        ([3], [-(2**14)], -1, "rounds toward zero"),
        ([largest], [2**17], largest, "wraps around"),
        ([largest], [-(2**17)], -largest, "wraps around"),
        ([largest], [2**16], largest, None),
        ([largest], [-(2**16)], -largest, None),
        ([big, 1, -big], [big, 2**17, big], 2, "adds in float32"),
    ]
    for x, w, right, found in questions:
        assert product([x], [w]) == [[right]]
        answers = {TRUTH[name]: each(torch.tensor([x]), torch.tensor([w])) for name, each in check.PRODUCTS.items()}
        assert [name for name, answer in answers.items() if answer != right] == [found] * (found is not None)


@pytest.mark.parametrize(("length", "fits"), [(2048, True), (2049, False)])
def test_the_longest_sequence_is_the_librarys(length, fits):
    prior = Prior(4, length, width=8, depth=1, heads=1)
    if fits:
        assert Twin(prior).bounds["attended values"] < 2**53
        return
    with pytest.raises(FixedPointError, match="attended values"):
        Twin(prior)

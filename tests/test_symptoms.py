"""From the rows that an edit changes to a mistake's name: patterns drawn by hand, those at a limit on both sides of it.

`test_causality` has the mistakes themselves, made in real priors.
"""

import pytest
import torch

from arlib import symptoms
from arlib.symptoms import CAUSES, Changes, Found

LENGTH = 6
AT = torch.arange(LENGTH)
row = AT[:, None]
ONE = torch.ones((), dtype=torch.float64)


def changes(own: torch.Tensor, at: torch.Tensor = AT, others: torch.Tensor | None = None) -> Changes:
    """Of one trial `(T, P)` or several, which change nothing in other sequences unless it is said."""
    own = own.double()
    own = own if own.dim() == 3 else own[None]
    return Changes(at, own, torch.zeros_like(own[0]) if others is None else others.double())


def told(found: pytest.ExceptionInfo[Found]) -> tuple[str, str]:
    symptom, seen = found.value.args
    assert symptom in CAUSES
    return symptom, seen


def of_tokens(own: torch.Tensor, **more: torch.Tensor) -> tuple[str, str]:
    orders = more.pop("orders", None)
    with pytest.raises(Found) as found:
        symptoms.of_tokens(changes(own, **more), orders)
    return told(found)


def test_a_causal_prior_has_no_symptom():
    symptoms.of_tokens(changes(row > AT))
    symptoms.of_tokens(changes((row > AT) * 1e-9))
    symptoms.of_tokens(changes((row > torch.tensor([1, 3])).expand(3, -1, -1), torch.tensor([1, 3])))


@pytest.mark.parametrize(
    ("own", "symptom", "token"),
    [
        (row > AT + 1, "shifted too far", 0),
        ((row > AT) & ((row != AT + 1) | (AT != 2)), "misses a token", 2),
        ((row > AT) & ((row != 5) | (AT != 4)), "misses a token", 4),
        ((row < 0) & (AT < 0), "ignores its input", 0),
        (torch.stack([row > AT, (row > AT) & (AT != 3)]), "misses a token", 3),  # one trial is enough
    ],
    ids=["late", "one token missed", "the last but one", "nothing", "missed in one trial"],
)
def test_what_does_not_reach_the_next_row(own, symptom, token):
    assert of_tokens(own) == (symptom, f"An edit of token {token} leaves row {token + 1} as it is")


def test_the_last_token_has_no_row_after_it():
    symptoms.of_tokens(changes((row > AT) & (AT < LENGTH - 1)))


LEAK = 0.25 * (row <= AT)
WEAK = torch.where(row > AT, 1.0, LEAK)  # everything is seen, what comes later a quarter as much
ONE_LESS, TWO_LESS = WEAK.clone(), WEAK.clone()
ONE_LESS[0, 1] = TWO_LESS[0, 1] = TWO_LESS[2, 4] = 0


@pytest.mark.parametrize(
    ("own", "symptom", "seen"),
    [
        (row >= AT, "missing shift", "An edit of token 0 changes row 0 by 1; no edit changes a row before its own"),
        (
            (row > AT) | (AT == LENGTH - 1),
            "wraps around",
            "An edit of token 5 changes row 0 by 1; no edit of another token does such a thing",
        ),
        (row <= AT, "anti-causal", "An edit of token 0 changes row 0 by 1; no edit changes a later row"),
        (
            row <= AT + 1,
            "inverted mask",
            "An edit of token 0 changes row 0 by 1; of the later rows an edit changes row t + 1 alone",
        ),
        (row >= AT - 2, "looks ahead", "An edit of token 0 changes row 0 by 1; its changes begin 2 rows before it"),
        (row >= AT - 4, "looks ahead", "An edit of token 0 changes row 0 by 1; its changes begin 4 rows before it"),
        (
            TWO_LESS,
            "sees the future (outgrown mask)",
            "An edit of token 0 changes row 0 by 0.2; edits change 80% of the rows before them, 0.25 times as much as "
            "those after them",
        ),
        (
            ONE_LESS,  # nine of ten
            "sees the future (mask after softmax)",
            "An edit of token 0 changes row 0 by 0.2; edits change 90% of the rows before them, 0.25 times as much as "
            "those after them",
        ),
        (torch.where(row > AT, ONE, 0.75), "sees the future (no mask)", "0.75 times as much"),
        (torch.where(row > AT, ONE, 0.749), "sees the future (0/1 mask added)", "0.75 times as much"),
        (torch.where(row > AT, ONE, 0.3), "sees the future (0/1 mask added)", "0.3 times as much"),
        (torch.where(row > AT, ONE, 0.299), "sees the future (mask after softmax)", "0.3 times as much"),
        (torch.where(row > AT, ONE, 0.01), "sees the future (mask after softmax)", "0.01 times as much"),
        (torch.where(row > AT, ONE, 0.0099), "sees the future (finite mask)", "0.0099 times as much"),
        (torch.where(row > AT, ONE, 1.5), "sees the future (no mask)", "1.5 times as much"),
    ],
)
def test_what_leaks_where(own, symptom, seen):
    found = of_tokens(own)
    assert found[0] == symptom
    assert seen in found[1]


@pytest.mark.parametrize(("times", "symptom"), [(10, "no mask"), (10.5, "fading")])
def test_a_leak_that_fades_is_ten_times_as_strong_next_to_its_token(times, symptom):
    """Next to it is the row before; far away is half of the sequence."""
    own = torch.where(row == AT - 1, times, torch.where(row <= AT - LENGTH // 2, 1.0, 2.0))
    assert of_tokens(own)[0] == f"sees the future ({symptom})"


@pytest.mark.parametrize(("near", "symptom"), [(18, "mask after softmax"), (22, "fading")])
def test_half_of_a_sequence_of_seven_is_three_tokens(near, symptom):
    """What counts as far away is then three tokens or more, whose changes have the median 2."""
    here = torch.arange(7)
    before = torch.tensor([0.0, near, 8, 2, 8, 8, 8])  # by the distance to the token
    distance = here - here[:, None]
    own = torch.where(distance < 0, 100.0, before[distance.clamp(min=0)])
    assert of_tokens(own, at=here)[0] == f"sees the future ({symptom})"


def test_the_median_is_that_of_the_rows_after_the_next_one():
    """The next row knows the token as its last one, past any attention. The others' median is 4, of those before 1."""
    after = torch.tensor([1.0, 1, 8, 2, 4, 4])
    own = torch.where(row < AT, 1.0, after[(row - AT).clamp(min=0)])
    symptom, seen = of_tokens(own)
    assert symptom == "sees the future (mask after softmax)"
    assert seen.endswith("; edits change 100% of the rows before them, 0.25 times as much as those after them")


def test_the_last_token_tells_nothing_about_a_mask():
    """Whatever its edit changes, by whatever amount, the name of the mistake is that of the other tokens."""
    for last in (0.0, 1e-9, 1e9):
        own = torch.where(row > AT, ONE, 0.1)
        own[:, -1] = last
        assert of_tokens(own)[0] == "sees the future (mask after softmax)"
        own = torch.where(row == AT - 1, 20.0, torch.where(row <= AT - LENGTH // 2, 1.0, 2.0))
        own[:, -1] = last
        assert of_tokens(own)[0] == "sees the future (fading)"


def test_changes_count_in_whichever_trial_they_are():
    first, second = (row > AT) * 1.0, (row > AT) * 1.0
    first[1, 3], second[2, 3] = 0.5, 0.125
    _, seen = of_tokens(torch.stack([second, first]))
    assert seen.startswith("An edit of token 3 changes row 1 by 0.5; ")


def test_a_few_places_are_enough():
    at = torch.tensor([2, 4])
    assert of_tokens(row >= at, at=at)[0] == "missing shift"
    assert of_tokens(row >= at - 1, at=at)[0] == "looks ahead"
    symptoms.of_tokens(changes(row > at, at))
    assert of_tokens((row > at) & (row != 3), at=at) == (
        "misses a token",
        "An edit of token 2 leaves row 3 as it is",
    )
    some = torch.tensor([2, LENGTH - 1])
    assert of_tokens((row > some) | (some == LENGTH - 1), at=some)[0] == "wraps around"
    only_last = torch.tensor([LENGTH - 1])
    assert of_tokens(row >= only_last - 3, at=only_last)[0] == "anti-causal"


def test_more_than_the_next_row_is_no_inverted_mask():
    assert of_tokens(row <= AT + 2)[0].startswith("sees the future")


ALONE = (row == 2) & (AT == 2)


@pytest.mark.parametrize(
    ("own", "others", "symptom"),
    [
        (row == AT, 0.5 * (row == AT), "batch and time swapped"),
        (row > AT, 0.5 * (row == AT), "leaks across the batch"),
        (row == AT, 0.5 * ALONE + (row == 3) * (AT == 2), "leaks across the batch"),
        (row == AT, 0.5 * ALONE, "batch and time swapped"),
        ((row == AT) | (row == 5) & (AT == 0), ALONE, "leaks across the batch"),
        ((row == AT) & (AT < 5) | (row == 5) & (AT == 0), ALONE, "leaks across the batch"),
    ],
)
def test_an_edit_that_changes_other_sequences(own, others, symptom):
    most = f"{others.max():.1g}"
    seen = f"An edit in one sequence changes others, by up to {most}"
    assert of_tokens(own, others=others) == (symptom, seen)
    with pytest.raises(Found) as found:
        symptoms.of_scales(changes(own, others=others), AT, None)
    assert told(found) == (symptom, seen)


ORDERS = torch.tensor([[2, 0, 3, 1, 5, 4], [5, 3, 1, 0, 2, 4]])
EACH = ORDERS[:, None].expand(-1, LENGTH, -1)  # of each edit


@pytest.mark.parametrize("tables", [ORDERS, ORDERS.argsort(dim=-1)], ids=["restored", "arranged"])
def test_an_order_that_is_applied_twice(tables):
    """Token t of the input comes to stand where the table says, and is known from the row after that on."""
    own = row > tables[:, None]
    found = of_tokens(own, orders=EACH)
    assert found[0] == "order applied twice"
    assert found[1].endswith("; its changes begin where the order would put it once more")
    at = torch.tensor([1, 3])
    assert of_tokens(own[..., at], at=at, orders=EACH[:, at])[0] == "order applied twice"
    assert of_tokens(own)[0] != "order applied twice"
    assert of_tokens(own, orders=EACH.flip(0))[0] != "order applied twice"
    assert of_tokens(torch.stack([own[0], own[0]]), orders=EACH)[0] != "order applied twice"
    assert of_tokens(row >= AT, orders=EACH)[0] == "sees its own token"


def test_codes_of_a_place_that_see_each_other():
    """Tokens 2 k and 2 k + 1 are of one place."""
    place, code = row // 2, row % 2
    own = (row > AT) | (place == AT // 2) & (code == 0) & (AT % 2 == 1)
    found = of_tokens(own)
    assert found[0] == "codebooks see each other"
    assert found[1].endswith("; no edit changes an earlier place of 2 tokens")
    three = (row > AT) | (row // 3 == AT // 3) & (AT % 3 > 0)
    assert of_tokens(three)[1].endswith("; no edit changes an earlier place of 3 tokens")
    # Not alike in each place, or in other places too: something else.
    unlike = own & ~((row == 0) & (AT == 1))
    assert of_tokens(unlike)[0] != "codebooks see each other"
    assert of_tokens(own | (row == 0) & (AT == 3))[0] != "codebooks see each other"
    assert of_tokens((row > AT) | (place == AT // 2))[0] != "codebooks see each other"
    assert of_tokens(own[:, :4], at=AT[:4])[0] != "codebooks see each other"


def test_two_tokens_are_no_place_of_two_codes():
    here = torch.arange(2)
    assert of_tokens((here[:, None] > here) | (here == 1), at=here)[0] == "wraps around"


BLOCK = torch.tensor([0, 1, 1, 2, 2, 2])
SOURCE = torch.tensor([-1, 0, 0, 1, 1, 2])
COARSE = BLOCK[:, None] > BLOCK


def of_scales(own: torch.Tensor, source: torch.Tensor | None = SOURCE) -> tuple[str, str]:
    with pytest.raises(Found) as found:
        symptoms.of_scales(changes(own), BLOCK, source)
    return told(found)


def test_a_prior_of_scales_has_no_symptom():
    symptoms.of_scales(changes(COARSE), BLOCK, SOURCE)
    symptoms.of_scales(changes(SOURCE[:, None] == AT), BLOCK, SOURCE)
    symptoms.of_scales(changes(SOURCE[:, None] == AT), BLOCK, None)
    at = torch.tensor([1, 2])
    symptoms.of_scales(changes(COARSE[:, 1:3], at), BLOCK, SOURCE)


@pytest.mark.parametrize(
    ("own", "symptom", "seen"),
    [
        (
            0.5 * (BLOCK[:, None] >= BLOCK),
            "scale sees itself",
            "token 0, of scale 0, changes row 0, of scale 0, by 0.5",
        ),
        (COARSE | ALONE, "scale sees itself", "token 2, of scale 1, changes row 2, of scale 1, by 1"),
        (COARSE | (row == 2) & (AT == 5), "sees a finer scale", "token 5, of scale 2, changes row 2, of scale 1, by 1"),
        (
            COARSE | ALONE | (row == 0) & (AT == 5),
            "sees a finer scale",
            "token 2, of scale 1, changes row 2, of scale 1",
        ),
        (COARSE & (row != 4), "misses its parent", "An edit of token 1 leaves row 4 of the next scale as it is"),
        (COARSE & (AT > 0), "misses its parent", "An edit of token 0 leaves row 1 of the next scale as it is"),
        (COARSE & (AT < 0), "ignores its input", "An edit of token 0 leaves row 1 of the next scale as it is"),
        (torch.stack([COARSE, COARSE & (row != 5)]), "misses its parent", "An edit of token 2 leaves row 5"),
    ],
)
def test_what_leaks_between_scales(own, symptom, seen):
    found = of_scales(own)
    assert found[0] == symptom
    assert seen in found[1]


def test_without_a_table_of_parents_some_row_of_the_next_scale_is_enough():
    symptoms.of_scales(changes(COARSE & (row != 3)), BLOCK, None)
    found = of_scales(COARSE & ((BLOCK[:, None] != 2) | (AT != 1)), None)
    assert found == ("misses its parent", "An edit of token 1 leaves row 3 of the next scale as it is")


def of_places(own: torch.Tensor, at: torch.Tensor = AT[:-1], **more: torch.Tensor) -> tuple[str, str]:
    with pytest.raises(Found) as found:
        symptoms.of_places(changes(own, at, **more))
    return told(found)


@pytest.mark.parametrize(
    ("own", "symptom", "seen"),
    [
        (row >= AT - 1, "knows a later place", "Another place for token 1 changes row 0 already"),
        ((row >= AT) | (row > 1) & (AT == 4), "knows a later place", "Another place for token 4 changes row 2 already"),
        (row > AT, "asked for no place", "Another place for token 0 leaves row 0 as it is"),
        ((row >= AT) & ((row != AT) | (AT != 3)), "asked for no place", "Another place for token 3 leaves row 3"),
        ((row >= AT) & ((row != AT + 1) | (AT != 3)), "token sits nowhere", "Another place for token 3 leaves row 4"),
    ],
)
def test_what_another_place_changes(own, symptom, seen):
    symptoms.of_places(changes((row >= AT)[:, :-1], AT[:-1]))
    found = of_places(own[:, :-1])
    assert found[0] == symptom
    assert seen in found[1]
    # A place that is known too early, in one trial of two, is; one that is known late, in one of two, is late.
    assert of_places(torch.stack([(row >= AT)[:, :-1], own[:, :-1]])) == found


def test_another_order_of_another_sequence():
    found = of_places((row >= AT)[:, :-1], others=ALONE[:, :-1])
    assert found == ("one order for all", "Another order of one sequence changes others")


def test_what_another_label_changes():
    at = torch.tensor([0])
    symptoms.of_labels(changes(torch.ones(LENGTH, 1), at))
    symptoms.of_labels(changes((row == 0)[:, :1], at))
    for own in (row > 0, torch.stack([row >= 0, row > 0])):
        with pytest.raises(Found) as found:
            symptoms.of_labels(changes(own, at))
        assert told(found) == ("ignores its label", "Another label leaves row 0 as it is")
    with pytest.raises(Found) as found:
        symptoms.of_labels(changes(row >= 0, at, 0.25 * (row == 3)))
    seen = "Another label of one sequence changes others, by up to 0.2"
    assert told(found) == ("label leaks across the batch", seen)

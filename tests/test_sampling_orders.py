"""Sampling in any order, with classes, known parts and several places at once, from a law that is written down."""

import functools
import itertools
import math
from dataclasses import dataclass, field

import pytest
import torch

from arlib import scales
from arlib.sampling import generate, guide
from arlib.transformer import Prior

COUNT = 10_000
TOLERANCE = 0.02  # four standard deviations of a share of 10,000 samples


@dataclass
class Given:
    """What an `Exact` prior has read: token t of each sequence sits at place order[:, t]."""

    order: torch.Tensor
    label: torch.Tensor
    tokens: list[torch.Tensor] = field(default_factory=list)
    passes: int = 0


class Exact:
    """Three binary tokens with a joint law for each class (the last one for "none"), known in every order."""

    vocabulary, length = 2, 3

    def __init__(self) -> None:
        self.config = {"any_order": True, "classes": 2}
        law = torch.rand(3, 2, 2, 2, generator=torch.Generator().manual_seed(1)).double() ** 2
        self.law = law / law.sum(dim=(1, 2, 3), keepdim=True)
        self.caches: list[Given] = []

    def new_cache(self, batch_size, order=None, label=None):
        order = torch.arange(3).expand(batch_size, -1) if order is None else order
        label = torch.full((batch_size,), -1) if label is None else label
        self.caches.append(Given(order, label))
        return self.caches[-1]

    def step(self, token, cache):
        return self.ask(None if token is None else token[:, None], cache, 1)[:, 0]

    def ask(self, tokens, cache, count):
        cache.passes += 1
        cache.tokens += [] if tokens is None else list(tokens.T)
        asked = len(cache.tokens)
        rows = [
            [self.conditional(cache, row, int(cache.order[row, asked + ahead])) for ahead in range(count)]
            for row in range(len(cache.order))
        ]
        return torch.tensor(rows).log()

    def conditional(self, cache, row, place):
        """The law of the token at `place`, given those that were read."""
        known = zip(cache.order[row].tolist(), cache.tokens, strict=False)
        return self.share(int(cache.label[row]), tuple((where, int(tokens[row])) for where, tokens in known), place)

    @functools.cache  # noqa: B019 - a test's prior does not live long
    def share(self, label, known, place):
        """Sums over all 8 outcomes."""
        shares = [0.0, 0.0]
        for outcome in itertools.product(range(2), repeat=3):
            if all(outcome[where] == token for where, token in known):
                shares[outcome[place]] += self.law[label][outcome].item()
        # What cannot happen, as two places drawn at once can give it, is followed by anything.
        return [share / sum(shares) for share in shares] if sum(shares) else [0.5, 0.5]


def shares(tokens: torch.Tensor) -> torch.Tensor:
    """How often each of the 8 outcomes occurs: `(2, 2, 2)`."""
    counts = torch.bincount(tokens[:, 0] * 4 + tokens[:, 1] * 2 + tokens[:, 2], minlength=8)
    return (counts / len(tokens)).view(2, 2, 2).double()


def near(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).abs().max() < TOLERANCE)


@pytest.mark.parametrize("order", [None, [2, 0, 1], [1, 2, 0]])
@pytest.mark.parametrize("label", [None, 0, 1])
def test_every_order_has_the_same_law_and_each_class_its_own(order, label):
    prior = Exact()
    order = None if order is None else torch.tensor(order)
    found = shares(generate(prior, COUNT, order=order, label=label, batch_size=COUNT))
    assert near(found, prior.law[-1 if label is None else label])
    assert not near(found, prior.law[0 if label is None else label - 1])  # the test can fail


def test_each_sequence_may_have_an_order_and_a_class_of_its_own():
    prior = Exact()
    orders = torch.tensor([[0, 1, 2], [2, 1, 0]]).repeat(COUNT, 1)
    labels = torch.tensor([1, 0]).repeat(COUNT)
    tokens = generate(prior, 2 * COUNT, order=orders, label=labels, batch_size=700 * 3)
    assert near(shares(tokens[::2]), prior.law[1])
    assert near(shares(tokens[1::2]), prior.law[0])


@pytest.mark.parametrize("known", [[-1, -1, 1], [-1, 0, -1], [1, -1, 0]])
def test_what_is_known_is_kept_and_the_rest_follows_from_it(known):
    prior, known = Exact(), torch.tensor(known)
    tokens = generate(prior, COUNT, known=known, batch_size=COUNT)
    assert (tokens[:, known >= 0] == known[known >= 0]).all()
    expected = prior.law[-1].clone()
    for outcome in itertools.product(range(2), repeat=3):
        if any(token not in (-1, outcome[place]) for place, token in enumerate(known.tolist())):
            expected[outcome] = 0
    assert near(shares(tokens), expected / expected.sum())


@pytest.mark.parametrize("token", [0, 1])
def test_a_prior_of_one_order_draws_first_what_it_should_have_known(token):
    prior = Exact()
    prior.config = {}
    tokens = generate(prior, COUNT, known=torch.tensor([-1, -1, token]), batch_size=COUNT)
    assert (tokens[:, 2] == token).all()
    expected = torch.zeros(2, 2, 2, dtype=torch.float64)
    expected[..., token] = prior.law[-1].sum(-1)  # the first two as if nothing were known
    assert near(shares(tokens), expected)


@pytest.mark.parametrize(("at_once", "passes"), [(1, 3), (2, 2), (3, 1)])
def test_places_of_one_pass_do_not_know_each_other(at_once, passes):
    prior = Exact()
    found = shares(generate(prior, COUNT, at_once=at_once, batch_size=COUNT))
    law = prior.law[-1]
    first, second, third = law.sum((1, 2)), law.sum((0, 2)), law.sum((0, 1))
    independent = torch.einsum("i,j,k->ijk", first, second, third)
    pair = torch.einsum("i,j->ij", first, second)[:, :, None] * law / law.sum(2, keepdim=True)
    assert near(found, {1: law, 2: pair, 3: independent}[at_once])
    assert prior.caches[0].passes == passes
    assert not near(law, independent)


def test_each_sequence_may_know_something_else():
    known = torch.tensor([[1, -1, -1], [-1, 0, -1], [-1, -1, -1], [0, 1, 0]]).repeat(COUNT // 2, 1)
    prior = Exact()
    tokens = generate(prior, len(known), known=known, batch_size=len(known))
    assert torch.equal(tokens[known >= 0], known[known >= 0])
    law = prior.law[-1]
    for found, expected in (
        (shares(tokens[::4])[1], law[1] / law[1].sum()),
        (shares(tokens[1::4])[:, 0], law[:, 0] / law[:, 0].sum()),
        (shares(tokens[2::4]), law),
    ):
        assert (found - expected).abs().max() < 1.5 * TOLERANCE  # of half as many samples
    nothing = torch.zeros(0, dtype=torch.int64)
    assert torch.equal(generate(Exact(), 9, beginning=nothing), generate(Exact(), 9))


@pytest.mark.parametrize("token", [0, 1])
def test_places_of_one_pass_know_what_was_known(token):
    prior = Exact()
    found = shares(generate(prior, COUNT, known=torch.tensor([-1, token, -1]), at_once=2, batch_size=COUNT))
    given = prior.law[-1][:, token] / prior.law[-1][:, token].sum()
    expected = torch.zeros(2, 2, 2, dtype=torch.float64)
    expected[:, token] = torch.outer(given.sum(1), given.sum(0))
    assert near(found, expected)
    assert prior.caches[0].passes == 2  # one reads the start, the other what is known


def test_the_toy_of_two_pictures_drawn_at_once_is_wrong_half_of_the_time():
    prior = Exact()
    prior.law = torch.zeros(3, 2, 2, 2, dtype=torch.float64)
    prior.law[:, 0, 1, 0] = prior.law[:, 1, 0, 0] = 0.5  # the pictures (0, 1) and (1, 0)
    legal = [(0, 1), (1, 0)]
    for at_once, expected in ((1, 1.0), (2, 0.5)):
        tokens = generate(prior, COUNT, at_once=at_once, batch_size=COUNT)
        right = sum(tuple(pair) in legal for pair in tokens[:, :2].tolist()) / COUNT
        assert abs(right - expected) < TOLERANCE


def test_guidance_by_hand():
    conditional, unconditional = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.5])
    assert guide(conditional, unconditional, 0.0).tolist() == [1.0, 0.5]
    assert guide(conditional, unconditional, 1.0).tolist() == [2.0, 0.0]
    assert guide(conditional, unconditional, 3.0).tolist() == [4.0, -1.0]


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("first", [0, 2])
def test_guided_samples_follow_the_guided_law_of_the_first_token(at_once, first):
    prior, order = Exact(), torch.tensor([first, 1, 2 - first])
    tokens = generate(prior, COUNT, label=0, guidance=3.0, at_once=at_once, batch_size=COUNT, order=order)
    with_label, without = (prior.law[which].sum((1, 2 - first)) for which in (0, -1))
    powers = without * (with_label / without) ** 3
    assert abs((tokens[:, first] == 1).double().mean() - powers[1] / powers.sum()) < TOLERANCE
    assert len(prior.caches) == 2  # one with the label, one without


def test_a_prior_of_scales_draws_a_scale_from_the_scales_before_it():
    prior = Prior(7, 21, 16, 2, 2, classes=3, scales=(1, 2, 4)).eval()
    seen = []

    class Watched:
        vocabulary, length, scales, config = 7, 21, prior.scales, prior.config

        def __call__(self, tokens, **conditions):
            seen.append(tokens.shape[1])
            return prior(tokens, **conditions)

    tokens = generate(Watched(), 5, seed=3, label=2)  # type: ignore[arg-type]
    assert seen == scales.ends((1, 2, 4))
    again = generate(Watched(), 5, seed=3, label=2, known=torch.cat([tokens[0, :5], torch.full((16,), -1)]))  # type: ignore[arg-type]
    assert again[0].tolist() == tokens[0].tolist()
    assert (again[:, :5] == tokens[0, :5]).all()
    assert not torch.equal(generate(Watched(), 5, seed=3, label=2, guidance=9.0), tokens)  # type: ignore[arg-type]


@pytest.mark.parametrize("guidance", [1.0, 9.0])
def test_a_greedy_prior_of_scales_says_what_its_rows_find_most_probable(guidance):
    torch.manual_seed(1)
    prior = Prior(7, 21, 16, 2, 2, classes=3, scales=(1, 2, 4)).eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter)
    label = torch.arange(3)
    tokens = generate(prior, 3, top_k=1, label=label, guidance=guidance)
    logits = guide(prior(tokens, label=label), prior(tokens), guidance)
    assert torch.equal(tokens, logits.argmax(-1))
    assert tokens[:, 0].any()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"guidance": 2.0}, "name a label"),
        ({"at_once": 0}, "at least 1"),
        ({"known": torch.zeros(3)}, "int64"),
        ({"known": torch.tensor([0, 1])}, r"not \(2,\)"),
        ({"known": torch.tensor([0, 1, 2])}, r"lie in \[0, 2\)"),
        ({"known": torch.tensor([0, 1, -2])}, r"lie in \[0, 2\)"),
        ({"known": torch.tensor([0, 1, -1]), "beginning": torch.tensor([0])}, "not both"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        generate(Exact(), 4, **settings)


def test_what_the_prior_refuses_is_told():
    prior = Prior(7, 6, 16, 1, 2)
    for settings, words in (
        ({"label": 1}, "no classes"),
        ({"order": torch.arange(6)}, "one order"),
        ({"at_once": 2}, "any order"),
    ):
        with pytest.raises(ValueError, match=words):
            generate(prior, 2, **settings)


def test_a_real_prior_of_any_order_speaks_alike_by_steps_and_by_asking():
    torch.manual_seed(0)
    prior = Prior(7, 6, 16, 2, 2, classes=2, any_order=True).eval()
    torch.nn.init.normal_(prior.head.weight)
    known = torch.tensor([3, -1, -1, 5, -1, 2])
    order = torch.tensor([4, 1, 0, 2, 5, 3])
    slow = generate(prior, 8, label=1, known=known, order=order)
    prefix = generate(prior, 8, label=1, beginning=torch.tensor([3, 2, 5]), order=torch.tensor([0, 5, 3, 4, 1, 2]))
    assert torch.equal(slow, prefix)  # what is known is read first, and the rest comes in the order asked for
    assert math.prod(generate(prior, 8, label=1, known=known, at_once=6).shape) == 48
    at_once, in_steps = (generate(prior, 8, label=1, order=order, at_once=some) for some in (6, 1))
    assert torch.equal(at_once[:, 4], in_steps[:, 4])  # the place asked after first, before anything was read

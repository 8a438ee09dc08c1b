"""Sampling, against distributions that are known, and a test of the test: wrong samplers must be caught."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import arlib
from arlib.sampling import draw, generate, probabilities
from arlib.transformer import Prior


class Bigram:
    """A prior whose law is written down: the chances of each token, given the one before it (row 0: at the start)."""

    vocabulary, length = 4, 5

    def __init__(self):
        self.table = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)) * 1.5

    def new_cache(self, batch_size: int) -> list[int]:
        return [batch_size]

    def step(self, token: torch.Tensor | None, cache: list[int]) -> torch.Tensor:
        return self.table[0].expand(cache[0], -1) if token is None else self.table[1 + token]


def pairs(tokens: torch.Tensor) -> torch.Tensor:
    """How often each token follows each other one: `(4, 4)`, each row a distribution."""
    counts = torch.bincount(tokens[:, :-1].flatten() * 4 + tokens[:, 1:].flatten(), minlength=16).view(4, 4).double()
    return counts / counts.sum(1, keepdim=True)


def follows_the_law(sampler, temperature: float) -> bool:
    """Whether 40,000 pairs of tokens have the frequencies that softmax(logits / temperature) promises."""
    prior = Bigram()
    expected = (prior.table[1:].double() / temperature).softmax(-1)
    # Rows hold some 10,000 pairs or, for a rare token, a few hundred; 0.05 is more than four standard deviations.
    return bool((pairs(sampler(prior, 10_000, temperature=temperature)) - expected).abs().max() < 0.05)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_law(temperature):
    assert follows_the_law(generate, temperature)


def test_a_sampler_that_ignores_the_temperature_is_caught():
    assert not follows_the_law(lambda prior, count, temperature: generate(prior, count, temperature=1.0), 2.0)


def test_a_sampler_that_is_off_by_one_is_caught():
    def one_too_far(prior, count, temperature):
        tokens = generate(prior, count, temperature=temperature)
        return (tokens + 1) % 4

    def reads_the_token_before_the_last(prior, count, temperature):
        class Late(Bigram):
            def new_cache(self, batch_size):
                return [batch_size, None]

            def step(self, token, cache):
                late, cache[1] = cache[1], token
                return Bigram.step(self, late, cache)

        return generate(Late(), count, temperature=temperature)

    assert not follows_the_law(one_too_far, 1.0)
    assert not follows_the_law(reads_the_token_before_the_last, 1.0)


def test_probabilities_worked_out_by_hand():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    assert probabilities(logits).tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05])
    squares = [0.25, 0.09, 0.0225, 0.0025]
    assert probabilities(logits, temperature=0.5).tolist() == pytest.approx([s / sum(squares) for s in squares])
    assert probabilities(logits, top_k=2).tolist() == pytest.approx([0.625, 0.375, 0, 0])
    assert probabilities(logits, top_p=0.8).tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-6)
    assert probabilities(logits, top_p=0.81).tolist() == pytest.approx([0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0])
    assert probabilities(logits, top_p=0.1).tolist() == [1, 0, 0, 0]
    # top_k first, then top_p of what is left: of 0.625 and 0.375 the first alone reaches 0.6.
    assert probabilities(logits, top_k=2, top_p=0.6).tolist() == [1, 0, 0, 0]
    assert probabilities(logits, top_k=99, top_p=1.0).tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05])
    # Of four equal ones, top_k keeps all, as they tie; the first two reach exactly one half.
    equal = torch.zeros(2, 4)
    assert probabilities(equal, top_k=2).tolist() == [[0.25] * 4] * 2
    assert probabilities(equal, top_p=0.5).tolist() == [[0.5, 0.5, 0, 0]] * 2


@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=50),
    st.floats(0.05, 20),
    st.none() | st.integers(1, 60),
    st.none() | st.floats(0.01, 1),
)
def test_the_filters_keep_the_most_probable_and_their_order(logits, temperature, top_k, top_p):
    shares = probabilities(torch.tensor(logits), temperature, top_k, top_p)
    assert shares.sum().item() == pytest.approx(1)
    assert (shares >= 0).all()
    kept = shares > 0
    assert kept[torch.tensor(logits).argmax()]
    if kept.any() and not kept.all():
        assert torch.tensor(logits)[kept].min() >= torch.tensor(logits)[~kept].max()


def test_entropy_rises_with_the_temperature():
    logits = torch.randn(20, 100, generator=torch.Generator().manual_seed(0)) * 3
    entropies = []
    for temperature in (0.25, 0.5, 1.0, 2.0, 4.0):
        shares = probabilities(logits, temperature)
        entropies.append(torch.special.entr(shares).sum(-1).mean().item() / math.log(2))
    assert entropies == sorted(entropies)
    assert entropies[-1] > entropies[0] + 3


def test_a_number_finds_its_interval_and_never_an_empty_one():
    shares = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]], dtype=torch.float64)
    for uniform, token in ((0.0, 1), (0.2499, 1), (0.25, 3), (0.9, 3), (1 - 2**-24, 3)):
        assert draw(shares, torch.tensor([uniform], dtype=torch.float64)).item() == token


def test_the_seed_fixes_the_samples_and_the_batch_size_does_not_matter():
    prior = Bigram()
    samples = generate(prior, 20, seed=7)
    assert torch.equal(generate(prior, 20, seed=7, batch_size=3), samples)
    assert torch.equal(generate(prior, 20, seed=7), samples)
    assert not torch.equal(generate(prior, 20, seed=8), samples)


def test_a_beginning_is_kept_and_completed():
    prior = Bigram()
    completed = generate(prior, 500, beginning=torch.tensor([2, 0]))
    assert (completed[:, :2] == torch.tensor([2, 0])).all()
    after_zero = torch.bincount(completed[:, 2], minlength=4) / 500
    assert torch.allclose(after_zero, prior.table[1].softmax(-1), atol=0.1)
    assert (generate(prior, 3, beginning=torch.tensor([2]))[:, 0] == 2).all()
    each = torch.randint(4, (6, 5))
    assert torch.equal(generate(prior, 6, beginning=each), each)  # nothing left to draw


@pytest.mark.parametrize("known", [torch.full((5,), -1), torch.full((5,), 3), torch.tensor([-1, 0, -1, 3, -1])])
def test_what_is_known_is_kept_also_where_it_is_nothing_or_one_token(known):
    tokens = generate(Bigram(), 50, known=known)
    assert (tokens[:, known >= 0] == known[known >= 0]).all()
    if (known < 0).all():
        assert torch.equal(tokens, generate(Bigram(), 50))


def test_one_sequence_can_be_drawn_alone():
    assert torch.equal(generate(Bigram(), 1, seed=3), generate(Bigram(), 20, seed=3)[:1])


@pytest.mark.parametrize("setting", [{"top_k": 1}, {"top_p": 1e-6}])
def test_greedy_is_top_k_one_and_the_least_top_p(setting):
    prior = Prior(16, 12, 16, 1, 2).eval()
    tokens = generate(prior, 3, **setting)
    with torch.no_grad():
        assert torch.equal(prior(tokens).argmax(-1), tokens)


def test_settings_that_make_no_sense_are_refused():
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature"):
            generate(Bigram(), 1, temperature=temperature)
    with pytest.raises(ValueError, match="top_k"):
        generate(Bigram(), 1, top_k=0)
    for top_p in (0.0, 1.1, math.nan):
        with pytest.raises(ValueError, match="top_p"):
            generate(Bigram(), 1, top_p=top_p)
    with pytest.raises(ValueError, match="count"):
        generate(Bigram(), 0)
    for beginning in (torch.zeros(6), torch.zeros(3, 2), torch.zeros(2, 6)):
        with pytest.raises(ValueError, match=r"beginning for 2 sequences"):
            generate(Bigram(), 2, beginning=beginning.long())
    with pytest.raises(ValueError, match=r"\[0, 4\)"):
        generate(Bigram(), 2, beginning=torch.tensor([4]))


def test_the_book_prior_speaks_as_the_frames_do():
    """At T = 1 a sample's mean surprise is that of a valid frame, within 20 %; no two samples are equal.

    They differ because the prior is not the law of the frames: on its own samples its surprise is its entropy, on
    frames it is that plus what it does not know of them.
    """
    prior = arlib.load_prior("book")
    valid = arlib.tokenset.read(arlib.data.root() / "tokens" / "valid.tokens").grids.flatten(1)[::4]
    samples = generate(prior, 64, seed=0)
    assert len({tuple(sample.tolist()) for sample in samples}) == 64
    of_samples = arlib.metrics.bits(prior, samples).mean().item()
    of_frames = arlib.metrics.bits(prior, valid).mean().item()
    assert of_samples == pytest.approx(of_frames, rel=0.2)


def test_top_p_of_one_drops_nothing():
    logits = 3 * torch.randn(200, 1024)
    assert torch.equal(probabilities(logits, top_p=1.0), probabilities(logits))

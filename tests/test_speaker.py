"""A prior that speaks a place at a time: its rows know what they may know, and all ways to compute them agree."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from arlib import causality, sampling
from arlib.fixedpoint import LARGEST, FixedPointError, Twin
from arlib.speaker import Speaker
from arlib.transformer import Prior

VOCABULARY, LENGTH, BOOKS = 11, 12, 3


def build(dtype: torch.dtype = torch.float32, **switches) -> Prior:
    torch.manual_seed(0)
    prior = Prior(VOCABULARY, LENGTH, 16, 2, 4, **{"codebooks": BOOKS, **switches})
    for name, parameter in prior.named_parameters():
        torch.nn.init.normal_(parameter, mean="norm" in name, std=0.3)
    return prior.to(dtype).eval()


def sequences(count: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCABULARY, (count, LENGTH), generator=torch.Generator().manual_seed(seed))


def stepped(prior, tokens: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
    cache, last, rows = prior.new_cache(len(tokens), label=label), None, []
    for place in range(tokens.shape[1]):
        rows.append(prior.step(last, cache))
        last = tokens[:, place]
    return torch.stack(rows, dim=1)


def test_no_row_knows_its_own_token_or_a_later_one():
    assert causality.check(build()).ok


def by_hand(prior: Prior, tokens: torch.Tensor) -> torch.Tensor:
    """One row at a time, each from a sequence cut off before it, with loops where the library has tables."""
    weights = prior.state_dict()

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weights[name]

    def perceptron(x: torch.Tensor, name: str) -> torch.Tensor:
        hidden = F.gelu(norm(x, f"{name}.mlp_norm.weight") @ weights[f"{name}.up.weight"].T)
        return x + hidden @ weights[f"{name}.down.weight"].T

    rows = []
    for number in range(len(tokens)):
        place, book = divmod(number, BOOKS)
        inputs = [weights["start"]]
        for before in range(place):
            codes = tokens[before * BOOKS : (before + 1) * BOOKS].tolist()
            inputs.append(sum(weights["embedding.weight"][b * VOCABULARY + code] for b, code in enumerate(codes)))
        x = torch.stack(inputs) + weights["positions"][: place + 1]
        for block in range(2):
            name = f"blocks.{block}"
            parts = norm(x, f"{name}.attention_norm.weight") @ weights[f"{name}.attention.query_key_value.weight"].T
            query, key, value = parts.split(16, dim=-1)
            heads = []
            for head in range(4):
                some = slice(4 * head, 4 * head + 4)
                scores = query[:, some] @ key[:, some].T / 2
                scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf)
                heads.append(scores.softmax(-1) @ value[:, some])
            x = perceptron(x + torch.cat(heads, -1) @ weights[f"{name}.attention.out.weight"].T, name)
        heard = x[-1]
        for b in range(book):
            heard = heard + weights["speaker.said.weight"][b * VOCABULARY + int(tokens[place * BOOKS + b])]
        head = weights["head.weight"][book * VOCABULARY : (book + 1) * VOCABULARY]
        rows.append(norm(perceptron(heard, "speaker"), "norm.weight") @ head.T)
    return torch.stack(rows)


def test_forward_is_the_model_written_with_loops():
    prior, tokens = build(torch.float64), sequences(1)
    torch.testing.assert_close(prior(tokens)[0], by_hand(prior, tokens[0]), rtol=0, atol=1e-12)


def test_the_first_code_of_a_place_is_said_from_what_the_blocks_say_alone():
    torch.manual_seed(0)
    speaker, hidden = Speaker(VOCABULARY, 16, BOOKS), torch.randn(2, 4, 16)
    said = speaker(hidden, torch.randint(VOCABULARY, (2, 4, BOOKS)))
    assert said.shape == (2, 4, BOOKS, 16)
    torch.testing.assert_close(said[:, :, 0], speaker.speak(hidden))
    assert len(speaker.said.weight) == (BOOKS - 1) * VOCABULARY  # nothing is said after the last code of a place


@pytest.mark.parametrize("label", [None, torch.tensor([1, -1, 2])])
def test_step_is_forward(label):
    prior, tokens = build(torch.float64, classes=3), sequences()
    torch.testing.assert_close(stepped(prior, tokens, label), prior(tokens, label=label), rtol=0, atol=1e-12)


def test_a_sequence_that_ends_inside_a_place_has_the_rows_of_the_whole_one():
    prior, tokens = build(torch.float64), sequences()
    for length in range(1, LENGTH):
        torch.testing.assert_close(prior(tokens[:, :length]), prior(tokens)[:, :length], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("label", "books"), [(None, BOOKS), (torch.tensor([1, -1, 2]), BOOKS), (torch.tensor([1, -1, 2]), 2)]
)
def test_the_twin_is_the_same_integers_forward_and_in_steps_and_near_the_prior(label, books):
    prior, tokens = build(classes=3, codebooks=books), sequences()
    twin = Twin(prior)
    whole = twin(tokens, label=label)
    assert torch.equal(whole, stepped(twin, tokens, label))
    assert all(torch.equal(twin(tokens[:, :length], label=label), whole[:, :length]) for length in range(1, LENGTH))
    assert (whole / 1024 - prior(tokens, label=label)).abs().max() < 0.02


def test_the_twin_saturates_where_codes_that_were_said_pass_the_largest_activation():
    prior = build()
    largest = LARGEST / 2**14
    with torch.no_grad():
        prior.speaker.said.weight.fill_(largest / 5)  # type: ignore[union-attr]
        prior.get_parameter("blocks.1.down.weight").mul_(100)
    twin, tokens = Twin(prior), sequences()
    assert twin.count_clamps(tokens) > 0
    assert torch.equal(twin(tokens), stepped(twin, tokens))


def test_an_input_that_could_saturate_is_refused():
    """Three codes and a position are added: a table may reach a quarter of the largest activation, no more."""
    prior = build()
    with torch.no_grad():
        prior.embedding.weight[0, 0] = 63.9
    Twin(prior)
    with torch.no_grad():
        prior.embedding.weight[0, 0] = 64.1
    with pytest.raises(FixedPointError, match="embedding"):
        Twin(prior)


def test_the_blocks_compute_once_a_place():
    prior, tokens, calls = build(), sequences(1), []
    block: Any = prior.blocks[0]
    block.attention.register_forward_pre_hook(lambda *_: calls.append("forward"))
    original = block.step

    def step(*given):
        calls.append("step")
        return original(*given)

    block.step = step
    prior(tokens)
    stepped(prior, tokens)
    assert calls == ["forward"] + ["step"] * (LENGTH // BOOKS)


def test_sampling_draws_each_code_from_its_own_row():
    prior = build()
    tokens = sampling.generate(prior, 2, seed=3)
    shares = prior(tokens).softmax(-1).gather(-1, tokens[..., None])
    assert tokens.shape == (2, LENGTH)
    assert (shares > 0).all()
    assert torch.equal(tokens, sampling.generate(prior, 2, seed=3))


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"codebooks": 5}, "12 tokens is not made of places of 5"),
        ({"codebooks": 0}, "12 tokens is not made of places of 0"),
        ({"any_order": True}, "one order"),
        ({"codebooks": 2, "any_order": True}, "one order"),
        ({"positions": False}, "has positions"),
        ({"shift": False}, "has positions"),
    ],
)
def test_switches_that_do_not_go_together_are_refused(switches, message):
    with pytest.raises(ValueError, match=message):
        build(**switches)


def test_a_prior_without_it_is_configured_as_before():
    assert "codebooks" not in Prior(VOCABULARY, LENGTH, 16, 2, 4).config
    for books in (2, BOOKS):
        assert Prior.from_config(build(codebooks=books).config).codebooks == books

"""The causal prior: against a reference written out in loops, against its own cached step, and at its limits."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from arlib.transformer import Prior

VOCABULARY, LENGTH = 11, 12


def build(dtype=torch.float64, **config) -> Prior:
    """A small prior whose weights are large enough that attention is far from an average."""
    torch.manual_seed(0)
    prior = Prior(VOCABULARY, LENGTH, **{"width": 16, "depth": 2, "heads": 4, **config})
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return prior.to(dtype).eval()


def sequences(count=3, length=LENGTH) -> torch.Tensor:
    return torch.randint(VOCABULARY, (count, length), generator=torch.Generator().manual_seed(1))


def step_by_step(prior: Prior, tokens: torch.Tensor) -> torch.Tensor:
    cache = prior.new_cache(len(tokens))
    rows = [prior.step(None, cache)]
    for token in tokens[:, :-1].T:
        rows.append(prior.step(token, cache))
    return torch.stack(rows, dim=1)


def reference(prior: Prior, tokens: list[int]) -> np.ndarray:
    """The logits `(T, vocabulary)` of one sequence in loops over NumPy vectors, from the equations alone."""
    weights = {name: value.detach().double().numpy() for name, value in prior.state_dict().items()}
    heads, width = prior.config["heads"], prior.config["width"]
    per_head = width // heads

    def norm(x, name):
        return x / math.sqrt(sum(value**2 for value in x) / width + 1e-5) * weights[f"{name}.weight"]

    def gelu(x):
        return np.array([value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x])

    stream = [weights["embedding.weight"][token] for token in tokens]
    if prior.shift:
        stream = [weights["start"], *stream[:-1]]
    if prior.config["positions"]:
        stream = [x + weights["positions"][t] for t, x in enumerate(stream)]
    for block in range(prior.config["depth"]):
        name = f"blocks.{block}"
        triples = [
            weights[f"{name}.attention.query_key_value.weight"] @ norm(x, f"{name}.attention_norm") for x in stream
        ]
        after = []
        for t, x in enumerate(stream):
            attended = np.zeros(width)
            for head in range(heads):
                here = slice(head * per_head, (head + 1) * per_head)
                query = triples[t][:width][here]
                powers = [
                    math.exp(query @ triples[s][width : 2 * width][here] / math.sqrt(per_head)) for s in range(t + 1)
                ]
                for s, power in enumerate(powers):
                    attended[here] += power / sum(powers) * triples[s][2 * width :][here]
            after.append(x + weights[f"{name}.attention.out.weight"] @ attended)
        stream = [
            x + weights[f"{name}.down.weight"] @ gelu(weights[f"{name}.up.weight"] @ norm(x, f"{name}.mlp_norm"))
            for x in after
        ]
    return np.stack([weights["head.weight"] @ norm(x, "norm") for x in stream])


@pytest.mark.parametrize("config", [{}, {"positions": False}, {"shift": False}, {"depth": 1, "heads": 1}])
def test_forward_equals_the_reference(config):
    prior = build(**config)
    tokens = sequences(2)
    logits = prior(tokens)
    for row, sample in zip(logits, tokens, strict=True):
        np.testing.assert_allclose(row.detach().numpy(), reference(prior, sample.tolist()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_step_equals_forward(positions, dtype, tolerance):
    prior = build(dtype, positions=positions)
    tokens = sequences()
    with torch.no_grad():
        forward = prior(tokens)
    stepped = step_by_step(prior, tokens)
    assert stepped.dtype == forward.dtype == dtype
    largest = forward.abs().max()
    assert (stepped - forward).abs().max() < tolerance * largest
    # The tolerance means something: rows are far further apart than that.
    assert (forward[:, 1:] - forward[:, :-1]).abs().max() > 0.1 * largest


def test_step_without_the_shift_disagrees():
    prior = build(shift=False)
    assert (step_by_step(prior, sequences()) - prior(sequences())).abs().max() > 0.1


def test_shorter_sequences_are_beginnings():
    prior = build()
    tokens = sequences()
    torch.testing.assert_close(prior(tokens[:, :5]), prior(tokens)[:, :5])
    assert prior(tokens[:, :0]).shape == (3, 0, VOCABULARY)


def test_sequences_of_a_batch_are_on_their_own():
    prior = build()
    tokens = sequences()
    torch.testing.assert_close(prior(tokens)[1:2], prior(tokens[1:2]))


def test_the_first_row_knows_nothing():
    prior = build()
    first = prior(sequences())[:, 0]
    assert torch.equal(first[0], first[1])
    torch.testing.assert_close(prior.step(None, prior.new_cache(1))[0], first[0])


def test_without_positions_one_block_cannot_tell_an_order():
    """Row t of one block sees a bag of the tokens before the last, and the last token, which asks the question."""
    tokens = sequences(1)
    shuffled = tokens.clone()
    shuffled[:, :6] = tokens[:, :6].flip(1)
    assert not torch.equal(tokens, shuffled)
    blind, sighted = build(depth=1, positions=False), build(depth=1)
    torch.testing.assert_close(blind(tokens)[:, 7:], blind(shuffled)[:, 7:])
    assert (sighted(tokens)[:, 7:] - sighted(shuffled)[:, 7:]).abs().max() > 0.1


def test_without_positions_two_blocks_can():
    """The mask tells the order: a second block reads rows that each saw another beginning."""
    tokens = sequences(1)
    shuffled = tokens.clone()
    shuffled[:, :6] = tokens[:, :6].flip(1)
    blind = build(depth=2, positions=False)
    assert (blind(tokens)[:, 7:] - blind(shuffled)[:, 7:]).abs().max() > 0.01


def test_it_learns_one_batch_by_heart():
    torch.manual_seed(0)
    prior = Prior(VOCABULARY, LENGTH, width=32, depth=2, heads=2)
    tokens = sequences(4)
    tokens[:, 0] = torch.arange(4)  # nothing tells which of the four comes: their share of the loss has to stay
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = F.cross_entropy(prior(tokens).transpose(1, 2), tokens)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(VOCABULARY), abs=0.2)
    assert 0 < losses[-1] - math.log(4) / LENGTH < 0.02


def test_gradients_reach_every_weight():
    prior = build()
    F.cross_entropy(prior(sequences()).transpose(1, 2), sequences()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in prior.parameters())


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(LENGTH, dtype=torch.int64), r"\(B, T\) int64, not \(12,\) int64"),
        (torch.zeros(2, 3, 4, dtype=torch.int64), r"not \(2, 3, 4\) int64"),
        (torch.zeros(2, 3), "float32"),
        (torch.zeros(2, 3, dtype=torch.int32), "int32"),
        (torch.zeros(2, LENGTH + 1, dtype=torch.int64), "cannot read 13 tokens"),
        (torch.full((2, 3), VOCABULARY), r"lie in \[0, 11\)"),
        (torch.tensor([[0, -1]]), r"lie in \[0, 11\)"),
    ],
)
def test_bad_tokens(tokens, message):
    with pytest.raises(ValueError, match=message):
        build()(tokens)


def test_step_at_the_wrong_time():
    prior = build()
    token = torch.zeros(2, dtype=torch.int64)
    cache = prior.new_cache(2)
    with pytest.raises(ValueError, match="start token"):
        prior.step(token, cache)
    prior.step(None, cache)
    with pytest.raises(ValueError, match="start token"):
        prior.step(None, cache)
    for _ in range(LENGTH - 1):
        prior.step(token, cache)
    with pytest.raises(ValueError, match="all of them have been read"):
        prior.step(token, cache)


def test_heads_that_do_not_share_the_width():
    with pytest.raises(ValueError, match="3 heads cannot share a width of 16"):
        Prior(width=16, heads=3)


def test_config_builds_the_same_prior():
    prior = build(positions=False, shift=False)
    again = Prior.from_config(prior.config).double()
    again.load_state_dict(prior.state_dict())
    assert torch.equal(prior(sequences()), again(sequences()))

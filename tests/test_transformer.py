"""The causal prior: against a reference written out in loops, against its own cached step, and at its limits."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from arlib import checkpoints, orders
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


def step_by_step(prior: Prior, tokens: torch.Tensor, **given) -> torch.Tensor:
    cache = prior.new_cache(len(tokens), **given)
    rows = [prior.step(None, cache)]
    for token in tokens[:, :-1].T:
        rows.append(prior.step(token, cache))
    return torch.stack(rows, dim=1)


def scale_and_parent(sides: list[int]) -> list[tuple[int, int]]:
    """Of each token its scale, and the number of the token above it: numbers of the coarser map, enlarged by torch."""
    table, first = [(0, -1)], 0
    for scale, (coarser, side) in enumerate(itertools.pairwise(sides), 1):
        numbers = torch.arange(first, first + coarser**2).view(1, 1, coarser, coarser).double()
        table += [(scale, int(parent)) for parent in F.interpolate(numbers, (side, side), mode="nearest").flatten()]
        first += coarser**2
    return table


def reference(prior: Prior, tokens: list[int], order: list[int] | None = None, label: int = -1) -> np.ndarray:
    """The logits `(T, vocabulary)` of one sequence in loops over NumPy vectors, from the equations alone."""
    weights = {name: value.detach().double().numpy() for name, value in prior.state_dict().items()}
    heads, width = prior.config["heads"], prior.config["width"]
    per_head = width // heads

    def norm(x, name):
        return x / math.sqrt(sum(value**2 for value in x) / width + 1e-5) * weights[f"{name}.weight"]

    def gelu(x):
        return np.array([value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x])

    order = list(range(len(tokens))) if order is None else order
    stream = [weights["embedding.weight"][token] for token in tokens]
    if "any_order" in prior.config:
        stream = [x + weights["places"][place] for x, place in zip(stream, order, strict=True)]
    start = weights["start"] + (weights["classes"][label] if label >= 0 else 0)
    table = scale_and_parent(prior.config["scales"]) if "scales" in prior.config else None
    if table:
        stream = [start if table[t][1] < 0 else stream[table[t][1]] for t in range(len(tokens))]
    elif prior.shift:
        stream = [start, *stream[:-1]]
    if prior.config["positions"]:
        stream = [x + weights["positions"][place] for x, place in zip(stream, order, strict=True)]

    def seen_by(t):
        return [s for s in range(len(tokens)) if (table[s][0] <= table[t][0] if table else s <= t)]

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
                    math.exp(query @ triples[s][width : 2 * width][here] / math.sqrt(per_head)) for s in seen_by(t)
                ]
                for s, power in zip(seen_by(t), powers, strict=True):
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


def test_a_block_that_is_given_no_mask_is_causal():
    """Chapter 14 calls blocks without one."""
    prior, x = build(), torch.randn(2, LENGTH, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    block = prior.blocks[0]
    below = torch.full((LENGTH, LENGTH), -torch.inf, dtype=torch.float64).triu(1)
    torch.testing.assert_close(block(x), block(x, below))
    changed = x.clone()
    changed[:, 7] += 1
    moved = (block(changed) != block(x)).any(-1)
    assert not moved[:, :7].any()
    assert moved[:, 7:].all()


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


def test_new_weights_have_the_spread_of_gpt_2():
    """0.02, where a block writes to the stream 1/√(2 · blocks) of it (Radford et al. 2019); a norm begins with 1."""
    torch.manual_seed(0)
    prior = Prior(64, 64, width=64, depth=3, heads=4, any_order=True)
    written = {f"blocks.{number}.{name}.weight" for number in range(3) for name in ("attention.out", "down")}
    for name, weight in prior.named_parameters():
        if "norm" in name:
            assert (weight == 1).all()
        elif name != "start":
            assert weight.std().item() == pytest.approx(0.02 / 6**0.5 if name in written else 0.02, rel=0.06)
            assert abs(weight.mean().item()) < 0.001


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


# ---- Orders, labels, scales ----


def random_orders(count=3) -> torch.Tensor:
    return orders.random(count, LENGTH, torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "config", [{"any_order": True}, {"any_order": True, "depth": 0}, {"any_order": True, "classes": 3}]
)
def test_forward_in_any_order_equals_the_reference(config):
    prior, tokens, order = build(**config), sequences(), random_orders()
    labels = [2, -1, 0] if "classes" in config else [-1] * 3
    given = {"label": torch.tensor(labels)} if "classes" in config else {}
    logits = prior(tokens, order, **given).detach().numpy()
    for row, sample, places, label in zip(logits, tokens, order, labels, strict=True):
        expected = reference(prior, sample.tolist(), places.tolist(), label)
        np.testing.assert_allclose(row, expected, rtol=1e-10, atol=1e-10)


def test_forward_with_labels_equals_the_reference():
    prior, tokens = build(classes=3), sequences()
    logits = prior(tokens, label=torch.tensor([1, -1, 2])).detach().numpy()
    for row, sample, label in zip(logits, tokens, [1, -1, 2], strict=True):
        np.testing.assert_allclose(row, reference(prior, sample.tolist(), label=label), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sides", [(1, 2, 4), (1, 3, 4), (1, 2, 3, 5)])
def test_forward_over_scales_equals_the_reference(sides):
    torch.manual_seed(0)
    prior = Prior(VOCABULARY, sum(side**2 for side in sides), 16, 2, 4, classes=2, scales=sides).double()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    tokens = sequences(2, prior.length)
    logits = prior(tokens, label=torch.tensor([1, -1])).detach().numpy()
    for row, sample, label in zip(logits, tokens, [1, -1], strict=True):
        np.testing.assert_allclose(row, reference(prior, sample.tolist(), label=label), rtol=1e-10, atol=1e-10)


def test_a_scale_is_predicted_from_the_scales_before_whatever_it_holds_itself():
    """How a map is drawn: all tokens so far, and zeros for those that are asked."""
    torch.manual_seed(0)
    prior = Prior(VOCABULARY, 21, 16, 2, 4, scales=(1, 2, 4)).double()
    tokens = sequences(3, 21)
    whole, first = prior(tokens), 0
    for end in (1, 5, 21):
        prefix = tokens[:, :end].clone()
        prefix[:, first:] = 0
        torch.testing.assert_close(prior(prefix)[:, first:], whole[:, first:end], rtol=1e-10, atol=1e-12)
        first = end
    with pytest.raises(ValueError, match="it has no steps"):
        prior.new_cache(3)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("label", [None, torch.tensor([1, -1, 2])])
def test_step_equals_forward_in_any_order_and_with_a_label(shared, dtype, tolerance, label):
    prior, tokens = build(dtype, any_order=True, classes=3), sequences()
    order = random_orders()[0] if shared else random_orders()
    with torch.no_grad():
        forward = prior(tokens, order, label)
    stepped = step_by_step(prior, tokens, order=order, label=label)
    assert (stepped - forward).abs().max() < tolerance * forward.abs().max()
    # Another order or label is another distribution, so the equality says something.
    assert (step_by_step(prior, tokens, label=label) - forward).abs().max() > 0.1
    if label is not None:
        assert (step_by_step(prior, tokens, order=order) - forward).abs().max() > 0.1


def test_no_order_is_reading_order_and_no_label_is_minus_one():
    prior, tokens = build(any_order=True, classes=3), sequences()
    plain = prior(tokens)
    assert torch.equal(plain, prior(tokens, torch.arange(LENGTH)))
    assert torch.equal(plain, prior(tokens, torch.arange(LENGTH).expand(3, -1)))
    assert torch.equal(plain, prior(tokens, label=torch.full((3,), -1)))
    assert torch.equal(step_by_step(prior, tokens), step_by_step(prior, tokens, order=torch.arange(LENGTH)))


def test_the_relatives_are_the_ordinary_prior_where_they_need_not_be_more():
    """Same weights, no table of places, no class: the same bits. So old weights keep their logits."""
    plain, tokens = build(torch.float32), sequences()
    for config in ({"any_order": True}, {"classes": 3}):
        relative = Prior(VOCABULARY, LENGTH, 16, 2, 4, **config)
        missing, unexpected = relative.load_state_dict(plain.state_dict(), strict=False)
        assert (missing, unexpected) == ([{"any_order": "places", "classes": "classes"}[next(iter(config))]], [])
        if relative.places is not None:
            torch.nn.init.zeros_(relative.places)
        assert torch.equal(relative(tokens), plain(tokens))


def ask_directly(prior: Prior, tokens: torch.Tensor, order: torch.Tensor, read: int, place: int, label=None):
    """The distribution of `place` where it comes next after the first `read` tokens of the order: `(B, vocabulary)`."""
    rows = []
    for sample in range(len(tokens)):
        rest = [other for other in order[sample, read:].tolist() if other != place]
        moved = torch.tensor([*order[sample, :read].tolist(), place, *rest])
        rows.append(
            prior(tokens[sample : sample + 1], moved, None if label is None else label[sample : sample + 1])[0, read]
        )
    return torch.stack(rows)


@pytest.mark.parametrize("label", [None, torch.tensor([1, -1, 2])])
def test_ask_equals_the_forward_pass_in_which_that_place_comes_next(label):
    prior, tokens, order = build(any_order=True, classes=3), sequences(), random_orders()
    cache = prior.new_cache(3, order, label)
    read = 0
    for given, count in ((0, 5), (1, 1), (2, 4), (4, 5), (4, 1)):  # reads so many more, then asks for so many
        part = tokens[:, read : read + given] if read + given else None
        logits = prior.ask(part, cache, count)
        read += given
        assert logits.shape == (3, count, VOCABULARY)
        assert cache.read == read + 1
        for asked in range(count):
            expected = torch.cat(
                [
                    ask_directly(
                        prior,
                        tokens[sample : sample + 1],
                        order[sample : sample + 1],
                        read,
                        int(order[sample, read + asked]),
                        None if label is None else label[sample : sample + 1],
                    )
                    for sample in range(3)
                ]
            )
            torch.testing.assert_close(logits[:, asked], expected.detach(), rtol=1e-10, atol=1e-11)
    # One after the other each place would know more: the asked ones really are without each other.
    assert (prior.ask(None, prior.new_cache(3, order, label), 4) - prior(tokens, order, label)[:, :4]).abs().max() > 0.1


def test_asking_for_one_place_is_a_step_and_both_go_on_from_each_other():
    prior, tokens, order = build(any_order=True), sequences(), random_orders()
    forward = prior(tokens, order).detach()
    stepped, asked = prior.new_cache(3, order), prior.new_cache(3, order)
    torch.testing.assert_close(prior.ask(None, asked, 1)[:, 0], prior.step(None, stepped))
    for number in range(LENGTH - 1):
        row = prior.step(tokens[:, number], stepped)
        torch.testing.assert_close(prior.ask(tokens[:, number : number + 1], asked, 1)[:, 0], row)
    torch.testing.assert_close(asked.keys, stepped.keys)
    torch.testing.assert_close(asked.values, stepped.values)
    # Mixed: what was only asked for left nothing in the cache, and a step after it is the forward pass again.
    mixed = prior.new_cache(3, order)
    prior.ask(None, mixed, 6)
    torch.testing.assert_close(prior.step(tokens[:, 0], mixed), forward[:, 1])
    torch.testing.assert_close(prior.ask(tokens[:, 1:4], mixed, 3)[:, 0], forward[:, 4])
    torch.testing.assert_close(prior.step(tokens[:, 4], mixed), forward[:, 5])
    torch.testing.assert_close(prior.ask(tokens[:, 5:11], mixed, 1)[:, 0], forward[:, 11])


def test_ask_in_one_order_for_all():
    prior, tokens, order = build(any_order=True), sequences(), random_orders()[0]
    one, each = prior.new_cache(3, order), prior.new_cache(3, order.expand(3, -1))
    assert torch.equal(prior.ask(None, one, 3), prior.ask(None, each, 3))
    assert torch.equal(prior.ask(tokens[:, :2], one, 3), prior.ask(tokens[:, :2], each, 3))


def test_ask_and_step_compute_in_the_priors_own_numbers():
    prior, tokens = build(torch.bfloat16, any_order=True), sequences()
    asked, stepped = prior.new_cache(3), prior.new_cache(3)
    for token in (None, tokens[:, 0], tokens[:, 1]):
        row = prior.step(token, stepped)
        logits = prior.ask(None if token is None else token[:, None], asked, 2)
        assert logits.dtype == row.dtype == torch.bfloat16
        torch.testing.assert_close(logits[:, 0], row, rtol=0.05, atol=0.05)


def test_what_ask_refuses():
    prior, tokens = build(any_order=True), sequences()
    cache = prior.new_cache(3)
    with pytest.raises(ValueError, match="start token"):
        prior.ask(tokens[:, :1], cache, 1)
    for count in (0, -1):
        with pytest.raises(ValueError, match="one place at least"):
            prior.ask(None, cache, count)
    with pytest.raises(ValueError, match="all of them have been read"):
        prior.ask(None, cache, LENGTH + 1)
    assert prior.ask(None, cache, LENGTH).shape == (3, LENGTH, VOCABULARY)
    with pytest.raises(ValueError, match="start token"):
        prior.ask(None, cache, 1)
    for nothing in (tokens[:, :0], tokens[:, 0]):
        with pytest.raises(ValueError, match=r"tokens \(B, n\)"):
            prior.ask(nothing, cache, 1)
    with pytest.raises(ValueError, match="all of them have been read"):
        prior.ask(tokens[:, :2], cache, LENGTH - 1)
    for config in ({}, {"positions": False}, {"positions": False, "any_order": True}):
        other = build(**config)
        with pytest.raises(ValueError, match="Only a prior of any order"):
            other.ask(None, other.new_cache(3), 2)


def test_the_input_of_a_row_says_where_its_token_sits_and_which_place_is_asked():
    """Without blocks a row has nothing else: token t - 1, its place order[t - 1], and the place order[t]."""
    prior = build(any_order=True, depth=0)
    tokens, order = sequences(1), random_orders(1)
    with torch.no_grad():
        logits = prior(tokens, order)
    for first in range(LENGTH - 2):
        moved = order.clone()
        moved[0, [first, LENGTH - 1]] = order[0, [LENGTH - 1, first]]
        with torch.no_grad():
            changed = (prior(tokens, moved) != logits).any(-1)[0].nonzero().flatten().tolist()
        assert changed == [first, first + 1, LENGTH - 1]


ORDERS = [
    (torch.arange(LENGTH).int(), r"\(T,\) or \(B, T\) int64"),
    (torch.arange(LENGTH)[:-1], "An order of 12 tokens"),
    (torch.arange(LENGTH).view(1, 1, -1), r"not \(1, 1, 12\)"),
    (torch.arange(LENGTH) + 1, r"places in \[0, 12\)"),
    (torch.arange(LENGTH) - 1, r"places in \[0, 12\)"),
    (torch.arange(LENGTH).clamp(min=1), "names a place twice"),
    (torch.arange(LENGTH).expand(2, -1), "2 orders for 3 sequences"),
]


@pytest.mark.parametrize(("order", "message"), ORDERS)
def test_orders_that_are_refused(order, message):
    prior = build(any_order=True)
    with pytest.raises(ValueError, match=message):
        prior(sequences(), order)
    with pytest.raises(ValueError, match=message):
        prior.new_cache(3, order)


def test_an_order_of_a_beginning():
    prior, order = build(any_order=True), random_orders()
    torch.testing.assert_close(prior(sequences()[:, :5], order[:, :5]), prior(sequences(), order)[:, :5])
    torch.testing.assert_close(prior(sequences()[:, :5], order), prior(sequences(), order)[:, :5])
    torch.testing.assert_close(prior(sequences()[:, :1], order[0, :1]), prior(sequences(), order[0])[:, :1])
    with pytest.raises(ValueError, match="An order of 12 tokens"):
        prior.new_cache(3, order[:, :5])  # a cache goes on to the end


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (torch.tensor([0, 1, 3]), r"\[0, 3\), or are -1"),
        (torch.tensor([0, 1, -2]), r"\[0, 3\), or are -1"),
        (torch.tensor([0, 1]), r"\(3,\) int64, not \(2,\)"),
        (torch.tensor([0.0, 1.0, 2.0]), r"\(3,\) int64"),
        (torch.tensor(1), r"not \(\)"),
    ],
)
def test_labels_that_are_refused(label, message):
    prior = build(classes=3)
    with pytest.raises(ValueError, match=message):
        prior(sequences(), label=label)
    with pytest.raises(ValueError, match=message):
        prior.new_cache(3, label=label)


def test_an_ordinary_prior_takes_neither_order_nor_label():
    prior = build()
    for call in (lambda **given: prior(sequences(), **given), lambda **given: prior.new_cache(3, **given)):
        with pytest.raises(ValueError, match="learned one order"):
            call(order=torch.arange(LENGTH))
        with pytest.raises(ValueError, match="learned no classes"):
            call(label=torch.zeros(3, dtype=torch.int64))


def test_relatives_that_cannot_be():
    for config in ({"any_order": True}, {"positions": False}, {"shift": False}):
        with pytest.raises(ValueError, match="positions and one order"):
            Prior(VOCABULARY, 5, 16, 1, 2, scales=(1, 2), **config)
    with pytest.raises(ValueError, match="hold 5 tokens, not 6"):
        Prior(VOCABULARY, 6, 16, 1, 2, scales=(1, 2))
    with pytest.raises(ValueError, match="begin with 1 and grow"):
        Prior(VOCABULARY, 8, 16, 1, 2, scales=(2, 2))


PLAIN = {"vocabulary", "length", "width", "depth", "heads", "positions", "shift"}


@pytest.mark.parametrize(
    "config",
    [{"classes": 3}, {"any_order": True}, {"classes": 2, "any_order": True}, {"classes": 4, "scales": (1, 2, 3)}],
)
def test_config_builds_the_same_relative(config):
    length = 14 if "scales" in config else LENGTH
    torch.manual_seed(0)
    prior = Prior(VOCABULARY, length, 16, 2, 4, **config)
    assert set(prior.config) == PLAIN | set(config)
    assert set(prior.state_dict()) == {name for name, _ in prior.named_parameters()}  # a file has its weights alone
    again = Prior.from_config(json.loads(json.dumps(prior.config)))
    assert again.config == prior.config
    again.load_state_dict(prior.state_dict())
    label = torch.tensor([1, 0, -1]) if "classes" in config else None
    order = random_orders() if "any_order" in config else None
    assert torch.equal(prior(sequences(3, length), order, label), again(sequences(3, length), order, label))


def test_gradients_reach_every_weight_of_the_relatives():
    torch.manual_seed(0)
    for prior in (
        Prior(VOCABULARY, LENGTH, 16, 2, 4, classes=2, any_order=True),
        Prior(VOCABULARY, 14, 16, 2, 4, classes=2, scales=(1, 2, 3)),
    ):
        tokens = sequences(3, prior.length)
        order = random_orders() if prior.places is not None else None
        loss = F.cross_entropy(prior(tokens, order, torch.tensor([0, 1, -1])).transpose(1, 2), tokens)
        loss.backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in prior.parameters())
        assert prior.classes is not None
        assert prior.classes.grad is not None
        before = prior.classes.grad.clone()
        prior.classes.grad = None
        F.cross_entropy(prior(tokens, order).transpose(1, 2), tokens).backward()
        assert prior.classes.grad is None  # no label, no gradient of a class
        assert before.any(dim=1).all()


def test_the_books_prior_is_what_it_was():
    """Its configuration and its weights have the old names, so that its digest is the old one too."""
    prior = checkpoints.load("prior", "book", Prior.from_config)
    assert set(prior.config) == PLAIN
    names = {name.split(".")[0] for name in prior.state_dict()}
    assert names == {"embedding", "start", "positions", "blocks", "norm", "head"}
    assert prior.config["shift"]
    assert prior.config["positions"]
    assert prior.places is prior.classes is prior.scales is None

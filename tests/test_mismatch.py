"""The mismatch laboratory: its shares against real decoders, and what it says of floats and of the twin."""

import os
import subprocess
from typing import Any

import pytest
import torch

from arlib import mismatch, rangecoder
from arlib.fixedpoint import Twin
from arlib.mismatch import Agreement
from arlib.transformer import Prior

VOCABULARY, LENGTH = 40, 64


@pytest.fixture(scope="module")
def prior() -> Prior:
    torch.manual_seed(0)
    prior = Prior(VOCABULARY, LENGTH, width=48, depth=2, heads=3)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return prior.eval()


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.randint(VOCABULARY, (6, LENGTH), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_shares_are_those_of_a_decoder_that_goes_on_from_what_it_decoded(prior, tokens):
    for model in (prior, Twin(prior)):
        sent = model(tokens)
        for total in (1 << 24, 1 << 16, 64):
            right = []
            for sequence, logits in zip(tokens, sent, strict=True):
                payload = rangecoder.encode(sequence, mismatch.tables(logits, total))
                decoder, cache = rangecoder.Decoder(payload), model.new_cache(1)
                last, found = None, []
                for _ in range(LENGTH):
                    table = mismatch.tables(model.step(last, cache)[0], total)
                    found.append(decoder.decode(rangecoder.cumulate(table)))
                    last = torch.tensor(found[-1:])
                right.append(found == sequence.tolist())
            alone = torch.cat([mismatch.cached(model, sequence) for sequence in tokens.split(1)])
            agreement = mismatch.compare(tokens, sent, alone, total)
            assert agreement.decoded == sum(right) / len(right)


def test_shares_by_hand():
    tokens = torch.tensor([[0, 1], [1, 1]])
    sender = torch.zeros(2, 2, 4)
    receiver = sender.clone()
    receiver[0, 1, 3] = 1e-12  # another row, but the same table
    receiver[1, 0, 0] = 30.0  # another table, which leads astray at once
    assert mismatch.compare(tokens, sender, sender) == Agreement(1, 1, 1)
    assert mismatch.compare(tokens, sender, receiver) == Agreement(0.5, 0.75, 0.5)


def test_tables_are_probabilities(prior, tokens):
    with torch.no_grad():
        logits = prior(tokens)
    for total in (1 << 24, 1 << 16):
        for made in (mismatch.tables(logits, total), mismatch.tables(Twin(prior)(tokens), total)):
            assert (made.sum(-1) == total).all()
            assert (made / total - logits.softmax(-1)).abs().max() < 0.01


def test_the_laboratory_finds_the_twin_equal_in_every_way(prior, tokens):
    rows = dict(mismatch.laboratory(prior, tokens))
    twins = [row for row in rows if row.startswith("twin")]
    assert len(twins) == 4
    for row in [*twins, "float: nothing"]:
        assert rows[row] == Agreement(1, 1, 1)
    assert rows["float: cached steps"].logits < 0.5
    assert rows["float to twin"].decoded == 0
    assert rows["float: cached steps, 16-bit tables"].tables >= rows["float: cached steps"].tables


def test_each_row_of_the_laboratory_compares_what_it_names(prior, tokens, monkeypatch):
    """With stand-ins for all that computes: each adds a number of its own, and a comparison is what was compared."""
    batches: list[int] = []

    def with_threads(threads, model, tokens):
        return model(tokens) + 100 * threads

    def elsewhere(prior, tokens, **environment):
        assert environment == {"ATEN_CPU_CAPABILITY": "default"}
        return {"prior": sender + 1000, "twin": exact + 1000}

    def compare(tokens, sender, receiver, total=1 << 24):
        return sender, receiver, total

    with torch.no_grad():
        sender, exact = prior(tokens), Twin(prior)(tokens)
    monkeypatch.setattr(mismatch, "cached", lambda model, tokens: model(tokens) + 10)
    for stand_in in (with_threads, elsewhere, compare):
        monkeypatch.setattr(mismatch, stand_in.__name__, stand_in)
    handle = prior.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
    rows = dict(mismatch.laboratory(prior, tokens))
    handle.remove()
    assert batches.count(1) == len(tokens)
    coarse = (sender.double() * 16).round().float() / 16  # and 10 is a number of sixteenths
    expected = {
        "float: nothing": (sender, sender, 1 << 24),
        "float: cached steps": (sender, sender + 10, 1 << 24),
        "float: cached steps, 16-bit tables": (sender, sender + 10, 1 << 16),
        "float: cached steps, logits rounded to 1/16": (coarse, coarse + 10, 1 << 24),
        "float: cached steps, both": (coarse, coarse + 10, 1 << 16),
        "float: threads": (sender + 100, sender + 200, 1 << 24),
        "float: batch of 1": (sender, sender, 1 << 24),
        "float: capability default": (sender, sender + 1000, 1 << 24),
        "float to twin": (sender, exact, 1 << 24),
        "twin: cached steps": (exact, exact + 10, 1 << 24),
        "twin: threads": (exact + 100, exact + 200, 1 << 24),
        "twin: batch of 1": (exact, exact, 1 << 24),
        "twin: capability default": (exact, exact + 1000, 1 << 24),
    }
    assert list(rows) == list(expected)
    for name, (left, right, total) in expected.items():
        seen: Any = rows[name]
        torch.testing.assert_close(seen[0], left, rtol=0, atol=1e-4)
        torch.testing.assert_close(seen[1], right, rtol=0, atol=1e-4)
        assert seen[2] == total


def test_steps_keep_to_an_order_and_a_label():
    torch.manual_seed(0)
    prior, tokens = Prior(8, 6, 16, 1, 2, classes=3, any_order=True).eval(), torch.randint(8, (2, 6))
    order, label = torch.stack([torch.randperm(6), torch.randperm(6)]), torch.tensor([2, -1])
    with torch.no_grad():
        torch.testing.assert_close(mismatch.cached(prior, tokens, order, label), prior(tokens, order, label))
        assert not torch.allclose(mismatch.cached(prior, tokens, order), prior(tokens, order, label))


@pytest.mark.parametrize(
    ("best", "known"),
    [("DEFAULT", 1), ("AVX2", 2), ("AVX512", 3), ("NO AVX", 1), ("SVE256", 1)],
)
def test_a_processor_has_what_those_before_it_had(monkeypatch, best, known):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: best)
    assert mismatch.capabilities() == ["default", "avx2", "avx512"][:known]


def test_a_process_that_fails_elsewhere_is_an_error_and_prints_nothing(prior, tokens, capfd):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        mismatch.elsewhere(prior, tokens, PYTHONHOME="/nowhere")
    assert b"encodings" in caught.value.stderr
    assert capfd.readouterr() == ("", "")


def test_another_process_computes_the_same_under_the_same_circumstances(prior, tokens, monkeypatch):
    given: dict[str, str] = {}
    real: Any = subprocess.run

    def run(*command, env, **options):
        given.update(env)
        return real(*command, env=env, **options)

    monkeypatch.setattr(subprocess, "run", run)
    best = mismatch.capabilities()[-1]
    there = mismatch.elsewhere(prior, tokens, ATEN_CPU_CAPABILITY=os.environ.get("ATEN_CPU_CAPABILITY", best))
    assert torch.equal(there["twin"], Twin(prior)(tokens))
    with torch.no_grad():
        assert torch.equal(there["prior"], prior(tokens))
    assert given["OMP_NUM_THREADS"] == str(torch.get_num_threads())
    assert given["ATEN_CPU_CAPABILITY"] in mismatch.CAPABILITIES


def test_threads_are_put_back(prior, tokens):
    before = torch.get_num_threads()
    mismatch.with_threads(before + 1, prior, tokens)
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="reads sequences"):
        mismatch.with_threads(before + 1, prior, tokens[0])
    assert torch.get_num_threads() == before

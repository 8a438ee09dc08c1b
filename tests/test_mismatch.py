"""The mismatch laboratory: its shares against real decoders, and what it says of floats and of the twin."""

import os

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


def test_another_process_computes_the_same_under_the_same_circumstances(prior, tokens):
    best = mismatch.capabilities()[-1]
    there = mismatch.elsewhere(prior, tokens, ATEN_CPU_CAPABILITY=os.environ.get("ATEN_CPU_CAPABILITY", best))
    assert torch.equal(there["twin"], Twin(prior)(tokens))
    with torch.no_grad():
        assert torch.equal(there["prior"], prior(tokens))


def test_threads_are_put_back(prior, tokens):
    before = torch.get_num_threads()
    mismatch.with_threads(before + 1, prior, tokens)
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="reads sequences"):
        mismatch.with_threads(before + 1, prior, tokens[0])
    assert torch.get_num_threads() == before

"""Compiled steps: the twin's integers on every path, the prior's floats but for the last bits, life without numba."""

import math
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import arlib
from arlib import compiled, data, sampling, tokenset
from arlib.compiled import CompiledPrior, CompiledTwin
from arlib.fixedpoint import ROOT_BITS, UNIT, FixedPointError, Twin
from arlib.transformer import Block, Prior

GOLDEN = Path(__file__).parent / "golden"


def build(scale: float, seed: int, **config) -> Prior:
    torch.manual_seed(seed)
    prior = Prior(**{"vocabulary": 7, "length": 12, "width": 16, "depth": 2, "heads": 4, **config})
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    return prior.eval()


def steps(prior, tokens: torch.Tensor, order=None, label=None) -> torch.Tensor:
    cache = prior.new_cache(len(tokens), order, label)
    return torch.stack([prior.step(token, cache) for token in [None, *tokens[:, :-1].T]], dim=1)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = numba.get_num_threads()
    numba.set_num_threads(min(request.param, before))
    yield request.param
    numba.set_num_threads(before)


@settings(max_examples=15)
@given(st.data())
def test_the_steps_of_the_compiled_twin_are_one_pass_of_the_twin(data):
    kind = data.draw(st.sampled_from([{}, {"any_order": True}, {"codebooks": 3}, {"positions": False}]))
    config = {"classes": data.draw(st.integers(0, 3)), "depth": data.draw(st.integers(1, 3)), **kind}
    scale, count = data.draw(st.sampled_from([0.05, 0.4, 2.0])), data.draw(st.integers(1, 9))
    prior = build(scale, data.draw(st.integers(0, 99)), **config)
    tokens = torch.randint(7, (count, 12))
    order = torch.stack([torch.randperm(12) for _ in range(count)]) if "any_order" in kind else None
    label = torch.randint(-1, config["classes"], (count,)) if config["classes"] else None
    assert torch.equal(steps(CompiledTwin(prior), tokens, order, label), Twin(prior)(tokens, order, label))


def test_any_number_of_threads_gives_the_same_integers(threads):
    prior, tokens = build(0.4, 0), torch.randint(7, (11, 12))
    assert torch.equal(steps(CompiledTwin(prior), tokens), Twin(prior)(tokens))


def test_an_activation_at_the_clamp_stays_there():
    prior, tokens = build(2.5, 0), torch.randint(7, (5, 12))
    twin = Twin(prior)
    assert twin.count_clamps(tokens) > 0
    assert torch.equal(steps(CompiledTwin(prior), tokens), twin(tokens))


def test_the_largest_weights_of_a_twin_are_exact():
    prior, tokens = build(0.4, 0), torch.randint(7, (5, 12))
    block = cast(Block, prior.blocks[0])
    with torch.no_grad():
        block.mlp_norm.weight.fill_(1.001)  # so that a weight is no float32 number times a power of two
        block.up.weight[0, 0] = 127.8
    twin = Twin(prior)
    assert twin.weights["blocks.0.up.weight"].max() > 2**22
    assert torch.equal(steps(CompiledTwin(prior), tokens), twin(tokens))
    with torch.no_grad():
        block.up.weight[0, 0] = 128.2
    with pytest.raises(FixedPointError, match=r"up\.weight"):
        CompiledTwin(prior)


def test_the_compiled_twin_decodes_the_golden_files():
    model = arlib.load_codec("book")
    model.twin = CompiledTwin(model.prior)
    files = [path.read_bytes() for path in sorted(GOLDEN.glob("*.ptb"))]
    grids = tokenset.read(GOLDEN / "golden.tokens").grids
    assert torch.equal(torch.stack(model.decompress_tokens_batch(files)), grids)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [0, -1, 1, -300, 300])
def test_a_root_is_exact_whatever_the_processor(monkeypatch, error):
    """As Python code, in which the square root can be made a bad one. Some of these squares are those of integers."""
    normalize = getattr(compiled.normalize_integers, "py_func", compiled.normalize_integers)
    monkeypatch.setattr(compiled, "math", SimpleNamespace(sqrt=lambda square: max(0.0, square**0.5 + error)))
    epsilon = 16
    x = np.array(
        [[0, 0], [3, 0], [3, 4], [20, 22], [21, 21], [-4000, 7], [1 << 21, -(1 << 21)], [3 << 19, 0]], np.float64
    )
    out = np.empty_like(x)
    unit = Fraction(2) ** (UNIT - ROOT_BITS)
    # The last row's root is 3 << 19, in the second number 5461.95 times: times 3 << 19 that is 0.50006 units, and 5461
    # times it are 0.49997 units, which are rounded the other way.
    for root_width in (123_456_789_012_345, 5462 * (3 << 19) - (3 << 19) // 20):
        normalize(x, root_width, epsilon, out)
        for row, found in zip(x, out, strict=True):
            root = math.isqrt(int((row**2).sum()) + epsilon)
            assert found.tolist() == [round(int(value) * (root_width // root) * unit) for value in row]


@pytest.mark.parametrize(
    ("count", "cores", "parts"),
    [
        (3, 4, [(0, 3)]),
        (7, 4, [(0, 7)]),
        (8, 4, [(0, 4), (4, 8)]),
        (18, 4, [(0, 4), (4, 9), (9, 13), (13, 18)]),
        (40, 3, [(0, 13), (13, 26), (26, 40)]),
        (40, 1, [(0, 40)]),
    ],
)
def test_a_batch_is_shared_by_cores_that_get_four_sequences_at_least(monkeypatch, count, cores, parts):
    monkeypatch.setattr(numba, "get_num_threads", lambda: cores)
    done, threads = [], set()

    def work(first: int, end: int) -> None:
        done.append((first, end))
        threads.add(threading.current_thread())

    compiled.in_parts(count, work)
    assert sorted(done) == parts
    assert (threading.current_thread() in threads) == (len(parts) == 1)


@pytest.mark.parametrize(
    "config", [{}, {"any_order": True, "classes": 2}, {"codebooks": 3}, {"positions": False, "depth": 3}], ids=str
)
def test_the_compiled_prior_is_the_prior_but_for_the_last_bits(config, threads):
    prior, tokens = build(0.3, 1, **config), torch.randint(7, (9, 12))
    order = torch.randperm(12) if "any_order" in config else None
    label = torch.arange(9) % 3 - 1 if "classes" in config else None
    with torch.no_grad():
        expected = prior(tokens, order, label)
    torch.testing.assert_close(steps(CompiledPrior.of(prior), tokens, order, label), expected, atol=1e-4, rtol=1e-4)


def test_scores_of_hundreds_do_not_overflow():
    prior, tokens = build(0.3, 1), torch.randint(7, (9, 12))
    with torch.no_grad():
        for block in prior.blocks:
            cast(Block, block).attention_norm.weight.mul_(20)
        expected = prior(tokens)
    assert expected.isfinite().all()
    torch.testing.assert_close(steps(CompiledPrior.of(prior), tokens), expected, atol=1e-3, rtol=1e-3)


def test_the_compiled_prior_keeps_its_own_weights_and_samples_as_the_prior_does():
    prior = build(0.3, 1)
    made = CompiledPrior.of(prior)
    expected = sampling.generate(prior, 6, seed=3)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.zero_()
    assert torch.equal(sampling.generate(made, 6, seed=3), expected)


def test_the_command_line_writes_the_same_pictures_compiled(run, tmp_path):
    for flags, out in (([], tmp_path / "plain.png"), (["--compiled"], tmp_path / "compiled.png")):
        assert run("decompress", GOLDEN / "00.ptb", out, *flags)[0] == 0
    plain, machine = (data.read_image(tmp_path / name) for name in ("plain.png", "compiled.png"))
    assert torch.equal(plain, machine)
    assert run("generate", "--out", tmp_path / "new", "--compiled", "--count", 2, "--seed", 5)[0] == 0
    prior, tokenizer, grid = arlib.load_pipeline("book")
    tokens = sampling.generate(CompiledPrior.of(prior), 2, seed=5)
    for number, picture in enumerate(tokenizer.decode(tokens.view(2, *grid))):
        assert torch.equal(data.read_image(tmp_path / "new" / f"{number:04}.png"), picture)


# `None` in sys.modules is how Python says that a module can't be imported.
WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import arlib
from arlib import cli
print(arlib.decompress(open(sys.argv[1], "rb").read()).shape)
try:
    arlib.compiled
except ImportError as error:
    print(error)
sys.argv = ["arlib", "decompress", "--compiled", sys.argv[1], "never.png"]
cli.main()
"""


def test_without_numba_all_else_works(tmp_path):
    arguments = [sys.executable, "-c", WITHOUT_NUMBA, str(GOLDEN / "00.ptb")]
    ended = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 2
    shape, refusal = ended.stdout.splitlines()
    assert shape == "torch.Size([100, 150, 3])"
    assert refusal.endswith("pip install numba")
    assert ended.stderr == "arlib: --compiled needs numba, which is not installed: pip install numba\n"
    assert list(tmp_path.iterdir()) == []

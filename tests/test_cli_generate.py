"""What `generate` draws and says, next to what the library draws with the same settings."""

import types

import pytest
import torch

import arlib
from arlib import data, metrics, orders, sampling
from arlib.cli import generate as command


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_settings_reach_the_sampler(run):
    options = ["--count", 3, "--seed", 5, "--temperature", 0.8, "--top-k", 40, "--top-p", 0.6, "--guidance", 2]
    code, out, _ = run("generate", "--out", "deep/er", "--prior", "digits-4x4", "--label", 7, *options)
    prior, tokenizer, grid = arlib.load_pipeline("digits-4x4")
    tokens = sampling.generate(prior, 3, 5, 0.8, 40, 0.6, label=7, guidance=2.0)
    assert code == 0
    assert torch.equal(data.load_folder("deep/er", 28, 28, 1), tokenizer.decode(orders.unraster(tokens, *grid)))
    bits = metrics.bits(prior, tokens, label=torch.full((3,), 7)).sum(1).mean()
    assert f"deep/er: 3 new pictures, {bits:,.0f} bits each on average." in " ".join(out.split())


@pytest.mark.parametrize(("named", "seed"), [([], 0), (["--order", "random"], 3)])
def test_a_prior_of_any_order_draws_in_its_own_or_in_the_one_that_is_named(run, named, seed):
    run("generate", "--out", "new", "--prior", "cifar-any", "--count", 2, "--seed", seed, "--at-once", 4, *named)
    prior, tokenizer, grid = arlib.load_pipeline("cifar-any")
    order = orders.random(2, 64, torch.Generator().manual_seed(seed)) if named else orders.shuffled(64, 7)
    tokens = sampling.generate(prior, 2, seed, order=order, at_once=4)
    assert torch.equal(data.load_folder("new", 32, 32, 3), tokenizer.decode(orders.unraster(tokens, *grid)))


def test_its_bits_are_counted_in_the_order_in_which_it_drew(run):
    _, out, _ = run("generate", "--out", "new", "--prior", "cifar-any", "--count", 2)
    prior, order = arlib.load_prior("cifar-any"), orders.shuffled(64, 7)
    tokens = sampling.generate(prior, 2, order=order)
    bits = metrics.bits(prior, orders.arrange(tokens, order), order=order).sum(1).mean()
    assert f"new: 2 new pictures, {bits:,.0f} bits each on average." in " ".join(out.split())


def test_what_is_not_kept_is_drawn_by_chance(run):
    data.write_image("digit.png", data.load("digits", "valid")[0])
    common = ("--prior", "digits-4x4", "--from", "digit.png", "--keep", "top", "--count", 4)
    run("generate", "--out", "new", *common)
    prior, tokenizer, grid = arlib.load_pipeline("digits-4x4")
    known = tokenizer.encode(data.load("digits", "valid")[:1]).flatten()
    known[8:] = -1
    tokens = sampling.generate(prior, 4, known=known)
    assert torch.equal(data.load_folder("new", 28, 28, 1), tokenizer.decode(orders.unraster(tokens, *grid)))
    assert len(tokens[:, 8:].unique(dim=0)) > 1


def test_the_most_pictures_are_not_too_many(run):
    assert "at most 100,000, not 100001" in run("generate", "--out", "new", "--count", 100_001)[2]
    assert "There is no prior 'none'" in run("generate", "--out", "new", "--count", 100_000, "--prior", "none")[2]


def test_its_pace_is_that_of_drawing_and_writing(run, monkeypatch):
    times = iter([1000.0, 1004.0])
    monkeypatch.setattr(command, "time", types.SimpleNamespace(perf_counter=lambda: next(times)))
    _, out, _ = run("generate", "--out", "new", "--prior", "digits-4x4", "--count", 2)
    assert "0.5 pictures a second." in " ".join(out.split())

"""The tables of `evaluate`: each figure again, by another way."""

import io
import re
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

import arlib
from arlib import data
from arlib.cli import report, sources


@pytest.fixture
def few_frames(monkeypatch):
    """Five frames of valid for every split, as the real ones take minutes."""
    paths = data.files("supertuxkart", "valid")[::60]
    monkeypatch.setattr(data, "files", lambda name, split: paths)
    return torch.stack([data.read_image(path) for path in paths])


def rendered(table) -> str:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def test_the_figures_of_a_split(few_frames):
    tokenizer, prior = arlib.load_tokenizer("book"), arlib.load_prior("book")
    parts = {split: sources.of_set("supertuxkart", split) for split in data.SPLITS}
    text = rendered(report.pipeline_table(parts, tokenizer, prior, "a title"))
    grids = tokenizer.encode(few_frames)
    again = tokenizer.decode(grids)
    errors = ((few_frames.double() - again.double()) / 255).square().flatten(1).mean(1)
    with torch.no_grad():
        chances = prior(grids.flatten(1)).double().softmax(-1).gather(2, grids.flatten(1)[..., None])
    bits = -chances.log2().mean().item()
    row = next(line for line in text.splitlines() if "valid" in line)
    figures = [
        "5",
        f"{errors.mean().item():.5f}",
        f"{(-10 * errors.log10()).mean().item():.2f} dB",
        f"{len(set(grids.flatten().tolist())) / 1024:.1%}",
        f"{bits:.3f}",
        f"{600 * bits:,.1f}",
    ]
    assert [cell.strip() for cell in row.split("│")[2:-1]] == figures
    assert re.search(r"[1-9][\d.,]* pictures a second\.", text)
    assert all(split in text for split in data.SPLITS)


@pytest.mark.parametrize(("length", "vocabulary", "at_once"), [(600, 1024, 8), (16, 1024, 64), (4096, 2**18, 1)])
def test_large_grids_are_measured_a_few_at_a_time(monkeypatch, length, vocabulary, at_once):
    sizes = []

    def bits(prior, tokens, batch_size, *rest):
        sizes.append(batch_size)
        return torch.zeros(tokens.shape)

    monkeypatch.setattr(report.metrics, "bits", bits)
    prior = SimpleNamespace(length=length, vocabulary=vocabulary, places=None, classes=None)
    report.bits_of(prior, torch.zeros(100, length // 4, 4, dtype=torch.int64))  # type: ignore[arg-type]
    assert sizes == [at_once]


def test_the_shipped_autoencoders(few_frames):
    text = rendered(report.autoencoder_table())
    for name in report.AUTOENCODERS:
        row = next(line for line in text.splitlines() if f" {name} " in line)
        again = arlib.load_autoencoder(name).reconstruct(few_frames)
        error = ((few_frames.double() - again.double()) / 255).square().mean().item()
        assert f"{error:.5f}" in row
        assert error < 0.010 or "-5" not in name


def test_the_figures_that_the_book_promises_hold_on_the_whole_of_valid():
    frames = data.load("supertuxkart", "valid")
    tokenizer = arlib.load_tokenizer("book")
    grids = tokenizer.encode(frames)
    assert arlib.metrics.mse(frames, tokenizer.decode(grids)).mean() <= 0.0050
    train = arlib.tokenset.read(data.root() / "tokens" / "train.tokens").grids
    assert arlib.metrics.codebook_usage(train, 1024) >= 0.95
    # Every fourth frame, to save time; `evaluate` has them all.
    assert arlib.metrics.bits(arlib.load_prior("book"), grids[::4].flatten(1)).sum(1).mean() <= 3000
    assert arlib.metrics.mse(frames, arlib.load_autoencoder("conv-5").reconstruct(frames)).mean() <= 0.010

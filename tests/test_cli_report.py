"""The tables of `evaluate`: each figure again, by another way."""

import io
import itertools
import math
import re
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

import arlib
from arlib import data
from arlib.cli import report, sources, terminal


@pytest.fixture
def few_frames(monkeypatch):
    """Five frames of every split, as all take minutes, in batches of two: those of valid."""
    files = data.files
    monkeypatch.setattr(data, "files", lambda name, split: files(name, split)[:300:60])
    monkeypatch.setattr(sources, "BATCH", 2)
    return torch.stack([data.read_image(path) for path in data.files("supertuxkart", "valid")])


def rendered(table) -> str:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]


@pytest.fixture
def seconds(monkeypatch):
    """A clock that is a second later whenever someone looks."""
    clock = itertools.count(1000)
    monkeypatch.setattr(terminal, "time", SimpleNamespace(perf_counter=lambda: next(clock)))


def test_the_figures_of_a_split(few_frames, seconds):
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
    assert cells(row) == ["valid", *figures]
    assert cells(next(line for line in text.splitlines() if "MSE" in line)) == [
        "split", "pictures", "MSE", "PSNR", "codes used", "bits per token", "bits per picture",
    ]  # fmt: skip
    first, *_, last = [line.strip() for line in text.splitlines() if line.strip()]
    assert first == "a title"
    assert last == "1.7 pictures a second."  # three splits of five frames, three batches of each, a second a batch
    assert all(split in text for split in data.SPLITS)
    text = rendered(report.pipeline_table(parts, tokenizer, None, "no prior"))
    assert text.splitlines()[-1].strip() == "1.7 pictures a second."


def test_a_table_says_where_labels_were_told(seconds):
    tokenizer, prior = arlib.load_tokenizer("digits-4x4"), arlib.load_prior("digits-4x4")
    text = rendered(report.pipeline_table({"valid": sources.of_set("digits", "valid")}, tokenizer, prior, "a title"))
    grids = tokenizer.encode(data.load("digits", "valid"))
    bits = report.metrics.bits(prior, grids.flatten(1), label=data.labels("digits", "valid"))
    assert cells(next(line for line in text.splitlines() if "valid" in line))[-1] == f"{bits.sum(1).mean():,.1f}"
    assert text.splitlines()[-1].strip().startswith("Bits are measured with their labels. ")


def test_how_bits_are_measured():
    book, labeled, any_order = (arlib.load_prior(name) for name in ("book", "digits-4x4", "cifar-any"))
    assert report.conditions(book, True) == report.conditions(labeled, False) == ""
    assert report.conditions(labeled, True) == "with their labels"
    assert report.conditions(any_order, True) == "with their labels, in random orders"
    assert report.conditions(any_order, False) == "in random orders"


def test_a_prior_of_any_order_reads_in_the_same_random_orders_each_time():
    prior = arlib.load_prior("cifar-any")
    grids = torch.randint(4096, (5, 8, 8), generator=torch.Generator().manual_seed(0))
    order = arlib.orders.random(5, 64, torch.Generator().manual_seed(0))
    expected = report.metrics.bits(prior, arlib.orders.arrange(grids.flatten(1), order), order=order)
    assert torch.equal(report.bits_of(prior, grids), expected)


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
    heading = next(line for line in text.splitlines() if "MSE" in line)
    assert text.splitlines()[0].strip() == "Patch auto-encoders on valid"
    assert cells(heading) == [
        "auto-encoder", "patch", "numbers a patch", "MSE", "PSNR",
    ]  # fmt: skip
    for name in report.AUTOENCODERS:
        row = next(line for line in text.splitlines() if f" {name} " in line)
        again = arlib.load_autoencoder(name).reconstruct(few_frames)
        errors = ((few_frames.double() - again.double()) / 255).square().flatten(1).mean(1)
        side, error = name.partition("-")[2], errors.mean().item()
        assert cells(row) == [
            name, f"{side}×{side}", str(arlib.load_autoencoder(name).latent_dim), f"{error:.5f}",
            f"{(-10 * errors.log10()).mean().item():.2f} dB",
        ]  # fmt: skip
        assert error < 0.010 or side != "5"


def test_the_bits_of_labeled_grids_are_those_with_their_labels():
    prior = arlib.load_prior("digits-4x4")
    grids = arlib.load_tokenizer("digits-4x4").encode(data.load("digits", "valid")[:40])
    labels = data.labels("digits", "valid")[:40]
    with torch.no_grad():
        shares = prior(grids.flatten(1), label=labels).double().log_softmax(-1)
    bits = -shares.gather(2, grids.flatten(1)[..., None]).sum().item() / math.log(2) / 40
    figures = report.prior_figures(prior, grids, labels)
    assert figures == {"valid bits": f"{bits / 16:.3f} per token, {bits:,.1f} per picture (with their labels)"}
    assert report.prior_figures(prior, grids)["valid bits"].endswith(" per picture")


def test_each_codebook_has_its_share():
    tokenizer, images = arlib.load_tokenizer("digits-4x4x2"), data.load("digits", "valid")[:30]
    tokens = tokenizer.encode(images)
    shares = [len(tokens[..., book].unique()) / tokenizer.codebook_size for book in range(2)]
    assert shares[0] != shares[1]
    assert report.usages(tokenizer, tokens) == shares
    codes = report.Codes(tokenizer)
    for part in tokens.split(7):
        codes.see(part)
    assert codes.share == pytest.approx(sum(shares) / 2)
    again = tokenizer.decode(tokens)
    assert report.tokenizer_figures(tokenizer, images) == {
        "valid MSE": f"{report.metrics.mse(images, again).mean():.5f} (pixels in [0, 1])",
        "valid PSNR": f"{report.metrics.psnr(images, again).mean():.2f} dB (mean over pictures)",
        "valid codebook usage": f"{shares[0]:.1%} and {shares[1]:.1%}",
    }


def test_labels_are_nothing_to_a_prior_without_classes():
    prior, grids = arlib.load_prior("small"), torch.randint(1024, (2, 20, 30))
    assert torch.equal(report.bits_of(prior, grids, torch.tensor([3, 4])), report.bits_of(prior, grids))


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

"""The figures of a model on each split, as tables for the command line and rows for the cards."""

from collections.abc import Iterator

import torch
from rich.table import Table

import arlib
from arlib import data, metrics, orders
from arlib.cli import sources
from arlib.cli.sources import Source
from arlib.cli.terminal import Meter, metered, pace
from arlib.judges import Judge
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior

LOGITS = 2**23  # numbers that a prior gives at a time: 34 MB, of which measuring makes a few copies
AUTOENCODERS = ["linear-5", "conv-5", "linear-10", "conv-10", "linear-25", "conv-25"]


def tokenizer_figures(tokenizer: ImageTokenizer, images: torch.Tensor) -> dict[str, str]:
    """Error of the pictures that `decode` returns, and of a quantizer's codes how many occur."""
    latents = tokenizer.encode(images)
    again = tokenizer.decode(latents)
    figures = {
        "valid MSE": f"{metrics.mse(images, again).mean():.5f} (pixels in [0, 1])",
        "valid PSNR": f"{metrics.psnr(images, again).mean():.2f} dB (mean over pictures)",
    }
    if tokenizer.quantizer is not None:
        figures["valid codebook usage"] = " and ".join(f"{share:.1%}" for share in usages(tokenizer, latents))
    return figures


def usages(tokenizer: ImageTokenizer, tokens: torch.Tensor) -> list[float]:
    """The share of each codebook's codes that occur among tokens as `encode` gives them."""
    codes = Codes(tokenizer)
    codes.see(tokens)
    return codes.shares


class Codes:
    """Which codes of each codebook have occurred so far, among tokens as `encode` gives them."""

    def __init__(self, tokenizer: ImageTokenizer):
        self.several = tokenizer.token_dims == 4
        books = tokenizer.quantizer.codebooks if self.several and tokenizer.quantizer is not None else 1
        self.seen = torch.zeros(books, tokenizer.codebook_size, dtype=torch.bool)

    def see(self, tokens: torch.Tensor) -> None:
        for seen, book in zip(self.seen, tokens.unbind(-1) if self.several else [tokens], strict=True):
            seen[book.flatten()] = True

    @property
    def shares(self) -> list[float]:
        """The share of each codebook's codes that have occurred."""
        return [int(seen.sum()) / len(seen) for seen in self.seen]

    @property
    def share(self) -> float:
        """Their mean."""
        return sum(self.shares) / len(self.shares)


def judge_figures(judge: Judge, name: str) -> dict[str, str]:
    """The share of right classes among the held-out pictures of a data set."""
    shares = {split: accuracy(judge, data.load(name, split), data.labels(name, split)) for split in ("valid", "test")}
    return {f"{split} accuracy": f"{share:.2%}" for split, share in shares.items()}


def accuracy(judge: Judge, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of pictures `(N, H, W, C) uint8` in which the judge sees their class, `(N,) int64`."""
    return (judge.classify(images) == labels).double().mean().item()


def prior_figures(prior: Prior, grids: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, str]:
    """Surprise per token and per picture, teacher-forced in float32, as `bits_of` measures it."""
    bits, how = bits_of(prior, grids, labels), conditions(prior, labels is not None)
    told = f" ({how})" if how else ""
    return {"valid bits": f"{bits.mean():.3f} per token, {bits.sum(1).mean():,.1f} per picture{told}"}


def conditions(prior: Prior, labeled: bool) -> str:
    """How `bits_of` measures a prior, in words; nothing for the plain one."""
    how = ["with their labels"] if labeled and prior.classes is not None else []
    return ", ".join(how + (["in random orders"] if prior.places is not None else []))


def bits_of(prior: Prior, grids: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    """Surprise of each token in bits, `(N, T)`: of grids `(N, …)` with labels `(N,)`, for a prior that knows classes.

    A prior of any order reads each grid in a random order of its own, always the same ones.
    """
    tokens, order = orders.raster(grids), None
    if prior.places is not None:
        order = orders.random(len(tokens), tokens.shape[1], torch.Generator().manual_seed(0))
        tokens = orders.arrange(tokens, order)
    most = min(64, max(1, LOGITS // (prior.length * prior.vocabulary)))
    at_once = 1 << most.bit_length() - 1  # a power of two, so that parts of a batch have one size, and their memory too
    return metrics.bits(prior, tokens, at_once, order, labels if prior.classes is not None else None)


def evaluation_tables(
    parts: dict[str, Source], tokenizer: ImageTokenizer, prior: Prior | None, title: str, autoencoders: bool
) -> Iterator[Table]:
    """A table for tokenizer and prior on every part of a data set; if asked for, one for the auto-encoders too."""
    yield pipeline_table(parts, tokenizer, prior, title)
    if autoencoders:
        yield autoencoder_table()


def pipeline_table(parts: dict[str, Source], tokenizer: ImageTokenizer, prior: Prior | None, title: str) -> Table:
    """A row a part, and how many pictures of all of them were measured a second."""
    table = Table("split", "pictures", "MSE", "PSNR", "codes used", title=title)
    if prior is not None:
        table.add_column("bits per token")
        table.add_column("bits per picture")
    count, seconds, how = 0, 0.0, ""
    for name, pictures in parts.items():
        with metered(name, pictures.count) as meter:
            table.add_row(name, *row_of(pictures, tokenizer, prior, meter))
        count, seconds = count + meter.count, seconds + meter.seconds
        how = "" if prior is None else conditions(prior, pictures.labeled)
    table.caption = (f"Bits are measured {how}. " if how else "") + f"{pace(count, seconds)}."
    return table


def row_of(pictures: Source, tokenizer: ImageTokenizer, prior: Prior | None, meter: Meter) -> list[str]:
    """The figures of some pictures, of each of which no more than three numbers are kept.

    They are Python's numbers: small tensors that stay would lie between large ones that go, whose place is lost then.
    """
    codes = Codes(tokenizer)
    errors: list[float] = []
    ratios: list[float] = []
    bits: list[float] = []
    for batch in pictures.batches():
        grids = tokenizer.encode(batch.images)
        again = tokenizer.decode(grids)
        codes.see(grids)
        errors += metrics.mse(batch.images, again).tolist()
        ratios += metrics.psnr(batch.images, again).tolist()
        if prior is not None:
            bits += bits_of(prior, grids, batch.labels).double().sum(1).tolist()
        meter.advance(len(grids))
    row = [f"{meter.count:,}", f"{mean(errors):.5f}", f"{mean(ratios):.2f} dB"]
    row.append(f"{codes.share:.1%}")
    if prior is not None:
        row += [f"{mean(bits) / prior.length:.3f}", f"{mean(bits):,.1f}"]
    return row


def mean(numbers: list[float]) -> float:
    return torch.tensor(numbers, dtype=torch.float64).mean().item()


def autoencoder_table() -> Table:
    """A row for each of the shipped auto-encoders on the frames of valid."""
    table = Table("auto-encoder", "patch", "numbers a patch", "MSE", "PSNR", title="Patch auto-encoders on valid")
    pictures = sources.of_set("supertuxkart", "valid")
    for name in AUTOENCODERS:
        model = arlib.load_autoencoder(name)
        errors: list[float] = []
        ratios: list[float] = []
        with metered(name, pictures.count) as meter:
            for batch in pictures.batches():
                again = model.reconstruct(batch.images)
                errors += metrics.mse(batch.images, again).tolist()
                ratios += metrics.psnr(batch.images, again).tolist()
                meter.advance(len(again))
        table.add_row(
            name,
            f"{model.patch_size}×{model.patch_size}",
            str(model.latent_dim),
            f"{mean(errors):.5f}",
            f"{mean(ratios):.2f} dB",
        )
    return table

"""The figures of a model on each split, as tables for the command line and rows for the cards."""

from collections.abc import Iterator

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import arlib
from arlib import data, metrics, orders
from arlib.judges import Judge
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior

BATCH = 64  # how many pictures are measured at a time
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


def usage(tokenizer: ImageTokenizer, tokens: torch.Tensor) -> float:
    """The share of the codes that occur among tokens as `encode` gives them; of several codebooks, their mean."""
    shares = usages(tokenizer, tokens)
    return sum(shares) / len(shares)


def usages(tokenizer: ImageTokenizer, tokens: torch.Tensor) -> list[float]:
    """The share of each codebook's codes that occur among tokens as `encode` gives them."""
    books = tokens.unbind(-1) if tokenizer.token_dims == 4 else [tokens]
    return [metrics.codebook_usage(book, tokenizer.codebook_size) for book in books]


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


def conditions(prior: Prior, labelled: bool) -> str:
    """How `bits_of` measures a prior, in words; nothing for the plain one."""
    how = ["with their labels"] if labelled and prior.classes is not None else []
    return ", ".join(how + (["in random orders"] if prior.places is not None else []))


def bits_of(prior: Prior, grids: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    """Surprise of each token in bits, `(N, T)`: of grids `(N, …)` with labels `(N,)`, for a prior that knows classes.

    A prior of any order reads each grid in a random order of its own, always the same ones.
    """
    tokens, order = orders.raster(grids), None
    if prior.places is not None:
        order = orders.random(len(tokens), tokens.shape[1], torch.Generator().manual_seed(0))
        tokens = orders.arrange(tokens, order)
    return metrics.bits(prior, tokens, 64, order, labels if prior.classes is not None else None)


def evaluation_tables(name: str, tokenizer: ImageTokenizer, prior: Prior | None, title: str) -> Iterator[Table]:
    """A table for tokenizer and prior on every split of a data set; for the frames, one for the auto-encoders too."""
    yield pipeline_table(tokenizer, prior, title, name)
    if name == "supertuxkart":
        yield autoencoder_table()


def pipeline_table(tokenizer: ImageTokenizer, prior: Prior | None, title: str, name: str = "supertuxkart") -> Table:
    """A row a split. The whole of `train` takes some minutes, so a bar on standard error shows how far it is."""
    table = Table("split", "pictures", "MSE", "PSNR", "codes used", title=title)
    if prior is not None:
        table.add_column("bits per token")
        table.add_column("bits per picture")
        how = conditions(prior, name in data.CLASSES)
        table.caption = f"Bits are measured {how}." if how else None
    for split in data.SETS[name]:
        images = data.load(name, split)
        labels = data.labels(name, split) if name in data.CLASSES else torch.full((len(images),), -1)
        parts = list(zip(images.split(BATCH), labels.split(BATCH), strict=True))
        bar = track(parts, f"{split:6}", console=Console(stderr=True), transient=True)
        measured = [measure(tokenizer, prior, *part) for part in bar]
        errors, ratios, grids, bits = (torch.cat(part) for part in zip(*measured, strict=True))
        row = [split, f"{len(images):,}", f"{errors.mean():.5f}", f"{ratios.mean():.2f} dB"]
        row.append(f"{usage(tokenizer, grids):.1%}")
        if prior is not None:
            row += [f"{bits.mean():.3f}", f"{bits.sum(1).mean():,.1f}"]
        table.add_row(*row)
    return table


def measure(
    tokenizer: ImageTokenizer, prior: Prior | None, images: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Of each picture: squared error `(B,)`, PSNR `(B,)`, tokens `(B, …)`, and surprises `(B, T)` in bits."""
    grids = tokenizer.encode(images)
    again = tokenizer.decode(grids)
    bits = torch.zeros(len(images), 0) if prior is None else bits_of(prior, grids, labels)
    return metrics.mse(images, again), metrics.psnr(images, again), grids, bits


def autoencoder_table() -> Table:
    table = Table("auto-encoder", "patch", "numbers a patch", "MSE", "PSNR", title="Patch auto-encoders on valid")
    images = data.load("supertuxkart", "valid")
    for name in AUTOENCODERS:
        model = arlib.load_autoencoder(name)
        again = model.reconstruct(images)
        table.add_row(
            name,
            f"{model.patch_size}×{model.patch_size}",
            str(model.latent_dim),
            f"{metrics.mse(images, again).mean():.5f}",
            f"{metrics.psnr(images, again).mean():.2f} dB",
        )
    return table

"""The figures of a model on each split, as tables for the command line and rows for the cards."""

from collections.abc import Iterator

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import arlib
from arlib import data, metrics, orders
from arlib.tokenizer import ImageTokenizer
from arlib.transformer import Prior

AUTOENCODERS = ["linear-5", "conv-5", "linear-10", "conv-10", "linear-25", "conv-25"]


def tokenizer_figures(tokenizer: ImageTokenizer, images: torch.Tensor) -> dict[str, str]:
    """Error of the pictures that `decode` returns, and of a quantizer's codes how many occur."""
    latents = tokenizer.encode(images)
    again = tokenizer.decode(latents)
    figures = {
        "valid MSE": f"{metrics.mse(images, again).mean():.5f} (pixels in [0, 1])",
        "valid PSNR": f"{metrics.psnr(images, again).mean():.2f} dB (mean over frames)",
    }
    if tokenizer.quantizer is not None:
        figures["valid codebook usage"] = f"{metrics.codebook_usage(latents, tokenizer.codebook_size):.1%}"
    return figures


def prior_figures(prior: Prior, grids: torch.Tensor) -> dict[str, str]:
    """Surprise per token and per frame, teacher-forced in float32."""
    bits = metrics.bits(prior, grids.flatten(1))
    return {"valid bits": f"{bits.mean():.3f} per token, {bits.sum(1).mean():,.0f} per frame"}


def evaluation_tables(tokenizer_name: str, prior_name: str) -> Iterator[Table]:
    """One table for tokenizer and prior on every split, one for the shipped auto-encoders on valid."""
    tokenizer, prior = arlib.load_tokenizer(tokenizer_name), arlib.load_prior(prior_name)
    yield pipeline_table(tokenizer, prior, f"Tokenizer {tokenizer_name}, prior {prior_name}")
    yield autoencoder_table()


def pipeline_table(tokenizer: ImageTokenizer, prior: Prior, title: str) -> Table:
    """A row a split. The whole of `train` takes some minutes, so a bar on standard error shows how far it is."""
    table = Table("split", "frames", "MSE", "PSNR", "codes used", "bits per token", "bits per frame", title=title)
    for split in data.SPLITS:
        images = data.load("supertuxkart", split)
        batches = track(images.split(64), f"{split:6}", console=Console(stderr=True), transient=True)
        parts = [measure(tokenizer, prior, batch) for batch in batches]
        errors, ratios, bits, grids = (torch.cat(part) for part in zip(*parts, strict=True))
        table.add_row(
            split,
            f"{len(images):,}",
            f"{errors.mean():.5f}",
            f"{ratios.mean():.2f} dB",
            f"{metrics.codebook_usage(grids, tokenizer.codebook_size):.1%}",
            f"{bits.mean():.3f}",
            f"{bits.sum(1).mean():,.0f}",
        )
    return table


def measure(tokenizer: ImageTokenizer, prior: Prior, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of each picture: squared error `(B,)`, PSNR `(B,)`, surprises `(B, T)` in bits, tokens `(B, T)`."""
    grids = tokenizer.encode(images)
    again = tokenizer.decode(grids)
    tokens = orders.raster(grids)
    return metrics.mse(images, again), metrics.psnr(images, again), metrics.bits(prior, tokens), tokens


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

"""`python -m arlib tokenize`, `reconstruct` and `evaluate`: pictures and their tokens."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

import arlib
from arlib import checkpoints, data, metrics, tokenset
from arlib.cli.report import evaluation_tables

app = typer.Typer()
console = Console()

TokenizerName = Annotated[str, typer.Option("--tokenizer", help="Name, hash or file of the tokenizer.")]


@app.command()
def tokenize(
    source: Annotated[str, typer.Argument(metavar="IN", help="train, valid, unseen, or a folder of images.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The data set of tokens to write.")],
    tokenizer: TokenizerName = "book",
    mirror: Annotated[bool, typer.Option(help="Mirror every picture, left to right, first.")] = False,
) -> None:
    """Turn pictures into a bit-packed data set of tokens."""
    model = arlib.load_tokenizer(tokenizer)
    paths = data.files("supertuxkart", source) if source in data.SPLITS else data.folder_files(source)
    with console.status(f"{len(paths)} pictures"):
        images = torch.stack([data.read_image(path, fit=source not in data.SPLITS) for path in paths])
        grids = model.encode(images.flip(2) if mirror else images)
    weights = checkpoints.find("tokenizer", tokenizer)
    tokenset.write(out, grids, model.codebook_size, checkpoints.sha256(weights))
    before, after = sum(path.stat().st_size for path in paths), out.stat().st_size
    kinds = "/".join(sorted({path.suffix.lstrip(".").upper() for path in paths}))
    console.print(
        f"{out}: {len(grids):,} pictures in {after:,} bytes, {before / after:.1f} times smaller than their "
        f"{before:,} bytes of {kinds}. {len(grids.unique()):,} of {model.codebook_size:,} codes occur."
    )


@app.command()
def reconstruct(
    source: Annotated[Path, typer.Argument(metavar="IN", help="An image.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The image to write.")],
    tokenizer: TokenizerName = "book",
    fit: Annotated[bool, typer.Option("--fit", help="Scale and cut an image of another size.")] = False,
) -> None:
    """Send a picture through the tokenizer and back."""
    data.check_suffix(out)
    image = data.read_image(source, fit=fit)
    again = arlib.load_tokenizer(tokenizer).reconstruct(image[None])[0]
    data.write_image(out, again)
    error = metrics.mse(image[None], again[None]).item()
    console.print(f"{out}: mean squared error {error:.4f}, {metrics.psnr(image[None], again[None]).item():.1f} dB.")


@app.command()
def evaluate(
    tokenizer: TokenizerName = "book",
    prior: Annotated[str, typer.Option("--prior", help="Name, hash or file of the prior.")] = "book",
) -> None:
    """Measure the tokenizer, the prior and the auto-encoders on every split."""
    for table in evaluation_tables(tokenizer, prior):
        console.print(table)

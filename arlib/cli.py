"""The command line, `python -m arlib`: each command is a few calls of the library, in the order the book tells them."""

import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

import arlib
from arlib import checkpoints, codec_cli, data, metrics, orders, sampling, tokenset, train_cli
from arlib.report import evaluation_tables

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=arlib.__doc__)
app.add_typer(train_cli.app, name="train")
app.add_typer(codec_cli.app)
console = Console()

TokenizerName = Annotated[str, typer.Option("--tokenizer", help="Name, hash or file of the tokenizer.")]
PriorName = Annotated[str, typer.Option("--prior", help="Name, hash or file of the prior.")]
Fit = Annotated[bool, typer.Option("--fit", help="Scale and cut an image of another size.")]


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
    fit: Fit = False,
) -> None:
    """Send a picture through the tokenizer and back."""
    data.check_suffix(out)
    image = data.read_image(source, fit=fit)
    again = arlib.load_tokenizer(tokenizer).reconstruct(image[None])[0]
    data.write_image(out, again)
    error = metrics.mse(image[None], again[None]).item()
    console.print(f"{out}: mean squared error {error:.4f}, {metrics.psnr(image[None], again[None]).item():.1f} dB.")


@app.command()
def generate(
    out: Annotated[Path, typer.Option("--out", help="The folder for the new pictures.")],
    count: Annotated[int, typer.Option(help="How many pictures.")] = 4,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    begin: Annotated[Path | None, typer.Option("--from", help="An image to complete.")] = None,
    keep_rows: Annotated[int | None, typer.Option(help="Rows of tokens of that image to keep.")] = None,
    prior: PriorName = "book",
    tokenizer: Annotated[str | None, typer.Option(help="The prior's own, if left out.")] = None,
    fit: Fit = False,
) -> None:
    """Sample new pictures, or complete the top of a given one."""
    sampling.check_settings(temperature, top_k, top_p)
    if count < 1:
        raise ValueError(f"--count is at least 1, not {count}.")
    if (begin is None) != (keep_rows is None):
        raise ValueError("--from and --keep-rows go together: an image, and how many of its rows of tokens to keep.")
    if out.exists() and not out.is_dir():
        raise data.DataError(f"{out} is a file. Name a folder.")
    model, decoder, (height, width) = arlib.load_pipeline(prior, tokenizer)
    beginning = None
    if begin is not None and keep_rows is not None:
        if not 0 <= keep_rows <= height:
            raise ValueError(f"--keep-rows lies between 0 and {height}, the rows of tokens of a picture.")
        image = data.read_image(begin, height * decoder.patch_size, width * decoder.patch_size, fit)
        beginning = orders.raster(decoder.encode(image[None]))[0, : keep_rows * width]
    with console.status(f"sampling {count} pictures"):
        tokens = sampling.generate(model, count, seed, temperature, top_k, top_p, beginning)
        images = decoder.decode(orders.unraster(tokens, height, width))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise data.DataError(f"{out} cannot be made: {error.strerror}.") from None
    for number, image in enumerate(images):
        data.write_image(out / f"{number:04}.png", image)
    console.print(
        f"{out}: {count} new pictures, {metrics.bits(model, tokens).sum(1).mean():,.0f} bits each on the mean."
    )


@app.command()
def evaluate(tokenizer: TokenizerName = "book", prior: PriorName = "book") -> None:
    """Measure the tokenizer, the prior and the auto-encoders on every split."""
    for table in evaluation_tables(tokenizer, prior):
        console.print(table)


def main() -> None:
    """Run a command; whatever was wrong with what it was given is one line on standard error and exit code 2."""
    try:
        app(standalone_mode=False, prog_name="arlib")
    except typer.Abort:
        sys.exit(130)
    except typer.TyperException as error:
        complain(f"{error.format_message().rstrip('.?')}. --help behind a command tells what it takes.")
    except ValueError as error:
        complain(str(error))


def complain(message: str) -> None:
    print("arlib: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)

"""`python -m arlib tokenize`, `reconstruct` and `evaluate`: pictures and their tokens."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from arlib.cli.options import Force
from arlib.storage import DataError

app = typer.Typer()
console = Console(markup=False, emoji=False)  # names of files are as they are

TokenizerName = Annotated[str, typer.Option("--tokenizer", help="Name, hash or file of the tokenizer.")]
DATA_SET = "supertuxkart, digits or cifar10; what the tokenizer has learned, if left out."


@app.command()
def tokenize(
    source: Annotated[str, typer.Argument(metavar="IN", help="A split (train, valid, …), or a folder of images.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The data set of tokens to write.")],
    tokenizer: TokenizerName = "book",
    name: Annotated[str | None, typer.Option("--data", help=f"Whose split IN is: {DATA_SET}")] = None,
    mirror: Annotated[bool, typer.Option(help="Mirror every picture, left to right, first.")] = False,
    moved: Annotated[
        int | None,
        typer.Option(help="Move every picture of digits or cifar10 a little first, by chance: the seed of the moves."),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(help="The setting of a tokenizer's dial, which becomes the label; the best one.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="32-true, or bf16-mixed: faster, and about one token in seventy is another one.")
    ] = "32-true",
    force: Force = False,
) -> None:
    """Turn pictures into a bit-packed data set of tokens, with the labels that they have."""
    if mirror and moved is not None:
        raise DataError("--moved mirrors the pictures that may be mirrored: leave --mirror out.")
    if precision not in ("32-true", "bf16-mixed"):
        raise DataError(f"The precision is 32-true or bf16-mixed, not {precision}.")
    import torch

    import arlib
    from arlib import checkpoints, data, tokenset
    from arlib.cli import examples
    from arlib.cli.common import check_fits, check_unwritten, counted, data_of, shape_of
    from arlib.cli.report import usage

    check_unwritten([out], force)
    weights = checkpoints.find("tokenizer", tokenizer)
    model, labels = arlib.load_tokenizer(tokenizer), None
    model.check_quality(quality, 1)
    named, name = name is not None, name or data_of(tokenizer)
    from_set = source in data.SETS.get(name, ()) or (named and name != "supertuxkart")
    if moved is not None and not (from_set and name in data.CLASSES):
        raise DataError("--moved is for the splits of digits and cifar10 alone.")
    if from_set:
        data.check_split(name, source)
        check_fits(model, name)
        paths, images = data.files(name, source), data.load(name, source)
        labels = data.labels(name, source) if name in data.CLASSES else None
    else:
        paths, images = data.read_images(data.folder_files(source), *shape_of(tokenizer))
    with console.status(counted(len(images), "picture")):
        images = images.flip(2) if mirror else images
        images = images if moved is None else examples.moved(images, name, moved)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            grids = model.encode(images, quality)
    if model.qualities:
        labels = torch.full((len(grids),), model.qualities - 1 if quality is None else quality)
    tokenset.write(out, grids, model.codebook_size, checkpoints.sha256(weights), labels)
    after = out.stat().st_size
    before, kinds = images.numel(), "pixels"
    if name == "supertuxkart" or not from_set:
        before = sum(path.stat().st_size for path in paths)
        kinds = "/".join(sorted({path.suffix.lstrip(".").upper() for path in paths}))
    console.print(
        f"{out}: {counted(len(grids), 'picture')} in {after:,} bytes, {before / after:.1f} times smaller than the "
        f"{before:,} bytes of {kinds}. {usage(model, grids):.1%} of {model.codebook_size:,} codes occur."
    )


@app.command()
def reconstruct(
    source: Annotated[Path, typer.Argument(metavar="IN", help="An image.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The image to write.")],
    tokenizer: TokenizerName = "book",
    fit: Annotated[bool, typer.Option("--fit", help="Scale and cut an image of another size.")] = False,
    force: Force = False,
) -> None:
    """Send a picture through the tokenizer and back."""
    import arlib
    from arlib import data, metrics
    from arlib.cli.common import check_unwritten, read_picture

    data.check_suffix(out)
    check_unwritten([out], force)
    model = arlib.load_tokenizer(tokenizer)  # first, as it checks the header that the picture's size is read from
    image = read_picture(source, tokenizer, fit)
    again = model.reconstruct(image[None])[0]
    data.write_image(out, again)
    error = metrics.mse(image[None], again[None]).item()
    console.print(f"{out}: mean squared error {error:.4f}, {metrics.psnr(image[None], again[None]).item():.1f} dB.")


@app.command()
def evaluate(
    tokenizer: Annotated[str | None, typer.Option(help="The prior's own, if left out; alone without --prior.")] = None,
    prior: Annotated[str | None, typer.Option(help="Name, hash or file of the prior; book without both.")] = None,
    name: Annotated[str | None, typer.Option("--data", help=DATA_SET)] = None,
) -> None:
    """Measure a tokenizer, and a prior with it, on every split of a data set."""
    import arlib
    from arlib import checkpoints, data
    from arlib.cli.common import check_fits, data_of
    from arlib.cli.report import evaluation_tables

    if name is not None and name not in data.SETS:
        raise DataError(f"There is no data set {name!r}; there are {', '.join(data.SETS)}.")
    if tokenizer is not None and prior is None:
        model, language, title, weights = arlib.load_tokenizer(tokenizer), None, f"Tokenizer {tokenizer}", tokenizer
    else:
        language, model, _ = arlib.load_pipeline(prior or "book", tokenizer)
        title = f"Prior {prior or 'book'} and its tokenizer"
        weights = tokenizer or checkpoints.read_header(checkpoints.find("prior", prior or "book"))["tokenizer"]
    name = name or data_of(weights)
    check_fits(model, name)
    for table in evaluation_tables(name, model, language, title):
        console.print(table)
